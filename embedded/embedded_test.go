package embedded_test

import (
	"image"
	"image/color"
	"image/draw"
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

// TestCaption describes a picture without any option, in the scenes' words.
func TestCaption(t *testing.T) {
	files := embedded.Files()
	if files.LLaVA.Text == "" {
		t.Skip("no captioner is carried")
	}
	m, err := supir.New(files)
	require.NoError(t, err)
	defer m.Close()
	in := image.NewNRGBA(image.Rect(0, 0, 120, 100))
	draw.Draw(in, in.Rect, image.NewUniform(color.NRGBA{30, 60, 220, 255}), image.Point{}, draw.Src)
	text, err := m.Caption(t.Context(), in, supir.Options{Device: "cpu", Captioner: supir.LLaVA{Temperature: -1}})
	require.NoError(t, err)
	require.Regexp(t, "^a .*photo of .*blue .*background$", text)
}
