package nn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// build records a program until the test's end.
func build(t *testing.T, e *Engine, params *Params, taps func(string) bool, f func(g *Graph)) *Program {
	t.Helper()
	p, err := e.Build(params, taps, f)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

func load(t *testing.T, e *Engine, list ...*weights.Tensor) *Params {
	t.Helper()
	params, err := e.Load(t.Context(), F32, bagOf(list))
	require.NoError(t, err)
	t.Cleanup(params.Close)
	return params
}

func get(t *testing.T, p *Program, name string) []float32 {
	t.Helper()
	data, err := p.Get(name)
	require.NoError(t, err)
	return data
}

// TestOnce makes sure that what depends on one input alone is computed only
// when that is set.
func TestOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		var kept Tokens
		p := build(t, e, load(t, e), nil, func(g *Graph) {
			context, x := g.InputTokens("context", 3, 2, 1), g.InputTokens("x", 3, 2, 1)
			kept = Once(g, "context", func() Tokens {
				// Inside, another Once and a name are nothing special.
				return Name(g, Once(g, "context", func() Tokens { return Scale(g, context, 2) }), "inside")
			})
			Output(g, "out", Add(g, x, kept))
		})
		x, context1, context2 := []float32{1, 2, 3, 4, 5, 6}, []float32{10, 20, 30, 40, 50, 60}, []float32{100, 0, 0, 0, 0, 0}
		run := func() []float32 {
			require.NoError(t, p.Run(context.Background()))
			return get(t, p, "out")
		}
		require.NoError(t, p.Set("x", x))
		require.NoError(t, p.Set("context", context1))
		assert.Equal(t, []float32{21, 42, 63, 84, 105, 126}, run())

		// Spoil what is kept: it stays spoilt until its input is set.
		kept.t.SetFloat32(make([]float32, 6))
		assert.Equal(t, x, run())
		require.NoError(t, p.Set("x", context2))
		assert.Equal(t, context2, run())
		require.NoError(t, p.Set("context", context2))
		assert.Equal(t, []float32{300, 0, 0, 0, 0, 0}, run())
	})
}

// TestTaps reads values on the way, even where memory would be used again.
func TestTaps(t *testing.T) {
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		var wanted []string
		p := build(t, e, load(t, e), func(name string) bool { return name != "no" }, func(g *Graph) {
			x := g.InputMap("x", 2, 1, 2, 1)
			for i := range 8 {
				x = Name(g, Scale(g, x, 2), "step.%d", i)
				x = Name(g, x, "no")
				tokens := Name(g, g.Tokens(x), "step.%d.tokens", i)
				// A view of the tokens, whose memory is not its own.
				x = Name(g, g.Map(tokens, 1, 2), "step.%d.map", i)
				wanted = append(wanted, fmt.Sprintf("step.%d", i), fmt.Sprintf("step.%d.map", i), fmt.Sprintf("step.%d.tokens", i))
			}
			Output(g, "out", x)
		})
		require.NoError(t, p.Set("x", []float32{1, 2, 3, 4}))
		require.NoError(t, p.Run(context.Background()))
		got := p.Outputs()
		slices.Sort(got)
		assert.Equal(t, append([]string{"out"}, wanted...), got)
		for i := range 8 {
			f := float32(int(2) << i)
			assert.Equal(t, []float32{f, 2 * f, 3 * f, 4 * f}, get(t, p, fmt.Sprintf("step.%d", i)))
			assert.Equal(t, []float32{f, 2 * f, 3 * f, 4 * f}, get(t, p, fmt.Sprintf("step.%d.map", i)))
			assert.Equal(t, []float32{f, 3 * f, 2 * f, 4 * f}, get(t, p, fmt.Sprintf("step.%d.tokens", i)))
		}
	})
}

