package supir

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// normals returns the first n values of a seed's noise.
func normals(seed uint64, n int) []float32 {
	values := make([]float32, n)
	newNoise(seed)(values)
	return values
}

// A seed's pictures must stay the same: over platforms, Go versions and releases of this package.
func TestNoiseIsPinned(t *testing.T) {
	want := []uint32{
		0xc020ff0d, // -2.515567
		0xbf821d1b, // -1.0165132
		0x3f7e4b48, // 0.9933362
		0xbef2e88c, // -0.47443044
		0x3fbe32c2, // 1.485924
		0xbfd31044, // -1.6489339
		0x3ef1e319, // 0.47243574
		0xbfa20e79, // -1.2660667
	}
	for i, v := range normals(1234, len(want)) {
		assert.Equal(t, want[i], math.Float32bits(v), "value %d: %v", i, v)
	}
	sum := uint64(14695981039346656037) // FNV-1a over a long run's bits
	for _, v := range normals(1234, 1<<20) {
		sum = (sum ^ uint64(math.Float32bits(v))) * 1099511628211
	}
	assert.Equal(t, uint64(0xa238e486b7b2621), sum)
}

func TestNoiseIsNormal(t *testing.T) {
	const n = 1 << 20
	values := normals(1, n)
	var moments [5]float64
	for _, v := range values {
		for p := range moments {
			moments[p] += math.Pow(float64(v), float64(p)) / n
		}
	}
	// Five standard errors of each mean.
	assert.InDelta(t, 0, moments[1], 5*math.Sqrt(1./n))
	assert.InDelta(t, 1, moments[2], 5*math.Sqrt(2./n))
	assert.InDelta(t, 0, moments[3], 5*math.Sqrt(15./n))
	assert.InDelta(t, 3, moments[4], 5*math.Sqrt(96./n))

	// Kolmogorov-Smirnov: 2.3 is passed once in 20,000 seeds.
	slices.Sort(values)
	worst := 0.0
	for i, v := range values {
		expected := math.Erfc(-float64(v)/math.Sqrt2) / 2
		worst = max(worst, math.Abs(expected-(float64(i)+0.5)/n))
	}
	assert.Less(t, worst*math.Sqrt(n), 2.3)
}

func TestNoiseGoesOn(t *testing.T) {
	whole := normals(7, 64)
	noise := newNoise(7)
	first, second := make([]float32, 24), make([]float32, 40)
	noise(first)
	noise(second)
	assert.Equal(t, whole, append(first, second...))
	assert.NotEqual(t, whole, normals(8, 64))

	assert.Equal(t, whole[:7], normals(7, 7), "an odd length")
	assert.NotPanics(t, func() { noise(nil) })
}

func TestLn(t *testing.T) {
	for x := 1e5; x > 1e-300; x *= 0.9371 {
		assert.InEpsilon(t, math.Log(x), ln(x), 1e-14, "ln(%v)", x)
	}
	for _, x := range []float64{1 - 1./(1<<53), 1 - 1./(1<<30), 0.9999, 1.0001, 0x1p-106} {
		assert.InEpsilon(t, math.Log(x), ln(x), 1e-14, "ln(%v)", x)
	}
	assert.Zero(t, ln(1))
}

func BenchmarkNoise(b *testing.B) {
	noise, field := newNoise(1), make([]float32, 4*128*128)
	b.SetBytes(int64(4 * len(field)))
	for b.Loop() {
		noise(field)
	}
}
