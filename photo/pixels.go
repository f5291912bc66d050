package photo

import (
	"image"
	"image/color"
)

// This file turns whatever a decoder gives into the four types of
// [Photo.Image] and an alpha plane, and between depths and to grey.

// split separates img into opaque colours, with bounds at (0,0), and an alpha
// plane, which is nil if every pixel is opaque. It may reuse img's memory.
func split(img image.Image) (colours, alpha image.Image) {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	at0 := image.Rect(0, 0, w, h)
	switch m := img.(type) {
	case *image.Gray:
		return &image.Gray{Pix: m.Pix, Stride: m.Stride, Rect: at0}, nil
	case *image.Gray16:
		return &image.Gray16{Pix: m.Pix, Stride: m.Stride, Rect: at0}, nil
	case *image.NRGBA:
		if a := takeAlpha8(m.Pix, m.Stride, w, h); a != nil {
			alpha = a
		}
		return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: at0}, alpha
	case *image.RGBA:
		unmultiply8(m.Pix, m.Stride, w, h)
		if a := takeAlpha8(m.Pix, m.Stride, w, h); a != nil {
			alpha = a
		}
		return &image.NRGBA{Pix: m.Pix, Stride: m.Stride, Rect: at0}, alpha
	case *image.NRGBA64:
		if a := takeAlpha16(m.Pix, m.Stride, w, h); a != nil {
			alpha = a
		}
		return &image.NRGBA64{Pix: m.Pix, Stride: m.Stride, Rect: at0}, alpha
	case *image.RGBA64:
		unmultiply16(m.Pix, m.Stride, w, h)
		if a := takeAlpha16(m.Pix, m.Stride, w, h); a != nil {
			alpha = a
		}
		return &image.NRGBA64{Pix: m.Pix, Stride: m.Stride, Rect: at0}, alpha
	case *image.YCbCr:
		return ycbcrToNRGBA(m, fullRange), nil
	case *image.NYCbCrA: // only WebP has these
		a := image.NewAlpha(at0)
		opaque := true
		for y := range h {
			row := a.Pix[y*a.Stride:][:w]
			copy(row, m.A[m.AOffset(b.Min.X, b.Min.Y+y):][:w])
			for _, v := range row {
				opaque = opaque && v == 0xff
			}
		}
		if !opaque {
			alpha = a
		}
		return ycbcrToNRGBA(&m.YCbCr, fullRange), alpha
	case *image.CMYK:
		return cmykToNRGBA(m), nil
	}
	// Paletted, and types this package does not know.
	switch img.ColorModel() {
	case color.Gray16Model, color.RGBA64Model, color.NRGBA64Model, color.Alpha16Model:
		n := image.NewNRGBA64(at0)
		for y := range h {
			for x := range w {
				n.Set(x, y, img.At(b.Min.X+x, b.Min.Y+y))
			}
		}
		return split(n)
	}
	n := image.NewNRGBA(at0)
	if m, ok := img.(*image.Paletted); ok {
		unpalette(n, m)
		return split(n)
	}
	for y := range h {
		for x := range w {
			n.Set(x, y, img.At(b.Min.X+x, b.Min.Y+y))
		}
	}
	return split(n)
}

// unpalette sets dst, which has m's size, to the colours of m. An index past
// the palette's end is transparent.
func unpalette(dst *image.NRGBA, m *image.Paletted) {
	var table [256]color.NRGBA
	for i, c := range m.Palette {
		if i < len(table) {
			table[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
	}
	b := m.Bounds()
	rows(b.Dy(), func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			src := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):][:b.Dx()]
			row := dst.Pix[y*dst.Stride:]
			for x, i := range src {
				c := table[i]
				row[4*x], row[4*x+1], row[4*x+2], row[4*x+3] = c.R, c.G, c.B, c.A
			}
		}
	})
}

