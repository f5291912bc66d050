package supir_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"image"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir"
	"supir/embedded"
)

// TestTrace restores a picture with a trace and reads it back.
func TestTrace(t *testing.T) {
	var b bytes.Buffer
	trace := supir.NewTrace(&b)
	m, err := supir.New(embedded.Files())
	require.NoError(t, err)
	defer m.Close()
	opts := supir.Options{MinSize: 64, Steps: 2, Trace: trace}
	_, err = m.Restore(t.Context(), image.NewNRGBA(image.Rect(0, 0, 64, 64)), opts)
	require.NoError(t, err)
	require.NoError(t, trace.Close())

	var got struct {
		TraceEvents []struct {
			Name, Cat, Ph string
			Ts, Dur       float64
			Tid           int
			Args          map[string]any
		}
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	type bar struct{ from, to float64 }
	stages, operators := map[string]bar{}, map[string]int{}
	for _, e := range got.TraceEvents {
		switch e.Cat {
		case "stage":
			stages[e.Name] = bar{e.Ts, e.Ts + e.Dur}
		case "operator":
			operators[e.Name]++
		}
	}
	for _, s := range []supir.Stage{supir.StageEncode, supir.StageClean, supir.StageText, supir.StageSample, supir.StageDecode} {
		assert.Contains(t, stages, string(s))
	}
	for _, name := range []string{"linear", "convolution", "attention", "group norm", "layer norm"} {
		assert.Positive(t, operators[name], name)
	}
	// Operators of the U-Net lie within sampling.
	const layer = "model.diffusion_model.out.2.weight"
	found := 0
	for _, e := range got.TraceEvents {
		if e.Args["layer"] == layer {
			found++
			in := stages[string(supir.StageSample)]
			assert.GreaterOrEqual(t, e.Ts, in.from)
			assert.LessOrEqual(t, e.Ts+e.Dur, in.to+1)
		}
	}
	assert.Equal(t, opts.Steps, found)
}

type broken struct{ error }

func (b broken) Write([]byte) (int, error) { return 0, b.error }

func TestTraceOfBrokenWriter(t *testing.T) {
	full := errors.New("disk full")
	require.ErrorIs(t, supir.NewTrace(broken{full}).Close(), full)
}
