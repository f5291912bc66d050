package nn

import (
	"supir/csrc"
	"supir/internal/weights"
)

// native is the lowering for CPUs: portable, but for what csrc has kernels of its
// own for.
type native struct{ portable }

func (p *native) groupNorm(g *Graph, x Map, weight, bias *weights.Tensor, groups int, eps float32) Map {
	if x.C%groups != 0 || !x.t.Contiguous() {
		return p.portable.groupNorm(g, x, weight, bias, groups, eps)
	}
	op := csrc.GroupNorm(x.W*x.H, x.C, x.N, groups, eps)
	g.ops = append(g.ops, &op)
	x.t = g.ctx.Custom(op.Func, op.Data, x.t, g.weight(weight), g.weight(bias))
	return x
}
