// Package metrics measures how near a picture comes to the true one, without
// learned weights: the full-reference metrics of the paper's tables that need
// none, others that agree better with people (MS-SSIM, GMSD, HaarPSI), and a
// ratio of sharpness, which the paper leaves to metrics with learned weights.
//
// All take 8-bit values (0…255) of the whole picture, without cutting borders.
// Luma is Y = 0.299 R + 0.587 G + 0.114 B, full range, not rounded.
package metrics

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
)

// Scores are all metrics of one picture.
type Scores struct {
	PSNR      float64 // dB, one mean squared error over R, G and B; +Inf for equal pictures; higher is better
	SSIM      float64 // Wang et al. 2004; up to 1, higher is better
	MSSSIM    float64 // Wang et al. 2003; up to 1, higher is better; NaN below 176 pixels on a side
	GMSD      float64 // Xue et al. 2014; 0 is best, lower is better
	HaarPSI   float64 // Reisenhofer et al. 2018; 0 to 1, higher is better
	Sharpness float64 // gradient energy over that of the true picture; 1 is as sharp as that
	Shift     float64 // of colours: mean absolute difference of the means of 16×16 blocks, in levels; 0 is best
}

// Names are the metrics in the order of Scores' fields.
var Names = []string{"PSNR", "SSIM", "MS-SSIM", "GMSD", "HaarPSI", "Sharpness", "Shift"}

// Values are the scores in the order of Names.
func (s Scores) Values() []float64 {
	return []float64{s.PSNR, s.SSIM, s.MSSSIM, s.GMSD, s.HaarPSI, s.Sharpness, s.Shift}
}

// Mean is the mean of every metric; zero Scores of none.
func Mean(all []Scores) Scores {
	var m Scores
	for _, s := range all {
		w := 1 / float64(len(all))
		m.PSNR += w * s.PSNR
		m.SSIM += w * s.SSIM
		m.MSSSIM += w * s.MSSSIM
		m.GMSD += w * s.GMSD
		m.HaarPSI += w * s.HaarPSI
		m.Sharpness += w * s.Sharpness
		m.Shift += w * s.Shift
	}
	return m
}

// minSide is a block of Shift; the window of SSIM needs 11.
const minSide = 16

// Compare measures a picture against the true one, of the same size, at least
// 16 pixels on each side. Transparency is ignored.
func Compare(truth, img image.Image) (Scores, error) {
	if a, b := truth.Bounds().Size(), img.Bounds().Size(); a != b {
		return Scores{}, fmt.Errorf("the picture is %d×%d, the true one %d×%d", b.X, b.Y, a.X, a.Y)
	} else if a.X < minSide || a.Y < minSide {
		return Scores{}, errors.New("metrics want pictures of at least 16 pixels on each side")
	}
	a, b := channels(truth), channels(img)
	x, y := Luma(truth), Luma(img)
	s := Scores{
		PSNR:      psnr(a, b),
		MSSSIM:    msSSIM(x, y),
		GMSD:      gmsd(x, y),
		HaarPSI:   haarPSI(a, b),
		Sharpness: y.GradientEnergy() / x.GradientEnergy(),
		Shift:     shift(a, b),
	}
	s.SSIM, _ = ssim(x, y)
	return s, nil
}

// A Plane is one channel, row by row.
type Plane struct {
	W, H int
	Pix  []float64
}

func newPlane(w, h int) Plane { return Plane{w, h, make([]float64, w*h)} }

// row is the y-th row.
func (p Plane) row(y int) []float64 { return p.Pix[y*p.W:][:p.W] }

// channels are a picture's R, G and B.
func channels(img image.Image) [3]Plane {
	b := img.Bounds()
	var out [3]Plane
	for c := range out {
		out[c] = newPlane(b.Dx(), b.Dy())
	}
	i := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			p := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			out[0].Pix[i], out[1].Pix[i], out[2].Pix[i] = float64(p.R), float64(p.G), float64(p.B)
			i++
		}
	}
	return out
}

// Luma is a picture's luma.
func Luma(img image.Image) Plane { return mix(channels(img), 0.299, 0.587, 0.114) }

// Part copies w×h values from (x, y) on, as far as the plane reaches.
func (p Plane) Part(x, y, w, h int) Plane {
	w, h = max(0, min(w, p.W-x)), max(0, min(h, p.H-y))
	out := newPlane(w, h)
	for j := range h {
		copy(out.row(j), p.row(y + j)[x:])
	}
	return out
}

// mix is a weighted sum of three planes.
func mix(p [3]Plane, r, g, b float64) Plane {
	out := newPlane(p[0].W, p[0].H)
	for i := range out.Pix {
		out.Pix[i] = r*p[0].Pix[i] + g*p[1].Pix[i] + b*p[2].Pix[i]
	}
	return out
}

// Halve is the mean of 2×2 blocks; an odd last row or column is dropped.
func (p Plane) Halve() Plane {
	out := newPlane(p.W/2, p.H/2)
	for y := range out.H {
		a, b := p.row(2*y), p.row(2*y+1)
		for x := range out.W {
			out.Pix[y*out.W+x] = (a[2*x] + b[2*x] + a[2*x+1] + b[2*x+1]) / 4
		}
	}
	return out
}

// separable filters a plane with zeros around it: k along rows, l along
// columns. Output i sees the inputs from i - before on, kernels not turned.
func separable(p Plane, k, l []float64, before int) Plane {
	mid, out := newPlane(p.W, p.H), newPlane(p.W, p.H)
	for y := range p.H {
		src, dst := p.row(y), mid.row(y)
		for x := range dst {
			for i, v := range k {
				if j := x - before + i; j >= 0 && j < p.W {
					dst[x] += v * src[j]
				}
			}
		}
	}
	for y := range p.H {
		dst := out.row(y)
		for i, v := range l {
			j := y - before + i
			if j < 0 || j >= p.H {
				continue
			}
			for x, s := range mid.row(j) {
				dst[x] += v * s
			}
		}
	}
	return out
}

// psnr is 10 log10(255² / MSE).
func psnr(a, b [3]Plane) float64 {
	sum := 0.0
	for c := range a {
		for i, v := range a[c].Pix {
			sum += (v - b[c].Pix[i]) * (v - b[c].Pix[i])
		}
	}
	return 10 * math.Log10(255*255*3*float64(len(a[0].Pix))/sum)
}

// GradientEnergy is the sum of squared differences of neighbours, along rows and
// along columns.
func (p Plane) GradientEnergy() float64 {
	sum := 0.0
	for y := range p.H {
		row := p.row(y)
		for x, v := range row {
			if x+1 < p.W {
				sum += (row[x+1] - v) * (row[x+1] - v)
			}
			if y+1 < p.H {
				d := p.row(y + 1)[x] - v
				sum += d * d
			}
		}
	}
	return sum
}

// shift compares the means of blocks; what does not fill a block at the right
// and at the bottom is left out.
func shift(a, b [3]Plane) float64 {
	sum, n := 0.0, 0
	for c := range a {
		p, q := a[c], b[c]
		for range 4 { // 2⁴ = 16
			p, q = p.Halve(), q.Halve()
		}
		for i, v := range p.Pix {
			sum += math.Abs(v - q.Pix[i])
			n++
		}
	}
	return sum / float64(n)
}

// deviation is the sample standard deviation.
func deviation(v []float64) float64 {
	mean := 0.0
	for _, x := range v {
		mean += x / float64(len(v))
	}
	sum := 0.0
	for _, x := range v {
		sum += (x - mean) * (x - mean)
	}
	return math.Sqrt(sum / float64(len(v)-1))
}
