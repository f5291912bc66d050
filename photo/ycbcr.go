package photo

import "image"

// The standard library turns YCbCr into RGB with each chroma sample standing
// for a whole 2x2 block, which gives edges of colour a staircase that
// restoration then sharpens. Here chroma is interpolated between the centres
// of those blocks, as libjpeg and libwebp do.

// yuvRange tells how luma and chroma fill a byte.
type yuvRange int

const (
	fullRange    yuvRange = iota // JPEG: 0 to 255
	limitedRange                 // WebP: luma 16 to 235, chroma 16 to 240
)

// ycbcrToNRGBA returns m in RGB, its bounds starting at (0,0).
func ycbcrToNRGBA(m *image.YCbCr, rng yuvRange) *image.NRGBA {
	b := m.Bounds()
	w, h := b.Dx(), b.Dy()
	dst := image.NewNRGBA(image.Rect(0, 0, w, h))
	fx, fy := subsampling(m.SubsampleRatio)
	if b.Min.X%fx != 0 || b.Min.Y%fy != 0 {
		// A part of a picture that starts within a chroma sample: no decoder
		// gives one.
		fx, fy = 1, 1
		m = fullChroma(m)
		b = m.Rect
	}
	cw, ch := (w+fx-1)/fx, (h+fy-1)/fy // chroma samples in use
	across := make([]tap, w)
	for x := range across {
		across[x] = tapAt(x, fx, cw)
	}
	rows(h, func(y0, y1 int) {
		cb, cr := make([]byte, w), make([]byte, w)
		for y := y0; y < y1; y++ {
			luma := m.Y[m.YOffset(b.Min.X, b.Min.Y+y):][:w]
			v := tapAt(y, fy, ch)
			o0 := m.COffset(b.Min.X, b.Min.Y+v.i0*fy)
			o1 := m.COffset(b.Min.X, b.Min.Y+v.i1*fy)
			chromaRow(cb, m.Cb[o0:][:cw], m.Cb[o1:][:cw], v.w1, across)
			chromaRow(cr, m.Cr[o0:][:cw], m.Cr[o1:][:cw], v.w1, across)
			row := dst.Pix[y*dst.Stride:][:4*w]
			if rng == fullRange {
				fullRangeRow(row, luma, cb, cr)
			} else {
				limitedRangeRow(row, luma, cb, cr)
			}
		}
	})
	return dst
}

// subsampling returns how many luma samples a chroma sample spans.
func subsampling(r image.YCbCrSubsampleRatio) (x, y int) {
	switch r {
	case image.YCbCrSubsampleRatio422:
		return 2, 1
	case image.YCbCrSubsampleRatio420:
		return 2, 2
	case image.YCbCrSubsampleRatio440:
		return 1, 2
	case image.YCbCrSubsampleRatio411:
		return 4, 1
	case image.YCbCrSubsampleRatio410:
		return 4, 2
	}
	return 1, 1
}

// fullChroma returns m with a chroma sample for every pixel, not interpolated.
func fullChroma(m *image.YCbCr) *image.YCbCr {
	b := m.Bounds()
	n := image.NewYCbCr(b, image.YCbCrSubsampleRatio444)
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			i, o := n.YOffset(x, y), m.COffset(x, y)
			n.Y[i] = m.Y[m.YOffset(x, y)]
			n.Cb[i], n.Cr[i] = m.Cb[o], m.Cr[o]
		}
	}
	return n
}

// tap says where between two samples a position lies: (8-w1)/8 of sample i0
// and w1/8 of i1.
type tap struct{ i0, i1, w1 int }

// tapAt returns the tap of pixel i among n samples that span f pixels each,
// f being 1, 2 or 4. Beyond the outer samples' centres they are repeated.
func tapAt(i, f, n int) tap {
	p := (2*i + 1 - f) * 4 / f // 8 times the distance from sample 0's centre
	if p <= 0 {
		return tap{0, 0, 0}
	}
	i0 := p / 8
	if i0 >= n-1 {
		return tap{n - 1, n - 1, 0}
	}
	return tap{i0, i0 + 1, p % 8}
}

// chromaRow fills dst from two rows of samples, w1/8 of the second.
func chromaRow(dst, row0, row1 []byte, w1 int, across []tap) {
	if len(row0) == len(dst) && w1 == 0 {
		copy(dst, row0)
		return
	}
	w0 := 8 - w1
	for x, t := range across {
		left := w0*int(row0[t.i0]) + w1*int(row1[t.i0])
		right := w0*int(row0[t.i1]) + w1*int(row1[t.i1])
		dst[x] = byte(((8-t.w1)*left + t.w1*right + 32) >> 6)
	}
}

// fullRangeRow converts as JFIF says, with coefficients in 1/65536.
func fullRangeRow(dst, luma, cb, cr []byte) {
	for x, l := range luma {
		y := int(l)<<16 + 1<<15
		u, v := int(cb[x])-128, int(cr[x])-128
		p := dst[4*x : 4*x+4]
		p[0] = clamp8((y + 91881*v) >> 16)
		p[1] = clamp8((y - 22554*u - 46802*v) >> 16)
		p[2] = clamp8((y + 116130*u) >> 16)
		p[3] = 0xff
	}
}

// limitedRangeRow converts as ITU-R BT.601 says, with coefficients in
// 1/65536. (The standard library's image.YCbCr is always of full range, and
// shows WebP pictures washed out: golang.org/issue/40173.)
func limitedRangeRow(dst, luma, cb, cr []byte) {
	for x, l := range luma {
		y := (int(l)-16)*76309 + 1<<15
		u, v := int(cb[x])-128, int(cr[x])-128
		p := dst[4*x : 4*x+4]
		p[0] = clamp8((y + 104597*v) >> 16)
		p[1] = clamp8((y - 25675*u - 53279*v) >> 16)
		p[2] = clamp8((y + 132201*u) >> 16)
		p[3] = 0xff
	}
}

func clamp8(v int) byte { return byte(max(0, min(v, 0xff))) }
