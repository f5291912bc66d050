package weightstest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// GGUF is a file of version 3 with these tensors, by name, and this metadata,
// which may be nil: values of the types that weights.Set.Value gives, float32
// and uint32 besides.
func GGUF(tensors map[string]Tensor, metadata map[string]any) []byte {
	le := binary.LittleEndian
	file := le.AppendUint32([]byte("GGUF"), 3)
	file = le.AppendUint64(file, uint64(len(tensors)))
	file = le.AppendUint64(file, uint64(len(metadata)))
	for _, key := range slices.Sorted(maps.Keys(metadata)) {
		file = ggufText(file, key)
		kind, value := ggufValue(metadata[key])
		file = append(le.AppendUint32(file, kind), value...)
	}
	var body []byte
	for _, name := range slices.Sorted(maps.Keys(tensors)) {
		t := tensors[name]
		kind, ok := t.DType.GGML()
		if !ok {
			panic(fmt.Sprintf("weightstest: %s: ggml has no %v", name, t.DType))
		}
		file = le.AppendUint32(ggufText(file, name), uint32(len(t.Shape)))
		for _, d := range slices.Backward(t.Shape) {
			file = le.AppendUint64(file, uint64(d))
		}
		file = le.AppendUint64(le.AppendUint32(file, uint32(kind)), uint64(len(body)))
		body = pad(append(body, t.bytes(name)...))
	}
	return append(pad(file), body...)
}

// pad adds zeros up to the alignment that GGUF has unless told otherwise.
func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&31)...) }

func ggufText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// ggufValue is a value's kind and bytes.
func ggufValue(value any) (kind uint32, b []byte) {
	le := binary.LittleEndian
	switch v := value.(type) {
	case uint32:
		return 4, le.AppendUint32(nil, v)
	case float32:
		return 6, le.AppendUint32(nil, math.Float32bits(v))
	case bool:
		if v {
			return 7, []byte{1}
		}
		return 7, []byte{0}
	case string:
		return 8, ggufText(nil, v)
	case uint64:
		return 10, le.AppendUint64(nil, v)
	case int64:
		return 11, le.AppendUint64(nil, uint64(v))
	case float64:
		return 12, le.AppendUint64(nil, math.Float64bits(v))
	case []bool:
		return ggufArray(v, 7)
	case []string:
		return ggufArray(v, 8)
	case []int64:
		return ggufArray(v, 11)
	case []float64:
		return ggufArray(v, 12)
	case []any:
		return ggufArray(v, 9)
	}
	panic(fmt.Sprintf("weightstest: metadata of type %T", value))
}

// ggufArray is an array whose values are of one kind; in arrays of arrays each
// says its own.
func ggufArray[T any](list []T, kind uint32) (uint32, []byte) {
	b := binary.LittleEndian.AppendUint32(nil, kind)
	b = binary.LittleEndian.AppendUint64(b, uint64(len(list)))
	for _, v := range list {
		_, value := ggufValue(v)
		b = append(b, value...)
	}
	return 9, b
}
