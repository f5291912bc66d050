package nn

import (
	"supir/csrc"
	"supir/internal/ggml"
	"supir/internal/weights"
)

// native is the lowering onto our own kernels for CPUs (package csrc). Maps are
// channels last, [C W·H N]: the same memory as tokens.
//
// Layers are fused as they are recorded. A product (linear layer, convolution)
// that is then activated, or has a vector or a residual added, is recorded anew
// with that inside; a norm is recorded anew where a product wants its rows in
// another type. What was recorded before stays out of the graph, since nothing
// needs it. See fuse.go.
type native struct {
	portable
	rotate bool // int8 rows and weights, so that channels share large values
}

// fewRows is up to how many rows ggml's own products with weights as stored are
// the faster ones: they read weights once and unpack nothing.
const fewRows = 8

// fewChannels is up to how many channels, in or out, products stay in F32: the
// first and the last convolution, and layers of small models. The errors of few
// products in a sum don't even out, and such layers cost little.
const fewChannels = 32

// rowsFor is how the rows of a product of so many channels lie in memory.
func (p *native) rowsFor(precision Precision, in, out int) csrc.Rows {
	r := csrc.Rows{Type: precision.products()}
	if in <= fewChannels || out <= fewChannels {
		r.Type = csrc.F32
	}
	r.Rotate = p.rotate && r.Type == csrc.Int8
	return r
}

// form describes a weight to the kernels.
func (p *native) form(precision Precision, w *weights.Tensor, u use) csrc.Weights {
	f := csrc.Weights{Out: dim(w, 0), In: dim(w, 1), KH: 1, KW: 1, GEGLU: u == gegluUse, Rows: p.rowsFor(precision, dim(w, 1), dim(w, 0))}
	if len(w.Shape) == 4 {
		f.KH, f.KW = w.Shape[2], w.Shape[3]
	}
	return f
}

func (p *native) pack(precision Precision, uses map[*weights.Tensor]use) map[*weights.Tensor]csrc.Weights {
	if precision.stored() {
		return nil
	}
	packed := map[*weights.Tensor]csrc.Weights{}
	for w, u := range uses {
		packed[w] = p.form(precision, w, u)
	}
	return packed
}

func (p *native) fromPlanar(g *Graph, t ggml.Tensor, x Map) Map {
	x.t = g.custom(ggml.F32, rowsOf(x.C, x.W*x.H, x.N), csrc.RowsFromPlanar(x.W*x.H, x.C, x.N), t)
	return x
}

func (p *native) toPlanar(g *Graph, x Map) ggml.Tensor {
	return g.custom(ggml.F32, [4]int64{int64(x.W), int64(x.H), int64(x.C), int64(x.N)}, csrc.PlanarFromRows(x.W*x.H, x.C, x.N), x.t)
}

// rowsOf is the size of F32 rows.
func rowsOf(c, rows, n int) [4]int64 { return [4]int64{int64(c), int64(rows), int64(n), 1} }

// custom records an operator of our own.
func (g *Graph) custom(typ ggml.Type, ne [4]int64, op csrc.Op, operands ...ggml.Tensor) ggml.Tensor {
	g.ops = append(g.ops, &op)
	return g.ctx.CustomNew(typ, ne, op.Func, op.Data, operands...)
}

func (p *native) concat(g *Graph, x, y Map) Map {
	defer g.layer("concat", "", 0)()
	t := g.custom(ggml.F32, rowsOf(x.C+y.C, x.W*x.H, x.N), csrc.ConcatRows(x.W*x.H*x.N, x.C, y.C), x.t, y.t)
	return Map{t: t, C: x.C + y.C, H: x.H, W: x.W, N: x.N}
}

// upsample2 is left out where a convolution follows, which reads pixels twice.
func (p *native) upsample2(g *Graph, x Map) Map {
	defer g.layer("upsample", "", 0)()
	c, w, rows := int64(x.C), int64(x.W), int64(x.H*x.N)
	t := g.ctx.Repeat(g.ctx.Reshape(x.t, c, 1, w*rows, 1), [4]int64{c, 2, w * rows, 1})
	t = g.ctx.Repeat(g.ctx.Reshape(t, 2*c*w, 1, rows, 1), [4]int64{2 * c * w, 2, rows, 1})
	y := Map{t: g.ctx.Reshape(t, c, 4*w*int64(x.H), int64(x.N), 1), C: x.C, H: 2 * x.H, W: 2 * x.W, N: x.N}
	g.fusion.upsampled[y.t] = x
	return y
}

func (p *native) tokens(_ *Graph, x Map) Tokens { return Tokens{t: x.t, C: x.C, T: x.W * x.H, N: x.N} }

func (p *native) grid(_ *Graph, x Tokens, h, w int) Map {
	return Map{t: x.t, C: x.C, H: h, W: w, N: x.N}
}

func (p *native) addVector(g *Graph, x Map, v Vector) Map {
	if t, ok := g.fuseVector(x.t, v, x.N); ok {
		x.t = t
		return x
	}
	x.t = g.ctx.Add(x.t, g.ctx.Reshape(v.t, int64(v.C), 1, int64(v.N), 1))
	return x
}

func (p *native) affine(g *Graph, x Map, scale, shift Vector) Map {
	x.t = g.ctx.Mul(x.t, g.ctx.Reshape(scale.t, int64(scale.C), 1, int64(scale.N), 1))
	x.t = g.ctx.Add(x.t, g.ctx.Reshape(shift.t, int64(shift.C), 1, int64(shift.N), 1))
	return x
}

