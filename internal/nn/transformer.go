package nn

import (
	"supir/internal/ggml"
	"supir/internal/weights"
)

// Layers of language models.

// RMSNorm divides every token by the root of its mean square, then scales every
// feature.
type RMSNorm struct {
	Weight *weights.Tensor `key:"weight"`
}

// Check wants as many weights as features.
func (l *RMSNorm) Check(r *weights.Report, features int) { r.Want(l.Weight, features) }

// Forward normalises with √(mean square + eps).
func (l *RMSNorm) Forward(g *Graph, x Tokens, eps float32) Tokens {
	x.t = g.ctx.Mul(g.ctx.RMSNorm(x.t, eps), g.weight(l.Weight))
	return x
}

// SwiGLU is SiLU(gate)·up, element by element.
func (g *Graph) SwiGLU(gate, up Tokens) Tokens { return with(gate, g.ctx.SwigluSplit(gate.t, up.t)) }

// ConcatTokens puts y's tokens behind x's.
func (g *Graph) ConcatTokens(x, y Tokens) Tokens {
	return Tokens{t: g.ctx.Concat(x.t, y.t, 1), C: x.C, T: x.T + y.T, N: x.N}
}

// Token is a vector of weights as one token.
func (g *Graph) Token(w *weights.Tensor) Tokens {
	t := g.weight(w)
	if t.Type() != ggml.F32 {
		t = g.ctx.Cast(t, ggml.F32)
	}
	return Tokens{t: g.ctx.Reshape(t, t.Elements(), 1, 1, 1), C: int(t.Elements()), T: 1, N: 1}
}

// Rotary says how positions are told by turning pairs of features.
type Rotary struct {
	Base      float32 // pair i turns by position·Base^(-2i/Features)
	Features  int     // of each head that are turned, the first ones; even
	HalfSplit bool    // pairs are i and i + Features/2, as Hugging Face's weights have them; else 2i and 2i + 1
}

// Rotate turns the heads of every token of one sequence by its position.
func (g *Graph) Rotate(x Tokens, positions IDs, heads int, r Rotary) Tokens {
	if heads <= 0 || x.C%heads != 0 || x.N != 1 || positions.T != x.T {
		failf("rotation of %v in %d heads by %d positions", x, heads, positions.T)
	}
	mode := ggml.RopeNormal
	if r.HalfSplit {
		mode = ggml.RopeNeox
	}
	t := g.ctx.Reshape(x.t, int64(x.C/heads), int64(heads), int64(x.T), 1)
	t = g.ctx.Rope(t, positions.t, r.Features, mode, r.Base)
	x.t = g.ctx.Reshape(t, int64(x.C), int64(x.T), 1, 1)
	return x
}

// Some is n tokens of one sequence, from the given one on.
func (g *Graph) Some(x Tokens, from, n int) Tokens {
	if from < 0 || n < 1 || from+n > x.T || x.N != 1 {
		failf("tokens %d to %d of %v", from, from+n-1, x)
	}
	t := g.ctx.View(x.t, [4]int64{int64(x.C), int64(n), 1, 1}, int64(from)*x.t.NB(1))
	return Tokens{t: g.ctx.Cont(t), C: x.C, T: n, N: 1}
}
