package photo

import "image"

// A restored picture spreads colours over some pixels, and resizing does too.
// What a file hides under full transparency, often magenta or black, must not
// come to light by that. So those pixels get colours of the visible ones
// nearby before restoration: averages over ever larger squares where that
// holds something visible, interpolated back ("pull-push", Gortler et al.,
// The Lumigraph, 1996).

// fillHidden gives the pixels of colours with alpha 0 such colours, in place.
// It does nothing if all are hidden.
func fillHidden(colours, alpha image.Image) {
	b := colours.Bounds()
	w, h := b.Dx(), b.Dy()
	n := 4
	switch colours.(type) {
	case *image.Gray, *image.Gray16:
		n = 1
	}
	opacity := opacityOf(alpha)
	levels := []colourMap{reduce(imageMap(colours, opacity, w, h, n))}
	for top := levels[0]; top.w > 1 || top.h > 1; top = levels[len(levels)-1] {
		levels = append(levels, reduce(top.asSource()))
	}
	if top := levels[len(levels)-1]; top.weight[0] == 0 {
		return
	}
	for i := len(levels) - 2; i >= 0; i-- {
		levels[i].fillFrom(levels[i+1])
	}
	set := setter(colours)
	rows(h, func(y0, y1 int) {
		var c [3]float32
		for y := y0; y < y1; y++ {
			for x := range w {
				if opacity(x, y) == 0 {
					levels[0].between(x, y, &c)
					set(x, y, &c)
				}
			}
		}
	})
}

// colourMap is a picture in which each pixel has a weight, 0 to 1: how far
// its colour is known.
type colourMap struct {
	w, h, n int
	pix     []float32 // n channels a pixel, 1 or 3
	weight  []float32
}

// source gives the colour and weight of a pixel.
type source struct {
	w, h, n int
	at      func(x, y int, c *[3]float32) (weight float32)
}

func (m colourMap) asSource() source {
	return source{m.w, m.h, m.n, func(x, y int, c *[3]float32) float32 {
		i := y*m.w + x
		copy(c[:m.n], m.pix[i*m.n:])
		return m.weight[i]
	}}
}

// imageMap is a [Photo.Image] of n samples a pixel, weighted by its opacity.
func imageMap(img image.Image, opacity func(x, y int) float32, w, h, n int) source {
	channels := min(n, 3)
	var at func(x, y int, c *[3]float32)
	switch m := img.(type) {
	case *image.Gray:
		at = func(x, y int, c *[3]float32) { c[0] = float32(m.Pix[y*m.Stride+x]) }
	case *image.Gray16:
		at = func(x, y int, c *[3]float32) { c[0] = float32(get16(m.Pix[y*m.Stride+2*x:])) }
	case *image.NRGBA:
		at = func(x, y int, c *[3]float32) {
			p := m.Pix[y*m.Stride+4*x:][:3]
			c[0], c[1], c[2] = float32(p[0]), float32(p[1]), float32(p[2])
		}
	case *image.NRGBA64:
		at = func(x, y int, c *[3]float32) {
			p := m.Pix[y*m.Stride+8*x:][:6]
			c[0], c[1], c[2] = float32(get16(p)), float32(get16(p[2:])), float32(get16(p[4:]))
		}
	}
	return source{w, h, channels, func(x, y int, c *[3]float32) float32 {
		at(x, y, c)
		return opacity(x, y)
	}}
}

// opacityOf returns an alpha plane's values, 0 to 1.
func opacityOf(alpha image.Image) func(x, y int) float32 {
	switch m := alpha.(type) {
	case *image.Alpha:
		return func(x, y int) float32 { return float32(m.Pix[y*m.Stride+x]) / 0xff }
	case *image.Alpha16:
		return func(x, y int) float32 { return float32(get16(m.Pix[y*m.Stride+2*x:])) / 0xffff }
	}
	return func(x, y int) float32 { return 1 }
}

// setter sets the colour of a pixel of a [Photo.Image].
func setter(img image.Image) func(x, y int, c *[3]float32) {
	switch m := img.(type) {
	case *image.Gray:
		return func(x, y int, c *[3]float32) { m.Pix[y*m.Stride+x] = byte(c[0] + 0.5) }
	case *image.Gray16:
		return func(x, y int, c *[3]float32) { put16(m.Pix[y*m.Stride+2*x:], uint16(c[0]+0.5)) }
	case *image.NRGBA:
		return func(x, y int, c *[3]float32) {
			for i, v := range c {
				m.Pix[y*m.Stride+4*x+i] = byte(v + 0.5)
			}
		}
	case *image.NRGBA64:
		return func(x, y int, c *[3]float32) {
			for i, v := range c {
				put16(m.Pix[y*m.Stride+8*x+2*i:], uint16(v+0.5))
			}
		}
	}
	return func(int, int, *[3]float32) {}
}

