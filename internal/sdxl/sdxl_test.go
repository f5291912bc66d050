package sdxl

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// TestSizes compares the published model's layout with its known numbers of
// parameters.
func TestSizes(t *testing.T) {
	for part, want := range map[Part]float64{
		Diffusion: 2567.5e6 + 1331e6, // SDXL's U-Net; SUPIR's adaptor, as deep, with the connectors
		VAE:       83.65e6 + 34.2e6,  // SDXL's; the second encoder
		Text:      123.06e6 + 694.7e6,
	} {
		n := 0
		w := writer{add: func(_ string, _ kind, shape ...int) {
			each := 1
			for _, d := range shape {
				each *= d
			}
			n += each
		}}
		w.part(part, Shapes["sdxl"])
		assert.InEpsilon(t, want, n, 0.02, "part %d", part)
	}
}

// TestRandom wants numbers that are neither constant nor outrageous.
func TestRandom(t *testing.T) {
	for _, typ := range []weights.DType{weights.F32, weights.F16, weights.BF16} {
		set := Random(Diffusion, Shapes["small"], typ)
		for x := range set.Tensors() {
			v := x.Float32()
			require.Len(t, v, x.Elements())
			low, high := slices.Min(v), slices.Max(v)
			assert.Less(t, low, high, x.Name)
			assert.True(t, -4 < low && high < 4, "%s: %g to %g", x.Name, low, high)
			if len(x.Shape) > 1 {
				assert.Equal(t, typ, x.DType)
			}
		}
		assert.NoError(t, set.Close())
	}
}
