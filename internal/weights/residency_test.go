package weights_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// fileMemory is the kilobytes of files that are in the process's memory.
func fileMemory(t *testing.T) (kb int) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("the system does not tell what is in memory")
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			_, err := fmt.Sscan(rest, &kb)
			require.NoError(t, err)
		}
	}
	return kb
}

func TestRelease(t *testing.T) {
	const mib = 32
	large := weightstest.F32([]int{mib << 18})
	large.Data = make([]byte, mib<<20)
	for i := range large.Data {
		large.Data[i] = byte(i % 251)
	}
	file := weightstest.Safetensors(map[string]weightstest.Tensor{"a": weightstest.F32([]int{1}, 1), "b": large, "c": weightstest.F32([]int{1}, 2)}, nil)
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, os.WriteFile(path, file, 0o600))
	set, err := weights.Open(path)
	require.NoError(t, err)
	defer set.Close()
	b := set.Tensor("b")
	require.True(t, b.Mapped())
	for name, release := range map[string]func(){"tensor": b.Release, "set": set.Release} {
		before := fileMemory(t)
		require.Equal(t, large.Data, b.Bytes())
		require.Greater(t, fileMemory(t), before+mib*700, "read")
		release()
		require.Less(t, fileMemory(t), before+mib*300, "released by the %s", name)
	}
	b.Prefetch()
	require.Equal(t, []float32{1}, set.Tensor("a").Float32())
	require.Equal(t, []float32{2}, set.Tensor("c").Float32())

	inMemory, err := weights.OpenFiles(weights.File{Path: "m", Data: file})
	require.NoError(t, err)
	m := inMemory.Tensor("b")
	require.False(t, m.Mapped())
	m.Release()
	m.Prefetch()
	inMemory.Release()
	require.Equal(t, large.Data, m.Bytes(), "memory that is not a file's stays as it is")
}

// A LoRA's pages go with those of the tensor that it changes.
func TestReleaseOfLoRAs(t *testing.T) {
	const name, rank = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight", 1 << 14
	base := loraBase(t, weights.F32)
	layer := "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
	path := filepath.Join(t.TempDir(), "lora.safetensors")
	require.NoError(t, os.WriteFile(path, weightstest.Safetensors(map[string]weightstest.Tensor{
		layer + ".lora_up.weight":   weightstest.F32([]int{64, rank}, make([]float32, 64*rank)...),
		layer + ".lora_down.weight": weightstest.F32([]int{rank, 64}, make([]float32, 64*rank)...),
	}, nil), 0o600))
	require.NoError(t, base.Merge(nil, weights.LoRA{File: weights.File{Path: path}, Weight: 1}))
	defer base.Close()
	before := fileMemory(t)
	require.NotEmpty(t, base.Tensor(name).Bytes())
	require.Less(t, fileMemory(t), before+4<<10, "kilobytes, of 8 MiB read")
}
