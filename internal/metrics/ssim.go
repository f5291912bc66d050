package metrics

import "math"

// ssimWindow is a Gaussian of 11 taps, sigma 1.5.
var ssimWindow = gaussian(11, 1.5)

func gaussian(n int, sigma float64) []float64 {
	k, sum := make([]float64, n), 0.0
	for i := range k {
		t := float64(i) - float64(n-1)/2
		k[i] = math.Exp(-t * t / (2 * sigma * sigma))
		sum += k[i]
	}
	for i := range k {
		k[i] /= sum
	}
	return k
}

// valid is the weighted mean in every window that lies within the plane.
func valid(p Plane) []float64 {
	r := len(ssimWindow) / 2
	q := separable(p, ssimWindow, ssimWindow, r)
	out := make([]float64, 0, (p.W-2*r)*(p.H-2*r))
	for y := r; y < p.H-r; y++ {
		out = append(out, q.row(y)[r:p.W-r]...)
	}
	return out
}

// product is x·y, point by point.
func product(x, y Plane) Plane {
	out := newPlane(x.W, x.H)
	for i := range out.Pix {
		out.Pix[i] = x.Pix[i] * y.Pix[i]
	}
	return out
}

// ssim is the mean structural similarity of two planes, valid windows only, and
// the mean of its term of contrast and structure. Nothing is scaled down first.
func ssim(x, y Plane) (all, structure float64) {
	const c1, c2 = (0.01 * 255) * (0.01 * 255), (0.03 * 255) * (0.03 * 255)
	mx, my := valid(x), valid(y)
	xx, yy, xy := valid(product(x, x)), valid(product(y, y)), valid(product(x, y))
	for i, m := range mx {
		n := my[i]
		vx, vy, vxy := xx[i]-m*m, yy[i]-n*n, xy[i]-m*n
		cs := (2*vxy + c2) / (vx + vy + c2)
		structure += cs
		all += (2*m*n + c1) / (m*m + n*n + c1) * cs
	}
	count := float64(len(mx))
	return all / count, structure / count
}

// msSSIM is SSIM over five scales, each half of the one before; negative terms
// count as 0.
func msSSIM(x, y Plane) float64 {
	weights := [...]float64{0.0448, 0.2856, 0.3001, 0.2363, 0.1333}
	if min(x.W, x.H) < len(ssimWindow)<<(len(weights)-1) {
		return math.NaN()
	}
	out := 1.0
	for i, w := range weights {
		all, structure := ssim(x, y)
		term := structure
		if i == len(weights)-1 {
			term = all
		}
		out *= math.Pow(max(term, 0), w)
		x, y = x.Halve(), y.Halve()
	}
	return out
}
