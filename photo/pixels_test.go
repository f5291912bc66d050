package photo

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every type a decoder gives, here or elsewhere, becomes one of the four, with
// the colours that its own methods tell.
func TestSplit(t *testing.T) {
	r := image.Rect(2, 3, 9, 8) // not at (0,0)
	palette := color.Palette{color.NRGBA{255, 0, 0, 255}, color.NRGBA{0, 0, 255, 128}, color.NRGBA{}}
	for _, c := range []struct {
		in   image.Image
		want image.Image
	}{
		{image.NewGray(r), &image.Gray{}},
		{image.NewGray16(r), &image.Gray16{}},
		{image.NewNRGBA(r), &image.NRGBA{}},
		{image.NewNRGBA64(r), &image.NRGBA64{}},
		{image.NewRGBA(r), &image.NRGBA{}},
		{image.NewRGBA64(r), &image.NRGBA64{}},
		{image.NewPaletted(r, palette), &image.NRGBA{}},
		{image.NewCMYK(r), &image.NRGBA{}},
		{image.NewYCbCr(r, image.YCbCrSubsampleRatio444), &image.NRGBA{}},
		{image.NewNYCbCrA(r, image.YCbCrSubsampleRatio420), &image.NRGBA{}},
		{onlyImage{image.NewNRGBA(r)}, &image.NRGBA{}},
		{onlyImage{image.NewNRGBA64(r)}, &image.NRGBA64{}},
	} {
		paint(c.in)
		want := map[image.Point]color.NRGBA64{}
		for y := r.Min.Y; y < r.Max.Y; y++ {
			for x := r.Min.X; x < r.Max.X; x++ {
				want[image.Pt(x-2, y-3)] = color.NRGBA64Model.Convert(c.in.At(x, y)).(color.NRGBA64)
			}
		}
		colours, alpha := split(c.in)
		require.IsType(t, c.want, colours, "%T", c.in)
		require.Equal(t, image.Rect(0, 0, 7, 5), colours.Bounds())
		for p, w := range want {
			got := color.NRGBA64Model.Convert(colours.At(p.X, p.Y)).(color.NRGBA64)
			require.Equal(t, uint16(0xffff), got.A)
			a := uint16(0xffff)
			if alpha != nil {
				_, _, _, v := alpha.At(p.X, p.Y).RGBA()
				a = uint16(v)
			}
			require.InDelta(t, w.A, a, 1, "%T %v", c.in, p)
			if w.A != 0 {
				const delta = 0x200 // two levels of 8 bits
				if _, ok := c.in.(*image.NYCbCrA); ok {
					continue // chroma is interpolated
				}
				require.InDelta(t, w.R, got.R, delta, "%T %v", c.in, p)
				require.InDelta(t, w.G, got.G, delta, "%T %v", c.in, p)
				require.InDelta(t, w.B, got.B, delta, "%T %v", c.in, p)
			}
		}
	}
}

// onlyImage hides a picture's type.
type onlyImage struct{ image.Image }

// paint gives a picture some pattern, transparency included.
func paint(img image.Image) {
	if m, ok := img.(onlyImage); ok {
		img = m.Image
	}
	b := img.Bounds()
	switch m := img.(type) {
	case *image.Paletted:
		for i := range m.Pix {
			m.Pix[i] = byte(i % len(m.Palette))
		}
	case *image.YCbCr:
		paintYCbCr(m)
	case *image.NYCbCrA:
		paintYCbCr(&m.YCbCr)
		for i := range m.A {
			m.A[i] = byte(i * 9)
		}
	case interface {
		Set(x, y int, c color.Color)
	}:
		for y := b.Min.Y; y < b.Max.Y; y++ {
			for x := b.Min.X; x < b.Max.X; x++ {
				m.Set(x, y, color.NRGBA{byte(x * 31), byte(y * 29), byte(x * y * 3), byte(255 - 40*(x%4))})
			}
		}
	}
}

func paintYCbCr(m *image.YCbCr) {
	for i := range m.Y {
		m.Y[i] = byte(i * 7)
	}
	for i := range m.Cb {
		m.Cb[i], m.Cr[i] = byte(i*11), byte(255-i*13)
	}
}

func TestDepth(t *testing.T) {
	r := image.Rect(0, 0, 256, 1)
	for _, m := range []image.Image{image.NewGray(r), image.NewNRGBA(r), image.NewAlpha(r)} {
		pix := pixOf(m)
		for i := range pix {
			pix[i] = byte(i)
		}
		wide := toDepth(m, 16)
		require.Equal(t, 16, depthOf(wide))
		require.Same(t, wide, toDepth(wide, 16))
		require.Equal(t, m, toDepth(wide, 8)) // nothing lost on the way
		require.Same(t, m, toDepth(m, 8))
	}
	// Rounding, not cutting: 0x80ff is nearer to 0x81 (times 0x101).
	g := image.NewGray16(image.Rect(0, 0, 3, 1))
	copy(g.Pix, []byte{0x80, 0xff, 0xff, 0xff, 0x00, 0x80})
	require.Equal(t, []byte{0x80, 0xff, 0x00}, toDepth(g, 8).(*image.Gray).Pix)
}

func pixOf(img image.Image) []byte {
	switch m := img.(type) {
	case *image.Gray:
		return m.Pix
	case *image.Gray16:
		return m.Pix
	case *image.Alpha:
		return m.Pix
	case *image.Alpha16:
		return m.Pix
	case *image.NRGBA:
		return m.Pix
	case *image.NRGBA64:
		return m.Pix
	}
	return nil
}

