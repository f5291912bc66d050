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

// The types of elements. Networks compute from the first three and from the
// quantised ones; the others are bookkeeping that checkpoints carry along, or
// data of tests.
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

	// ggml's quantised types, which GGUF files hold: blocks of elements that
	// share a scale.
	Q4_0
	Q4_1
	Q5_0
	Q5_1
	Q8_0
	Q8_1
	Q2_K
	Q3_K
	Q4_K
	Q5_K
	Q6_K
	Q8_K
	IQ2_XXS
	IQ2_XS
	IQ3_XXS
	IQ1_S
	IQ4_NL
	IQ3_S
	IQ2_S
	IQ4_XS
	IQ1_M
	TQ1_0
	TQ2_0
	MXFP4
	NVFP4
	Q1_0
	Q2_0
)

// dtypes describes the types: a block of so many elements takes so many bytes,
// and ggml has a number for it, or none (-1).
var dtypes = [...]struct {
	name            string
	elements, bytes int
	ggml            int
}{
	F32: {"F32", 1, 4, 0}, F16: {"F16", 1, 2, 1}, BF16: {"BF16", 1, 2, 30}, F64: {"F64", 1, 8, 28},
	U8: {"U8", 1, 1, -1}, I8: {"I8", 1, 1, 24}, U16: {"U16", 1, 2, -1}, I16: {"I16", 1, 2, 25},
	U32: {"U32", 1, 4, -1}, I32: {"I32", 1, 4, 26}, U64: {"U64", 1, 8, -1}, I64: {"I64", 1, 8, 27},
	Bool: {"BOOL", 1, 1, -1},

	Q4_0: {"Q4_0", 32, 18, 2}, Q4_1: {"Q4_1", 32, 20, 3}, Q5_0: {"Q5_0", 32, 22, 6}, Q5_1: {"Q5_1", 32, 24, 7},
	Q8_0: {"Q8_0", 32, 34, 8}, Q8_1: {"Q8_1", 32, 36, 9},
	Q2_K: {"Q2_K", 256, 84, 10}, Q3_K: {"Q3_K", 256, 110, 11}, Q4_K: {"Q4_K", 256, 144, 12},
	Q5_K: {"Q5_K", 256, 176, 13}, Q6_K: {"Q6_K", 256, 210, 14}, Q8_K: {"Q8_K", 256, 292, 15},
	IQ2_XXS: {"IQ2_XXS", 256, 66, 16}, IQ2_XS: {"IQ2_XS", 256, 74, 17}, IQ3_XXS: {"IQ3_XXS", 256, 98, 18},
	IQ1_S: {"IQ1_S", 256, 50, 19}, IQ4_NL: {"IQ4_NL", 32, 18, 20}, IQ3_S: {"IQ3_S", 256, 110, 21},
	IQ2_S: {"IQ2_S", 256, 82, 22}, IQ4_XS: {"IQ4_XS", 256, 136, 23}, IQ1_M: {"IQ1_M", 256, 56, 29},
	TQ1_0: {"TQ1_0", 256, 54, 34}, TQ2_0: {"TQ2_0", 256, 66, 35},
	MXFP4: {"MXFP4", 32, 17, 39}, NVFP4: {"NVFP4", 64, 36, 40}, Q1_0: {"Q1_0", 128, 18, 41}, Q2_0: {"Q2_0", 64, 18, 42},
}

// String gives the type's name as safetensors and GGUF files' tools spell it.
func (d DType) String() string {
	if d < 0 || int(d) >= len(dtypes) {
		return fmt.Sprintf("DType(%d)", int(d))
	}
	return dtypes[d].name
}

// Weight tells whether parameters can be stored in the type: F32, F16, BF16 or
// a quantised one. Tensors of other types are kept in a [Set] but are neither
// filled in nor unexpected.
func (d DType) Weight() bool { return d == F32 || d == F16 || d == BF16 || d.Quantised() }

// Quantised tells whether the type is one of ggml's, of several elements in a
// block. Only ggml can tell what they are: see [Tensor.Float32].
func (d DType) Quantised() bool { return d >= Q4_0 && int(d) < len(dtypes) }

// Block is the number of elements that are stored together, and the bytes they
// take: 1 and the size of an element, but for quantised types.
func (d DType) Block() (elements, bytes int) { return dtypes[d].elements, dtypes[d].bytes }

// GGML is the number that ggml has for the type; ok is false where it has none.
func (d DType) GGML() (number int, ok bool) { return dtypes[d].ggml, dtypes[d].ggml >= 0 }

// Tensor is a named array as it stands in a file.
type Tensor struct {
	Name  string // full name in the file
	DType DType
	Shape []int  // C order: the last dimension is contiguous
	Data  []byte // see Bytes; nil where the bytes are made when asked for
	File  string // for messages
	Note  string // for messages: what became of it since, if anything

	mapping []byte        // the mapped file that Data lies in, if any
	made    func() []byte // makes the bytes that no file holds as they are needed
}

// Bytes are the elements as they are stored, little-endian. They must not be
// changed; they may be mapped, and so are valid until the Set is closed. Those
// of a tensor that its files hold in another form (in parts, or to be merged
// with LoRAs) are made by each call.
func (t *Tensor) Bytes() []byte {
	if t.made != nil {
		return t.made()
	}
	return t.Data
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
// are rounded to the nearest float32. It panics where the type is quantised:
// whoever has ggml at hand turns [Tensor.Bytes] of such a tensor into numbers.
func (t *Tensor) Float32() []float32 {
	dst := make([]float32, t.Elements())
	le := binary.LittleEndian
	switch b := t.Bytes(); t.DType {
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

// FromFloat32 makes a tensor of F32, F16 or BF16 elements from numbers, which are
// rounded to the type, F16 to the nearest, BF16 to the nearest even.
func FromFloat32(name string, typ DType, shape []int, data []float32) *Tensor {
	t := &Tensor{Name: name, DType: typ, Shape: shape, File: "made in memory"}
	le := binary.LittleEndian
	for _, v := range data {
		switch typ {
		case F32:
			t.Data = le.AppendUint32(t.Data, math.Float32bits(v))
		case F16:
			t.Data = le.AppendUint16(t.Data, float16.Fromfloat32(v).Bits())
		case BF16:
			bits := math.Float32bits(v)
			t.Data = le.AppendUint16(t.Data, uint16((bits+0x7fff+bits>>16&1)>>16))
		default:
			panic(fmt.Sprintf("weights: FromFloat32 to %v", typ))
		}
	}
	return t
}

// byteSize is the number of bytes a tensor takes; ok is false where that, or
// the product of any of the dimensions, does not fit an int, or where rows are
// not whole blocks.
func byteSize(d DType, shape []int) (n int, ok bool) {
	block, size := d.Block()
	last := 1
	if len(shape) > 0 {
		last = shape[len(shape)-1]
	}
	if last%block != 0 {
		return 0, false
	}
	n = size
	for i, dim := range shape {
		if i == len(shape)-1 {
			dim /= block
		}
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
