package weights_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

func TestReportEmpty(t *testing.T) {
	var r weights.Report
	setOf(t, nil, "a").Unexpected(&r, "b")
	assert.NoError(t, r.Err())
}

func TestReportUnexpectedEverywhere(t *testing.T) {
	var r weights.Report
	setOf(t, nil, "a", "bc.d", "b.d").Unexpected(&r, "", "b.", "b")
	var mismatch *weights.MismatchError
	require.ErrorAs(t, r.Err(), &mismatch)
	assert.Equal(t, []string{"a", "b.d", "bc.d"}, mismatch.Unexpected, "each once")
}

func TestReportEscapes(t *testing.T) {
	var r weights.Report
	setOf(t, nil, "a\x1b[2J\nmissing:").Unexpected(&r, "")
	assert.ErrorContains(t, r.Err(), `"a\x1b[2J\nmissing:"`)
}

func TestWantRefusesZero(t *testing.T) {
	var r weights.Report
	assert.False(t, r.Want(&weights.Tensor{Name: "x", Shape: []int{0, 3}, File: "f"}, -1, 3))
	assert.ErrorContains(t, r.Err(), "x: shape [0 3], want [any 3] (f)")
}

func TestMismatchErrorAbbreviates(t *testing.T) {
	var r weights.Report
	for i := range 300 {
		r.Missing(fmt.Sprintf("model.control_model.input_blocks.%d.0.weight", i))
		r.Missing(fmt.Sprintf("model.diffusion_model.out.%d.weight", i))
	}
	r.Missing("model.diffusion_model.time_embed.0.weight")
	r.Invalid("one more")
	err := r.Err()
	assert.Equal(t, `the weights do not fit the networks: 601 missing, 1 invalid
missing:
  model.control_model.input_blocks.* (300)
  model.diffusion_model.out.* (300)
  model.diffusion_model.time_embed.0.weight
invalid:
  one more`, err.Error())
	var mismatch *weights.MismatchError
	require.ErrorAs(t, err, &mismatch)
	assert.Len(t, mismatch.Missing, 601, "all of them can be read")
}

func TestMismatchErrorTellsWhy(t *testing.T) {
	var r weights.Report
	for i := range 300 {
		r.Invalid("model.out.%03d.weight: stored as F64", i)
	}
	assert.ErrorContains(t, r.Err(), "\n  model.out.* (300), the first: stored as F64")
}

func TestMismatchErrorStaysShort(t *testing.T) {
	for name, format := range map[string]string{
		"nothing in common": "t%03d",
		"first part only":   "m%03d.weight",
		"no dot at all":     "%03d: shape [1], want [2] (f)",
		"deep":              "a.b.c.d.e.f.g.h.i.j.k.l.%03d",
	} {
		t.Run(name, func(t *testing.T) {
			var r weights.Report
			for i := range 1000 {
				r.Missing(fmt.Sprintf(format, i))
			}
			text := r.Err().Error()
			assert.LessOrEqual(t, strings.Count(text, "\n"), 14)
			assert.Contains(t, text, "1000 missing")
		})
	}
}