func TestToGrey(t *testing.T) {
	m := image.NewNRGBA(image.Rect(0, 0, 16, 16))
	for i := range m.Pix {
		m.Pix[i] = byte(i*i + i>>3)
		if i%4 == 3 {
			m.Pix[i] = 255
		}
	}
	g, wide := toGrey(m).(*image.Gray), toGrey(toDepth(m, 16)).(*image.Gray16)
	for y := range 16 {
		for x := range 16 {
			want := color.GrayModel.Convert(m.At(x, y)).(color.Gray).Y
			require.InDelta(t, want, g.GrayAt(x, y).Y, 1)
			require.InDelta(t, uint16(want)*0x101, wide.Gray16At(x, y).Y, 0x101)
		}
	}
	require.Same(t, g, toGrey(g))
	// What is grey keeps its level.
	for v := range 256 {
		n := image.NewNRGBA(image.Rect(0, 0, 1, 1))
		n.Set(0, 0, color.Gray{byte(v)})
		require.Equal(t, byte(v), toGrey(n).(*image.Gray).Pix[0])
	}
}

func TestCMYK(t *testing.T) {
	m := image.NewCMYK(image.Rect(0, 0, 4, 1))
	copy(m.Pix, []byte{0, 0, 0, 0, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255, 255, 51})
	n := cmykToNRGBA(m)
	require.Equal(t, []byte{255, 255, 255, 255, 0, 0, 0, 255, 0, 255, 255, 255, 204, 0, 0, 255}, n.Pix)
}

// Each orientation of EXIF, by the corner that says where (0,0) goes.
func TestUpright(t *testing.T) {
	// 1 2 3
	// 4 5 6
	src := []byte{1, 2, 3, 4, 5, 6}
	for o, want := range [][]byte{
		1: {1, 2, 3, 4, 5, 6},
		2: {3, 2, 1, 6, 5, 4},
		3: {6, 5, 4, 3, 2, 1},
		4: {4, 5, 6, 1, 2, 3},
		5: {1, 4, 2, 5, 3, 6},
		6: {4, 1, 5, 2, 6, 3},
		7: {6, 3, 5, 2, 4, 1},
		8: {3, 6, 2, 5, 1, 4},
	} {
		if o == 0 {
			continue
		}
		size := image.Rect(0, 0, 3, 2)
		turned := size
		if o >= 5 {
			turned = image.Rect(0, 0, 2, 3)
		}
		for _, m := range []image.Image{
			image.NewGray(size), image.NewAlpha(size), image.NewGray16(size),
			image.NewAlpha16(size), image.NewNRGBA(size), image.NewNRGBA64(size),
		} {
			pix := pixOf(m)
			n := len(pix) / len(src) // bytes a pixel
			for i := range pix {
				pix[i] = src[i/n]*10 + byte(i%n)
			}
			got := upright(m, o)
			require.IsType(t, m, got)
			require.Equal(t, turned, got.Bounds())
			for i, v := range pixOf(got) {
				require.Equal(t, want[i/n]*10+byte(i%n), v, "%T, orientation %d", m, o)
			}
		}
	}
	require.Nil(t, upright(nil, 6))
}

// Interpolated chroma is what libjpeg's "fancy upsampling" gives: 3/4 of the
// near sample and 1/4 of the far one, in each direction.
func TestChromaInterpolation(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 4, 2), image.YCbCrSubsampleRatio420)
	for i := range m.Y {
		m.Y[i] = 128
	}
	copy(m.Cb, []byte{128, 128})
	copy(m.Cr, []byte{128, 168})
	n := ycbcrToNRGBA(m, fullRange)
	for x, cr := range []float64{128, 138, 158, 168} {
		require.InDelta(t, 128+1.402*(cr-128), n.NRGBAAt(x, 0).R, 1)
		require.Equal(t, n.NRGBAAt(x, 0), n.NRGBAAt(x, 1))
	}
	// All ratios and odd sizes stay within their planes, and a flat colour
	// stays flat.
	for _, ratio := range []image.YCbCrSubsampleRatio{
		image.YCbCrSubsampleRatio444, image.YCbCrSubsampleRatio422, image.YCbCrSubsampleRatio420,
		image.YCbCrSubsampleRatio440, image.YCbCrSubsampleRatio411, image.YCbCrSubsampleRatio410,
	} {
		for size := 1; size < 12; size++ {
			for _, r := range []image.Rectangle{image.Rect(0, 0, size, 13-size), image.Rect(1, 3, 1+size, 6)} {
				m := image.NewYCbCr(r, ratio)
				for i := range m.Y {
					m.Y[i] = 100
				}
				for i := range m.Cb {
					m.Cb[i], m.Cr[i] = 90, 140
				}
				n := ycbcrToNRGBA(m, fullRange)
				r, g, b := color.YCbCrToRGB(100, 90, 140)
				for i := 0; i < len(n.Pix); i += 4 {
					for c, want := range []byte{r, g, b, 255} {
						require.InDelta(t, want, n.Pix[i+c], 1)
					}
				}
			}
		}
	}
}

func TestLimitedRange(t *testing.T) {
	m := image.NewYCbCr(image.Rect(0, 0, 3, 1), image.YCbCrSubsampleRatio444)
	copy(m.Y, []byte{16, 235, 81})
	copy(m.Cb, []byte{128, 128, 90})
	copy(m.Cr, []byte{128, 128, 240})
	n := ycbcrToNRGBA(m, limitedRange)
	require.Equal(t, []byte{0, 0, 0, 255, 255, 255, 255, 255, 254, 0, 0, 255}, n.Pix)
}

func TestRowsPanic(t *testing.T) {
	require.PanicsWithValue(t, "oops", func() {
		rows(100, func(y0, y1 int) {
			if y0 == 0 {
				panic("oops")
			}
		})
	})
}
