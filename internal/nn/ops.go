package nn

import (
	"math"

	"supir/csrc"
	"supir/internal/ggml"
)

// Arithmetic that needs no weights.

// Add is x + y of equal shapes.
func Add[V value](g *Graph, x, y V) V {
	if t, ok := g.fuseSum(tensor(x), tensor(y)); ok {
		return with(x, t)
	}
	return with(x, g.ctx.Add(tensor(x), tensor(y)))
}

// Sub is x - y of equal shapes.
func Sub[V value](g *Graph, x, y V) V { return with(x, g.ctx.Sub(tensor(x), tensor(y))) }

// Mul is x·y of equal shapes, element by element.
func Mul[V value](g *Graph, x, y V) V { return with(x, g.ctx.Mul(tensor(x), tensor(y))) }

// Scale is s·x.
func Scale[V value](g *Graph, x V, s float32) V { return with(x, g.ctx.Scale(tensor(x), s)) }

// ScaleBy is s·x for an s that is a program's input: one vector of one feature.
func ScaleBy[V value](g *Graph, x V, s Vector) V { return with(x, g.ctx.Mul(tensor(x), s.t)) }

// SiLU is x·sigmoid(x).
func SiLU[V value](g *Graph, x V) V {
	if t, ok := g.fuseActivation(tensor(x), csrc.SiLU); ok {
		return with(x, t)
	}
	return with(x, g.ctx.Silu(tensor(x)))
}

// GELU is the exact x·Φ(x).
func GELU[V value](g *Graph, x V) V {
	if t, ok := g.fuseActivation(tensor(x), csrc.GELU); ok {
		return with(x, t)
	}
	return with(x, g.ctx.GeluErf(tensor(x)))
}

// QuickGELU is x·sigmoid(1.702x), from operations that are exact in F32.
func QuickGELU[V value](g *Graph, x V) V {
	if t, ok := g.fuseActivation(tensor(x), csrc.QuickGELU); ok {
		return with(x, t)
	}
	return with(x, g.ctx.Mul(tensor(x), g.ctx.Sigmoid(g.ctx.Scale(tensor(x), 1.702))))
}

// with is a value of x's shape in another tensor.
func with[V value](x V, t ggml.Tensor) V {
	switch x := any(x).(type) {
	case Map:
		x.t = t
		return any(x).(V)
	case Tokens:
		x.t = t
		return any(x).(V)
	case Vector:
		x.t = t
		return any(x).(V)
	}
	panic("nn: not a value")
}

// Concat puts y's channels behind x's.
func (g *Graph) Concat(x, y Map) Map { return g.low.concat(g, x, y) }

// ConcatFeatures puts y's features behind x's, token by token.
func (g *Graph) ConcatFeatures(x, y Tokens) Tokens {
	return Tokens{t: g.ctx.Concat(x.t, y.t, 0), C: x.C + y.C, T: x.T, N: x.N}
}

// Upsample2 repeats every pixel twice in both directions.
func (g *Graph) Upsample2(x Map) Map { return g.low.upsample2(g, x) }

// Tokens is x's pixels as tokens, row by row.
func (g *Graph) Tokens(x Map) Tokens { return g.low.tokens(g, x) }

// Map is tokens back on an h×w grid.
func (g *Graph) Map(x Tokens, h, w int) Map {
	if h*w != x.T {
		failf("%v on a grid of %d×%d", x, h, w)
	}
	return g.low.grid(g, x, h, w)
}

// AddVector adds v's features to all pixels of x.
func (g *Graph) AddVector(x Map, v Vector) Map {
	if v.C != x.C || v.N != x.N && v.N != 1 {
		failf("%v on %v", v, x)
	}
	return g.low.addVector(g, x, v)
}

// Affine is scale·x + shift with a factor and a summand for every channel: a
// GroupNorm whose statistics are known.
func (g *Graph) Affine(x Map, scale, shift Vector) Map {
	for _, v := range []Vector{scale, shift} {
		if v.C != x.C || v.N != x.N && v.N != 1 {
			failf("%v on %v", v, x)
		}
	}
	return g.low.affine(g, x, scale, shift)
}

// Crop is x without so many pixels on each side.
func (g *Graph) Crop(x Map, edge Padding) Map {
	if edge == (Padding{}) {
		return x
	}
	if min(edge.Left, edge.Right, edge.Top, edge.Bottom) < 0 || edge.Left+edge.Right >= x.W || edge.Top+edge.Bottom >= x.H {
		failf("nothing is left of %v without %v", x, edge)
	}
	return g.low.crop(g, x, edge)
}

// Row is token i of every batch.
func (g *Graph) Row(x Tokens, i int) Vector {
	t := g.ctx.View(x.t, [4]int64{int64(x.C), 1, int64(x.N), 1}, int64(i)*x.t.NB(1))
	return Vector{t: g.ctx.Reshape(g.ctx.Cont(t), int64(x.C), int64(x.N), 1, 1), C: x.C, N: x.N}
}

// Pick is, of each of the batch, the token at the place that i gives: N×1
// indices, of which the caller has made sure that all are below x.T.
func (g *Graph) Pick(x Tokens, i IDs) Vector {
	if i.T != 1 || i.N != x.N {
		failf("one of %v by %d×%d indices", x, i.N, i.T)
	}
	t := g.ctx.GetRows(x.t, g.ctx.Reshape(i.t, 1, int64(i.N), 1, 1))
	return Vector{t: g.ctx.Reshape(t, int64(x.C), int64(x.N), 1, 1), C: x.C, N: x.N}
}

// Features is features from…from+n-1 of every token.
func (g *Graph) Features(x Tokens, from, n int) Tokens {
	t := g.ctx.View(x.t, [4]int64{int64(n), int64(x.T), int64(x.N), 1}, int64(from)*x.t.NB(0))
	return Tokens{t: g.ctx.Cont(t), C: n, T: x.T, N: x.N}
}

// Attention is softmax(q·kᵀ/√d)·v of heads of d features each, d = C/heads, over
// a batch; causal hides later tokens. One k and v may serve a whole batch of q.
func (g *Graph) Attention(q, k, v Tokens, heads int, causal bool) Tokens {
	if heads <= 0 || q.C%heads != 0 || k.C != q.C || v.C != q.C || k.T != v.T || k.N != v.N || q.N != k.N && (k.N != 1 || causal) {
		failf("attention of %v, %v, %v in %d heads", q, k, v, heads)
	}
	defer g.layer("attention", "", 4*float64(q.T)*float64(k.T)*float64(q.C*q.N))()
	scale := float32(1 / math.Sqrt(float64(q.C/heads)))
	if q.N != k.N { // queries of several batches on the same tokens are but more queries
		tokens, n := q.T, q.N
		q.t, q.T, q.N = g.ctx.Reshape(q.t, int64(q.C), int64(tokens*n), 1, 1), tokens*n, 1
		y := g.low.attention(g, q, k, v, heads, false, scale)
		return Tokens{t: g.ctx.Reshape(y.t, int64(y.C), int64(tokens), int64(n), 1), C: y.C, T: tokens, N: n}
	}
	return g.low.attention(g, q, k, v, heads, causal, scale)
}
