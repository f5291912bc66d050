package goldentest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNMSE(t *testing.T) {
	assert.InDelta(t, 0.01, NMSE([]float32{1.1, 0}, []float32{1, 0}), 1e-6)
	assert.Zero(t, NMSE([]float32{0}, []float32{0}))
	assert.True(t, math.IsInf(NMSE([]float32{1}, []float32{0}), 1))
	assert.True(t, math.IsNaN(NMSE([]float32{float32(math.NaN())}, []float32{1})))
}

func TestSparse(t *testing.T) {
	name, step := Sparse("encoder.conv_in@[:, ::4, ::4]")
	assert.Equal(t, "encoder.conv_in", name)
	assert.Equal(t, 4, step)
	name, step = Sparse("encoder.conv_in")
	assert.Equal(t, "encoder.conv_in", name)
	assert.Equal(t, 1, step)

	// Two maps of 3×4, every 2nd row and column.
	var data []float32
	for i := range 24 {
		data = append(data, float32(i))
	}
	assert.Equal(t, []float32{0, 2, 8, 10, 12, 14, 20, 22}, Every(2, data, 3, 4))
}

func TestGoldenFilesAreThere(t *testing.T) {
	assert.NotEmpty(t, Weights(t).Names())
	assert.NotZero(t, Config(t).HeadsL)
	assert.NotEmpty(t, Devices(t))
	f := Open(t, "vae.safetensors")
	shape, data := f.Tensor(t, "image")
	assert.Len(t, data, shape[0]*shape[1]*shape[2])
}
