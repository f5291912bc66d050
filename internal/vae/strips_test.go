package vae

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
)

// runLayout runs a network over a picture of numbers.
func runLayout(t testing.TB, e *nn.Engine, params *nn.Params, n *Network, layout Layout, in []float32) []float32 {
	t.Helper()
	c, h, w := n.Size()
	out := make([]float32, c*h*w)
	last := 0
	require.NoError(t, n.Run(t.Context(), e, params, layout, Slice(in), Slice(out), func(done, of int) {
		require.Equal(t, last+1, done)
		require.LessOrEqual(t, done, of)
		if last = done; done == of {
			last = -1
		}
	}))
	require.Equal(t, -1, last, "the progress ends at its end")
	return out
}

func nmse(got, want []float32) float64 {
	var d, n float64
	for i := range want {
		d += math.Pow(float64(got[i])-float64(want[i]), 2)
		n += float64(want[i]) * float64(want[i])
	}
	return d / n
}

// stripBound is for a network in strips against the whole one. Both add up the
// same numbers, in another order here and there.
const stripBound = 1e-10

// shortBound is for maps kept in half precision in between; products in bfloat16
// bring a hundred times as much.
const shortBound = 3e-6

// TestGoldenStrips wants the same of pictures in strips as of whole ones, on
// every device, with borders at odd places, in memory and on disk.
func TestGoldenStrips(t *testing.T) {
	v := load(t)
	f := v.Factor()
	h, w := 23*f, 5*f
	for _, d := range goldentest.Devices(t) {
		t.Run(d.Name, func(t *testing.T) {
			e := d.Open(t)
			params, err := e.Load(t.Context(), nn.F32, v)
			require.NoError(t, err)
			defer params.Close()
			for name, n := range map[string]*Network{"encode": v.EncoderFor(&v.Encoder, h, w), "decode": v.DecoderFor(h, w)} {
				in := waves(n.c, n.h, n.w)
				want := runLayout(t, e, params, n, Layout{}, in)
				whole, err := n.Measure(e, params, Layout{})
				require.NoError(t, err)
				require.Equal(t, 1, whole.Strips)
				for _, layout := range []Layout{{Map: 1}, {Map: 80 << 10, OnDisk: true}, {Map: 300 << 10}, {Map: 80 << 10, Short: true}} {
					t.Run(fmt.Sprintf("%s %d %v", name, layout.Map, layout.Short), func(t *testing.T) {
						cost, err := n.Measure(e, params, layout)
						require.NoError(t, err)
						require.Greater(t, cost.Strips, 1)
						assert.Less(t, cost.Working, whole.Working)
						assert.Equal(t, layout.OnDisk, cost.Disk > 0)
						error := nmse(runLayout(t, e, params, n, layout, in), want)
						t.Logf("%d strips, error %.2g, %d KiB of %d", cost.Strips, error, cost.Working>>10, whole.Working>>10)
						if layout.Short {
							assert.LessOrEqual(t, error, shortBound)
						} else {
							assert.LessOrEqual(t, error, stripBound*d.Tolerance)
						}
					})
				}
			}
		})
	}
}

// waves are planes with something in them at every scale.
func waves(c, h, w int) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	x := make([]float32, c*h*w)
	for i := range x {
		x[i] = float32(r.NormFloat64()/2+math.Sin(float64(i%w)/9)+math.Cos(float64(i/w%h)/15)) / 2
	}
	return x
}

// TestThinnedKeys lets the attention look at means of four pixels. What it adds
// to a picture differs a little then, without a seam where strips meet.
func TestThinnedKeys(t *testing.T) {
	v := load(t)
	f := v.Factor()
	n := v.DecoderFor(24*f, 8*f)
	defer func(most int) { maxKeys = most }(maxKeys)
	e, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	defer e.Close()
	params, err := e.Load(t.Context(), nn.F32, v)
	require.NoError(t, err)
	defer params.Close()
	in := waves(n.c, n.h, n.w)
	want := runLayout(t, e, params, n, Layout{}, in)
	maxKeys = 24 * 8 / 4
	two := runLayout(t, e, params, n, Layout{Map: 12 << 10}, in)
	require.InDelta(t, 0, nmse(two, want), 1e-2)
	require.Greater(t, nmse(two, want), 1e-8, "thinned")
	disk := Layout{Map: 1, OnDisk: true}
	require.EqualValues(t, 2*4*24*8/4*v.Decoder.Mid.Block1.Conv2.Out(), n.Between(disk), "keys and values stay in memory")
	three := runLayout(t, e, params, n, disk, in)
	require.InDelta(t, 0, nmse(three, two), stripBound, "the same wherever strips meet")
}

func TestGrid(t *testing.T) {
	defer func(most int) { maxKeys = most }(maxKeys)
	maxKeys = 6
	g := thinned(3, 5)
	require.Equal(t, grid{3, 5, 2}, g)
	require.Equal(t, 6, g.tokens())
	require.Equal(t, []int{0, 1, 2, 3, 5}, []int{g.cell(0, 1), g.cell(1, 3), g.cell(1, 4), g.cell(2, 0), g.cell(2, 4)})
	require.Equal(t, []float32{1, 1, 1, 1, 1, 1}, g.mean([]float32{4, 4, 2, 2, 2, 1}), "squares of 4, 4, 2, 2, 2 and 1 pixels")
	require.Zero(t, grid{}.tokens())
}

// TestGradient takes a smooth picture of 2048 rows through the robust encoder and
// the decoder in strips: no row beside a border between strips stands out, and no
// colour drifts.
func TestGradient(t *testing.T) {
	v := load(t)
	const h, w = 2048, 128
	e, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	defer e.Close()
	params, err := e.Load(t.Context(), nn.F32, v)
	require.NoError(t, err)
	defer params.Close()
	in := make([]float32, 3*h*w)
	for i := range in {
		in[i] = float32(i/w%h)/h*1.6 - 0.8 + float32(i/(h*w))*0.1
	}
	encoder, decoder := v.EncoderFor(&v.Robust, h, w), v.DecoderFor(h, w)
	through := func(layout Layout) []float32 {
		lq := Mode(runLayout(t, e, params, encoder, layout, in), 1)
		return runLayout(t, e, params, decoder, layout, lq)
	}
	layout := Layout{Map: 2 << 20}
	whole, strips := through(Layout{}), through(layout)
	cost, err := decoder.Measure(e, params, layout)
	require.NoError(t, err)
	require.Greater(t, cost.Strips, 8)
	for c := range 3 {
		var drift, seam float64
		for y := range h {
			var row float64 // the difference's mean over a row
			for x := range w {
				i := (c*h+y)*w + x
				row += float64(strips[i]-whole[i]) / w
				seam = max(seam, math.Abs(float64(strips[i]-whole[i])))
			}
			drift += row / h
		}
		t.Logf("colour %d, %d strips: drift %.2g, worst difference %.2g", c, cost.Strips, drift, seam)
		assert.InDelta(t, 0, drift, 1e-5, "drift, where a level of 8 bits is 8e-3")
		assert.Less(t, seam, 1e-3, "seams")
	}
	assert.LessOrEqual(t, nmse(strips, whole), 1e-9)
}
