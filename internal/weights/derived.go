package weights

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/x448/float16"
)

// Tensors that no file holds as they are needed. Where the bytes are the same
// they are shared; else they are made each time they are asked for, so that
// mapped weights stay mapped.

// as is the tensor under another name and shape of as many elements.
func (t *Tensor) as(name string, shape ...int) *Tensor {
	c := *t
	c.Name, c.Shape = name, shape
	return &c
}

// concat puts tensors of the same type one below the other, along their first
// dimension.
func concat(name string, parts ...*Tensor) (*Tensor, error) {
	first := parts[0]
	t := &Tensor{Name: name, DType: first.DType, Shape: slices.Clone(first.Shape), File: first.File}
	for i, p := range parts {
		if len(p.Shape) == 0 || p.DType != t.DType || !slices.Equal(p.Shape[1:], t.Shape[1:]) {
			return nil, &CorruptError{File: p.File, Tensor: p.Name,
				Reason: fmt.Sprintf("%v of shape %v cannot be joined with %s, %v of shape %v", p.DType, p.Shape, first.Name, first.DType, first.Shape)}
		}
		if i > 0 {
			t.Shape[0] += p.Shape[0]
		}
	}
	t.made = func() []byte {
		var b []byte
		for _, p := range parts {
			b = append(b, p.Bytes()...)
		}
		return b
	}
	return t, nil
}

// transpose is a matrix whose rows are the other's columns.
func transpose(name string, of *Tensor) (*Tensor, error) {
	if len(of.Shape) != 2 || of.DType.Quantised() {
		return nil, &UnsupportedError{File: of.File, Tensor: of.Name,
			Reason: fmt.Sprintf("%v of shape %v cannot be transposed", of.DType, of.Shape)}
	}
	rows, columns := of.Shape[0], of.Shape[1]
	_, size := of.DType.Block()
	t := of.as(name, columns, rows)
	t.Data = nil
	t.made = func() []byte {
		from := of.Bytes()
		to := make([]byte, len(from))
		for i := range rows {
			for j := range columns {
				copy(to[(j*rows+i)*size:][:size], from[(i*columns+j)*size:])
			}
		}
		return to
	}
	return t, nil
}

// encode rounds values to F32, F16 or BF16.
func encode(d DType, values []float32) []byte {
	_, size := d.Block()
	b := make([]byte, 0, size*len(values))
	le := binary.LittleEndian
	switch d {
	case F32:
		for _, v := range values {
			b = le.AppendUint32(b, math.Float32bits(v))
		}
	case F16:
		for _, v := range values {
			b = le.AppendUint16(b, float16.Fromfloat32(v).Bits())
		}
	case BF16:
		for _, v := range values {
			b = le.AppendUint16(b, bfloat16(v))
		}
	default:
		panic(fmt.Sprintf("weights: encoding as %v", d))
	}
	return b
}

// bfloat16 rounds to the nearest, ties to even.
func bfloat16(v float32) uint16 {
	bits := math.Float32bits(v)
	if v != v {
		return uint16(bits>>16) | 1<<6 // stays a NaN
	}
	return uint16((bits + 0x7fff + bits>>16&1) >> 16)
}
