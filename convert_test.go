package supir

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights/weightstest"
)

// TestConvert makes a file and opens it, and leaves nothing where it fails.
func TestConvert(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.gguf")
	left := func() (names []string) {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	files := goldenFiles(t)

	ctx, cancel := context.WithCancel(t.Context())
	_, err := Convert(ctx, files, path, ConvertOptions{Progress: func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	}})
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, left(), "an interrupted conversion leaves nothing")

	var option *OptionError
	_, err = Convert(t.Context(), files, path, ConvertOptions{Type: "q3_k"})
	assert.ErrorAs(t, err, &option)
	var weights *WeightsError
	_, err = Convert(t.Context(), Files{Model: "missing.gguf"}, path, ConvertOptions{})
	assert.ErrorAs(t, err, &weights)
	_, err = Convert(t.Context(), files, dir, ConvertOptions{})
	assert.Error(t, err)
	assert.Empty(t, left())

	c, err := Convert(t.Context(), files, path, ConvertOptions{})
	require.NoError(t, err)
	assert.Equal(t, []string{"model.gguf"}, left())
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, info.Size(), c.Size)
	var bytes int64
	for _, n := range c.Networks {
		bytes += n.Size
		assert.NotZero(t, n.Parameters, n.Name)
		assert.Equal(t, n.Name == "vae", n.Tensors["q8_0"] == 0, "%s: q8_0 is the default, but for the VAE", n.Name)
	}
	assert.Len(t, c.Networks, 5)
	assert.Less(t, bytes, c.Size, "there is a header, too")

	_, err = Convert(t.Context(), files, path, ConvertOptions{})
	assert.ErrorIs(t, err, fs.ErrExist)
	_, err = Convert(t.Context(), Files{Model: path}, path, ConvertOptions{Overwrite: true})
	assert.ErrorContains(t, err, "one of the files")
	lora := filepath.Join(dir, "lora.gguf")
	require.NoError(t, os.WriteFile(lora, weightstest.Safetensors(map[string]weightstest.Tensor{
		"lora_unet_time_embed_0.lora_up.weight":   weightstest.F32([]int{128, 1}, make([]float32, 128)...),
		"lora_unet_time_embed_0.lora_down.weight": weightstest.F32([]int{1, 32}, make([]float32, 32)...),
	}, nil), 0o600))
	_, err = Convert(t.Context(), Files{Model: path, LoRAs: []LoRA{{Path: lora}}}, lora, ConvertOptions{Overwrite: true})
	assert.ErrorContains(t, err, "one of the files")
	require.NoError(t, os.Remove(lora))
	_, err = New(Files{Model: path, SDXL: path})
	assert.ErrorAs(t, err, &weights)

	m, err := New(Files{Model: path})
	require.NoError(t, err)
	defer m.Close()
	again, err := Convert(t.Context(), Files{Model: path}, filepath.Join(dir, "again.gguf"), ConvertOptions{})
	require.NoError(t, err)
	for i, n := range again.Networks {
		assert.Zero(t, n.Error, "%s: nothing is rounded twice", n.Name)
		assert.Equal(t, c.Networks[i].Tensors, n.Tensors)
	}
}
