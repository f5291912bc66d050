package supir

import (
	"math"
	"runtime"
	"sync"
)

// The colour fixes give a restored picture the colours of the stage-1 picture, which diffusion drifts
// from. Both change x in place; x and style are planes of h×w, of the same number. Nothing is clamped.

// waveletFix keeps the high frequencies of x and takes the low ones from style.
//
// The low frequencies are what so many blurs (levels) of doubling reach leave, the high ones the differences
// between a blur and the next, whose sum telescopes to x - low(x). Blurring being linear, the result
// x - low(x) + low(style) needs one cascade instead of two: x + low(style - x).
func waveletFix(x, style []float32, h, w, levels int) {
	low, spare := make([]float32, h*w), make([]float32, h*w)
	for at := 0; at < len(x); at += h * w {
		x, style := x[at:][:h*w], style[at:][:h*w]
		for i := range low {
			low[i] = style[i] - x[i]
		}
		for level := range levels {
			blur(spare, low, h, w, 1<<level)
			low, spare = spare, low
		}
		for i := range x {
			x[i] += low[i]
		}
	}
}

// blur convolves the plane src with [1 2 1]⊗[1 2 1]/16, its taps dilation pixels apart and borders
// replicated. (Its products are by powers of two, so exact: fusing them changes nothing.)
func blur(dst, src []float32, h, w, dilation int) {
	eachBand(h, func(from, to int) {
		padded := make([]float32, w+2*dilation)
		left, row, right := padded[:w], padded[dilation:][:w], padded[2*dilation:][:w]
		for y := from; y < to; y++ {
			above := src[max(y-dilation, 0)*w:][:w]
			middle := src[y*w:][:w]
			below := src[min(y+dilation, h-1)*w:][:w]
			for x := range row {
				row[x] = 0.25*(above[x]+below[x]) + 0.5*middle[x]
			}
			for i := range dilation {
				padded[i], padded[dilation+w+i] = row[0], row[w-1]
			}
			out := dst[y*w:][:w]
			for x := range out {
				out[x] = 0.25*(left[x]+right[x]) + 0.5*row[x]
			}
		}
	})
}

// waveletReach is how many rows away the wavelet fix looks: the sum of the dilations.
func waveletReach(levels int) int { return 1<<levels - 1 }

// adainFix gives each plane of x the mean and the deviation of style's (adaptive instance
// normalization, Huang & Belongie 2017).
func adainFix(x, style []float32, h, w int) {
	for at := 0; at < len(x); at += h * w {
		x, style := x[at:][:h*w], style[at:][:h*w]
		adaptTo(momentsOf(x, h, w), momentsOf(style, h, w)).apply(x, h, w)
	}
}

// An adaption gives values of mean from another mean, and another deviation.
type adaption struct{ from, to, scale float64 }

// adaptTo makes values of some moments have those of a style.
func adaptTo(x, style moments) adaption {
	const epsilon = 1e-5 // on the variances
	return adaption{x.mean, style.mean, math.Sqrt(style.variance+epsilon) / math.Sqrt(x.variance+epsilon)}
}

func (a adaption) apply(x []float32, h, w int) {
	eachBand(h, func(from, to int) {
		band := x[from*w : to*w]
		for i, v := range band {
			band[i] = float32(float64((float64(v)-a.from)*a.scale) + a.to)
		}
	})
}

// moments are a plane's mean and unbiased variance; a single pixel's variance is 0.
type moments struct{ mean, variance float64 }

// momentsOf are those of a plane of h×w.
func momentsOf(plane []float32, h, w int) moments {
	m, _ := momentsBy(len(plane), func(sumRow func([]float32) float64) (float64, error) { return sumRows(plane, h, w, sumRow), nil })
	return m
}

// momentsBy finds them with a function that adds up what another makes of each row.
func momentsBy(count int, sum func(sumRow func(row []float32) float64) (float64, error)) (moments, error) {
	total, err := sum(func(row []float32) (sum float64) {
		for _, v := range row {
			sum += float64(v)
		}
		return sum
	})
	if err != nil {
		return moments{}, err
	}
	mean := total / float64(count)
	squares, err := sum(func(row []float32) (sum float64) {
		for _, v := range row {
			difference := float64(v) - mean
			sum += float64(difference * difference)
		}
		return sum
	})
	return moments{mean, squares / float64(max(count-1, 1))}, err
}

// sumRows adds up a plane's rows, each summed by sumRow, so that the rounding doesn't depend on the
// number of processors.
func sumRows(plane []float32, h, w int, sumRow func(row []float32) float64) (sum float64) {
	rows := make([]float64, h)
	eachBand(h, func(from, to int) {
		for y := from; y < to; y++ {
			rows[y] = sumRow(plane[y*w:][:w])
		}
	})
	for _, row := range rows {
		sum += row
	}
	return sum
}

// eachBand splits n rows into one band per processor and calls f for all of them at once.
func eachBand(n int, f func(from, to int)) {
	bands := min(runtime.GOMAXPROCS(0), n)
	var running sync.WaitGroup
	for b := range bands {
		running.Go(func() { f(b*n/bands, (b+1)*n/bands) })
	}
	running.Wait()
}
