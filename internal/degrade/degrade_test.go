package degrade

import (
	"image"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/photo"
)

func read(t *testing.T, name string) image.Image {
	t.Helper()
	p, err := photo.Read("testdata/"+name, photo.ReadOptions{})
	require.NoError(t, err)
	return p.Image
}

// TestAgainstNumpy compares the recipes without noise with numpy's, scipy's and
// Pillow's pictures (testdata/make.py). A level that lies in the middle may be
// rounded either way.
func TestAgainstNumpy(t *testing.T) {
	truth := read(t, "truth.png")
	for _, name := range []string{"sr4", "sr8", "blur2_sr4"} {
		r, err := Find(name)
		require.NoError(t, err)
		got, err := r.Apply(truth, 1, "truth")
		require.NoError(t, err)
		want := fromPicture(read(t, name+".png"))
		differ := 0
		for i, v := range fromPicture(got).pix {
			require.InDelta(t, want.pix[i], v, 1, "%s at %d", name, i)
			if v != want.pix[i] {
				differ++
			}
		}
		require.LessOrEqual(t, differ, len(want.pix)/50, name)
	}
}

// TestNoise: as strong as it should be, of its seed and name, and the same when
// made again.
func TestNoise(t *testing.T) {
	r, err := Find("sr4_noise40")
	require.NoError(t, err)
	grey := image.NewGray(image.Rect(0, 0, 400, 400))
	for i := range grey.Pix {
		grey.Pix[i] = 128
	}
	apply := func(seed uint64, name string) *image.NRGBA {
		m, err := r.Apply(grey, seed, name)
		require.NoError(t, err)
		return m
	}
	a := apply(1, "a")
	require.Equal(t, a.Pix, apply(1, "a").Pix)
	require.NotEqual(t, a.Pix, apply(2, "a").Pix)
	require.NotEqual(t, a.Pix, apply(1, "b").Pix)
	p := fromPicture(a)
	sum, squares := 0.0, 0.0
	for _, v := range p.pix {
		sum += (v - 128) / float64(len(p.pix))
		squares += (v - 128) * (v - 128) / float64(len(p.pix))
	}
	require.InDelta(t, 0, sum, 0.6)
	require.InDelta(t, 40, math.Sqrt(squares), 1)
}

// TestRecipes: every recipe gives an opaque picture of the size it says.
func TestRecipes(t *testing.T) {
	truth := read(t, "truth.png")
	for _, r := range Recipes {
		m, err := r.Apply(truth, 1, "truth")
		require.NoError(t, err)
		require.Equal(t, image.Pt(80/r.Scale, 72/r.Scale), m.Bounds().Size(), r.Name)
		require.True(t, m.Opaque())
	}
	_, err := Find("sr3")
	require.ErrorContains(t, err, "sr4_noise40")
	_, err = Recipes[1].Apply(image.NewNRGBA(image.Rect(0, 0, 80, 7)), 1, "")
	require.ErrorContains(t, err, "80×7")
}

// TestBlur: an even picture stays even up to its borders.
func TestBlur(t *testing.T) {
	grey := image.NewGray(image.Rect(0, 0, 20, 10))
	for i := range grey.Pix {
		grey.Pix[i] = 255
	}
	for _, v := range Blur(grey, 6).Pix {
		require.EqualValues(t, 255, v)
	}
}
