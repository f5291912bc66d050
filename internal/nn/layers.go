package nn

import (
	"strings"

	"supir/internal/ggml"
	"supir/internal/weights"
)

// Every layer has two methods beside its weights, which weights.Fill sets by the
// tags: Check compares the weights' sizes with the channels that come in, tells
// the report what does not fit, and returns the channels that go out; Forward
// records the layer on a graph.

// Linear is y = W·x + b, W stored as [out, in].
type Linear struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias,optional"`
}

// Check takes W stored as a 1×1 convolution, [out, in, 1, 1], too. in < 0 means any.
func (l *Linear) Check(r *weights.Report, in int) (out int) {
	if l.Weight == nil {
		return -1
	}
	if len(l.Weight.Shape) == 4 {
		r.Want(l.Weight, -1, in, 1, 1)
	} else {
		r.Want(l.Weight, -1, in)
	}
	out = dim(l.Weight, 0)
	r.Want(l.Bias, out)
	return out
}

// WantBias reports a bias that is missing, for layers that always have one.
func (l *Linear) WantBias(r *weights.Report) { wantBias(r, l.Weight, l.Bias) }

// In is the number of features that the layer takes.
func (l *Linear) In() int { return dim(l.Weight, 1) }

// Out is the number of features that the layer gives.
func (l *Linear) Out() int { return dim(l.Weight, 0) }

// Forward maps every token.
func (l *Linear) Forward(g *Graph, x Tokens) Tokens {
	defer g.layer("linear", l.Weight.Name, productFLOP(l.Weight, x.T*x.N))()
	return g.low.linear(g, x, l.Weight, l.Bias, linearUse)
}

// productFLOP counts the multiplications and additions of a matrix with so many
// rows, or of a kernel at so many places.
func productFLOP(w *weights.Tensor, rows int) float64 {
	return 2 * float64(w.Elements()) * float64(rows)
}

// Vector maps one vector of every batch.
func (l *Linear) Vector(g *Graph, v Vector) Vector {
	y := l.Forward(g, Tokens{t: v.t, C: v.C, T: v.N, N: 1})
	return Vector{t: y.t, C: y.C, N: v.N}
}

// GEGLU is a linear layer whose features are halves a and b, and a·GELU(b) what
// goes out, with the exact GELU; W stored as [2·out, in].
type GEGLU struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias,optional"`
}

// Check returns half of the features. in < 0 means any.
func (l *GEGLU) Check(r *weights.Report, in int) (out int) {
	both := (&Linear{l.Weight, l.Bias}).Check(r, in)
	if both > 0 && both%2 != 0 {
		r.Invalid("%s: %d features cannot be halved into value and gate", l.Weight.Name, both)
	}
	if both > 0 {
		return both / 2
	}
	return both
}

// Forward maps every token.
func (l *GEGLU) Forward(g *Graph, x Tokens) Tokens {
	defer g.layer("linear GEGLU", l.Weight.Name, productFLOP(l.Weight, x.T*x.N))()
	return g.low.linear(g, x, l.Weight, l.Bias, gegluUse)
}

// Padding is a number of zero pixels on each side.
type Padding struct{ Left, Right, Top, Bottom int }

// Conv2D is a convolution, weights stored as [out, in, kh, kw].
type Conv2D struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias,optional"`
}

// Check wants a square kernel of the given side. in < 0 means any.
func (l *Conv2D) Check(r *weights.Report, in, kernel int) (out int) {
	if l.Weight == nil {
		return -1
	}
	r.Want(l.Weight, -1, in, kernel, kernel)
	out = dim(l.Weight, 0)
	r.Want(l.Bias, out)
	return out
}

// WantBias reports a bias that is missing, for layers that always have one.
func (l *Conv2D) WantBias(r *weights.Report) { wantBias(r, l.Weight, l.Bias) }

func wantBias(r *weights.Report, weight, bias *weights.Tensor) {
	if weight != nil && bias == nil {
		r.Missing(strings.TrimSuffix(weight.Name, "weight") + "bias")
	}
}

// In is the number of channels that the layer takes.
func (l *Conv2D) In() int { return dim(l.Weight, 1) }

// Out is the number of channels that the layer gives.
func (l *Conv2D) Out() int { return dim(l.Weight, 0) }

// Forward keeps the picture's size.
func (l *Conv2D) Forward(g *Graph, x Map) Map {
	p := dim(l.Weight, 2) / 2
	return l.Strided(g, x, 1, Padding{p, p, p, p})
}

