package supir

import (
	"image"
	"math"

	"supir/photo"
)

// A previewer shows latents roughly, by the linear map from a latent's channels
// to colours that fits the low-quality picture and its own latent best.
type previewer struct {
	h, w   int
	colour [3][]float64 // weights of the channels, and a constant
}

// newPreviewer fits the map; img is the picture that latent, C×h×w, encodes.
func newPreviewer(img image.Image, latent []float32, h, w int) *previewer {
	n := h * w
	k := len(latent)/n + 1
	rgb := planes(photo.Resize(img, w, h, photo.Bicubic))
	feature := func(c, i int) float64 {
		if c == k-1 {
			return 1
		}
		return float64(latent[c*n+i])
	}
	p := &previewer{h: h, w: w}
	for ch := range p.colour {
		// The normal equations, with a little ridge against flat pictures.
		a := make([][]float64, k)
		for r := range a {
			a[r] = make([]float64, k+1)
			a[r][r] = 1e-3 * float64(n)
			for i := range n {
				f := feature(r, i)
				for c := range k {
					a[r][c] += f * feature(c, i)
				}
				a[r][k] += f * float64(rgb[ch*n+i])
			}
		}
		p.colour[ch] = solve(a)
	}
	return p
}

// solve is Gaussian elimination on a symmetric positive definite system with its
// right side in the last column.
func solve(a [][]float64) []float64 {
	k := len(a)
	for i := range k {
		for r := i + 1; r < k; r++ {
			f := a[r][i] / a[i][i]
			for c := i; c <= k; c++ {
				a[r][c] -= f * a[i][c]
			}
		}
	}
	x := make([]float64, k)
	for i := k - 1; i >= 0; i-- {
		x[i] = a[i][k]
		for c := i + 1; c < k; c++ {
			x[i] -= a[i][c] * x[c]
		}
		x[i] /= a[i][i]
	}
	return x
}

// picture shows a latent, C×h×w, in its own size.
func (p *previewer) picture(latent []float32) image.Image {
	n := p.h * p.w
	rgb := make([]float32, 3*n)
	for ch, weights := range p.colour {
		for i := range n {
			v := weights[len(weights)-1]
			for c := range len(weights) - 1 {
				v += weights[c] * float64(latent[c*n+i])
			}
			rgb[ch*n+i] = float32(math.Max(-1, math.Min(1, v)))
		}
	}
	return picture(rgb, p.h, p.w)
}
