package weights_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

func TestOpenMapped(t *testing.T) {
	path := filepath.Join(t.TempDir(), "values.safetensors")
	data := weightstest.Safetensors(map[string]weightstest.Tensor{
		"f32":  weightstest.F32([]int{2}, 1, -2.5),
		"f16":  {DType: weights.F16, Shape: []int{1, 2}, Data: []byte("\x00\x3c\x00\xc1")},
		"bf16": {DType: weights.BF16, Shape: []int{2, 1}, Data: []byte("\x80\x3f\x20\xc0")},
		"ids":  {DType: weights.I64, Shape: []int{1}, Data: []byte("\x07\x00\x00\x00\x00\x00\x00\x00")},
	}, map[string]string{"format": "pt"})
	require.NoError(t, os.WriteFile(path, data, 0o600))

	set, err := weights.Open(path)
	require.NoError(t, err)
	for _, name := range []string{"f32", "f16", "bf16"} {
		x := set.Tensor(name)
		assert.Equal(t, name, x.Name)
		assert.Equal(t, path, x.File)
		assert.Equal(t, []float32{1, -2.5}, x.Float32(), name)
	}
	assert.Equal(t, []int{1, 2}, set.Tensor("f16").Shape)
	assert.Equal(t, []float32{7}, set.Tensor("ids").Float32())
	assert.Equal(t, []string{"bf16", "f16", "f32", "ids"}, set.Names())
	var names []string
	for x := range set.Tensors() {
		if names = append(names, x.Name); len(names) == 2 {
			break
		}
	}
	assert.Equal(t, []string{"bf16", "f16"}, names)
	value, ok := set.Metadata("format")
	assert.True(t, ok)
	assert.Equal(t, "pt", value)

	assert.NoError(t, set.Close())
	assert.NoError(t, set.Close(), "closing again")
}

func TestLaterFilesReplace(t *testing.T) {
	set, err := weights.OpenFiles(
		weights.File{Path: "first", Data: weightstest.Safetensors(map[string]weightstest.Tensor{
			"a": weightstest.F32([]int{1}, 1), "b": weightstest.F32([]int{1}, 2),
		}, map[string]string{"k": "first", "l": "first"})},
		weights.File{Path: "second", Data: one("a", 3, map[string]string{"k": "second"})},
	)
	require.NoError(t, err)
	assert.Equal(t, "second", set.Tensor("a").File)
	assert.Equal(t, []float32{3}, set.Tensor("a").Float32())
	assert.Equal(t, []float32{2}, set.Tensor("b").Float32())
	k, _ := set.Metadata("k")
	l, _ := set.Metadata("l")
	assert.Equal(t, []string{"second", "first"}, []string{k, l})
	assert.Nil(t, set.Tensor("c"))
	assert.False(t, set.Has("c"))
	_, ok := set.Metadata("m")
	assert.False(t, ok)
}

func TestOpenNothing(t *testing.T) {
	set, err := weights.Open()
	require.NoError(t, err)
	assert.Empty(t, set.Names())
	assert.NoError(t, set.Close())
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	_, err := weights.Open(filepath.Join(dir, "none"))
	assert.ErrorIs(t, err, fs.ErrNotExist)

	_, err = weights.Open(dir)
	var unsupported *weights.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	assert.Contains(t, err.Error(), "a folder")

	empty := filepath.Join(dir, "empty")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = weights.Open(empty)
	var corrupt *weights.CorruptError
	require.ErrorAs(t, err, &corrupt)

	// A sound file before a bad one is given back.
	good := filepath.Join(dir, "good")
	require.NoError(t, os.WriteFile(good, one("a", 1, nil), 0o600))
	_, err = weights.Open(good, empty)
	require.ErrorAs(t, err, &corrupt)
	assert.Equal(t, empty, corrupt.File)
	require.NoError(t, os.Remove(good))
}
