package supir_test

import (
	"image"
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir"
	"supir/embedded"
)

// TestComputeTypes restores a picture by products in every type and compares the
// results: what the types leave out must not be seen.
func TestComputeTypes(t *testing.T) {
	m, err := supir.New(embedded.Files())
	require.NoError(t, err)
	defer m.Close()
	img := shapes(128)
	restore := func(c supir.Compute) *supir.Result {
		r, err := m.Restore(t.Context(), img, supir.Options{MinSize: 128, Steps: 6, Compute: c, Device: "cpu"})
		require.NoError(t, err)
		require.Equal(t, c, r.Plan.Compute)
		return r
	}
	exact := restore(supir.ComputeF32)
	auto, err := m.Plan(img.Bounds().Size(), supir.Options{Device: "cpu"})
	require.NoError(t, err)
	if auto.Compute == supir.ComputeF32 {
		_, err := m.Restore(t.Context(), img, supir.Options{MinSize: 128, Steps: 1, Compute: supir.ComputeInt8, Device: "cpu"})
		var option *supir.OptionError
		if err != nil { // there are no kernels
			require.ErrorAs(t, err, &option)
			assert.Equal(t, "Compute", option.Option)
			return
		}
	}
	for _, c := range []supir.Compute{supir.ComputeBF16, supir.ComputeInt8} {
		db := psnr(exact.Image, restore(c).Image)
		t.Logf("%v: %.1f dB", c, db)
		assert.GreaterOrEqual(t, db, 40.0, "%v", c)
	}
}

// shapes is a picture of discs and stripes under some noise.
func shapes(side int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	noise := uint32(1)
	for y := range side {
		for x := range side {
			noise = noise*1664525 + 1013904223
			n := float64(noise>>24)/255*30 - 15
			v := 90 + 60*math.Sin(float64(x)/9)
			if d := math.Hypot(float64(x-side/2), float64(y-side/3)); d < float64(side)/5 {
				v = 220 - 2*d
			}
			level := func(v float64) uint8 { return uint8(max(0, min(255, v+n))) }
			img.SetNRGBA(x, y, color.NRGBA{level(v), level(v * 0.8), level(255 - v), 255})
		}
	}
	return img
}

// psnr is the peak signal-to-noise ratio of two pictures in dB.
func psnr(a, b image.Image) float64 {
	sum, n := 0.0, 0
	for y := a.Bounds().Min.Y; y < a.Bounds().Max.Y; y++ {
		for x := a.Bounds().Min.X; x < a.Bounds().Max.X; x++ {
			p, q := color.NRGBAModel.Convert(a.At(x, y)).(color.NRGBA), color.NRGBAModel.Convert(b.At(x, y)).(color.NRGBA)
			for _, d := range []float64{float64(p.R) - float64(q.R), float64(p.G) - float64(q.G), float64(p.B) - float64(q.B)} {
				sum += d * d
				n++
			}
		}
	}
	return 10 * math.Log10(255*255*float64(n)/math.Max(sum, 1e-9))
}
