package embedded_test

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"supir"
	"supir/embedded"
)

// TestRestore runs every network of the small model on a small picture.
func TestRestore(t *testing.T) {
	m, err := supir.New(embedded.Files())
	require.NoError(t, err)
	defer m.Close()
	in := image.NewNRGBA(image.Rect(0, 0, 64, 48))
	for i := range in.Pix {
		in.Pix[i] = byte(i*7%200 | 255*(i%4/3))
	}
	r, err := m.Restore(t.Context(), in, supir.Options{Steps: 1, MinSize: 64, Device: "cpu", Prompt: "a red circle"})
	require.NoError(t, err)
	require.Equal(t, image.Pt(64, 48), r.Image.Bounds().Size())
}
