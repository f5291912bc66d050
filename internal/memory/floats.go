package memory

import (
	"fmt"
	"os"
	"sync"
	"unsafe"

	"github.com/edsrzf/mmap-go"
	"github.com/x448/float16"
)

// Floats are numbers outside of Go's heap, which would hold on to their memory
// for a while: in memory of their own, or in a temporary file, which counts for
// no process. Several goroutines may read and write different numbers at once.
type Floats struct {
	n      int
	size   int // bytes of a number: 4, or 2 for half precision
	memory mmap.MMap
	file   *os.File
	remove bool // the file still has a name
}

// NewFloats makes room for n zeros, in memory or on disk, in the system's folder
// for temporary files ($TMPDIR), where nothing is taken before it is written.
// Short ones take half as much, and are kept in half precision: see toHalf.
func NewFloats(n int, short, onDisk bool) (*Floats, error) {
	f := &Floats{n: n, size: 4}
	if short {
		f.size = 2
	}
	var err error
	if !onDisk {
		if f.memory, err = mmap.MapRegion(nil, max(f.size*n, 1), mmap.RDWR, mmap.ANON, 0); err != nil {
			return nil, fmt.Errorf("no memory for %d MiB of scratch: %w", f.size*n>>20, err)
		}
		return f, nil
	}
	if f.file, err = os.CreateTemp("", "supir-*.tmp"); err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	f.remove = os.Remove(f.file.Name()) != nil // not while open, on some systems
	if err := f.file.Truncate(int64(f.size * n)); err != nil {
		f.Close()
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	return f, nil
}

// Len is the number of numbers.
func (f *Floats) Len() int { return f.n }

// Read copies numbers from place at on to dst.
func (f *Floats) Read(dst []float32, at int) error {
	if err := f.check(at, len(dst)); err != nil || len(dst) == 0 {
		return err
	}
	if f.size == 4 {
		return f.move(bytesOf(dst), at, false)
	}
	if f.file == nil {
		fromHalves(dst, f.short(at, len(dst)))
		return nil
	}
	return eachPiece(len(dst), func(from int, room []uint16) error {
		if err := f.move(bytesOf(room), at+from, false); err != nil {
			return err
		}
		fromHalves(dst[from:], room)
		return nil
	})
}

// Write copies src to place at, rounded where the numbers are short. A full disk
// is an error.
func (f *Floats) Write(src []float32, at int) error {
	if err := f.check(at, len(src)); err != nil || len(src) == 0 {
		return err
	}
	if f.size == 4 {
		return f.move(bytesOf(src), at, true)
	}
	if f.file == nil {
		toHalves(f.short(at, len(src)), src)
		return nil
	}
	return eachPiece(len(src), func(from int, room []uint16) error {
		toHalves(room, src[from:])
		return f.move(bytesOf(room), at+from, true)
	})
}

// short is where n short numbers in memory are, from place at on.
func (f *Floats) short(at, n int) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(&f.memory[2*at])), n)
}

// eachPiece calls f with room for numbers on their way to or from a file, n in all,
// from the first on. The room is used again and again: made anew it would let
// Go's heap grow by as much as pictures take there.
func eachPiece(n int, f func(from int, room []uint16) error) error {
	room := rooms.Get().(*[piece]uint16)
	defer rooms.Put(room)
	for from := 0; from < n; from += piece {
		if err := f(from, room[:min(piece, n-from)]); err != nil {
			return err
		}
	}
	return nil
}

const piece = 1 << 14

var rooms = sync.Pool{New: func() any { return new([piece]uint16) }}

// fromHalves and toHalves convert as many numbers as short has.
func fromHalves(dst []float32, short []uint16) {
	for i, v := range short {
		dst[i] = fromHalf(v)
	}
}

func toHalves(short []uint16, src []float32) {
	for i := range short {
		short[i] = toHalf(src[i])
	}
}

// toHalf is the half-precision number nearest to a 256th of v: eleven bits of what
// is between 1/64 and 2^24, where maps of SDXL's VAE leave the range of plain half
// precision; an error below 2^-17 for what is smaller. What is larger becomes
// infinite, and what is no number stays so.
func toHalf(v float32) uint16 { return float16.Fromfloat32(v / halfUnit).Bits() }

func fromHalf(h uint16) float32 { return float16.Frombits(h).Float32() * halfUnit }

const halfUnit = 256

// move copies the bytes of the numbers from place at on, in or out.
func (f *Floats) move(b []byte, at int, in bool) (err error) {
	switch at *= f.size; {
	case f.file == nil && in:
		copy(f.memory[at:], b)
	case f.file == nil:
		copy(b, f.memory[at:])
	case in:
		_, err = f.file.WriteAt(b, int64(at))
	default:
		_, err = f.file.ReadAt(b, int64(at))
	}
	if err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	return nil
}

func (f *Floats) check(at, n int) error {
	if at < 0 || n > f.n-at || f.memory == nil && f.file == nil {
		return fmt.Errorf("memory: %d numbers at %d of %d", n, at, f.n)
	}
	return nil
}

func bytesOf[T float32 | uint16](x []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), len(x)*int(unsafe.Sizeof(x[0])))
}

// Close gives the memory, or the disk's, back. It may be repeated.
func (f *Floats) Close() {
	if f == nil {
		return
	}
	if f.memory != nil {
		_ = f.memory.Unmap() // nothing is lost
		f.memory = nil
	}
	if f.file != nil {
		f.file.Close()
		if f.remove {
			_ = os.Remove(f.file.Name())
		}
		f.file = nil
	}
}