func TestSetAndGet(t *testing.T) {
	e := engines(t)[0].open(t)
	p := build(t, e, load(t, e), nil, func(g *Graph) {
		x := g.InputVector("x", 3, 2)
		g.InputIDs("ids", 1, 2)
		Output(g, "same", x)
		Output(g, "out", Scale(g, x, -1))
	})
	require.NoError(t, p.Set("x", []float32{1, 2, 3, 4, 5, 6}))
	require.NoError(t, p.Run(context.Background()))
	assert.Equal(t, []float32{-1, -2, -3, -4, -5, -6}, get(t, p, "out"))
	assert.Equal(t, []float32{1, 2, 3, 4, 5, 6}, get(t, p, "same"))

	require.ErrorContains(t, p.Set("x", make([]float32, 5)), `input "x": 5 values`)
	require.ErrorContains(t, p.Set("x", make([]float32, 7)), `input "x": 7 values`)
	require.ErrorContains(t, p.Set("x", nil), `input "x": 0 values`)
	require.ErrorContains(t, p.Set("y", make([]float32, 6)), `no input "y"`)
	require.ErrorContains(t, p.SetInts("ids", make([]int32, 3)), `input "ids"`)
	require.Error(t, p.SetInts("x", make([]int32, 6)), "not an input of indices")
	require.Error(t, p.Set("ids", make([]float32, 2)), "not an input of numbers")
	_, err := p.Get("x")
	require.ErrorContains(t, err, `no output "x"`)
	assert.Equal(t, []float32{-1, -2, -3, -4, -5, -6}, get(t, p, "out"), "as it was")

	require.NoError(t, p.SetAt("x", 4, []float32{7, 8}))
	require.NoError(t, p.Run(context.Background()))
	part := make([]float32, 3)
	require.NoError(t, p.GetAt("out", 3, part))
	assert.Equal(t, []float32{-4, -7, -8}, part)
	require.Error(t, p.SetAt("x", 5, part[:2]), "beyond the end")
	require.Error(t, p.SetAt("x", -1, part[:2]))
	require.Error(t, p.SetAt("ids", 0, part[:2]), "not an input of numbers")
	require.Error(t, p.GetAt("out", 4, part), "beyond the end")
	require.Error(t, p.GetAt("x", 0, part), "not an output")
}

// TestMisuse wants an error, and nothing left open, where a network is wrong.
func TestMisuse(t *testing.T) {
	e := engines(t)[0].open(t)
	w := newTensor("w", weights.F32, []int{4, 3, 3, 3}, make([]float32, 108))
	other := newTensor("other", weights.F32, []int{4}, make([]float32, 4))
	params := load(t, e, w)
	conv := Conv2D{Weight: w}
	for name, f := range map[string]func(g *Graph){
		"a program without outputs": func(g *Graph) { g.InputVector("x", 1, 1) },
		"two inputs":                func(g *Graph) { g.InputVector("x", 1, 1); g.InputVector("x", 1, 1) },
		"takes 3 channels":          func(g *Graph) { Output(g, "o", conv.Forward(g, g.InputMap("x", 2, 5, 5, 1))) },
		"larger than padded": func(g *Graph) {
			Output(g, "o", conv.Strided(g, g.InputMap("x", 3, 2, 2, 1), 1, Padding{}))
		},
		"not on the device": func(g *Graph) {
			Output(g, "o", Rows(g, other, g.InputIDs("x", 1, 1)))
		},
		"Once of unknown input": func(g *Graph) {
			Output(g, "o", Once(g, "y", func() Vector { return g.InputVector("x", 1, 1) }))
		},
		"ggml: add": func(g *Graph) {
			Output(g, "o", Add(g, g.InputVector("x", 3, 1), g.InputVector("y", 2, 1)))
		},
		"attention of": func(g *Graph) {
			x := g.InputTokens("x", 6, 2, 1)
			Output(g, "o", g.Attention(x, x, x, 4, false))
		},
		"attention of tokens 2": func(g *Graph) { // one text cannot be causal for two
			x, y := g.InputTokens("x", 6, 2, 2), g.InputTokens("y", 6, 2, 1)
			Output(g, "o", g.Attention(x, y, y, 2, true))
		},
		"on a grid of": func(g *Graph) { Output(g, "o", g.Map(g.InputTokens("x", 1, 6, 1), 2, 2)) },
		"dimensions":   func(g *Graph) { g.InputMap("x", 3, 0, 5, 1) },
	} {
		t.Run(name, func(t *testing.T) {
			_, err := e.Build(params, nil, f)
			require.ErrorContains(t, err, name)
			_, err = e.Measure(params, f)
			require.ErrorContains(t, err, name)
		})
	}
}

// deep is a program of many layers, of which a run takes a while.
func deep(t *testing.T, e *Engine) *Program {
	const c = 128
	r := seeded(opCase{name: "deep"})
	w := newTensor("w", weights.F32, []int{c, c}, random(r, 1/math.Sqrt(c), []int{c, c}))
	l := Linear{Weight: w}
	p := build(t, e, load(t, e, w), nil, func(g *Graph) {
		x := g.InputTokens("x", c, 128, 1)
		for range 200 {
			x = Add(g, x, SiLU(g, l.Forward(g, x)))
			x = Scale(g, x, 0.5)
		}
		Output(g, "out", x)
	})
	require.NoError(t, p.Set("x", random(r, 1, []int{c, 128})))
	return p
}

