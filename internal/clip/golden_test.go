package clip

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
)

// goldenBound is what an F32 implementation on the CPU stays within.
const goldenBound = 1e-10

// prompts reads the ids of all golden prompts for one encoder, N×T.
func prompts(t testing.TB, f *goldentest.File, encoder string) (names []string, ids []int32) {
	t.Helper()
	for _, key := range f.Names() {
		if name, ok := strings.CutSuffix(key, "."+encoder+".ids"); ok {
			_, data := f.Tensor(t, key)
			names = append(names, name)
			for _, id := range data {
				ids = append(ids, int32(id))
			}
		}
	}
	require.NotEmpty(t, names)
	return names, ids
}

// TestGoldenText runs all prompts as one batch through both encoders.
func TestGoldenText(t *testing.T) {
	f := goldentest.Open(t, "text.safetensors")
	set := goldentest.Weights(t)
	var l ClipL
	var b BigG
	var r weights.Report
	l.Load(set, &r)
	b.Load(set, &r)
	require.NoError(t, r.Err())
	names, idsL := prompts(t, f, "clip_l")
	_, idsG := prompts(t, f, "clip_g")
	n := len(names)
	require.Len(t, idsL, n*l.Length())
	require.Len(t, idsG, n*b.Length())

	for _, d := range goldentest.Devices(t) {
		for _, precision := range []struct {
			name  string
			as    nn.Precision
			bound float64
		}{
			{"F32", nn.F32, goldenBound * d.Tolerance},
			// The files' F16 is exact for these weights; products with it round
			// the other factor to F16 too.
			{"stored", nn.Stored, max(1e-5, goldenBound*d.Tolerance)},
		} {
			t.Run(d.Name+"/"+precision.name, func(t *testing.T) {
				e := d.Open(t)
				params, err := e.Load(t.Context(), precision.as, &l, &b)
				require.NoError(t, err)
				defer params.Close()
				program, err := e.Build(params, nil, func(g *nn.Graph) {
					nn.Output(g, "clip_l.hidden", l.Forward(g, g.InputIDs("l", l.Length(), n)))
					hidden, pooled := b.Forward(g, g.InputIDs("g", b.Length(), n), g.InputIDs("ends", 1, n))
					nn.Output(g, "clip_g.hidden", hidden)
					nn.Output(g, "clip_g.pooled", pooled)
				})
				require.NoError(t, err)
				defer program.Close()
				require.NoError(t, program.SetInts("l", idsL))
				require.NoError(t, program.SetInts("g", idsG))
				require.NoError(t, program.SetInts("ends", Ends(idsG, n)))
				require.NoError(t, program.Run(context.Background()))
				for _, output := range []string{"clip_l.hidden", "clip_g.hidden", "clip_g.pooled"} {
					all, err := program.Get(output)
					require.NoError(t, err)
					for i, name := range names {
						_, want := f.Tensor(t, name+"."+output)
						got := all[i*len(all)/n : (i+1)*len(all)/n]
						goldentest.Equal(t, name+"."+output, got, want, precision.bound)
					}
				}
			})
		}
	}
}
