package nn

import (
	"math"

	"supir/csrc"
	"supir/internal/ggml"
	"supir/internal/weights"
)

// A lowering turns layers' arithmetic into ggml nodes, in a memory layout of its
// own. Tokens and vectors are the same for all: features run fastest.
type lowering interface {
	onCPU() bool
	// pack tells which of the weights that layers use are packed, and how.
	pack(p Precision, uses map[*weights.Tensor]use) map[*weights.Tensor]csrc.Weights
	fromPlanar(g *Graph, t ggml.Tensor, shape Map) Map
	toPlanar(g *Graph, x Map) ggml.Tensor
	concat(g *Graph, x, y Map) Map
	upsample2(g *Graph, x Map) Map
	tokens(g *Graph, x Map) Tokens
	grid(g *Graph, x Tokens, h, w int) Map
	addVector(g *Graph, x Map, v Vector) Map
	affine(g *Graph, x Map, scale, shift Vector) Map
	crop(g *Graph, x Map, edge Padding) Map
	groupNorm(g *Graph, x Map, weight, bias *weights.Tensor, groups int, eps float32) Map
	modulate(g *Graph, x, scale, shift Map, weight, bias *weights.Tensor, groups int, eps float32) Map
	layerNorm(g *Graph, x Tokens, weight, bias *weights.Tensor, eps float32) Tokens
	linear(g *Graph, x Tokens, weight, bias *weights.Tensor, u use) Tokens
	conv2D(g *Graph, x Map, weight, bias *weights.Tensor, stride int, pad Padding) Map
	attention(g *Graph, q, k, v Tokens, heads int, causal bool, scale float32) Tokens
}

// portable is the lowering onto ggml's standard operators, for every device.
// Maps are planar: [W H C N], pixels of a row fastest.
type portable struct {
	cpu bool
	// scratch bounds, in bytes, the intermediate results of a convolution
	// (unfolded pixels) and of attention (the matrix of scores): larger ones are
	// computed in parts. Small parts also stay nearer to the processor's caches.
	scratch int
}

const scratchBytes = 64 << 20 // of every engine outside tests

func (p *portable) onCPU() bool { return p.cpu }

func (p *portable) fromPlanar(_ *Graph, t ggml.Tensor, shape Map) Map { shape.t = t; return shape }

func (p *portable) toPlanar(_ *Graph, x Map) ggml.Tensor { return x.t }

func (p *portable) concat(g *Graph, x, y Map) Map {
	return Map{t: g.ctx.Concat(x.t, y.t, 2), C: x.C + y.C, H: x.H, W: x.W, N: x.N}
}

func (p *portable) upsample2(g *Graph, x Map) Map {
	return Map{t: g.ctx.UpscaleNearest(x.t, 2), C: x.C, H: 2 * x.H, W: 2 * x.W, N: x.N}
}

func (p *portable) tokens(g *Graph, x Map) Tokens {
	t := g.ctx.Reshape(x.t, int64(x.W*x.H), int64(x.C), int64(x.N), 1)
	return Tokens{t: g.ctx.Cont(g.ctx.Permute(t, 1, 0, 2, 3)), C: x.C, T: x.W * x.H, N: x.N}
}

func (p *portable) grid(g *Graph, x Tokens, h, w int) Map {
	t := g.ctx.Cont(g.ctx.Permute(x.t, 1, 0, 2, 3))
	return Map{t: g.ctx.Reshape(t, int64(w), int64(h), int64(x.C), int64(x.N)), C: x.C, H: h, W: w, N: x.N}
}

func (p *portable) addVector(g *Graph, x Map, v Vector) Map {
	x.t = g.ctx.Add(x.t, g.ctx.Reshape(v.t, 1, 1, int64(v.C), int64(v.N)))
	return x
}

func (p *portable) affine(g *Graph, x Map, scale, shift Vector) Map {
	x.t = g.ctx.Mul(x.t, g.ctx.Reshape(scale.t, 1, 1, int64(scale.C), int64(scale.N)))
	return p.addVector(g, x, shift)
}

func (p *portable) crop(g *Graph, x Map, edge Padding) Map {
	y := Map{C: x.C, H: x.H - edge.Top - edge.Bottom, W: x.W - edge.Left - edge.Right, N: x.N}
	y.t = g.ctx.Cont(g.ctx.View(x.t, [4]int64{int64(y.W), int64(y.H), int64(y.C), int64(y.N)}, int64(edge.Top)*x.t.NB(1)+int64(edge.Left)*x.t.NB(0)))
	return y
}

