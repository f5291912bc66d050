package ggml

/*
#include <ggml.h>
*/
import "C"

// RMSNorm is a/√(mean(a²) + eps) over dimension 0.
func (ctx *Context) RMSNorm(a Tensor, eps float32) Tensor {
	return ctx.wrap(C.ggml_rms_norm(ctx.c, a.c, C.float(eps)))
}

// SwigluSplit is a·sigmoid(a)·b of equal shapes.
func (ctx *Context) SwigluSplit(a, b Tensor) Tensor {
	need(canRepeat(a, b) && canRepeat(b, a) && a.Contiguous() && b.Contiguous(), "swiglu", "%v and %v", a, b)
	return ctx.wrap(C.ggml_swiglu_split(ctx.c, a.c, b.c))
}

// RopeMode says which elements of a row are turned together.
type RopeMode int32

// The modes.
const (
	RopeNormal RopeMode = C.GGML_ROPE_TYPE_NORMAL // neighbours
	RopeNeox   RopeMode = C.GGML_ROPE_TYPE_NEOX   // one of the first half with one of the second
)

// Rope turns pairs i of the first dims elements of every row of a [D H T N] by
// the angle position·base^(-2i/dims), for the I32 positions [T].
func (ctx *Context) Rope(a, positions Tensor, dims int, mode RopeMode, base float32) Tensor {
	need(positions.Type() == I32 && positions.Elements() == a.NE(2) && dims > 0 && dims%2 == 0 && int64(dims) <= a.NE(0),
		"rope", "%d elements of %v at %v", dims, a, positions)
	return ctx.wrap(C.ggml_rope_ext(ctx.c, a.c, positions.c, nil, C.int(dims), C.int(mode), 0, C.float(base), 1, 0, 1, 32, 1))
}

// SetRows copies the F32 rows of b [K N] into the rows of a [K R] at the I32
// indices [N], which are below R, converted to a's type; the result is a view of a.
func (ctx *Context) SetRows(a, b, rows Tensor) Tensor {
	need(a.NE(0) == b.NE(0) && b.Type() == F32 && b.NE(1) == rows.NE(0) && rows.Type() == I32 &&
		a.NE(2) == 1 && a.NE(3) == 1 && b.NE(2) == 1 && b.NE(3) == 1, "set_rows", "%v into %v at %v", b, a, rows)
	return ctx.wrap(C.ggml_set_rows(ctx.c, a.c, b.c, rows.c))
}
