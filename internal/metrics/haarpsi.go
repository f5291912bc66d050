package metrics

import "math"

// haarPSI compares Haar wavelet coefficients of two scales, weighted by those of
// a third, in luma, and means of chroma, all at half the size.
func haarPSI(a, b [3]Plane) float64 {
	const c, alpha = 30, 4.2
	p, q := yiq(a), yiq(b)
	n := len(p[0].Pix)
	similarity := func(u, v float64) float64 { return (2*u*v + c) / (u*u + v*v + c) }

	// Three maps of similarity with their weights: across, down, chroma.
	var maps, weights [3][]float64
	for axis := range 2 {
		maps[axis], weights[axis] = make([]float64, n), make([]float64, n)
		for scale := 1; scale <= 3; scale++ {
			u, v := haar(p[0], scale, axis), haar(q[0], scale, axis)
			for i := range n {
				if scale == 3 {
					weights[axis][i] = max(u[i], v[i])
				} else {
					maps[axis][i] += similarity(u[i], v[i]) / 2
				}
			}
		}
	}
	maps[2], weights[2] = make([]float64, n), make([]float64, n)
	for ch := 1; ch <= 2; ch++ {
		u, v := blocks(p[ch]), blocks(q[ch])
		for i := range n {
			maps[2][i] += similarity(u[i], v[i]) / 2
		}
	}
	sum, total := 0.0, 0.0
	for m := range maps {
		for i, s := range maps[m] {
			w := weights[m][i]
			if m == 2 {
				w = (weights[0][i] + weights[1][i]) / 2
			}
			sum += w / (1 + math.Exp(-alpha*s))
			total += w
		}
	}
	if total == 0 { // two flat pictures: no detail to weigh by
		for ch := range a {
			for i, v := range a[ch].Pix {
				if v != b[ch].Pix[i] {
					return math.NaN()
				}
			}
		}
		return 1
	}
	v := sum / total
	l := math.Log(v/(1-v)) / alpha
	return l * l
}

// yiq is a picture in the colour space YIQ at half its size.
func yiq(p [3]Plane) [3]Plane {
	return [3]Plane{
		mix(p, 0.299, 0.587, 0.114).Halve(),
		mix(p, 0.596, -0.274, -0.322).Halve(),
		mix(p, 0.211, -0.523, 0.312).Halve(),
	}
}

// haar are the magnitudes of the coefficients of a scale: half minus half of a
// square of 2^scale pixels, axis 0 down and 1 across.
func haar(p Plane, scale, axis int) []float64 {
	n := 1 << scale
	sum, step := make([]float64, n), make([]float64, n)
	for i := range n {
		sum[i], step[i] = 1, 1
		if i >= n/2 {
			step[i] = -1
		}
	}
	across, down := sum, step
	if axis == 1 {
		across, down = step, sum
	}
	return magnitudes(separable(p, across, down, n/2-1), float64(n))
}

// blocks are the magnitudes of the means of 2×2 pixels.
func blocks(p Plane) []float64 {
	one := []float64{1, 1}
	return magnitudes(separable(p, one, one, 0), 4)
}

func magnitudes(p Plane, over float64) []float64 {
	for i, v := range p.Pix {
		p.Pix[i] = math.Abs(v) / over
	}
	return p.Pix
}