// perChannel is a weight vector that broadcasts over pixels.
func perChannel(g *Graph, w *weights.Tensor) ggml.Tensor {
	t := g.weight(w)
	return g.ctx.Reshape(t, 1, 1, t.Elements(), 1)
}

func (p *portable) groupNorm(g *Graph, x Map, weight, bias *weights.Tensor, groups int, eps float32) Map {
	x.t = g.ctx.GroupNorm(x.t, groups, eps)
	x.t = g.ctx.Mul(x.t, perChannel(g, weight))
	x.t = g.ctx.Add(x.t, perChannel(g, bias))
	return x
}

func (p *portable) pack(Precision, map[*weights.Tensor]use) map[*weights.Tensor]csrc.Weights {
	return nil
}

func (p *portable) modulate(g *Graph, x, scale, shift Map, weight, bias *weights.Tensor, groups int, eps float32) Map {
	x = p.groupNorm(g, x, weight, bias, groups, eps)
	x.t = g.ctx.Add(g.ctx.Add(g.ctx.Mul(x.t, scale.t), x.t), shift.t)
	return x
}

func (p *portable) layerNorm(g *Graph, x Tokens, weight, bias *weights.Tensor, eps float32) Tokens {
	x.t = g.ctx.Add(g.ctx.Mul(g.ctx.Norm(x.t, eps), g.weight(weight)), g.weight(bias))
	return x
}

func (p *portable) linear(g *Graph, x Tokens, weight, bias *weights.Tensor, u use) Tokens {
	t := g.ctx.MulMat(g.matrix(weight), x.t)
	if bias != nil {
		t = g.ctx.Add(t, g.weight(bias))
	}
	y := Tokens{t: t, C: dim(weight, 0), T: x.T, N: x.N}
	if u == gegluUse {
		y.t, y.C = g.ctx.GegluErfSwapped(t), y.C/2
	}
	return y
}

// headroom is by what convolutions in F32 are scaled down within: graphics
// drivers round even F32 factors to F16, which ends at 65504, and an
// autoencoder's activations go beyond. A power of two costs no precision.
const headroom = 64

// conv2D unfolds the pixels under the kernel and multiplies them with it, in
// strips of output rows where that would take more than p.scratch.
func (p *portable) conv2D(g *Graph, x Map, weight, bias *weights.Tensor, stride int, pad Padding) Map {
	k := g.matrix(weight) // [KW·KH·C O]
	typ := ggml.F32
	switch {
	case k.Type() == ggml.F16 && !p.cpu:
		typ = ggml.F16
	case k.Type() != ggml.F32 && !k.Type().Quantized():
		k = g.ctx.Cast(k, ggml.F32)
	}
	scaled := typ == ggml.F32 && !p.cpu
	if scaled {
		x.t = g.ctx.Scale(x.t, 1.0/headroom)
	}
	kernel := g.kernel(weight)
	out, kh, kw := weight.Shape[0], weight.Shape[2], weight.Shape[3]
	h := (x.H+pad.Top+pad.Bottom-kh)/stride + 1
	w := (x.W+pad.Left+pad.Right-kw)/stride + 1

	rows := min(h, max(1, p.scratch/(4*kw*kh*x.C*w*x.N)))
	symmetric := pad.Left == pad.Right && pad.Top == pad.Bottom
	if rows == h && symmetric {
		cols := g.ctx.Im2col(kernel, x.t, [2]int{stride, stride}, [2]int{pad.Left, pad.Top}, typ)
		return p.finish(g, Map{t: p.product(g, cols, k), C: out, H: h, W: w, N: x.N}, bias, scaled)
	}
	padded := x.t
	if pad != (Padding{}) {
		padded = g.ctx.Pad(x.t, pad.Left, pad.Right, pad.Top, pad.Bottom)
	}
	var strips []ggml.Tensor
	for y := 0; y < h; y += rows {
		n := min(rows, h-y)
		in := g.ctx.View(padded, [4]int64{padded.NE(0), int64((n-1)*stride + kh), padded.NE(2), padded.NE(3)}, int64(y*stride)*padded.NB(1))
		if !p.cpu { // which is able to unfold a view
			in = g.ctx.Cont(in)
		}
		strips = append(strips, p.product(g, g.ctx.Im2col(kernel, in, [2]int{stride, stride}, [2]int{}, typ), k))
	}
	return p.finish(g, Map{t: join(g, strips, 1), C: out, H: h, W: w, N: x.N}, bias, scaled)
}

