package supir

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

func TestWindowsGolden(t *testing.T) {
	for _, name := range goldenNames(t, "tile_windows.") {
		var h, w, size int
		_, err := fmt.Sscanf(name, "h%dw%ds%d", &h, &w, &size)
		require.NoError(t, err, name)
		_, want := goldentest.Open(t, "schedule.safetensors").Tensor(t, "tile_windows."+name)
		var got []float32
		for _, win := range windows(h, w, size, size/2) {
			got = append(got, float32(win.y0), float32(win.y1), float32(win.x0), float32(win.x1))
		}
		assert.Equal(t, want, got, name)
	}
}

// Rounded once to float32 on either side, from float64 or nearly so: 1e-11 as for a block.
func TestGaussianWeightsGolden(t *testing.T) {
	for _, name := range goldenNames(t, "tile_weights.") {
		size, err := strconv.Atoi(name)
		require.NoError(t, err)
		_, want := goldentest.Open(t, "schedule.safetensors").Tensor(t, "tile_weights."+name)
		assert.Less(t, goldentest.NMSE(gaussianWeights(size, size), want), 1e-11, name)
	}
}

func TestNeedsTiles(t *testing.T) {
	assert.False(t, needsTiles(128, 128, 128))
	assert.False(t, needsTiles(1, 1, 128))
	assert.True(t, needsTiles(129, 64, 128))
	assert.True(t, needsTiles(64, 129, 128))
}

func TestWindowsOfNarrowLatents(t *testing.T) {
	assert.Equal(t, []window{{0, 1, 0, 1}}, windows(1, 1, 128, 64))
	assert.Equal(t, []window{{0, 3, 0, 8}, {0, 3, 4, 12}, {0, 3, 5, 13}}, windows(3, 13, 8, 4))
}

func FuzzWindows(f *testing.F) {
	f.Add(uint8(200), uint8(150), uint8(128), uint8(64))
	f.Add(uint8(1), uint8(1), uint8(16), uint8(8))
	f.Add(uint8(33), uint8(7), uint8(16), uint8(16))
	f.Fuzz(func(t *testing.T, h8, w8, size8, stride8 uint8) {
		h, w, size := int(max(h8, 1)), int(max(w8, 1)), int(max(size8, 1))
		stride := 1 + int(stride8)%size
		covered := make([]bool, h*w)
		all := windows(h, w, size, stride)
		seen := make(map[window]bool, len(all))
		for _, win := range all {
			if win.y1-win.y0 != min(size, h) || win.x1-win.x0 != min(size, w) || seen[win] {
				t.Fatalf("window %+v of %v is of another size or comes twice", win, all)
			}
			seen[win] = true
			for y := win.y0; y < win.y1; y++ {
				for x := win.x0; x < win.x1; x++ {
					covered[y*w+x] = true
				}
			}
		}
		require.False(t, slices.Contains(covered, false))
	})
}

func TestCrop(t *testing.T) {
	latent := make([]float32, 2*3*4)
	for i := range latent {
		latent[i] = float32(i)
	}
	assert.Equal(t, []float32{6, 7, 10, 11, 18, 19, 22, 23}, crop(latent, 3, 4, window{1, 3, 2, 4}))
	assert.Equal(t, latent, crop(latent, 3, 4, window{0, 3, 0, 4}))
}

// perPixel denoises each pixel from itself alone.
func perPixel(x []float32, sigma, controlScale float64) ([]float32, error) {
	denoised := make([]float32, len(x))
	for i, v := range x {
		denoised[i] = float32(controlScale) * v / (1 + v*v + float32(sigma))
	}
	return denoised, nil
}

func TestTilingAPixelwiseDenoiserChangesNothing(t *testing.T) {
	for _, test := range []struct{ h, w, size, stride int }{
		{24, 40, 16, 8},
		{33, 5, 16, 8},   // narrower than a window
		{17, 16, 16, 16}, // one row more than a window
		{9, 9, 4, 1},
		{3, 2, 1, 1},
		{1, 1, 16, 8},
	} {
		x := normals(5, 4*test.h*test.w)
		want, _ := perPixel(x, 3, 0.9)
		wins := windows(test.h, test.w, test.size, test.stride)
		denoise := tiled(test.h, test.w, wins, func(int) denoiser { return perPixel })
		for range 2 { // nothing stays behind from one step to the next
			got, err := denoise(x, 3, 0.9)
			require.NoError(t, err)
			assert.Less(t, goldentest.NMSE(got, want), 1e-12, "%+v", test)
		}
	}
}

// Each window's prediction counts by its weight over the sum of all weights there.
func TestTiledAverages(t *testing.T) {
	const h, w = 6, 4
	wins := windows(h, w, 4, 2)
	require.Len(t, wins, 2)
	var asked []int
	denoise := tiled(h, w, wins, func(index int) denoiser {
		return func(x []float32, _, _ float64) ([]float32, error) {
			asked = append(asked, index)
			return slices.Repeat([]float32{float32(index)}, len(x)), nil
		}
	})
	got, err := denoise(make([]float32, 3*h*w), 1, 1)
	require.NoError(t, err)
	assert.Equal(t, []int{0, 1}, asked)
	weights := gaussianWeights(4, 4)
	for i, v := range got {
		y, x := i/w%h, i%w
		var first, second float32
		if y < 4 {
			first = weights[y*w+x]
		}
		if y >= 2 {
			second = weights[(y-2)*w+x]
		}
		assert.InDelta(t, second/(first+second), v, 1e-6, "y=%d, x=%d", y, x)
	}
}

func TestTiledFails(t *testing.T) {
	calls := 0
	denoise := tiled(8, 4, windows(8, 4, 4, 2), func(int) denoiser {
		return func(x []float32, _, _ float64) ([]float32, error) {
			if calls++; calls == 2 {
				return nil, assert.AnError
			}
			return x, nil
		}
	})
	_, err := denoise(make([]float32, 32), 1, 1)
	assert.ErrorIs(t, err, assert.AnError)
	assert.Equal(t, 2, calls)
}
