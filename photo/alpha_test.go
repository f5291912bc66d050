package photo

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

// magenta tells how far a colour leans to magenta, which is what the awkward
// files hide under their transparency.
func magenta(c color.NRGBA) int { return min(int(c.R), int(c.B)) - int(c.G) }

func TestNoFringe(t *testing.T) {
	for _, file := range []string{"alpha.png", "palette_transparent.png", "lossless_alpha.webp"} {
		t.Run(file, func(t *testing.T) {
			p, err := Read(odd(file), ReadOptions{})
			require.NoError(t, err)
			b := p.Image.Bounds()
			// Enlarge, as restoration does, and look at all colours that show
			// or could come to.
			q := p.With(Resize(p.Image, 2*b.Dx(), 2*b.Dy(), Bicubic))
			require.Equal(t, image.Rect(0, 0, 640, 640), q.Alpha.Bounds())
			hidden, most := 0, 0
			for y := range b.Dy() {
				for x := range b.Dx() {
					if p.Alpha.At(x, y).(color.Alpha).A == 0 {
						hidden++
					} else {
						most = max(most, magenta(p.Image.(*image.NRGBA).NRGBAAt(x, y)))
					}
				}
			}
			require.Positive(t, hidden)
			require.Less(t, most, 130)
			for _, m := range []image.Image{p.Image, q.Image} {
				worst := 0
				for y := range m.Bounds().Dy() {
					for x := range m.Bounds().Dx() {
						worst = max(worst, magenta(m.(*image.NRGBA).NRGBAAt(x, y)))
					}
				}
				require.Less(t, worst, most+20)
			}
		})
	}
}

func TestFillHidden(t *testing.T) {
	colours := func() *image.NRGBA {
		m := image.NewNRGBA(image.Rect(0, 0, 17, 9))
		for i := 0; i < len(m.Pix); i += 4 {
			copy(m.Pix[i:], []byte{255, 0, 255, 255})
		}
		return m
	}
	m, a := colours(), image.NewAlpha(image.Rect(0, 0, 17, 9))
	for y := range 9 {
		m.SetNRGBA(0, y, color.NRGBA{10, 20, 30, 255})
		a.SetAlpha(0, y, color.Alpha{1}) // hardly visible, but nothing else is
	}
	wide := toDepth(m, 16).(*image.NRGBA64)
	grey := toGrey(m).(*image.Gray)
	greyWide := toDepth(grey, 16).(*image.Gray16)
	want := grey.GrayAt(0, 0)
	fillHidden(m, a)
	fillHidden(wide, a)
	fillHidden(grey, a)
	fillHidden(greyWide, toDepth(a, 16))
	for y := range 9 {
		for x := range 17 {
			require.Equal(t, color.NRGBA{10, 20, 30, 255}, m.NRGBAAt(x, y))
			require.Equal(t, want, grey.GrayAt(x, y))
			require.Equal(t, m.NRGBAAt(x, y), color.NRGBAModel.Convert(wide.At(x, y)))
			require.Equal(t, want, color.GrayModel.Convert(greyWide.At(x, y)))
		}
	}

	// All hidden: the colours are all there is.
	m = colours()
	fillHidden(m, image.NewAlpha(m.Rect))
	require.Equal(t, colours(), m)

	// Between two colours the filling goes over from one to the other.
	m = colours()
	a = image.NewAlpha(m.Rect)
	for y := range 9 {
		m.SetNRGBA(0, y, color.NRGBA{200, 0, 0, 255})
		m.SetNRGBA(16, y, color.NRGBA{0, 0, 100, 255})
		a.SetAlpha(0, y, color.Alpha{255})
		a.SetAlpha(16, y, color.Alpha{255})
	}
	fillHidden(m, a)
	require.Greater(t, m.NRGBAAt(1, 4).R, m.NRGBAAt(8, 4).R)
	require.Greater(t, m.NRGBAAt(8, 4).R, m.NRGBAAt(15, 4).R)
	require.Less(t, m.NRGBAAt(8, 4).B, m.NRGBAAt(15, 4).B)

	one := image.NewGray(image.Rect(0, 0, 1, 1))
	fillHidden(one, image.NewAlpha(one.Rect))
}

func TestWithAlphaOnWhite(t *testing.T) {
	r := image.Rect(0, 0, 3, 1)
	a := &image.Alpha{Pix: []byte{0, 128, 255}, Stride: 3, Rect: r}
	m := image.NewNRGBA(r)
	copy(m.Pix, []byte{10, 20, 30, 255, 10, 20, 30, 255, 10, 20, 30, 255})
	g := &image.Gray{Pix: []byte{10, 10, 10}, Stride: 3, Rect: r}

	require.Equal(t, []byte{10, 20, 30, 0, 10, 20, 30, 128, 10, 20, 30, 255}, withAlpha(m, a).(*image.NRGBA).Pix)
	require.Equal(t, []byte{10, 10, 10, 0, 10, 10, 10, 128, 10, 10, 10, 255}, withAlpha(g, a).(*image.NRGBA).Pix)
	for _, c := range []image.Image{m, g} {
		wide := withAlpha(toDepth(c, 16), a).(*image.NRGBA64)
		require.Equal(t, withAlpha(c, toDepth(a, 16)), toDepth(wide, 8))
	}
	require.Equal(t, []byte{255, 255, 255, 255, 132, 137, 142, 255, 10, 20, 30, 255}, onWhite(m, a).(*image.NRGBA).Pix)
	require.Equal(t, []byte{255, 132, 10}, onWhite(g, toDepth(a, 16)).(*image.Gray).Pix)
}
