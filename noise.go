package supir

import (
	"math"
	"math/rand/v2"
)

// noiseSource fills dst with independent standard normals, going on where its last call ended.
type noiseSource func(dst []float32)

// newNoise returns the normals of a seed: the same numbers, to the last bit, on every platform.
//
// Uniforms come from PCG-DXSM (rand.NewPCG(seed, 0)) and become normals by Marsaglia's polar
// method, two at a time; the second of a last pair is dropped where dst is odd. Only operations that
// IEEE 754 rounds correctly are used, and none may be fused, so the package brings its own logarithm:
// math.Log differs between architectures, and rand.NormFloat64 makes no promise over Go's versions.
func newNoise(seed uint64) noiseSource {
	pcg := rand.NewPCG(seed, 0)
	uniform := func() float64 { // in [-1, 1), in steps of 2⁻⁵³
		return float64(int64(pcg.Uint64())>>10) / (1 << 53)
	}
	return func(dst []float32) {
		for i := 0; i < len(dst); {
			u, v := uniform(), uniform()
			s := float64(u*u) + float64(v*v)
			if s >= 1 || s == 0 {
				continue
			}
			radius := math.Sqrt(-2 * ln(s) / s)
			dst[i] = float32(u * radius)
			if i+1 < len(dst) {
				dst[i+1] = float32(v * radius)
			}
			i += 2
		}
	}
}

// ln is the natural logarithm of a positive number, by the series 2·(r + r³/3 + r⁵/5 + …) in
// r = (m-1)/(m+1), where m is x scaled by a power of two into [√½, √2): |r| < 0.172, so that the
// first term left out is below 2⁻⁵³.
func ln(x float64) float64 {
	m, exponent := math.Frexp(x)
	if m < math.Sqrt2/2 {
		m *= 2
		exponent--
	}
	r := (m - 1) / (m + 1)
	square := float64(r * r)
	sum := 0.0
	for k := 21; k > 0; k -= 2 {
		sum = 1/float64(k) + float64(sum*square)
	}
	return float64(2*r*sum) + float64(float64(exponent)*math.Ln2)
}
