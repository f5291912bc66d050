package memory

import (
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"
)

func TestFloats(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for name, kind := range map[string]struct{ short, onDisk bool }{
		"memory": {}, "disk": {onDisk: true}, "short": {short: true}, "short on disk": {short: true, onDisk: true},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := NewFloats(10, kind.short, kind.onDisk)
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, 10, f.Len())
			require.NoError(t, f.Write([]float32{1, 2, 3}, 7))
			got := make([]float32, 5)
			require.NoError(t, f.Read(got, 5))
			require.Equal(t, []float32{0, 0, 1, 2, 3}, got)
			require.NoError(t, f.Read(nil, 10))
			require.Error(t, f.Read(got, 6), "beyond the end")
			require.Error(t, f.Write(got, -1))
			f.Close()
			f.Close()
			require.Error(t, f.Read(got, 0), "closed")
			left, err := os.ReadDir(os.TempDir())
			require.NoError(t, err)
			require.Empty(t, left, "nothing stays")
		})
	}
}

// TestHalf compares with the package float16, of which ours are a 256th.
func TestHalf(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, v := range []float32{0, 1, -1, 1 + 1.0/2048, 1 + 3.0/2048, 1.0 / 64, 3e-3, 1e-5, 1 << 23, -16769024, 16776191, 16776192, 1 << 25, 3e38, inf, -inf} {
		want := float16.Fromfloat32(v / 256)
		require.Equal(t, want.Bits(), toHalf(v), "%v", v)
		require.Equal(t, want.Float32()*256, fromHalf(toHalf(v)), "%v", v)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 100000 {
		v := float32(r.NormFloat64() * math.Exp(8*r.NormFloat64()))
		if math.Abs(float64(v)) > 1<<23 {
			require.Equal(t, float16.Fromfloat32(v/256).Bits(), toHalf(v), "%v", v)
			continue
		}
		require.InDelta(t, v, fromHalf(toHalf(v)), max(math.Abs(float64(v))/2048, 0x1p-17), "%v", v)
		if want := float16.Fromfloat32(v / 256).Bits(); math.Abs(float64(v)) >= 1.0/64 {
			require.Equal(t, want, toHalf(v), "%v", v)
		} else { // near the middle of two the product rounds first
			require.InDelta(t, want, toHalf(v), 1, "%v", v)
		}
	}
	require.True(t, math.IsNaN(float64(fromHalf(toHalf(float32(math.NaN()))))))
	require.True(t, math.Signbit(float64(fromHalf(toHalf(float32(math.Copysign(0, -1)))))))
}

// TestFloatsNowhere wants an error, not a crash, where there is no room.
func TestFloatsNowhere(t *testing.T) {
	_, err := NewFloats(1<<58, false, false)
	require.Error(t, err)
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	_, err = NewFloats(1, false, true)
	require.Error(t, err)
}

// TestFloatsLeaveNothing: maps go through Go's heap a thousand times in a picture,
// where what they left would count as much as all pictures.
func TestFloatsLeaveNothing(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const n = 3*piece + 5
	numbers, got := make([]float32, n), make([]float32, n)
	for i := range numbers {
		numbers[i] = float32(i)
	}
	for _, onDisk := range []bool{false, true} {
		f, err := NewFloats(n, true, onDisk)
		require.NoError(t, err)
		defer f.Close()
		const times = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range times {
			require.NoError(t, f.Write(numbers, 0))
			require.NoError(t, f.Read(got, 0))
		}
		runtime.ReadMemStats(&after)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)/times, uint64(n), "bytes each time, on disk: %v", onDisk)
		require.InDeltaSlice(t, numbers, got, n/2048.0)
	}
}
