package supir

import (
	"math"
	"runtime"
	"slices"
)

// window is a rectangle of a latent, its ends excluded.
type window struct{ y0, y1, x0, x1 int }

// needsTiles tells whether a latent of h×w exceeds one window.
func needsTiles(h, w, size int) bool { return h > size || w > size }

// windows covers a latent of h×w with squares of the given size, stride apart, row by row and left
// to right. The last one along a side is shifted to end at the border; along a side shorter than size
// the window is that side.
func windows(h, w, size, stride int) []window {
	var all []window
	rows, columns := starts(h, size, stride), starts(w, size, stride)
	for _, y := range rows {
		for _, x := range columns {
			all = append(all, window{y, min(y+size, h), x, min(x+size, w)})
		}
	}
	return all
}

// starts returns where the windows along one side begin.
func starts(length, size, stride int) []int {
	var all []int
	last := max(length-size, 0)
	for at := 0; at < last; at += stride {
		all = append(all, at)
	}
	return append(all, last)
}

// gaussianWeights returns how much a window of h×w counts at each of its pixels: a Gaussian of
// variance 0.01 of the side. Its centre is half a pixel low, which is the released model's own.
func gaussianWeights(h, w int) []float32 {
	const variance = 0.01
	bell := func(at, centre float64, side int) float64 {
		offset := (at - centre) / float64(side)
		return math.Exp(-float64(offset*offset) / (2 * variance))
	}
	weights := make([]float32, h*w)
	for y := range h {
		for x := range w {
			row := bell(float64(y), float64(h)/2, h)
			column := bell(float64(x), float64(w-1)/2, w)
			weights[y*w+x] = float32(row * column / (2 * math.Pi * variance))
		}
	}
	return weights
}

// crop copies a window out of the planes of a latent w wide and h high.
func crop(latent []float32, h, w int, win window) []float32 {
	height, width := win.y1-win.y0, win.x1-win.x0
	planes := len(latent) / (h * w)
	cropped := make([]float32, 0, planes*height*width)
	for c := range planes {
		for y := win.y0; y < win.y1; y++ {
			row := latent[(c*h+y)*w:][:w]
			cropped = append(cropped, row[win.x0:win.x1]...)
		}
	}
	return cropped
}

// litter is how many bytes windows leave behind until they are collected, about.
const litter = 32 << 20

// tiled denoises a latent of h×w window by window and averages them by Gaussian weight. inner returns
// the denoiser of the window with the given index: what else differs between windows, such as the
// caption or the crop of the low-quality latent, is inner's own matter.
//
// Averaging predictions is averaging whole steps: all that a sampler does with a prediction is affine
// and, pixel by pixel, the same in every window, since all share the latent's one noise field.
func tiled(h, w int, wins []window, inner func(index int) denoiser) denoiser {
	weights := gaussianWeights(wins[0].y1-wins[0].y0, wins[0].x1-wins[0].x0)
	total := make([]float32, h*w)
	ones := slices.Repeat([]float32{1}, len(weights))
	for _, win := range wins {
		addWeighted(total, h, w, win, ones, weights)
	}
	const copies = 8 // that a window's step leaves behind
	left := 0
	return func(x []float32, sigma, controlScale float64) ([]float32, error) {
		sum := make([]float32, len(x))
		for i, win := range wins {
			cropped := crop(x, h, w, win)
			denoised, err := inner(i)(cropped, sigma, controlScale)
			if err != nil {
				return nil, err
			}
			addWeighted(sum, h, w, win, denoised, weights)
			if left += 4 * copies * len(cropped); left > litter {
				runtime.GC() // which would wait until as much again is in use as the whole latents take
				left = 0
			}
		}
		for i := range sum {
			sum[i] /= total[i%(h*w)]
		}
		return sum, nil
	}
}

// addWeighted adds a window's planes, times its weights, to those of a latent of h×w.
func addWeighted(sum []float32, h, w int, win window, planes, weights []float32) {
	width := win.x1 - win.x0
	for c := range len(sum) / (h * w) {
		plane := planes[c*len(weights):][:len(weights)]
		for y := win.y0; y < win.y1; y++ {
			row := sum[(c*h+y)*w+win.x0:][:width]
			at := (y - win.y0) * width
			for x := range row {
				row[x] += float32(weights[at+x] * plane[at+x])
			}
		}
	}
}