// takeAlpha8 moves the alpha of NRGBA pixels into a plane of its own, leaving
// them opaque. It returns nil if they were.
func takeAlpha8(pix []byte, stride, w, h int) *image.Alpha {
	var a *image.Alpha
	for y := range h {
		row := pix[y*stride:][:4*w]
		for i := 3; i < len(row); i += 4 {
			if row[i] == 0xff {
				continue
			}
			if a == nil {
				a = image.NewAlpha(image.Rect(0, 0, w, h))
				for j := range a.Pix {
					a.Pix[j] = 0xff
				}
			}
			a.Pix[y*a.Stride+i/4] = row[i]
			row[i] = 0xff
		}
	}
	return a
}

// takeAlpha16 is takeAlpha8 for NRGBA64.
func takeAlpha16(pix []byte, stride, w, h int) *image.Alpha16 {
	var a *image.Alpha16
	for y := range h {
		row := pix[y*stride:][:8*w]
		for i := 6; i < len(row); i += 8 {
			if row[i] == 0xff && row[i+1] == 0xff {
				continue
			}
			if a == nil {
				a = image.NewAlpha16(image.Rect(0, 0, w, h))
				for j := range a.Pix {
					a.Pix[j] = 0xff
				}
			}
			o := y*a.Stride + i/8*2
			a.Pix[o], a.Pix[o+1] = row[i], row[i+1]
			row[i], row[i+1] = 0xff, 0xff
		}
	}
	return a
}

// unmultiply8 turns premultiplied RGBA into NRGBA, in place.
func unmultiply8(pix []byte, stride, w, h int) {
	rows(h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row := pix[y*stride:][:4*w]
			for i := 0; i+3 < len(row); i += 4 {
				a := int(row[i+3])
				if a == 0xff || a == 0 {
					continue
				}
				for c := range 3 {
					row[i+c] = byte(min((int(row[i+c])*0xff+a/2)/a, 0xff))
				}
			}
		}
	})
}

// unmultiply16 is unmultiply8 for RGBA64.
func unmultiply16(pix []byte, stride, w, h int) {
	rows(h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row := pix[y*stride:][:8*w]
			for i := 0; i+7 < len(row); i += 8 {
				a := get16(row[i+6:])
				if a == 0xffff || a == 0 {
					continue
				}
				for c := 0; c < 6; c += 2 {
					put16(row[i+c:], uint16(min((int(get16(row[i+c:]))*0xffff+int(a)/2)/int(a), 0xffff)))
				}
			}
		}
	})
}

// The standard library's 16-bit images hold their samples high byte first.

func get16(b []byte) uint16    { return uint16(b[0])<<8 | uint16(b[1]) }
func put16(b []byte, v uint16) { b[0], b[1] = byte(v>>8), byte(v) }

// opaque returns img's colours as one of the four types of [Photo.Image],
// img itself if it is one already.
func opaque(img image.Image) image.Image {
	if img.Bounds().Min == (image.Point{}) {
		switch m := img.(type) {
		case *image.Gray, *image.Gray16:
			return m
		case *image.NRGBA:
			if m.Opaque() {
				return m
			}
		case *image.NRGBA64:
			if m.Opaque() {
				return m
			}
		}
	}
	colours, _ := split(clone(img))
	return colours
}

// clone copies img's pixels where split would change them.
func clone(img image.Image) image.Image {
	switch m := img.(type) {
	case *image.NRGBA:
		c := *m
		c.Pix = append([]byte(nil), m.Pix...)
		return &c
	case *image.RGBA:
		c := *m
		c.Pix = append([]byte(nil), m.Pix...)
		return &c
	case *image.NRGBA64:
		c := *m
		c.Pix = append([]byte(nil), m.Pix...)
		return &c
	case *image.RGBA64:
		c := *m
		c.Pix = append([]byte(nil), m.Pix...)
		return &c
	}
	return img
}

// depthOf returns the bits a sample of a [Photo.Image].
func depthOf(img image.Image) int {
	switch img.(type) {
	case *image.Gray16, *image.NRGBA64, *image.Alpha16:
		return 16
	}
	return 8
}

