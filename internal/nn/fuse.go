package nn

import (
	"supir/csrc"
	"supir/internal/ggml"
)

// fusion is what is known of nodes already recorded, so that the next layer can
// be recorded together with them.
type fusion struct {
	norms     map[ggml.Tensor]*norm
	products  map[ggml.Tensor]*product
	upsampled map[ggml.Tensor]Map // to what it was made from
	rows      map[rowsKey]ggml.Tensor
}

// rowsKey is a tensor of F32 rows in another type.
type rowsKey struct {
	of ggml.Tensor
	as csrc.Rows
}

func newFusion() fusion {
	return fusion{norms: map[ggml.Tensor]*norm{}, products: map[ggml.Tensor]*product{},
		upsampled: map[ggml.Tensor]Map{}, rows: map[rowsKey]ggml.Tensor{}}
}

// A norm can leave its rows in any type, after a SiLU or not.
type norm struct {
	c, rows, n int
	operands   []ggml.Tensor
	op         func(r csrc.Rows, silu bool) csrc.Op
	silu       bool
	final      bool // nothing can follow it
	layer      int
}

// norm records a norm whose rows are F32.
func (g *Graph) norm(n *norm) ggml.Tensor {
	n.layer = g.lastLayer()
	t := g.custom(ggml.F32, rowsOf(n.c, n.rows, n.n), n.op(csrc.Rows{}, n.silu), n.operands...)
	g.belongs(n.layer)
	g.fusion.norms[t] = n
	return t
}

// A product can have more behind it: see csrc.Product.
type product struct {
	csrc.Product
	rows, weight, bias, vector, residual ggml.Tensor
	ne                                   [4]int64
	layer                                int
}

// product records a product.
func (g *Graph) product(d *product) ggml.Tensor {
	operands := []ggml.Tensor{d.rows, d.weight}
	for _, t := range []ggml.Tensor{d.bias, d.vector, d.residual} {
		if !t.Nil() {
			operands = append(operands, t)
		}
	}
	t := g.custom(ggml.F32, d.ne, d.Op(g.workspace), operands...)
	g.belongs(d.layer)
	g.fusion.products[t] = d
	return t
}

// rowsAs is F32 rows in another type: as the norm before leaves them, or
// converted, once for all that want them so.
func (g *Graph) rowsAs(t ggml.Tensor, c, rows, n int, as csrc.Rows) ggml.Tensor {
	if as == (csrc.Rows{}) {
		return t
	}
	key := rowsKey{t, as}
	if converted, ok := g.fusion.rows[key]; ok {
		return converted
	}
	ne := [4]int64{as.Bytes(c), int64(rows), int64(n), 1}
	var converted ggml.Tensor
	if norm, ok := g.fusion.norms[t]; ok {
		converted = g.custom(ggml.I8, ne, norm.op(as, norm.silu), norm.operands...)
		g.belongs(norm.layer)
	} else {
		converted = g.custom(ggml.I8, ne, csrc.ConvertRows(rows*n, c, as), t)
		g.belongs(g.extraLayer("convert"))
	}
	g.fusion.rows[key] = converted
	return converted
}

// extraLayer is a layer of one node, within another.
func (g *Graph) extraLayer(kind string) int {
	g.layers.list = append(g.layers.list, layer{kind: kind, once: g.within != ""})
	return g.lastLayer()
}

// fuseActivation is t with an activation behind it, where that can be fused.
func (g *Graph) fuseActivation(t ggml.Tensor, a csrc.Activation) (ggml.Tensor, bool) {
	if n, ok := g.fusion.norms[t]; ok && a == csrc.SiLU && !n.silu && !n.final {
		with := *n
		with.silu = true
		y := g.custom(ggml.F32, rowsOf(n.c, n.rows, n.n), n.op(csrc.Rows{}, true), n.operands...)
		g.belongs(n.layer)
		g.fusion.norms[y] = &with
		return y, true
	}
	if d, ok := g.fusion.products[t]; ok && d.Activation == csrc.None && !d.Residual && !d.GEGLU {
		with := *d
		with.Activation = a
		return g.product(&with), true
	}
	return t, false
}

// fuseVector is t plus one vector for each of a batch of n.
func (g *Graph) fuseVector(t ggml.Tensor, v Vector, n int) (ggml.Tensor, bool) {
	d, ok := g.fusion.products[t]
	if !ok || v.N != n || d.Vector || d.Residual || d.Activation != csrc.None || d.GEGLU || !v.t.Contiguous() {
		return t, false
	}
	with := *d
	with.Vector, with.vector = true, v.t
	return g.product(&with), true
}

// fuseSum is x + y, where either is a product.
func (g *Graph) fuseSum(x, y ggml.Tensor) (ggml.Tensor, bool) {
	for _, pair := range [][2]ggml.Tensor{{y, x}, {x, y}} {
		d, ok := g.fusion.products[pair[0]]
		r := pair[1]
		if !ok || d.Residual || !r.Contiguous() || r.Elements() != pair[0].Elements() || r.NE(0) != pair[0].NE(0) {
			continue
		}
		with := *d
		with.Residual, with.residual = true, r
		return g.product(&with), true
	}
	return x, false
}