// product multiplies unfolded pixels, [KW·KH·C W' H' N], by a kernel,
// [KW·KH·C O], which gives [W' H' O N].
func (p *portable) product(g *Graph, cols, k ggml.Tensor) ggml.Tensor {
	w, h, n, out := cols.NE(1), cols.NE(2), cols.NE(3), k.NE(1)
	cols = g.ctx.Reshape(cols, cols.NE(0), w*h*n, 1, 1)
	if k.Type().Quantized() { // which ggml takes for the first factor only
		y := g.ctx.Reshape(g.ctx.MulMat(k, cols), out, w*h, n, 1)
		return g.ctx.Reshape(g.ctx.Cont(g.ctx.Permute(y, 1, 0, 2, 3)), w, h, out, n)
	}
	y := g.ctx.Reshape(g.ctx.MulMat(cols, k), w*h, n, out, 1)
	if n > 1 {
		y = g.ctx.Cont(g.ctx.Permute(y, 0, 2, 1, 3))
	}
	return g.ctx.Reshape(y, w, h, out, n)
}

// finish undoes the scaling and adds the bias.
func (p *portable) finish(g *Graph, x Map, bias *weights.Tensor, scaled bool) Map {
	if scaled {
		x.t = g.ctx.Scale(x.t, headroom)
	}
	if bias != nil {
		x.t = g.ctx.Add(x.t, perChannel(g, bias))
	}
	return x
}

// join concatenates parts along a dimension, neighbours first, so that each
// element is copied a logarithmic number of times.
func join(g *Graph, parts []ggml.Tensor, dim int) ggml.Tensor {
	for len(parts) > 1 {
		var next []ggml.Tensor
		for i := 0; i+1 < len(parts); i += 2 {
			next = append(next, g.ctx.Concat(parts[i], parts[i+1], dim))
		}
		if len(parts)%2 == 1 {
			next = append(next, parts[len(parts)-1])
		}
		parts = next
	}
	return parts[0]
}

// attention computes the scores as a whole matrix, for part of the queries at a
// time where it would take more than p.scratch.
func (p *portable) attention(g *Graph, q, k, v Tokens, heads int, causal bool, scale float32) Tokens {
	d, nh := int64(q.C/heads), int64(heads)
	split := func(x Tokens, axes [4]int) ggml.Tensor { // [D H T N] to another order
		t := g.ctx.Reshape(x.t, d, nh, int64(x.T), int64(x.N))
		return g.ctx.Cont(g.ctx.Permute(t, axes[0], axes[1], axes[2], axes[3]))
	}
	qh := split(q, [4]int{0, 2, 1, 3}) // [D T H N]
	kh := split(k, [4]int{0, 2, 1, 3}) // [D S H N]
	vh := split(v, [4]int{1, 2, 0, 3}) // [S D H N]

	rows := min(q.T, max(1, p.scratch/(4*k.T*heads*q.N)))
	var parts []ggml.Tensor
	for i := 0; i < q.T; i += rows {
		n := min(rows, q.T-i)
		part := qh
		if n < q.T {
			part = g.ctx.Cont(g.ctx.View(qh, [4]int64{d, int64(n), nh, int64(q.N)}, int64(i)*qh.NB(1)))
		}
		var mask ggml.Tensor
		if causal {
			mask = g.causalMask(k.T, i, n)
		}
		scores := g.ctx.SoftMaxExt(g.ctx.MulMat(kh, part), mask, scale) // [S n H N]
		parts = append(parts, g.ctx.MulMat(vh, scores))                 // [D n H N]
	}
	t := g.ctx.Cont(g.ctx.Permute(join(g, parts, 1), 0, 2, 1, 3)) // [D H T N]
	return Tokens{t: g.ctx.Reshape(t, int64(q.C), int64(q.T), int64(q.N), 1), C: q.C, T: q.T, N: q.N}
}

// causalMask is rows first…first+n-1 of the matrix that hides later tokens.
func (g *Graph) causalMask(tokens, first, n int) ggml.Tensor {
	key := [3]int{tokens, first, n}
	if t, ok := g.masks[key]; ok {
		return t
	}
	t := g.state.New(ggml.F32, int64(tokens), int64(n)).SetName("causal mask")
	data := make([]float32, tokens*n)
	for i := range n {
		for j := first + i + 1; j < tokens; j++ {
			data[i*tokens+j] = float32(math.Inf(-1))
		}
	}
	g.masks[key] = t
	g.fills = append(g.fills, fill{t, data})
	return t
}
