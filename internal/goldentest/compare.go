package goldentest

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// NMSE is the normalised squared error of got, ‖got−want‖²/‖want‖².
func NMSE(got, want []float32) float64 {
	if len(got) != len(want) {
		panic(fmt.Sprintf("goldentest: error of %d values against %d", len(got), len(want)))
	}
	var wrong, norm float64
	for i := range want {
		d := float64(got[i]) - float64(want[i])
		wrong += d * d
		norm += float64(want[i]) * float64(want[i])
	}
	if wrong == 0 {
		return 0
	}
	return wrong / norm
}

// Equal fails the test, but does not end it, unless the NMSE of got is within
// the bound. It logs the error either way.
func Equal(t testing.TB, name string, got, want []float32, bound float64) {
	t.Helper()
	require.Len(t, got, len(want), name)
	e := NMSE(got, want)
	if !(e <= bound) { // so that NaN fails
		t.Errorf("%s: error %.2g, want at most %.2g", name, e, bound)
		return
	}
	t.Logf("%s: error %.2g", name, e)
}

var everyNth = regexp.MustCompile(`^(.*)@\[:, ::(\d+), ::(\d+)\]$`)

// Sparse takes a golden name apart: "encoder.conv_in@[:, ::4, ::4]" is
// encoder.conv_in of which only every 4th row and column is kept. Other names
// come back as they are, with step 1.
func Sparse(key string) (name string, step int) {
	m := everyNth.FindStringSubmatch(key)
	if m == nil || m[2] != m[3] {
		return key, 1
	}
	step, err := strconv.Atoi(m[2])
	if err != nil || step < 1 {
		return key, 1
	}
	return m[1], step
}

// Every keeps every step-th row and column of maps of size h×w.
func Every(step int, data []float32, h, w int) []float32 {
	if step == 1 {
		return data
	}
	var kept []float32
	for m := 0; m+h*w <= len(data); m += h * w {
		for y := 0; y < h; y += step {
			for x := 0; x < w; x += step {
				kept = append(kept, data[m+y*w+x])
			}
		}
	}
	return kept
}
