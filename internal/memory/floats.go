package memory

import (
	"fmt"
	"os"
	"unsafe"

	"github.com/edsrzf/mmap-go"
)

// Floats are numbers outside of Go's heap, which would hold on to their memory
// for a while: in memory of their own, or in a temporary file, which counts for
// no process. Not safe for concurrent use.
type Floats struct {
	n      int
	memory mmap.MMap
	file   *os.File
	remove bool // the file still has a name
}

// NewFloats makes room for n zeros, in memory or on disk, in the system's folder
// for temporary files ($TMPDIR), where nothing is taken before it is written.
func NewFloats(n int, onDisk bool) (*Floats, error) {
	f := &Floats{n: n}
	var err error
	if !onDisk {
		if f.memory, err = mmap.MapRegion(nil, max(4*n, 1), mmap.RDWR, mmap.ANON, 0); err != nil {
			return nil, fmt.Errorf("no memory for %d MiB of scratch: %w", n>>18, err)
		}
		return f, nil
	}
	if f.file, err = os.CreateTemp("", "supir-*.tmp"); err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	f.remove = os.Remove(f.file.Name()) != nil // not while open, on some systems
	if err := f.file.Truncate(int64(4 * n)); err != nil {
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
	if f.file == nil {
		copy(dst, f.slice(at, len(dst)))
		return nil
	}
	if _, err := f.file.ReadAt(bytesOf(dst), int64(4*at)); err != nil {
		return fmt.Errorf("temporary file: %w", err)
	}
	return nil
}

// Write copies src to place at. A full disk is an error.
func (f *Floats) Write(src []float32, at int) error {
	if err := f.check(at, len(src)); err != nil || len(src) == 0 {
		return err
	}
	if f.file == nil {
		copy(f.slice(at, len(src)), src)
		return nil
	}
	if _, err := f.file.WriteAt(bytesOf(src), int64(4*at)); err != nil {
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

// slice is a part of what is in memory; n is positive.
func (f *Floats) slice(at, n int) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&f.memory[4*at])), n)
}

func bytesOf(x []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
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
