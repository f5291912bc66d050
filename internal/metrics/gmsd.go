package metrics

import "math"

// gmsd is the deviation of the similarity of gradients (Prewitt), at half the
// size.
func gmsd(x, y Plane) float64 {
	const c = 170
	a, b := prewitt(x.Halve()), prewitt(y.Halve())
	for i, v := range a {
		a[i] = (2*v*b[i] + c) / (v*v + b[i]*b[i] + c)
	}
	return deviation(a)
}

// prewitt is the magnitude of the gradient, with zeros around the plane.
func prewitt(p Plane) []float64 {
	mean, step := []float64{1. / 3, 1. / 3, 1. / 3}, []float64{-1, 0, 1}
	gx, gy := separable(p, step, mean, 1), separable(p, mean, step, 1)
	for i, v := range gx.Pix {
		gx.Pix[i] = math.Hypot(v, gy.Pix[i])
	}
	return gx.Pix
}