// Strided takes every stride-th pixel of the padded picture.
func (l *Conv2D) Strided(g *Graph, x Map, stride int, pad Padding) Map {
	if x.C != l.In() {
		failf("%s takes %d channels, got %v", l.Weight.Name, l.In(), x)
	}
	if x.H+pad.Top+pad.Bottom < dim(l.Weight, 2) || x.W+pad.Left+pad.Right < dim(l.Weight, 3) {
		failf("%s is larger than padded %v", l.Weight.Name, x)
	}
	h := (x.H+pad.Top+pad.Bottom-dim(l.Weight, 2))/stride + 1
	w := (x.W+pad.Left+pad.Right-dim(l.Weight, 3))/stride + 1
	defer g.layer("convolution", l.Weight.Name, productFLOP(l.Weight, h*w*x.N))()
	return g.low.conv2D(g, x, l.Weight, l.Bias, stride, pad)
}

// GroupNorm normalises groups of channels over the picture, then scales and
// shifts every channel.
type GroupNorm struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias"`
	Groups int             `meta:"norm_groups" default:"32" min:"1"`
}

// Check wants as many weights as channels, in whole groups.
func (l *GroupNorm) Check(r *weights.Report, channels int) {
	r.Want(l.Weight, channels)
	r.Want(l.Bias, channels)
	if l.Weight != nil && channels > 0 && channels%l.Groups != 0 {
		r.Invalid("%s: %d channels do not divide into %d groups (metadata norm_groups)", l.Weight.Name, channels, l.Groups)
	}
}

// Forward normalises with √(variance + eps).
func (l *GroupNorm) Forward(g *Graph, x Map, eps float32) Map {
	defer g.layer("group norm", l.Weight.Name, 0)()
	return g.low.groupNorm(g, x, l.Weight, l.Bias, l.Groups, eps)
}

// Modulated normalises, scales and shifts every channel, then every pixel: the
// result is times 1 + scale, plus shift, both of x's shape.
func (l *GroupNorm) Modulated(g *Graph, x, scale, shift Map, eps float32) Map {
	defer g.layer("group norm", l.Weight.Name, 0)()
	return g.low.modulate(g, x, scale, shift, l.Weight, l.Bias, l.Groups, eps)
}

// LayerNorm normalises every token, then scales and shifts every feature.
type LayerNorm struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias"`
}

// Check wants as many weights as features.
func (l *LayerNorm) Check(r *weights.Report, features int) {
	r.Want(l.Weight, features)
	r.Want(l.Bias, features)
}

// Forward normalises with √(variance + eps).
func (l *LayerNorm) Forward(g *Graph, x Tokens, eps float32) Tokens {
	defer g.layer("layer norm", l.Weight.Name, 0)()
	return g.low.layerNorm(g, x, l.Weight, l.Bias, eps)
}

// Rows picks rows of a table of shape [rows, features] by index; the caller has
// made sure that all indices are below the number of rows.
func Rows(g *Graph, table *weights.Tensor, ids IDs) Tokens {
	t := g.ctx.GetRows(g.weight(table), ids.t)
	c := dim(table, 1)
	return Tokens{t: g.ctx.Reshape(t, int64(c), int64(ids.T), int64(ids.N), 1), C: c, T: ids.T, N: ids.N}
}

// AddTable adds a table [tokens, features] of weights to the tokens of every batch.
func AddTable(g *Graph, x Tokens, table *weights.Tensor) Tokens {
	w := g.weight(table)
	if w.Type() != ggml.F32 {
		w = g.ctx.Cast(w, ggml.F32)
	}
	x.t = g.ctx.Add(x.t, w)
	return x
}

// Project is v·W for a table W of shape [in, out].
func Project(g *Graph, v Vector, table *weights.Tensor) Vector {
	w := g.weight(table)
	if w.Type().Quantized() { // whose blocks cannot be transposed
		w = g.ctx.Cast(w, ggml.F32)
	}
	w = g.ctx.Cont(g.ctx.Permute(w, 1, 0, 2, 3))
	return Vector{t: g.ctx.MulMat(w, v.t), C: dim(table, 1), N: v.N}
}

// dim is a tensor's size along a dimension, -1 where unknown.
func dim(t *weights.Tensor, i int) int {
	if t == nil || i >= len(t.Shape) {
		return -1
	}
	return t.Shape[i]
}
