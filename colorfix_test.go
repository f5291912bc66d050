package supir

import (
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"supir/internal/goldentest"
)

// goldenColour returns an image of the golden file and its size.
func goldenColour(t *testing.T, name string) (h, w int, image []float32) {
	shape, image := goldentest.Open(t, "colorfix.safetensors").Tensor(t, name)
	return shape[1], shape[2], image
}

// The tolerance is a block's, 1e-11: both fixes are a few dozen float32 operations deep.
func TestWaveletFixGolden(t *testing.T) {
	h, w, x := goldenColour(t, "content")
	_, _, style := goldenColour(t, "style")
	_, _, want := goldenColour(t, "wavelet")
	waveletFix(x, style, h, w, 5)
	assert.Less(t, goldentest.NMSE(x, want), 1e-11)
}

// With a black style picture what is left is the high frequencies.
func TestWaveletHighGolden(t *testing.T) {
	h, w, x := goldenColour(t, "content")
	_, _, high := goldenColour(t, "content.high")
	_, _, low := goldenColour(t, "content.low")
	content := slices.Clone(x)
	waveletFix(x, make([]float32, len(x)), h, w, 5)
	assert.Less(t, goldentest.NMSE(x, high), 1e-11)
	for i := range x {
		x[i] = content[i] - x[i]
	}
	assert.Less(t, goldentest.NMSE(x, low), 1e-11)
}

func TestAdainFixGolden(t *testing.T) {
	h, w, x := goldenColour(t, "content")
	_, _, style := goldenColour(t, "style")
	_, _, want := goldenColour(t, "adain")
	adainFix(x, style, h, w)
	assert.Less(t, goldentest.NMSE(x, want), 1e-11)
}

var fixes = map[string]func(x, style []float32, h, w int){"adain": adainFix,
	"wavelet":          func(x, style []float32, h, w int) { waveletFix(x, style, h, w, 5) },
	"wavelet, 1 level": func(x, style []float32, h, w int) { waveletFix(x, style, h, w, 1) }}

func TestColourFixes(t *testing.T) {
	for name, fix := range fixes {
		t.Run(name, func(t *testing.T) {
			for _, size := range [][2]int{{1, 1}, {1, 70}, {70, 1}, {3, 5}, {40, 33}} {
				h, w := size[0], size[1]
				style := normals(1, 3*h*w)
				style[0] = 7 // beyond white: nothing clamps

				same := slices.Clone(style)
				fix(same, style, h, w)
				assert.InDeltaSlice(t, style, same, 1e-5, "%v: a picture fixed by itself", size)

				shifted := slices.Clone(style)
				for i := range shifted {
					shifted[i] += 0.3 * float32(1+i/(h*w))
				}
				fix(shifted, style, h, w)
				assert.InDeltaSlice(t, style, shifted, 1e-5, "%v: a cast in each channel is gone", size)
			}
		})
	}
}

// AdaIN forgets contrast, too.
func TestAdainFixesContrast(t *testing.T) {
	style := normals(1, 3*20*30)
	x := slices.Clone(style)
	for i := range x {
		x[i] = 0.25*x[i] - 0.5
	}
	adainFix(x, style, 20, 30)
	assert.InDeltaSlice(t, style, x, 1e-3, "but for the ε on the variances")
}

func TestColourFixesDoNotDependOnProcessors(t *testing.T) {
	const h, w = 37, 29
	style := normals(1, 3*h*w)
	for name, fix := range fixes {
		alone, together := normals(2, 3*h*w), normals(2, 3*h*w)
		before := runtime.GOMAXPROCS(1)
		fix(alone, style, h, w)
		runtime.GOMAXPROCS(5)
		fix(together, style, h, w)
		runtime.GOMAXPROCS(before)
		assert.Equal(t, alone, together, name)
	}
}

// A photograph of 12 megapixels.
func BenchmarkColourFixes(b *testing.B) {
	const h, w = 3000, 4000
	x, style := normals(1, 3*h*w), normals(2, 3*h*w)
	for name, fix := range fixes {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				fix(x, style, h, w)
			}
		})
	}
}
