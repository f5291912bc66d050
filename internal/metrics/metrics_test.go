package metrics

import (
	"encoding/json"
	"image"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// noise are n numbers of 0…255, as testdata/make.py makes them.
func noise(n int, seed uint32) []int {
	out := make([]int, n)
	for i := range out {
		seed = seed*1664525 + 1013904223
		out[i] = int(seed >> 24)
	}
	return out
}

// picture makes a picture of the numbers that f gives, clamped.
func picture(w, h int, f func(x, y, c int) int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			p := m.Pix[m.PixOffset(x, y):]
			for c := range 3 {
				p[c] = uint8(min(max(f(x, y, c), 0), 255))
			}
			p[3] = 255
		}
	}
	return m
}

func truth(w, h int) *image.NRGBA {
	n := noise(w*h*3, 1)
	return picture(w, h, func(x, y, c int) int {
		dx, dy, r := x-w/3, y-h/2, h/4
		disc := dx*dx+dy*dy < r*r
		v := 0
		switch {
		case c == 0 && disc:
			v = 200
		case c == 0:
			v = x * 255 / w
		case c == 1 && (x/9+y/13)%2 == 0:
			v = 60 + y*100/h
		case c == 1:
			v = 180
		case disc:
			v = 40
		default:
			v = 90 + x*y%97
		}
		return v + n[(y*w+x)*3+c]/16
	})
}

func at(m *image.NRGBA, x, y, c int) int {
	b := m.Bounds()
	x, y = min(max(x, 0), b.Dx()-1), min(max(y, 0), b.Dy()-1)
	return int(m.Pix[m.PixOffset(x, y)+c])
}

// box is the mean of 3×3 pixels, edges repeated.
func box(m *image.NRGBA) *image.NRGBA {
	return picture(m.Bounds().Dx(), m.Bounds().Dy(), func(x, y, c int) int {
		sum := 0
		for i := -1; i <= 1; i++ {
			for j := -1; j <= 1; j++ {
				sum += at(m, x+i, y+j, c)
			}
		}
		return sum / 9
	})
}

// TestVectors compares with numbers that numpy and scipy made: testdata/make.py.
func TestVectors(t *testing.T) {
	data, err := os.ReadFile("testdata/vectors.json")
	require.NoError(t, err)
	var vectors []struct {
		W, H   int
		Kind   string
		Scores map[string]*float64
	}
	require.NoError(t, json.Unmarshal(data, &vectors))
	require.Len(t, vectors, 8)
	for _, v := range vectors {
		m := truth(v.W, v.H)
		n := noise(v.W*v.H*3, 2)
		other := map[string]func() *image.NRGBA{
			"blurred": func() *image.NRGBA { return box(box(m)) },
			"noisy": func() *image.NRGBA {
				return picture(v.W, v.H, func(x, y, c int) int { return at(m, x, y, c) + n[(y*v.W+x)*3+c]/4 - 32 })
			},
			"darker": func() *image.NRGBA { return picture(v.W, v.H, func(x, y, c int) int { return at(m, x, y, c) * 4 / 5 }) },
			"blocky": func() *image.NRGBA {
				return picture(v.W, v.H, func(x, y, c int) int { return at(m, x, y, c) / 32 * 32 })
			},
		}[v.Kind]()
		got, err := Compare(m, other)
		require.NoError(t, err)
		require.Len(t, v.Scores, len(Names))
		for i, value := range got.Values() {
			want := v.Scores[Names[i]]
			if want == nil { // JSON has no NaN
				require.True(t, math.IsNaN(value), "%s of %s %d×%d", Names[i], v.Kind, v.W, v.H)
				continue
			}
			require.InDelta(t, *want, value, 1e-9, "%s of %s %d×%d", Names[i], v.Kind, v.W, v.H)
		}
	}
}

// TestEqualPictures: nothing lies between a picture and itself.
func TestEqualPictures(t *testing.T) {
	m := truth(192, 177)
	s, err := Compare(m, m)
	require.NoError(t, err)
	require.True(t, math.IsInf(s.PSNR, 1))
	require.InDelta(t, 1, s.SSIM, 1e-12)
	require.InDelta(t, 1, s.MSSSIM, 1e-12)
	require.InDelta(t, 0, s.GMSD, 1e-12)
	require.InDelta(t, 1, s.HaarPSI, 1e-9)
	require.InDelta(t, 1, s.Sharpness, 1e-12)

	flat := picture(32, 32, func(int, int, int) int { return 7 })
	s, err = Compare(flat, flat)
	require.NoError(t, err)
	require.InDelta(t, 1, s.HaarPSI, 1e-12)
}

// TestRefused: sizes that cannot be compared.
func TestRefused(t *testing.T) {
	_, err := Compare(truth(64, 51), truth(51, 64))
	require.ErrorContains(t, err, "51×64")
	_, err = Compare(truth(15, 64), truth(15, 64))
	require.ErrorContains(t, err, "16 pixels")
}

// TestMean averages every field.
func TestMean(t *testing.T) {
	m := Mean([]Scores{{1, 2, 3, 4, 5, 6, 7}, {3, 4, 5, 6, 7, 8, 9}})
	require.Equal(t, []float64{2, 3, 4, 5, 6, 7, 8}, m.Values())
	require.Zero(t, Mean(nil))
}

// TestTextureEnergies: lines across have energy down alone, and the scale of
// their distance; the place does not matter.
func TestTextureEnergies(t *testing.T) {
	lines := func(from, distance int) *image.NRGBA {
		return picture(64, 64, func(x, y, c int) int { return (y + from) / distance % 2 * 200 })
	}
	e := TextureEnergies(Luma(lines(0, 1)))
	require.Len(t, e, 12)
	for i, v := range e {
		if i == 1 {
			require.InDelta(t, math.Log2(1+400*400/4), v, 1e-9)
		} else {
			require.InDelta(t, 0, v, 1e-9, i)
		}
	}
	require.Equal(t, e, TextureEnergies(Luma(lines(1, 1))))
	e = TextureEnergies(Luma(lines(0, 2)))
	require.InDelta(t, 0, e[1], 1e-9)
	require.Greater(t, e[4], 10.0)
}