func (p *native) crop(g *Graph, x Map, edge Padding) Map {
	y := Map{C: x.C, H: x.H - edge.Top - edge.Bottom, W: x.W - edge.Left - edge.Right, N: x.N}
	t := g.ctx.Reshape(x.t, int64(x.C), int64(x.W), int64(x.H), int64(x.N))
	t = g.ctx.Cont(g.ctx.View(t, [4]int64{int64(y.C), int64(y.W), int64(y.H), int64(y.N)}, int64(edge.Top)*t.NB(2)+int64(edge.Left)*t.NB(1)))
	y.t = g.ctx.Reshape(t, int64(y.C), int64(y.W*y.H), int64(y.N), 1)
	return y
}

func (p *native) groupNorm(g *Graph, x Map, weight, bias *weights.Tensor, groups int, eps float32) Map {
	pixels := x.W * x.H
	stats := g.custom(ggml.I8, [4]int64{csrc.GroupStatsBytes(pixels, groups, x.N), 1, 1, 1}, csrc.GroupStats(pixels, x.C, x.N, groups), x.t)
	x.t = g.norm(&norm{c: x.C, rows: pixels, n: x.N, operands: []ggml.Tensor{x.t, stats, g.weight(weight), g.weight(bias)},
		op: func(r csrc.Rows, silu bool) csrc.Op {
			return csrc.GroupNormRows(pixels, x.C, x.N, groups, eps, silu, false, r)
		}})
	return x
}

func (p *native) modulate(g *Graph, x, scale, shift Map, weight, bias *weights.Tensor, groups int, eps float32) Map {
	pixels := x.W * x.H
	stats := g.custom(ggml.I8, [4]int64{csrc.GroupStatsBytes(pixels, groups, x.N), 1, 1, 1}, csrc.GroupStats(pixels, x.C, x.N, groups), x.t)
	op := csrc.GroupNormRows(pixels, x.C, x.N, groups, eps, false, true, csrc.Rows{})
	x.t = g.custom(ggml.F32, rowsOf(x.C, pixels, x.N), op, x.t, stats, g.weight(weight), g.weight(bias), scale.t, shift.t)
	return x
}

func (p *native) layerNorm(g *Graph, x Tokens, weight, bias *weights.Tensor, eps float32) Tokens {
	if !x.t.Contiguous() {
		return p.portable.layerNorm(g, x, weight, bias, eps)
	}
	x.t = g.norm(&norm{c: x.C, rows: x.T, n: x.N, operands: []ggml.Tensor{x.t, g.weight(weight), g.weight(bias)},
		op: func(r csrc.Rows, _ bool) csrc.Op { return csrc.LayerNorm(x.T*x.N, x.C, eps, r) }, final: true})
	return x
}

func (p *native) conv2D(g *Graph, x Map, weight, bias *weights.Tensor, stride int, pad Padding) Map {
	f := csrc.Product{N: x.N, H: x.H, W: x.W, Stride: stride, Top: pad.Top, Left: pad.Left}
	f.OutH = (x.H+pad.Top+pad.Bottom-dim(weight, 2))/stride + 1
	f.OutW = (x.W+pad.Left+pad.Right-dim(weight, 3))/stride + 1
	if from, ok := g.fusion.upsampled[x.t]; ok {
		x, f.H, f.W, f.Upsample = from, from.H, from.W, true
	}
	t := p.product(g, f, x.t, weight, bias, convUse)
	return Map{t: t, C: dim(weight, 0), H: f.OutH, W: f.OutW, N: x.N}
}

func (p *native) linear(g *Graph, x Tokens, weight, bias *weights.Tensor, u use) Tokens {
	rows := x.T * x.N
	if _, packed := g.params.packed[weight]; !packed && (rows <= fewRows || !x.t.Contiguous()) {
		return p.portable.linear(g, x, weight, bias, u)
	}
	y := Tokens{C: dim(weight, 0), T: x.T, N: x.N}
	if u == gegluUse {
		y.C /= 2
	}
	f := csrc.Product{N: x.N, H: 1, W: x.T, OutH: 1, OutW: x.T, Stride: 1}
	y.t = p.product(g, f, x.t, weight, bias, u)
	return y
}

// product records a linear layer or a convolution.
func (p *native) product(g *Graph, f csrc.Product, x ggml.Tensor, weight, bias *weights.Tensor, u use) ggml.Tensor {
	w := g.weight(weight)
	var packed bool
	if f.Weights, packed = g.params.packed[weight]; !packed {
		f.Weights = p.form(g.params.precision, weight, u)
		f.Stored = &csrc.Stored{Type: int32(w.Type())}
	}
	f.Bias = bias != nil
	out := f.Out
	if f.GEGLU {
		out /= 2
	}
	d := &product{Product: f, layer: g.lastLayer(), ne: rowsOf(out, f.OutH*f.OutW, f.N),
		rows: g.rowsAs(x, f.In, f.H*f.W, f.N, f.Rows), weight: w}
	if bias != nil {
		d.bias = g.weight(bias)
	}
	return g.product(d)
}

func (p *native) attention(g *Graph, q, k, v Tokens, heads int, causal bool, scale float32) Tokens {
	a := csrc.Attention{Queries: q.T, Keys: k.T, Batch: q.N, KVBatch: k.N, Heads: heads, Dim: q.C / heads,
		Scale: scale, Causal: causal, Type: g.params.precision.products()}
	if a.Dim%4 != 0 || !q.t.Contiguous() || !k.t.Contiguous() || !v.t.Contiguous() {
		return p.portable.attention(g, q, k, v, heads, causal, scale)
	}
	packed := g.custom(ggml.I8, [4]int64{a.PackedBytes(), 1, 1, 1}, a.Pack(), k.t, v.t)
	t := g.custom(ggml.F32, rowsOf(q.C, q.T, q.N), a.Op(g.workspace), q.t, packed)
	return Tokens{t: t, C: q.C, T: q.T, N: q.N}
}
