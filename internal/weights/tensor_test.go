package weights_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

func TestFloat32(t *testing.T) {
	for _, tt := range []struct {
		dtype weights.DType
		data  string // little-endian
		want  []float32
	}{
		{weights.F32, "\x00\x00\x80\x3f\x00\x00\x20\xc0\x01\x00\x00\x00", []float32{1, -2.5, math.SmallestNonzeroFloat32}},
		{weights.F16, "\x00\x3c\x00\xc1\x01\x00\xff\x7b\x00\x7c", []float32{1, -2.5, 0x1p-24, 65504, float32(math.Inf(1))}},
		{weights.BF16, "\x80\x3f\x20\xc0\x7f\x7f", []float32{1, -2.5, 0x1.fep127}},
		{weights.F64, "\x00\x00\x00\x00\x00\x00\xf0\x3f\x9a\x99\x99\x99\x99\x99\xb9\x3f", []float32{1, 0.1}},
		{weights.U8, "\x00\xff", []float32{0, 255}},
		{weights.Bool, "\x00\x01", []float32{0, 1}},
		{weights.I8, "\x7f\x80", []float32{127, -128}},
		{weights.U16, "\xff\xff", []float32{65535}},
		{weights.I16, "\xff\xff\x00\x01", []float32{-1, 256}},
		{weights.U32, "\x00\x00\x00\x80", []float32{1 << 31}},
		{weights.I32, "\x00\x00\x00\x80\x03\x00\x00\x00", []float32{-1 << 31, 3}},
		{weights.U64, "\xff\xff\xff\xff\xff\xff\xff\xff", []float32{1 << 64}},
		{weights.I64, "\xfe\xff\xff\xff\xff\xff\xff\xff", []float32{-2}},
	} {
		t.Run(tt.dtype.String(), func(t *testing.T) {
			x := weights.Tensor{DType: tt.dtype, Shape: []int{len(tt.want)}, Data: []byte(tt.data)}
			assert.Equal(t, tt.want, x.Float32())
		})
	}
	t.Run("unknown type", func(t *testing.T) {
		x := weights.Tensor{Name: "x", DType: 99}
		assert.PanicsWithValue(t, "weights: x: Float32 of DType(99)", func() { x.Float32() })
	})
}

// A header of any length may stand before the data, so values need not be
// aligned.
func TestFloat32Unaligned(t *testing.T) {
	for pad := range 8 {
		header := `{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}` + "        "[:pad]
		set, err := openBytes(raw(header, "\x00\x00\x80\x3f\x00\x00\x20\xc0"))
		require.NoError(t, err)
		assert.Equal(t, []float32{1, -2.5}, set.Tensor("a").Float32())
	}
}

func TestElements(t *testing.T) {
	assert.Equal(t, 1, (&weights.Tensor{}).Elements())
	assert.Equal(t, 24, (&weights.Tensor{Shape: []int{2, 3, 4}}).Elements())
	assert.Equal(t, 0, (&weights.Tensor{Shape: []int{2, 0}}).Elements())
}

func TestWeightTypes(t *testing.T) {
	for d := weights.F32; d <= weights.Bool; d++ {
		assert.Equal(t, d <= weights.BF16, d.Weight(), d)
		assert.False(t, d.Quantised(), d)
	}
	for d := weights.Q4_0; d <= weights.Q2_0; d++ {
		assert.True(t, d.Weight() && d.Quantised(), d)
		_, ok := d.GGML()
		assert.True(t, ok, d)
	}
	assert.False(t, (weights.Q2_0 + 1).Weight())
}

// one is a small file with one tensor of that name and value.
func one(name string, value float32, metadata map[string]string) []byte {
	return weightstest.Safetensors(map[string]weightstest.Tensor{name: weightstest.F32([]int{1}, value)}, metadata)
}