// TestCancel ends a run half way, again and again.
func TestCancel(t *testing.T) {
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		p := deep(t, e)
		require.NoError(t, p.Run(context.Background()))
		want := get(t, p, "out")

		ended := 0
		for range 20 {
			ctx, cancel := context.WithCancelCause(context.Background())
			var at time.Time
			time.AfterFunc(5*time.Millisecond, func() {
				at = time.Now()
				cancel(errors.New("enough"))
			})
			err := p.Run(ctx)
			if <-ctx.Done(); err == nil { // the machine was busy elsewhere
				continue
			}
			require.ErrorIs(t, err, context.Canceled)
			assert.Less(t, time.Since(at), time.Second)
			if ended++; ended == 3 {
				break
			}
		}
		assert.Positive(t, ended, "no run was ended")

		ctx, cancel := context.WithTimeout(context.Background(), -1)
		defer cancel()
		require.ErrorIs(t, p.Run(ctx), context.DeadlineExceeded)

		require.NoError(t, p.Run(context.Background()), "usable after that")
		assert.Equal(t, want, get(t, p, "out"))
	})
}

// TestCancelLate cancels contexts as their runs end: that must not stop the
// runs that follow.
func TestCancelLate(t *testing.T) {
	e := engines(t)[0].open(t)
	p := build(t, e, load(t, e), nil, func(g *Graph) { Output(g, "out", Scale(g, g.InputVector("x", 4, 1), 2)) })
	require.NoError(t, p.Set("x", []float32{1, 2, 3, 4}))
	for range 300 {
		ctx, cancel := context.WithCancel(context.Background())
		go cancel()
		if err := p.Run(ctx); err != nil {
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, p.Run(context.Background()))
	}
}

// TestMeasure compares what Measure says with what Build takes.
func TestMeasure(t *testing.T) {
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		w := newTensor("w", weights.F16, []int{32, 32, 3, 3}, make([]float32, 32*32*9))
		conv := Conv2D{Weight: w}
		net := bagOf([]*weights.Tensor{w})
		params, err := e.Load(t.Context(), F32, net)
		require.NoError(t, err)
		defer params.Close()
		assert.InEpsilon(t, 32*32*9*4, params.Size(), 0.05)
		assert.InEpsilon(t, params.Size(), e.WeightBytes(F32, net), 0.05)
		assert.InEpsilon(t, params.Size(), 2*e.WeightBytes(Stored, net), 0.05)
		f := func(g *Graph) {
			x := g.InputMap("x", 32, 64, 48, 1)
			y := Once(g, "x", func() Map { return SiLU(g, x) })
			for range 3 {
				y = conv.Forward(g, y)
			}
			Output(g, "out", Add(g, x, y))
		}
		said, err := e.Measure(params, f)
		require.NoError(t, err)
		p := build(t, e, params, nil, f)
		t.Logf("said %d, took %d", said, p.Size())
		assert.InEpsilon(t, p.Size(), said, 0.1)
	})
}

func TestCloseTwice(t *testing.T) {
	e := engines(t)[0].open(t)
	params := load(t, e, newTensor("w", weights.F32, []int{2}, []float32{1, 2}))
	p := build(t, e, params, nil, func(g *Graph) {
		x := g.InputVector("x", 2, 1)
		Output(g, "out", Once(g, "x", func() Vector { return Scale(g, x, 2) }))
	})
	for range 2 {
		p.Close()
	}
	for range 2 {
		params.Close()
	}
	for range 2 {
		e.Close()
	}
	(*Program)(nil).Close()
	(*Params)(nil).Close()
	(*Engine)(nil).Close()
}

func TestDevices(t *testing.T) {
	list := Devices()
	require.NotEmpty(t, list)
	for _, d := range list {
		assert.NotEmpty(t, d.Name)
		assert.NotEmpty(t, d.Kind)
		if d.Kind != "CPU helper" {
			require.NoError(t, CheckDevice(d.Name))
			require.NoError(t, CheckDevice("auto"))
		}
	}
	var e *DeviceError
	require.ErrorAs(t, CheckDevice("abacus"), &e)
	assert.Contains(t, e.Have, "CPU")
	_, err := Open("abacus", 0)
	require.ErrorAs(t, err, &e)
	for _, name := range []string{"", "auto", "cpu", "CPU"} {
		engine, err := Open(name, 1)
		require.NoError(t, err, name)
		assert.NotEmpty(t, engine.DeviceName())
		engine.Close()
	}
}
