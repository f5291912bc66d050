package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
)

// A GGUFTensor is a tensor to be written to a GGUF file.
type GGUFTensor struct {
	Name  string
	DType DType // one that ggml has a number for
	Shape []int // in C order, at most 4 dimensions
}

// Size is the number of bytes that the tensor takes. Quantised ones may be
// flattened for that: their first dimension counts the rows.
func (t *GGUFTensor) Size() int64 {
	block, size := t.DType.Block()
	n := int64(size)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n / int64(block)
}

// stored is the shape in the file: rows that are not whole blocks, such as a 3×3
// kernel's, are joined to one for each of the first dimension.
func (t *GGUFTensor) stored() (shape []int, flattened bool, err error) {
	block, _ := t.DType.Block()
	if n := len(t.Shape); n == 0 || t.Shape[n-1]%block == 0 {
		return t.Shape, false, nil
	}
	row := 1
	for _, d := range t.Shape[1:] {
		row *= d
	}
	if len(t.Shape) < 2 || row%block != 0 {
		return nil, false, fmt.Errorf("%s: rows of %d elements are not whole blocks of %v", t.Name, row, t.DType)
	}
	return []int{t.Shape[0], row}, true, nil
}

// A GGUFWriter writes a GGUF file from front to back.
type GGUFWriter struct {
	w       io.Writer
	tensors []GGUFTensor
	left    int64 // bytes of the first of tensors yet to be written
	err     error
}

// NewGGUFWriter writes the header of a GGUF file, version 3, with these tensors
// in this order. Metadata are strings, bools, int64s, float64s or slices of one
// of these. Then the tensors' bytes follow by Write.
func NewGGUFWriter(w io.Writer, metadata map[string]any, tensors []GGUFTensor) (*GGUFWriter, error) {
	values := map[string]any{}
	maps.Copy(values, metadata)
	var infos []byte
	offset := int64(0)
	for i := range tensors {
		t := &tensors[i]
		shape, flattened, err := t.stored()
		number, ok := t.DType.GGML()
		switch {
		case err != nil:
			return nil, err
		case !ok || len(shape) > maxDims || len(t.Name) > maxName:
			return nil, fmt.Errorf("%.80s: GGUF files hold no %v of %d dimensions", t.Name, t.DType, len(shape))
		case flattened:
			values[OriginalShape+t.Name] = int64s(t.Shape)
		}
		infos = appendText(infos, t.Name)
		infos = binary.LittleEndian.AppendUint32(infos, uint32(len(shape)))
		for _, d := range slices.Backward(shape) {
			infos = binary.LittleEndian.AppendUint64(infos, uint64(d))
		}
		infos = binary.LittleEndian.AppendUint32(infos, uint32(number))
		infos = binary.LittleEndian.AppendUint64(infos, uint64(offset))
		offset += padded(t.Size())
	}
	header := append([]byte("GGUF"), 3, 0, 0, 0)
	header = binary.LittleEndian.AppendUint64(header, uint64(len(tensors)))
	header = binary.LittleEndian.AppendUint64(header, uint64(len(values)))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		var err error
		if header, err = appendValue(appendText(header, key), values[key]); err != nil {
			return nil, fmt.Errorf("metadata %s: %w", key, err)
		}
	}
	header = append(header, infos...)
	header = append(header, make([]byte, padded(int64(len(header)))-int64(len(header)))...)
	if _, err := w.Write(header); err != nil {
		return nil, err
	}
	g := &GGUFWriter{w: w, tensors: tensors}
	if len(tensors) > 0 {
		g.left = tensors[0].Size()
	}
	g.advance()
	return g, g.err
}

// Write writes the next bytes of the tensors, which may not reach from one
// tensor into the next.
func (g *GGUFWriter) Write(p []byte) (int, error) {
	if g.err != nil {
		return 0, g.err
	}
	if int64(len(p)) > g.left {
		return 0, errors.New("more bytes than the tensor has")
	}
	n, err := g.w.Write(p)
	if g.left -= int64(n); err != nil {
		g.err = err
		return n, err
	}
	g.advance()
	return n, g.err
}

// advance goes to the next tensor that has bytes to be written.
func (g *GGUFWriter) advance() {
	for g.err == nil && g.left == 0 && len(g.tensors) > 0 {
		size := g.tensors[0].Size()
		_, g.err = g.w.Write(make([]byte, padded(size)-size))
		if g.tensors = g.tensors[1:]; len(g.tensors) > 0 {
			g.left = g.tensors[0].Size()
		}
	}
}

// Close makes sure that all tensors are written.
func (g *GGUFWriter) Close() error {
	if g.err == nil && len(g.tensors) > 0 {
		g.err = fmt.Errorf("%s: %d bytes are missing", g.tensors[0].Name, g.left)
	}
	return g.err
}

// padded is n rounded up to the alignment.
func padded(n int64) int64 { return (n + ggufAlignment - 1) / ggufAlignment * ggufAlignment }

func int64s(shape []int) []int64 {
	list := make([]int64, len(shape))
	for i, d := range shape {
		list[i] = int64(d)
	}
	return list
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// appendValue appends a value of metadata with its kind.
func appendValue(b []byte, value any) ([]byte, error) {
	le := binary.LittleEndian
	list := func(kind uint32, n int) []byte {
		b = le.AppendUint32(b, ggufArray)
		b = le.AppendUint32(b, kind)
		return le.AppendUint64(b, uint64(n))
	}
	switch v := value.(type) {
	case string:
		return appendText(le.AppendUint32(b, ggufString), v), nil
	case bool:
		return appendBool(le.AppendUint32(b, ggufBool), v), nil
	case int64:
		if v == int64(uint32(v)) {
			return le.AppendUint32(le.AppendUint32(b, ggufU32), uint32(v)), nil
		}
		return le.AppendUint64(le.AppendUint32(b, ggufI64), uint64(v)), nil
	case float64:
		return le.AppendUint64(le.AppendUint32(b, ggufF64), math.Float64bits(v)), nil
	case []string:
		b = list(ggufString, len(v))
		for _, s := range v {
			b = appendText(b, s)
		}
		return b, nil
	case []bool:
		b = list(ggufBool, len(v))
		for _, x := range v {
			b = appendBool(b, x)
		}
		return b, nil
	case []int64:
		if slices.ContainsFunc(v, func(n int64) bool { return n != int64(int32(n)) }) {
			b = list(ggufI64, len(v))
			for _, n := range v {
				b = le.AppendUint64(b, uint64(n))
			}
			return b, nil
		}
		b = list(ggufI32, len(v))
		for _, n := range v {
			b = le.AppendUint32(b, uint32(n))
		}
		return b, nil
	case []float64:
		b = list(ggufF64, len(v))
		for _, x := range v {
			b = le.AppendUint64(b, math.Float64bits(x))
		}
		return b, nil
	}
	return nil, fmt.Errorf("a %T cannot be written", value)
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}
