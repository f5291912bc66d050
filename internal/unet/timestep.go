package unet

import "math"

// Timestep writes the sinusoids of v to dst, of even length d: the cosines of
// v·10000^(-i/(d/2)), i = 0…d/2-1, then their sines.
func Timestep(dst []float32, v float64) {
	half := len(dst) / 2
	for i := range half {
		a := v * math.Exp(-math.Log(10000)*float64(i)/float64(half))
		dst[i], dst[half+i] = float32(math.Cos(a)), float32(math.Sin(a))
	}
}
