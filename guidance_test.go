package supir

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGuided(t *testing.T) {
	for _, test := range []struct {
		name  string
		scale linear
		sigma float64
		want  []float32 // of negative 1, 2 and positive 3, -2
		both  bool
	}{
		{"s=1 is the positive prediction alone", linear{1, 1}, 5, []float32{3, -2}, false},
		{"s=0 is the negative prediction", linear{0, 0}, 5, []float32{1, 2}, true},
		{"s=4", linear{4, 4}, 5, []float32{9, -14}, true},
		{"start", linear{4, 7.5}, sigmaMax, []float32{9, -14}, true},
		{"end", linear{4, 7.5}, 0, []float32{16, -28}, true},
		{"passing 1 at the end", linear{4, 1}, 0, []float32{3, -2}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			denoise := guided(func(x []float32, sigma, controlScale float64, both bool) (neg, pos []float32, err error) {
				assert.Equal(t, test.both, both)
				assert.Equal(t, test.sigma, sigma)
				assert.Equal(t, 0.5, controlScale)
				if both {
					neg = []float32{1, 2}
				}
				return neg, []float32{3, -2}, nil
			}, cfgScale{linear: test.scale})
			got, err := denoise([]float32{0, 0}, test.sigma, 0.5)
			require.NoError(t, err)
			assert.InDeltaSlice(t, test.want, got, 1e-5)
		})
	}
}

// The paper's formula, pos + λ·(pos - neg), with λ = s - 1.
func TestGuidedIsThePapersFormula(t *testing.T) {
	const lambda = 7.5
	neg, pos := normals(1, 32), normals(2, 32)
	denoise := guided(func([]float32, float64, float64, bool) ([]float32, []float32, error) {
		return append([]float32(nil), neg...), pos, nil
	}, cfgScale{linear: linear{lambda + 1, lambda + 1}})
	got, err := denoise(make([]float32, 32), 1, 1)
	require.NoError(t, err)
	for i := range got {
		assert.InDelta(t, pos[i]+lambda*(pos[i]-neg[i]), got[i], 1e-5)
	}
}

func TestGuidedFails(t *testing.T) {
	denoise := guided(func([]float32, float64, float64, bool) (neg, pos []float32, err error) {
		return nil, nil, assert.AnError
	}, cfgScale{linear: linear{4, 4}})
	_, err := denoise([]float32{0}, 1, 1)
	assert.ErrorIs(t, err, assert.AnError)
}

// Guidance is on where σ is in the interval, its ends included.
func TestGuidanceInterval(t *testing.T) {
	scale := cfgScale{linear{4, 4}, 0.5, 5}
	for sigma, want := range map[float64]float64{0: 1, 0.49: 1, 0.5: 4, 3: 4, 5: 4, 5.01: 1, 14.6: 1} {
		assert.Equal(t, want, scale.at(sigma), "σ = %v", sigma)
	}
	assert.Equal(t, 4.0, cfgScale{linear: linear{4, 4}}.at(15), "no limit")
	assert.False(t, scale.off())
	assert.True(t, cfgScale{linear{1, 1}, 0.5, 5}.off())
}
