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
	out := make([]float32, 3*b.Dx()*b.Dy())
	for c := range 3 {
		at := c * len(out) / 3
		_ = pixelSource{img}.Read(out[at:][:len(out)/3], at) // which cannot fail
	}
	return out
}

// planeRow turns colour c of row y into numbers in [-1, 1].
func planeRow(dst []float32, img image.Image, c, y int) {
	b := img.Bounds()
	value := func(v uint32) float32 { return float32(v)/32767.5 - 1 }
	switch m := img.(type) {
	case *image.NRGBA:
		row := m.Pix[m.PixOffset(b.Min.X, y):]
		for x := range dst {
			dst[x] = value(uint32(row[4*x+c]) * 257)
		}
	case *image.Gray:
		row := m.Pix[m.PixOffset(b.Min.X, y):]
		for x := range dst {
			dst[x] = value(uint32(row[x]) * 257)
		}
	default:
		for x := range dst {
			p := color.NRGBA64Model.Convert(img.At(b.Min.X+x, y)).(color.NRGBA64)
			dst[x] = value(uint32([3]uint16{p.R, p.G, p.B}[c]))
		}
	}
}

// picture turns 3×h×w numbers into a picture of 8 bits; what lies beyond [-1, 1]
// is clamped here and nowhere before.
func picture(data []float32, h, w int) image.Image {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		setRow(m, y, data, y, h, w)
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
	inW, inH     int  // as given
	workW, workH int  // as the networks see it
	outW, outH   int  // as asked for
	deep         bool // of 16 bits
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
