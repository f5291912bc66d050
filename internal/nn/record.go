package nn

import (
	"fmt"

	"supir/internal/ggml"
	"supir/internal/weights"
)

func (g *Graph) input(name string, t ggml.Tensor) ggml.Tensor {
	if _, twice := g.inputs[name]; twice {
		failf("two inputs %q", name)
	}
	g.inputs[name] = t.SetName(name).SetInput()
	return t
}

// InputMap declares a feature map to be set before Run.
func (g *Graph) InputMap(name string, c, h, w, n int) Map {
	t := g.input(name, g.state.New(ggml.F32, int64(w), int64(h), int64(c), int64(n)))
	return g.low.fromPlanar(g, t, Map{C: c, H: h, W: w, N: n})
}

// InputTokens declares tokens to be set before Run.
func (g *Graph) InputTokens(name string, c, tokens, n int) Tokens {
	return Tokens{t: g.input(name, g.state.New(ggml.F32, int64(c), int64(tokens), int64(n))), C: c, T: tokens, N: n}
}

// InputVector declares vectors to be set before Run.
func (g *Graph) InputVector(name string, c, n int) Vector {
	return Vector{t: g.input(name, g.state.New(ggml.F32, int64(c), int64(n))), C: c, N: n}
}

// IDs are indices of rows, T for each of a batch of N.
type IDs struct {
	t    ggml.Tensor
	T, N int
}

// InputIDs declares indices to be set before Run.
func (g *Graph) InputIDs(name string, tokens, n int) IDs {
	return IDs{t: g.input(name, g.state.New(ggml.I32, int64(tokens)*int64(n))), T: tokens, N: n}
}

// Output makes x an output of the program under that name.
func Output[V value](g *Graph, name string, x V) {
	t := g.plain(x)
	if t.View() { // whose memory another node owns, and may give away
		t = g.ctx.Cont(t)
	}
	g.outputs[name] = t.SetOutput()
	g.body.Expand(t)
}

// Name gives x the dotted name of its place in the network, for messages and
// traces, and makes it an output if the program is built with a tap for it.
func Name[V value](g *Graph, x V, format string, args ...any) V {
	name := fmt.Sprintf(format, args...)
	if g.tap != nil && g.tap(name) && g.within == "" {
		Output(g, name, x)
	}
	tensor(x).SetName(name)
	return x
}

// plain is x's tensor in the order that Get and Set use.
func (g *Graph) plain(x any) ggml.Tensor {
	if m, ok := x.(Map); ok {
		return g.low.toPlanar(g, m)
	}
	return tensor(x)
}

func tensor(x any) ggml.Tensor {
	switch x := x.(type) {
	case Map:
		return x.t
	case Tokens:
		return x.t
	case Vector:
		return x.t
	}
	panic("nn: not a value")
}

// Once records f's result as depending on one input alone: it is computed again
// only when that input is set, and kept between runs. An input of another name
// must not be used in f.
func Once[V value](g *Graph, input string, f func() V) V {
	if g.within != "" {
		return f()
	}
	if _, ok := g.inputs[input]; !ok {
		failf("Once of unknown input %q", input)
	}
	og := g.onces[input]
	if og == nil {
		og = g.ctx.NewGraph(maxNodes / 4)
		g.onces[input] = og
	}
	g.within = input
	x := f()
	g.within = ""
	t := tensor(x)
	if !t.Contiguous() {
		t = g.ctx.Cont(t)
	}
	kept := g.state.New(ggml.F32, t.NE(0), t.NE(1), t.NE(2), t.NE(3)).SetName("once " + input)
	og.Expand(g.ctx.Cpy(t, kept))
	return with(x, kept)
}

// weight is a weight's tensor on the device.
func (g *Graph) weight(w *weights.Tensor) ggml.Tensor {
	t, ok := g.params.tensors[w]
	if !ok {
		failf("weight %q is not on the device", w.Name)
	}
	return t
}

// matrix is a weight as a matrix [in out], a kernel's as [KW·KH·in out].
func (g *Graph) matrix(w *weights.Tensor) ggml.Tensor {
	t := g.weight(w)
	if len(w.Shape) == 2 || t.Type().Quantized() {
		return t
	}
	return g.ctx.Reshape(t, int64(rowOf(w)), int64(w.Shape[0]), 1, 1)
}

// kernel is a tensor of a convolution's sizes, [KW KH C 1], for unfolding pixels,
// which reads nothing else of it.
func (g *Graph) kernel(w *weights.Tensor) ggml.Tensor {
	if t := g.weight(w); !t.Type().Quantized() {
		return t
	}
	key := [3]int(w.Shape[1:])
	if t, ok := g.kernels[key]; ok {
		return t
	}
	t := g.state.New(ggml.F32, int64(key[2]), int64(key[1]), int64(key[0])).SetName("sizes of a kernel")
	g.kernels[key] = t
	return t
}
