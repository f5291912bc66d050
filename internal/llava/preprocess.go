package llava

import (
	"image"
	"image/color"
	"image/draw"

	"supir/photo"
)

// A Fit is how a picture that is not square becomes so.
type Fit int

// The ways.
const (
	Crop Fit = iota // the middle of it, as SUPIR has it
	Pad             // with the mean colour around it, as llama.cpp has it
)

// longest is how many times its width a picture may be as long before its ends,
// which a crop never shows, are cut off to save work.
const longest = 16

// pixels makes a picture what the tower takes: 3×Size×Size, normalised.
func (v *Vision) pixels(img image.Image, fit Fit) []float32 {
	var square image.Image
	if fit == Pad {
		square = photo.Resize(v.padded(img), v.Size, v.Size, photo.Bicubic)
	} else {
		square = v.cropped(img)
	}
	n := v.Size * v.Size
	data := make([]float32, 3*n)
	b := square.Bounds()
	rgb := image.NewNRGBA(image.Rect(0, 0, v.Size, v.Size))
	draw.Draw(rgb, rgb.Rect, square, b.Min, draw.Src)
	for i := range n {
		for c := range 3 {
			level := float32(rgb.Pix[4*i+c]) * (1.0 / 255)
			data[c*n+i] = (level - v.Mean[c]) / v.Std[c]
		}
	}
	return data
}

// cropped is the middle of the picture after its short side has become Size. The
// long side is cut to whole pixels.
func (v *Vision) cropped(img image.Image) image.Image {
	img = middle(img, longest)
	b := img.Bounds()
	w, h := v.Size, v.Size
	if b.Dx() > b.Dy() {
		w = int(int64(v.Size) * int64(b.Dx()) / int64(b.Dy()))
	} else {
		h = int(int64(v.Size) * int64(b.Dy()) / int64(b.Dx()))
	}
	resized := photo.Resize(photo.From(img).Image, w, h, photo.Bicubic)
	x, y := (w-v.Size)/2, (h-v.Size)/2
	return part(resized, image.Rect(x, y, x+v.Size, y+v.Size))
}

// middle is the picture's middle where it is more than most times longer than wide.
func middle(img image.Image, most int) image.Image {
	b := img.Bounds()
	cut := b
	if b.Dx() > most*b.Dy() {
		cut.Min.X = b.Min.X + (b.Dx()-most*b.Dy())/2
		cut.Max.X = cut.Min.X + most*b.Dy()
	}
	if b.Dy() > most*b.Dx() {
		cut.Min.Y = b.Min.Y + (b.Dy()-most*b.Dx())/2
		cut.Max.Y = cut.Min.Y + most*b.Dx()
	}
	if cut == b {
		return img
	}
	return part(img, cut)
}

// part is a copy of a rectangle of a picture.
func part(img image.Image, r image.Rectangle) image.Image {
	if sub, ok := img.(interface {
		SubImage(r image.Rectangle) image.Image
	}); ok {
		return sub.SubImage(r)
	}
	out := image.NewNRGBA(image.Rect(0, 0, r.Dx(), r.Dy()))
	draw.Draw(out, out.Rect, img, r.Min, draw.Src)
	return out
}

// padded is the picture in the middle of a square of the mean colour.
func (v *Vision) padded(img image.Image) image.Image {
	b := img.Bounds()
	side := max(b.Dx(), b.Dy())
	level := func(c int) uint8 { return uint8(v.Mean[c] * 255) }
	out := image.NewNRGBA(image.Rect(0, 0, side, side))
	draw.Draw(out, out.Rect, image.NewUniform(color.NRGBA{level(0), level(1), level(2), 255}), image.Point{}, draw.Src)
	at := image.Pt((side-b.Dx())/2, (side-b.Dy())/2)
	draw.Draw(out, b.Sub(b.Min).Add(at), photo.From(img).Image, image.Point{}, draw.Src)
	return out
}
