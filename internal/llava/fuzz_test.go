package llava

import (
	"image"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/nn"
	"supir/internal/weights"
)

// FuzzOpen describes a picture by whatever a pair of GGUF files may say of
// itself. What is fuzzed is the files' beginnings, metadata and tables of
// tensors; their numbers are all zero.
func FuzzOpen(f *testing.F) {
	const numbers = 1 << 17 // bytes behind a beginning
	beginnings := make([][]byte, 2)
	for i, name := range []string{"testdata/llava-text.gguf", "testdata/llava-mmproj.gguf"} {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		set, err := weights.OpenFiles(weights.File{Path: name, Data: data})
		require.NoError(f, err)
		size := 0
		for t := range set.Tensors() {
			size += (len(t.Bytes()) + 31) / 32 * 32
		}
		require.NoError(f, set.Close())
		beginnings[i] = data[:len(data)-size]
	}
	f.Add(beginnings[0], beginnings[1])
	e, err := nn.Open("cpu", 1)
	require.NoError(f, err)
	f.Cleanup(e.Close)
	f.Fuzz(func(t *testing.T, text, vision []byte) {
		sets := make([]*weights.Set, 2)
		for i, data := range [][]byte{text, vision} {
			var err error
			sets[i], err = weights.OpenFiles(weights.File{Path: "fuzz.gguf", Data: append(data[:len(data):len(data)], make([]byte, numbers)...)})
			if err != nil {
				return
			}
			defer sets[i].Close()
		}
		m, err := Open(sets[0], sets[1])
		if err != nil {
			return
		}
		s := m.NewSession(e, nn.Stored)
		defer s.Close()
		_, _ = s.Caption(t.Context(), image.NewGray(image.Rect(0, 0, 5, 4)), Options{TopP: 1, MaxTokens: 2})
	})
}