// toDepth returns img with 8 or 16 bits a sample, img itself if it has them.
// Down is by rounding, up by repeating the byte, so that white stays white.
func toDepth(img image.Image, depth int) image.Image {
	b := img.Bounds()
	switch m := img.(type) {
	case *image.Gray:
		if depth == 16 {
			n := image.NewGray16(b)
			widen(n.Pix, n.Stride, m.Pix, m.Stride, b.Dx(), b.Dy())
			return n
		}
	case *image.NRGBA:
		if depth == 16 {
			n := image.NewNRGBA64(b)
			widen(n.Pix, n.Stride, m.Pix, m.Stride, 4*b.Dx(), b.Dy())
			return n
		}
	case *image.Alpha:
		if depth == 16 {
			n := image.NewAlpha16(b)
			widen(n.Pix, n.Stride, m.Pix, m.Stride, b.Dx(), b.Dy())
			return n
		}
	case *image.Gray16:
		if depth == 8 {
			n := image.NewGray(b)
			narrow(n.Pix, n.Stride, m.Pix, m.Stride, b.Dx(), b.Dy())
			return n
		}
	case *image.NRGBA64:
		if depth == 8 {
			n := image.NewNRGBA(b)
			narrow(n.Pix, n.Stride, m.Pix, m.Stride, 4*b.Dx(), b.Dy())
			return n
		}
	case *image.Alpha16:
		if depth == 8 {
			n := image.NewAlpha(b)
			narrow(n.Pix, n.Stride, m.Pix, m.Stride, b.Dx(), b.Dy())
			return n
		}
	}
	return img
}

func widen(dst []byte, dstStride int, src []byte, srcStride, n, h int) {
	rows(h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			d := dst[y*dstStride:][:2*n]
			for i, v := range src[y*srcStride:][:n] {
				d[2*i], d[2*i+1] = v, v
			}
		}
	})
}

func narrow(dst []byte, dstStride int, src []byte, srcStride, n, h int) {
	rows(h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			s := src[y*srcStride:][:2*n]
			d := dst[y*dstStride:][:n]
			for i := range d {
				d[i] = byte((uint32(get16(s[2*i:]))*0xff + 0x7fff) / 0xffff)
			}
		}
	})
}

// Luma weights of ITU-R BT.601, in 1/65536, as color.GrayModel has them.
const lumaR, lumaG, lumaB = 19595, 38470, 7471

// toGrey returns the luma of a [Photo.Image], itself if it is grey already.
func toGrey(img image.Image) image.Image {
	b := img.Bounds()
	switch m := img.(type) {
	case *image.NRGBA:
		g := image.NewGray(b)
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:]
				dst := g.Pix[y*g.Stride:][:b.Dx()]
				for x := range dst {
					p := row[4*x : 4*x+3]
					dst[x] = byte((lumaR*uint32(p[0]) + lumaG*uint32(p[1]) + lumaB*uint32(p[2]) + 1<<15) >> 16)
				}
			}
		})
		return g
	case *image.NRGBA64:
		g := image.NewGray16(b)
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:]
				dst := g.Pix[y*g.Stride:]
				for x := range b.Dx() {
					p := row[8*x : 8*x+6]
					v := lumaR*uint64(get16(p)) + lumaG*uint64(get16(p[2:])) + lumaB*uint64(get16(p[4:]))
					put16(dst[2*x:], uint16((v+1<<15)>>16))
				}
			}
		})
		return g
	}
	return img
}

// cmykToNRGBA mixes inks as if each were perfect: what one can do without
// the profile of the press. 255 is full ink.
func cmykToNRGBA(m *image.CMYK) *image.NRGBA {
	b := m.Bounds()
	n := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	rows(b.Dy(), func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			src := m.Pix[m.PixOffset(b.Min.X, b.Min.Y+y):]
			dst := n.Pix[y*n.Stride:]
			for i := 0; i < 4*b.Dx(); i += 4 {
				white := 255 - uint32(src[i+3])
				for c := range 3 {
					dst[i+c] = byte(((255-uint32(src[i+c]))*white + 127) / 255)
				}
				dst[i+3] = 255
			}
		}
	})
	return n
}
