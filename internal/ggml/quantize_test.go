package ggml_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/ggml"
)

// TestQuantize takes normal numbers to every type and back. What may be lost, as
// a normalised squared error, follows from the bits: a step of a uniform
// quantiser of b bits over ±3σ costs (6/2ᵇ)²/12.
func TestQuantize(t *testing.T) {
	const n, rows = 512, 16
	r := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, n*rows)
	for i := range values {
		values[i] = float32(0.02 * r.NormFloat64())
	}
	for typ, most := range map[ggml.Type]float64{
		ggml.F32: 0, ggml.F16: 1e-7, ggml.BF16: 5e-6,
		ggml.Q8_0: 5e-5, ggml.Q6_K: 8e-4, ggml.Q5_K: 3e-3, ggml.Q4_K: 1e-2, ggml.Q4_0: 1.2e-2,
	} {
		t.Run(typ.String(), func(t *testing.T) {
			stored := make([]byte, rows*typ.RowSize(n))
			ggml.Quantize(typ, stored, values, n)
			back := make([]float32, len(values))
			ggml.Dequantize(typ, back, stored)
			var wrong, norm float64
			for i, v := range values {
				d := float64(back[i]) - float64(v)
				wrong += d * d
				norm += float64(v) * float64(v)
			}
			t.Logf("error %.2g", wrong/norm)
			assert.LessOrEqual(t, wrong/norm, most)
			assert.GreaterOrEqual(t, wrong/norm, most/20, "is it quantised at all?")

			again := make([]byte, len(stored)) // in parts, as files are converted
			half := rows / 2 * int(typ.RowSize(n))
			ggml.Quantize(typ, again[:half], values[:rows/2*n], n)
			ggml.Quantize(typ, again[half:], values[rows/2*n:], n)
			assert.Equal(t, stored, again)
		})
	}
}

func TestQuantizeChecks(t *testing.T) {
	for name, f := range map[string]func(){
		"rows of half a block": func() { ggml.Quantize(ggml.Q4_K, make([]byte, 1000), make([]float32, 256), 128) },
		"half a row":           func() { ggml.Quantize(ggml.Q8_0, make([]byte, 1000), make([]float32, 96), 64) },
		"too small a place":    func() { ggml.Quantize(ggml.Q8_0, make([]byte, 33), make([]float32, 32), 32) },
		"half a block back":    func() { ggml.Dequantize(ggml.Q8_0, make([]float32, 16), make([]byte, 34)) },
		"too few bytes":        func() { ggml.Dequantize(ggml.F16, make([]float32, 16), make([]byte, 31)) },
		"an integer":           func() { ggml.Dequantize(ggml.I32, make([]float32, 16), make([]byte, 64)) },
	} {
		t.Run(name, func(t *testing.T) {
			assert.PanicsWithError(t, panicOf(t, f).Error(), f)
		})
	}
	for _, number := range []int{-1, 4, 9, 31, 24, 1 << 20} { // none, removed, without a way back, integers
		_, ok := ggml.TypeOf(number)
		assert.False(t, ok, number)
	}
	typ, ok := ggml.TypeOf(12)
	require.True(t, ok)
	assert.Equal(t, ggml.Q4_K, typ)
}

// panicOf is the *ggml.ShapeError that f panics with.
func panicOf(t *testing.T, f func()) (e *ggml.ShapeError) {
	defer func() {
		var ok bool
		e, ok = recover().(*ggml.ShapeError)
		require.True(t, ok)
	}()
	f()
	return nil
}
