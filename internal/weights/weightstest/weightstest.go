// Package weightstest builds weight files for tests.
package weightstest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"

	"supir/internal/weights"
)

// Tensor is a tensor to be written: its type and shape, and its bytes, zeros
// where there are none.
type Tensor struct {
	DType weights.DType
	Shape []int
	Data  []byte
}

// F32 is a tensor of these values, zeros where there are none.
func F32(shape []int, values ...float32) Tensor {
	t := Tensor{DType: weights.F32, Shape: shape}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t
}

// bytes are the tensor's, zeros where it has none.
func (t Tensor) bytes(name string) []byte {
	block, size := t.DType.Block()
	for _, d := range t.Shape {
		size *= d
	}
	if size /= block; t.Data == nil {
		return make([]byte, size)
	}
	if len(t.Data) != size {
		panic(fmt.Sprintf("weightstest: %s: %d bytes of data for %d", name, len(t.Data), size))
	}
	return t.Data
}

// Safetensors is a file with these tensors, by name, and this metadata, which
// may be nil.
func Safetensors(tensors map[string]Tensor, metadata map[string]string) []byte {
	header := map[string]any{}
	if metadata != nil {
		header["__metadata__"] = metadata
	}
	var body []byte
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		shape, data := t.Shape, t.bytes(name)
		if shape == nil {
			shape = []int{}
		}
		header[name] = map[string]any{
			"dtype": t.DType.String(), "shape": shape, "data_offsets": []int{len(body), len(body) + len(data)},
		}
		body = append(body, data...)
	}
	text, err := json.Marshal(header)
	if err != nil {
		panic(err) // strings and ints alone cannot fail
	}
	return slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, body)
}

// Tensors are those of a set, to be written again. Their data is the set's.
func Tensors(set *weights.Set) map[string]Tensor {
	tensors := map[string]Tensor{}
	for t := range set.Tensors() {
		tensors[t.Name] = Tensor{DType: t.DType, Shape: t.Shape, Data: t.Bytes()}
	}
	return tensors
}
