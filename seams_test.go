package supir

import (
	"image"
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestGradientInWindows restores a smooth gradient by the embedded model, the
// latent in one piece and cut into windows: there is no line where windows meet,
// and no colour that windows make drift.
func TestGradientInWindows(t *testing.T) {
	m, err := New(Files{Model: "embedded/model.gguf"})
	require.NoError(t, err)
	defer m.Close()
	const side = 512
	gradient := func(x, y int) [3]float64 {
		u, v := float64(x)/side, float64(y)/side
		return [3]float64{40 + 170*u, 60 + 120*v, 200 - 60*(u+v)}
	}
	in := image.NewNRGBA(image.Rect(0, 0, side, side))
	for y := range side {
		for x := range side {
			c := gradient(x, y)
			in.SetNRGBA(x, y, color.NRGBA{uint8(c[0] + 0.5), uint8(c[1] + 0.5), uint8(c[2] + 0.5), 255})
		}
	}
	restored := func(tile, windows int) *image.NRGBA {
		o := Fidelity
		o.Steps, o.TileSize, o.Device = 8, tile, "cpu"
		r, err := m.Restore(t.Context(), in, o)
		require.NoError(t, err)
		require.Equal(t, windows, r.Plan.Windows)
		return r.Image.(*image.NRGBA)
	}
	whole, cut := measureGradient(restored(128, 1), gradient), measureGradient(restored(64, 9), gradient)
	for c := range 3 {
		t.Logf("colour %d: drift %.2f, in one piece %.2f; worst step between lines %.2f, in one piece %.2f", c, cut[c].drift, whole[c].drift, cut[c].step, whole[c].step)
		assert.Less(t, cut[c].drift, whole[c].drift+1, "drift of colour %d, in levels of 8 bits", c)
		assert.Less(t, cut[c].drift, 4.0, "drift of colour %d, in levels of 8 bits", c)
		assert.Less(t, cut[c].step, 0.5, "a line in colour %d", c)
	}
}

// How a restored gradient differs from itself, in levels of 8 bits.
type gradientError struct {
	drift float64 // of a block's mean, at most
	step  float64 // between the means of neighbouring rows or columns, at most
}

// measureGradient leaves out the picture's edge, which the small model gets a
// little wrong.
func measureGradient(img *image.NRGBA, want func(x, y int) [3]float64) (e [3]gradientError) {
	const block, edge = 32, 32
	b := img.Bounds()
	for c := range e {
		rows, columns := make([]float64, b.Dy()), make([]float64, b.Dx())
		blocks := map[image.Point]float64{}
		for y := edge; y < b.Dy()-edge; y++ {
			for x := edge; x < b.Dx()-edge; x++ {
				d := float64(img.Pix[img.PixOffset(x, y)+c]) - want(x, y)[c]
				rows[y] += d / float64(b.Dx()-2*edge)
				columns[x] += d / float64(b.Dy()-2*edge)
				blocks[image.Pt(x/block, y/block)] += d / (block * block)
			}
		}
		for _, d := range blocks {
			e[c].drift = max(e[c].drift, math.Abs(d))
		}
		for _, lines := range [][]float64{rows, columns} {
			lines = lines[edge : len(lines)-edge]
			for i, v := range lines[1:] {
				e[c].step = max(e[c].step, math.Abs(v-lines[i]))
			}
		}
	}
	return e
}
