package weights_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// TestGGUFWriter reads back what is written.
func TestGGUFWriter(t *testing.T) {
	metadata := map[string]any{
		"general.architecture": "supir", "yes": true, "count": int64(7), "below": int64(-7), "large": int64(1 << 40), "third": 1.0 / 3,
		"words": []string{"a", "", "ü"}, "flags": []bool{true, false}, "counts": []int64{-1, 2}, "larges": []int64{1 << 40}, "thirds": []float64{1.0 / 3},
	}
	tensors := []weights.GGUFTensor{
		{Name: "vector", DType: weights.F32, Shape: []int{3}},
		{Name: "none", DType: weights.F32, Shape: []int{0, 4}},
		{Name: "half", DType: weights.F16, Shape: []int{2, 3, 1, 1}},
		{Name: "matrix", DType: weights.Q8_0, Shape: []int{2, 64}},
		{Name: "kernel", DType: weights.Q4_K, Shape: []int{2, 256, 3, 3}},
		{Name: "scalar", DType: weights.F32, Shape: []int{}},
	}
	var file bytes.Buffer
	w, err := weights.NewGGUFWriter(&file, metadata, tensors)
	require.NoError(t, err)
	var data [][]byte
	for i, x := range tensors {
		b := make([]byte, x.Size())
		for j := range b {
			b[j] = byte(i + j)
		}
		data = append(data, b)
		for _, part := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
			_, err := w.Write(part)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())

	set, err := weights.OpenFiles(weights.File{Path: "x.gguf", Data: file.Bytes()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, set.Close()) })
	for i, want := range tensors {
		got := set.Tensor(want.Name)
		require.NotNil(t, got, want.Name)
		assert.Equal(t, want.DType, got.DType, want.Name)
		assert.Equal(t, want.Shape, got.Shape, want.Name)
		assert.Equal(t, data[i], append([]byte{}, got.Bytes()...), want.Name)
	}
	for key, want := range metadata {
		assert.Equal(t, want, set.Value(key), key)
	}
}

func TestGGUFWriterRefuses(t *testing.T) {
	var file bytes.Buffer
	for name, x := range map[string]weights.GGUFTensor{
		"rows that are not whole blocks":    {Name: "x", DType: weights.Q8_0, Shape: []int{2, 33}},
		"kernels that are not whole blocks": {Name: "x", DType: weights.Q4_K, Shape: []int{256, 1, 3, 3}},
		"a vector in half a block":          {Name: "x", DType: weights.Q8_0, Shape: []int{16}},
		"a type that ggml has not":          {Name: "x", DType: weights.Bool, Shape: []int{16}},
		"five dimensions":                   {Name: "x", DType: weights.F32, Shape: []int{1, 1, 1, 1, 1}},
	} {
		_, err := weights.NewGGUFWriter(&file, nil, []weights.GGUFTensor{x})
		assert.ErrorContains(t, err, "x", name)
	}
	_, err := weights.NewGGUFWriter(&bytes.Buffer{}, nil, []weights.GGUFTensor{{Name: "kernel", DType: weights.Q4_K, Shape: []int{2, 256, 3, 3}}})
	assert.NoError(t, err, "a shape to be noted without other metadata")
	_, err = weights.NewGGUFWriter(&file, map[string]any{"key": 1i}, nil)
	assert.ErrorContains(t, err, "key")
	assert.Zero(t, file.Len(), "something was written all the same")

	w, err := weights.NewGGUFWriter(&file, nil, []weights.GGUFTensor{{Name: "x", DType: weights.F32, Shape: []int{2}}})
	require.NoError(t, err)
	assert.ErrorContains(t, w.Close(), "8 bytes are missing")
	w, err = weights.NewGGUFWriter(&file, nil, []weights.GGUFTensor{{Name: "x", DType: weights.F32, Shape: []int{2}}})
	require.NoError(t, err)
	_, err = w.Write(make([]byte, 9))
	assert.ErrorContains(t, err, "more bytes")
}
