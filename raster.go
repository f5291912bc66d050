package supir

import (
	"image"

	"supir/internal/memory"
)

// A raster is a picture as numbers, three planes of h×w in [-1, 1] or a little
// beyond, in memory or on disk.
type raster struct {
	*memory.Floats
	h, w int
}

func newRaster(h, w int, onDisk bool) (*raster, error) {
	f, err := memory.NewFloats(3*h*w, false, onDisk)
	return &raster{f, h, w}, err
}

// Close may be called on nil.
func (r *raster) Close() {
	if r != nil {
		r.Floats.Close()
	}
}

// Write writes numbers, all of which must be finite.
func (r *raster) Write(src []float32, at int) error {
	if err := finite(src); err != nil {
		return err
	}
	return r.Floats.Write(src, at)
}

// finite is ErrNumbers where a number is infinite or none.
func finite(x []float32) error {
	for _, v := range x {
		if v-v != 0 {
			return ErrNumbers
		}
	}
	return nil
}

// rows reads rows from…to-1 of all planes, 3×(to-from)×w.
func (r *raster) rows(from, to int) ([]float32, error) {
	n := (to - from) * r.w
	x := make([]float32, 3*n)
	for c := range 3 {
		if err := r.Read(x[c*n:][:n], (c*r.h+from)*r.w); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// bandBytes is how much of a raster is at work at once.
const bandBytes = 4 << 20

// bands calls f for bands of rows, from the top.
func (r *raster) bands(f func(from, to int) error) error {
	rows := max(bandBytes/(3*4*r.w), 16)
	for from := 0; from < r.h; from += rows {
		if err := f(from, min(from+rows, r.h)); err != nil {
			return err
		}
	}
	return nil
}

// picture turns the raster into a picture of 8 or 16 bits, with the colours of
// style, which is of the same size, by the given fix; levels are the wavelet's.
func (r *raster) picture(fix ColorFix, levels int, style *raster, deep bool) (image.Image, error) {
	bounds := image.Rect(0, 0, r.w, r.h)
	img := image.Image(image.NewNRGBA(bounds))
	if deep {
		img = image.NewNRGBA64(bounds)
	}
	var adapt [3]adaption
	if fix == AdaIN {
		for c := range adapt {
			of, err := r.moments(c)
			if err != nil {
				return nil, err
			}
			to, err := style.moments(c)
			if err != nil {
				return nil, err
			}
			adapt[c] = adaptTo(of, to)
		}
	}
	err := r.bands(func(from, to int) error {
		first, last := from, to // with what the fix reaches for
		if fix == Wavelet {
			first, last = max(0, from-waveletReach(levels)), min(r.h, to+waveletReach(levels))
		}
		x, err := r.rows(first, last)
		if err != nil {
			return err
		}
		switch fix {
		case Wavelet:
			s, err := style.rows(first, last)
			if err != nil {
				return err
			}
			waveletFix(x, s, last-first, r.w, levels)
		case AdaIN:
			for c := range adapt {
				adapt[c].apply(x[c*(last-first)*r.w:][:(last-first)*r.w], last-first, r.w)
			}
		}
		eachBand(to-from, func(a, b int) {
			for y := from + a; y < from+b; y++ {
				setRow(img, y, x, y-first, last-first, r.w)
			}
		})
		return nil
	})
	return img, err
}

// setRow sets row y of a picture to row at of planes of h×w.
func setRow(img image.Image, y int, x []float32, at, h, w int) {
	for c := range 3 {
		row := x[(c*h+at)*w:][:w]
		switch m := img.(type) {
		case *image.NRGBA:
			for i, v := range row {
				p := m.Pix[y*m.Stride+4*i:]
				p[c], p[3] = byte(quantise(v, 255)), 255
			}
		case *image.NRGBA64:
			for i, v := range row {
				p, q := m.Pix[y*m.Stride+8*i:], quantise(v, 65535)
				p[2*c], p[2*c+1], p[6], p[7] = byte(q>>8), byte(q), 255, 255
			}
		}
	}
}

// moments are plane c's.
func (r *raster) moments(c int) (moments, error) {
	sum := func(of func(row []float32) float64) (total float64, err error) {
		err = r.bands(func(from, to int) error {
			x := make([]float32, (to-from)*r.w)
			if err := r.Read(x, (c*r.h+from)*r.w); err != nil {
				return err
			}
			total += sumRows(x, to-from, r.w, of)
			return nil
		})
		return total, err
	}
	return momentsBy(r.h*r.w, sum)
}

// A pixelSource gives a picture's pixels as numbers in [-1, 1], row by row of
// each plane.
type pixelSource struct{ image.Image }

// Read gives whole rows of one plane.
func (s pixelSource) Read(dst []float32, at int) error {
	b := s.Bounds()
	w := b.Dx()
	c, y := at/w/b.Dy(), at/w%b.Dy()
	eachBand(len(dst)/w, func(from, to int) {
		for i := from; i < to; i++ {
			planeRow(dst[i*w:][:w], s.Image, c, b.Min.Y+y+i)
		}
	})
	return nil
}
