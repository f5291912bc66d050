package metrics

import "math"

// TextureEnergies describe a texture whatever its place: the mean squares of
// Haar wavelet coefficients, across, down and diagonal at four scales from the
// finest on, as base-2 logarithms of one plus the energy in squared levels.
func TextureEnergies(p Plane) []float64 {
	var out []float64
	for range 4 {
		var sums [3]float64
		for y := range p.H / 2 {
			top, bottom := p.row(2*y), p.row(2*y+1)
			for x := range p.W / 2 {
				a, b, c, d := top[2*x], top[2*x+1], bottom[2*x], bottom[2*x+1]
				for i, v := range [3]float64{a - b + c - d, a + b - c - d, a - b - c + d} {
					sums[i] += v * v / 4
				}
			}
		}
		n := float64(max(1, p.W/2*(p.H/2)))
		for _, v := range sums {
			out = append(out, math.Log2(1+v/n))
		}
		p = p.Halve()
	}
	return out
}
