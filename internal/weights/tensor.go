package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"
)

// DType is the type a tensor's elements are stored in.
type DType int

// The types of elements. Networks compute from the first three; the others
// are bookkeeping that checkpoints carry along, or data of tests.
const (
	F32 DType = iota
	F16
	BF16
	F64
	U8
	I8
	U16
	I16
	U32
	I32
	U64
	I64
	Bool
)

var dtypes = [...]struct {
	name string
	size int // bytes of an element
}{
	F32: {"F32", 4}, F16: {"F16", 2}, BF16: {"BF16", 2}, F64: {"F64", 8},
	U8: {"U8", 1}, I8: {"I8", 1}, U16: {"U16", 2}, I16: {"I16", 2},
	U32: {"U32", 4}, I32: {"I32", 4}, U64: {"U64", 8}, I64: {"I64", 8},
	Bool: {"BOOL", 1},
}

// String gives the type's name as safetensors files spell it.
func (d DType) String() string {
	if d < 0 || int(d) >= len(dtypes) {
		return fmt.Sprintf("DType(%d)", int(d))
	}
	return dtypes[d].name
}

// Weight tells whether parameters can be stored in the type. Tensors of other
// types are kept in a [Set] but are neither filled in nor unexpected.
func (d DType) Weight() bool { return d == F32 || d == F16 || d == BF16 }

// Tensor is a named array as it stands in a file.
type Tensor struct {
	Name  string // full name in the file
	DType DType
	Shape []int  // C order: the last dimension is contiguous
	Data  []byte // little-endian; read-only, may be mapped: valid until its Set is closed
	File  string // for messages
}

// Elements is the number of elements, the product of the shape.
func (t *Tensor) Elements() int {
	n := 1
	for _, d := range t.Shape {
		n *= d
	}
	return n
}

// Float32 is a copy of the elements converted to float32. Integers and F64
// are rounded to the nearest float32.
func (t *Tensor) Float32() []float32 {
	dst := make([]float32, t.Elements())
	le := binary.LittleEndian
	switch b := t.Data; t.DType {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = float16.Frombits(le.Uint16(b[2*i:])).Float32()
		}
	case BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(b[8*i:])))
		}
	case U8, Bool:
		for i := range dst {
			dst[i] = float32(b[i])
		}
	case I8:
		for i := range dst {
			dst[i] = float32(int8(b[i]))
		}
	case U16:
		for i := range dst {
			dst[i] = float32(le.Uint16(b[2*i:]))
		}
	case I16:
		for i := range dst {
			dst[i] = float32(int16(le.Uint16(b[2*i:])))
		}
	case U32:
		for i := range dst {
			dst[i] = float32(le.Uint32(b[4*i:]))
		}
	case I32:
		for i := range dst {
			dst[i] = float32(int32(le.Uint32(b[4*i:])))
		}
	case U64:
		for i := range dst {
			dst[i] = float32(le.Uint64(b[8*i:]))
		}
	case I64:
		for i := range dst {
			dst[i] = float32(int64(le.Uint64(b[8*i:])))
		}
	default:
		panic(fmt.Sprintf("weights: %s: Float32 of %v", t.Name, t.DType))
	}
	return dst
}

// byteSize is the number of bytes a tensor takes; ok is false where that, or
// the product of any of the dimensions, does not fit an int.
func byteSize(d DType, shape []int) (n int, ok bool) {
	n = dtypes[d].size
	for _, dim := range shape {
		if dim == 0 {
			continue
		}
		if n > math.MaxInt/dim {
			return 0, false
		}
		n *= dim
	}
	if slices.Contains(shape, 0) {
		n = 0
	}
	return n, true
}