// reduce returns a map of half the size, each pixel the weighted mean of up
// to four.
func reduce(s source) colourMap {
	m := colourMap{w: (s.w + 1) / 2, h: (s.h + 1) / 2, n: s.n}
	m.pix = make([]float32, m.w*m.h*m.n)
	m.weight = make([]float32, m.w*m.h)
	rows(m.h, func(y0, y1 int) {
		var c [3]float32
		for y := y0; y < y1; y++ {
			for x := range m.w {
				i := y*m.w + x
				sum, total := m.pix[i*m.n:][:m.n], float32(0)
				for sy := 2 * y; sy < min(2*y+2, s.h); sy++ {
					for sx := 2 * x; sx < min(2*x+2, s.w); sx++ {
						if weight := s.at(sx, sy, &c); weight > 0 {
							total += weight
							for ch := range sum {
								sum[ch] += weight * c[ch]
							}
						}
					}
				}
				if total > 0 {
					for ch := range sum {
						sum[ch] /= total
					}
				}
				m.weight[i] = min(total, 1)
			}
		}
	})
	return m
}

// fillFrom completes the colours that m does not fully know with those of the
// next smaller map.
func (m colourMap) fillFrom(small colourMap) {
	rows(m.h, func(y0, y1 int) {
		var c [3]float32
		for y := y0; y < y1; y++ {
			for x := range m.w {
				i := y*m.w + x
				weight := m.weight[i]
				if weight >= 1 {
					continue
				}
				small.between(x, y, &c)
				for ch := range m.n {
					p := &m.pix[i*m.n+ch]
					*p = weight**p + (1-weight)*c[ch]
				}
			}
		}
	})
}

// between interpolates m's colours at pixel (x, y) of a picture twice its
// size.
func (m colourMap) between(x, y int, c *[3]float32) {
	h, v := tapAt(x, 2, m.w), tapAt(y, 2, m.h)
	wx, wy := float32(h.w1)/8, float32(v.w1)/8
	for ch := range m.n {
		at := func(x, y int) float32 { return m.pix[(y*m.w+x)*m.n+ch] }
		top := (1-wx)*at(h.i0, v.i0) + wx*at(h.i1, v.i0)
		bottom := (1-wx)*at(h.i0, v.i1) + wx*at(h.i1, v.i1)
		c[ch] = (1-wy)*top + wy*bottom
	}
}

// withAlpha returns a picture of colours with alpha, as NRGBA or NRGBA64.
func withAlpha(colours, alpha image.Image) image.Image {
	b := colours.Bounds()
	if depthOf(colours) == 16 {
		a := toDepth(alpha, 16).(*image.Alpha16)
		n := image.NewNRGBA64(image.Rect(0, 0, b.Dx(), b.Dy()))
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := n.Pix[y*n.Stride:]
				switch m := colours.(type) {
				case *image.NRGBA64:
					copy(row[:8*b.Dx()], m.Pix[y*m.Stride:])
				case *image.Gray16:
					for x := range b.Dx() {
						v := get16(m.Pix[y*m.Stride+2*x:])
						put16(row[8*x:], v)
						put16(row[8*x+2:], v)
						put16(row[8*x+4:], v)
					}
				}
				for x := range b.Dx() {
					put16(row[8*x+6:], get16(a.Pix[y*a.Stride+2*x:]))
				}
			}
		})
		return n
	}
	a := toDepth(alpha, 8).(*image.Alpha)
	n := image.NewNRGBA(image.Rect(0, 0, b.Dx(), b.Dy()))
	rows(b.Dy(), func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row := n.Pix[y*n.Stride:]
			switch m := colours.(type) {
			case *image.NRGBA:
				copy(row[:4*b.Dx()], m.Pix[y*m.Stride:])
			case *image.Gray:
				for x, v := range m.Pix[y*m.Stride:][:b.Dx()] {
					row[4*x], row[4*x+1], row[4*x+2] = v, v, v
				}
			}
			for x, v := range a.Pix[y*a.Stride:][:b.Dx()] {
				row[4*x+3] = v
			}
		}
	})
	return n
}

// onWhite returns colours, of 8 bits a sample, as seen through alpha on white
// paper.
func onWhite(colours, alpha image.Image) image.Image {
	a := toDepth(alpha, 8).(*image.Alpha)
	over := func(v, alpha byte) byte {
		return byte((int(v)*int(alpha) + 255*(255-int(alpha)) + 127) / 255)
	}
	b := colours.Bounds()
	switch m := colours.(type) {
	case *image.Gray:
		n := image.NewGray(b)
		for y := range b.Dy() {
			alpha := a.Pix[y*a.Stride:]
			for x, v := range m.Pix[y*m.Stride:][:b.Dx()] {
				n.Pix[y*n.Stride+x] = over(v, alpha[x])
			}
		}
		return n
	case *image.NRGBA:
		n := image.NewNRGBA(b)
		for y := range b.Dy() {
			alpha := a.Pix[y*a.Stride:]
			row := n.Pix[y*n.Stride:][:4*b.Dx()]
			copy(row, m.Pix[y*m.Stride:])
			for i := range row {
				if i%4 != 3 {
					row[i] = over(row[i], alpha[i/4])
				}
			}
		}
		return n
	}
	return colours
}
