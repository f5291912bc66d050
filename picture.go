package supir

import (
	"image"
	"image/color"
	"image/draw"
	"math"
)

// planes turns an opaque picture into 3×H×W numbers in [-1, 1].
func planes(img image.Image) []float32 {
	b := img.Bounds()
	n := b.Dx() * b.Dy()
	out := make([]float32, 3*n)
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			var r, g, bl uint32
			switch m := img.(type) {
			case *image.NRGBA:
				p := m.Pix[m.PixOffset(x, y):]
				r, g, bl = uint32(p[0])*257, uint32(p[1])*257, uint32(p[2])*257
			case *image.Gray:
				v := uint32(m.GrayAt(x, y).Y) * 257
				r, g, bl = v, v, v
			default:
				c := color.NRGBA64Model.Convert(img.At(x, y)).(color.NRGBA64)
				r, g, bl = uint32(c.R), uint32(c.G), uint32(c.B)
			}
			out[i] = float32(r)/32767.5 - 1
			out[n+i] = float32(g)/32767.5 - 1
			out[2*n+i] = float32(bl)/32767.5 - 1
			i++
		}
	}
	return out
}

// picture turns 3×h×w numbers into a picture of 8 or 16 bits; what lies beyond
// [-1, 1] is clamped here and nowhere before.
func picture(data []float32, h, w int, deep bool) image.Image {
	n := h * w
	if deep {
		m := image.NewNRGBA64(image.Rect(0, 0, w, h))
		for i := range n {
			for c := range 3 {
				v := quantise(data[c*n+i], 65535)
				m.Pix[8*i+2*c], m.Pix[8*i+2*c+1] = byte(v>>8), byte(v)
			}
			m.Pix[8*i+6], m.Pix[8*i+7] = 255, 255
		}
		return m
	}
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range n {
		for c := range 3 {
			m.Pix[4*i+c] = byte(quantise(data[c*n+i], 255))
		}
		m.Pix[4*i+3] = 255
	}
	return m
}

// quantise maps [-1, 1] to 0…top, to the nearest; NaN becomes 0.
func quantise(v float32, top float64) int {
	x := math.Round((float64(v) + 1) / 2 * top)
	if !(x > 0) {
		return 0
	}
	return int(min(x, top))
}

// sizes are those of one picture on its way.
type sizes struct {
	inW, inH     int // as given
	workW, workH int // as the networks see it
	outW, outH   int // as asked for
}

// maxSide bounds a result's sides.
const maxSide = 16384

// sizesFor chooses the size to work at: Upscale times the picture's, at least
// MinSize on the short side, both sides to the nearest multiple of align. A
// picture so thin that MinSize would blow it up to more than a few squares of
// that side is enlarged less.
func sizesFor(inW, inH int, s *settings, align int) (sizes, error) {
	z := sizes{inW: inW, inH: inH}
	w, h := float64(inW)*s.Upscale, float64(inH)*s.Upscale
	z.outW, z.outH = max(1, int(math.Round(w))), max(1, int(math.Round(h)))
	if z.outW > maxSide || z.outH > maxSide {
		return z, &OptionError{"Upscale", "the result would be larger than 16384 pixels on a side"}
	}
	if short, least := min(w, h), float64(s.MinSize); short < least {
		const squares = 4
		grow := min(least/short, max(1, math.Sqrt(squares*least*least/(w*h))))
		w, h = w*grow, h*grow
	}
	round := func(v float64) int { return max(1, int(math.Round(v/float64(align)))) * align }
	z.workW, z.workH = round(w), round(h)
	return z, nil
}

// cut is a rectangle of a picture whose bounds begin at (0, 0).
func cut(img image.Image, r image.Rectangle) image.Image {
	if sub, ok := img.(interface {
		SubImage(image.Rectangle) image.Image
	}); ok {
		return sub.SubImage(r)
	}
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	draw.Draw(out, out.Rect, img, r.Min, draw.Src)
	return out
}
