package ggml

/*
#include <stdlib.h>
#include <ggml.h>

static struct ggml_tensor * supir_custom(struct ggml_context * ctx, void * fn, void * data, struct ggml_tensor ** args, int n) {
	const int64_t * ne = args[0]->ne;
	return ggml_custom_4d(ctx, GGML_TYPE_F32, ne[0], ne[1], ne[2], ne[3], args, n, (ggml_custom_op_t) fn, GGML_N_TASKS_MAX, data);
}
static struct ggml_tensor * supir_custom_new(struct ggml_context * ctx, enum ggml_type type, const int64_t * ne, void * fn, void * data,
		struct ggml_tensor ** args, int n) {
	return ggml_custom_4d(ctx, type, ne[0], ne[1], ne[2], ne[3], args, n, (ggml_custom_op_t) fn, GGML_N_TASKS_MAX, data);
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// A Tensor is a node of a graph, or data that nodes read. It belongs to its
// context. Dimensions are in ggml's order: NE(0) runs fastest.
type Tensor struct{ c *C.struct_ggml_tensor }

// A ShapeError says which operator was given operands that do not fit. It is a
// panic's value: graphs are built from checked weights, so it means a mistake in
// a network.
type ShapeError struct{ Op, Reason string }

func (e *ShapeError) Error() string { return fmt.Sprintf("ggml: %s: %s", e.Op, e.Reason) }

// Nil says whether there is no tensor.
func (t Tensor) Nil() bool { return t.c == nil }

// NE is the number of elements along dimension i, 1 where there is no such dimension.
func (t Tensor) NE(i int) int64 { return int64(t.c.ne[i]) }

// NB is the stride of dimension i in bytes.
func (t Tensor) NB(i int) int64 { return int64(t.c.nb[i]) }

// Type is the type of the elements.
func (t Tensor) Type() Type { return Type(t.c._type) }

// Elements is the number of elements.
func (t Tensor) Elements() int64 { return int64(C.ggml_nelements(t.c)) }

// Bytes is the size of the data.
func (t Tensor) Bytes() int64 { return int64(C.ggml_nbytes(t.c)) }

// Contiguous says whether the elements lie in memory in order, without gaps.
func (t Tensor) Contiguous() bool { return bool(C.ggml_is_contiguous(t.c)) }

// View says whether the data are part of another tensor's.
func (t Tensor) View() bool { return t.c.view_src != nil }

// Op is the name of the operation that makes the tensor.
func (t Tensor) Op() string { return C.GoString(C.ggml_op_desc(t.c)) }

// Name is the name given by SetName.
func (t Tensor) Name() string { return C.GoString(C.ggml_get_name(t.c)) }

// SetName names the tensor, for messages and traces; ggml keeps 63 bytes.
func (t Tensor) SetName(name string) Tensor {
	c := C.CString(name)
	C.ggml_set_name(t.c, c)
	C.free(unsafe.Pointer(c))
	return t
}

// SetOutput keeps the tensor's memory from being reused within a graph.
func (t Tensor) SetOutput() Tensor { C.ggml_set_output(t.c); return t }

// SetInput keeps the tensor's memory apart from that of all nodes.
func (t Tensor) SetInput() Tensor { C.ggml_set_input(t.c); return t }

func (t Tensor) String() string {
	return fmt.Sprintf("%v[%d %d %d %d]", t.Type(), t.NE(0), t.NE(1), t.NE(2), t.NE(3))
}

// need panics with a *ShapeError unless ok.
func need(ok bool, op, format string, args ...any) {
	if !ok {
		panic(&ShapeError{Op: op, Reason: fmt.Sprintf(format, args...)})
	}
}

func (ctx *Context) wrap(c *C.struct_ggml_tensor) Tensor { ctx.take(); return Tensor{c} }

func canRepeat(b, a Tensor) bool { return bool(C.ggml_can_repeat(b.c, a.c)) }

// New describes a tensor of one to four dimensions without memory.
func (ctx *Context) New(typ Type, ne ...int64) Tensor {
	need(len(ne) >= 1 && len(ne) <= 4, "new", "%d dimensions", len(ne))
	total := int64(1)
	for _, n := range ne {
		need(n > 0 && total <= (1<<46)/n, "new", "dimensions %v", ne)
		total *= n
	}
	need(ne[0]%typ.BlockSize() == 0, "new", "rows of %d elements are not whole blocks of %v", ne[0], typ)
	cne := [4]C.int64_t{1, 1, 1, 1}
	for i, n := range ne {
		cne[i] = C.int64_t(n)
	}
	return ctx.wrap(C.ggml_new_tensor(ctx.c, C.enum_ggml_type(typ), C.int(len(ne)), &cne[0]))
}

// Add is a + b; b is repeated to a's shape.
func (ctx *Context) Add(a, b Tensor) Tensor {
	need(canRepeat(b, a), "add", "%v + %v", a, b)
	return ctx.wrap(C.ggml_add(ctx.c, a.c, b.c))
}

// Sub is a - b; b is repeated to a's shape.
func (ctx *Context) Sub(a, b Tensor) Tensor {
	need(canRepeat(b, a), "sub", "%v - %v", a, b)
	return ctx.wrap(C.ggml_sub(ctx.c, a.c, b.c))
}

// Mul is a·b element by element; b is repeated to a's shape.
func (ctx *Context) Mul(a, b Tensor) Tensor {
	need(canRepeat(b, a), "mul", "%v * %v", a, b)
	return ctx.wrap(C.ggml_mul(ctx.c, a.c, b.c))
}

// Scale is s·a.
func (ctx *Context) Scale(a Tensor, s float32) Tensor {
	return ctx.wrap(C.ggml_scale(ctx.c, a.c, C.float(s)))
}

// MulMat is b·aᵀ: [K M] and [K N] give [M N], batched over dimensions 2 and 3,
// where a is repeated to b. It accumulates in F32.
func (ctx *Context) MulMat(a, b Tensor) Tensor {
	need(a.NE(0) == b.NE(0) && b.NE(2)%a.NE(2) == 0 && b.NE(3)%a.NE(3) == 0 && a.NB(0) <= a.NB(1), "mul_mat", "%v x %v", a, b)
	t := ctx.wrap(C.ggml_mul_mat(ctx.c, a.c, b.c))
	C.ggml_prec_set_acc(t.c, C.GGML_PREC_F32)
	return t
}

// Norm is (a - mean)/√(var + eps) over dimension 0.
func (ctx *Context) Norm(a Tensor, eps float32) Tensor {
	return ctx.wrap(C.ggml_norm(ctx.c, a.c, C.float(eps)))
}

// GroupNorm normalises dimensions 0 and 1 and equal groups of dimension 2.
func (ctx *Context) GroupNorm(a Tensor, groups int, eps float32) Tensor {
	need(groups > 0 && a.NE(2)%int64(groups) == 0, "group_norm", "%v in %d groups", a, groups)
	return ctx.wrap(C.ggml_group_norm(ctx.c, a.c, C.int(groups), C.float(eps)))
}

// SoftMaxExt is softmax(scale·a + mask) over dimension 0; mask may be Nil.
func (ctx *Context) SoftMaxExt(a, mask Tensor, scale float32) Tensor {
	need(a.Contiguous(), "soft_max", "%v is not contiguous", a)
	if !mask.Nil() {
		need(mask.NE(0) == a.NE(0) && mask.NE(1) >= a.NE(1) && a.NE(2)%mask.NE(2) == 0 && a.NE(3)%mask.NE(3) == 0 && mask.Contiguous(),
			"soft_max", "%v with mask %v", a, mask)
	}
	return ctx.wrap(C.ggml_soft_max_ext(ctx.c, a.c, mask.c, C.float(scale), 0))
}

// Custom is an F32 tensor of a's shape that fn, a ggml_custom_op_t in C, computes
// from contiguous F32 operands with all threads of a CPU. data must live as long
// as the graph.
func (ctx *Context) Custom(fn, data unsafe.Pointer, a Tensor, more ...Tensor) Tensor {
	var args [4]*C.struct_ggml_tensor
	for i, t := range append([]Tensor{a}, more...) {
		need(t.Type() == F32 && t.Contiguous() && i < len(args), "custom", "operand %d, %v", i, t)
		args[i] = t.c
	}
	return ctx.wrap(C.supir_custom(ctx.c, fn, data, &args[0], C.int(1+len(more))))
}

// CustomNew is Custom of a type and size of its own, and of contiguous operands
// of any type.
func (ctx *Context) CustomNew(typ Type, ne [4]int64, fn, data unsafe.Pointer, operands ...Tensor) Tensor {
	var args [C.GGML_MAX_SRC]*C.struct_ggml_tensor
	need(len(operands) > 0 && len(operands) <= len(args), "custom", "%d operands", len(operands))
	for i, t := range operands {
		need(t.Contiguous(), "custom", "operand %d, %v, is not contiguous", i, t)
		args[i] = t.c
	}
	for _, n := range ne {
		need(n > 0, "custom", "a result of %v", ne)
	}
	return ctx.wrap(C.supir_custom_new(ctx.c, C.enum_ggml_type(typ), (*C.int64_t)(&ne[0]), fn, data, &args[0], C.int(len(operands))))
}

// Silu is a·sigmoid(a).
func (ctx *Context) Silu(a Tensor) Tensor { return ctx.wrap(C.ggml_silu(ctx.c, a.c)) }

// GeluErf is the exact GELU, a·Φ(a).
func (ctx *Context) GeluErf(a Tensor) Tensor { return ctx.wrap(C.ggml_gelu_erf(ctx.c, a.c)) }

// Sigmoid is 1/(1+e⁻ᵃ).
func (ctx *Context) Sigmoid(a Tensor) Tensor { return ctx.wrap(C.ggml_sigmoid(ctx.c, a.c)) }

// GegluErfSwapped is a·GELU(b) of the first half a and the second half b of
// dimension 0, with the exact GELU.
func (ctx *Context) GegluErfSwapped(x Tensor) Tensor {
	need(x.NE(0)%2 == 0 && x.Contiguous(), "geglu", "%v", x)
	return ctx.wrap(C.ggml_geglu_erf_swapped(ctx.c, x.c))
}

// Im2col unfolds b [W H C N] for a convolution with kernel [KW KH C O] into
// [KW·KH·C OW OH N] of type typ.
func (ctx *Context) Im2col(kernel, b Tensor, stride, pad [2]int, typ Type) Tensor {
	need(kernel.NE(2) == b.NE(2), "im2col", "kernel %v on %v", kernel, b)
	need(b.NE(0)+2*int64(pad[0]) >= kernel.NE(0) && b.NE(1)+2*int64(pad[1]) >= kernel.NE(1), "im2col", "kernel %v larger than padded %v", kernel, b)
	return ctx.wrap(C.ggml_im2col(ctx.c, kernel.c, b.c, C.int(stride[0]), C.int(stride[1]), C.int(pad[0]), C.int(pad[1]), 1, 1, true, C.enum_ggml_type(typ)))
}

// UpscaleNearest repeats every element of dimensions 0 and 1 factor times.
func (ctx *Context) UpscaleNearest(a Tensor, factor int) Tensor {
	return ctx.wrap(C.ggml_upscale(ctx.c, a.c, C.int(factor), C.GGML_SCALE_MODE_NEAREST))
}

// Repeat repeats a until it has the given size, whole multiples of its own.
func (ctx *Context) Repeat(a Tensor, ne [4]int64) Tensor {
	for i, n := range ne {
		need(n > 0 && n%a.NE(i) == 0, "repeat", "%v to %v", a, ne)
	}
	return ctx.wrap(C.ggml_repeat_4d(ctx.c, a.c, C.int64_t(ne[0]), C.int64_t(ne[1]), C.int64_t(ne[2]), C.int64_t(ne[3])))
}

// Pad puts zeros before and after dimensions 0 and 1.
func (ctx *Context) Pad(a Tensor, left, right, top, bottom int) Tensor {
	return ctx.wrap(C.ggml_pad_ext(ctx.c, a.c, C.int(left), C.int(right), C.int(top), C.int(bottom), 0, 0, 0, 0))
}

// Concat puts b behind a along dimension dim.
func (ctx *Context) Concat(a, b Tensor, dim int) Tensor {
	ok := a.Type() == b.Type()
	for i := 0; i < 4; i++ {
		ok = ok && (i == dim || a.NE(i) == b.NE(i))
	}
	need(ok, "concat", "%v and %v along %d", a, b, dim)
	return ctx.wrap(C.ggml_concat(ctx.c, a.c, b.c, C.int(dim)))
}

// Reshape gives a contiguous tensor other dimensions.
func (ctx *Context) Reshape(a Tensor, ne0, ne1, ne2, ne3 int64) Tensor {
	need(a.Contiguous() && a.Elements() == ne0*ne1*ne2*ne3, "reshape", "%v to [%d %d %d %d]", a, ne0, ne1, ne2, ne3)
	return ctx.wrap(C.ggml_reshape_4d(ctx.c, a.c, C.int64_t(ne0), C.int64_t(ne1), C.int64_t(ne2), C.int64_t(ne3)))
}

// View is the part of a with the given size that starts offset bytes into it,
// with a's own strides.
func (ctx *Context) View(a Tensor, ne [4]int64, offset int64) Tensor {
	end := offset + (ne[0]+a.Type().BlockSize()-1)/a.Type().BlockSize()*a.NB(0)
	for i := 1; i < 4; i++ {
		end += (ne[i] - 1) * a.NB(i)
	}
	need(offset >= 0 && ne[0] > 0 && ne[1] > 0 && ne[2] > 0 && ne[3] > 0 && end <= a.Bytes(), "view", "%v at byte %d of %v", ne, offset, a)
	return ctx.wrap(C.ggml_view_4d(ctx.c, a.c, C.int64_t(ne[0]), C.int64_t(ne[1]), C.int64_t(ne[2]), C.int64_t(ne[3]),
		C.size_t(a.NB(1)), C.size_t(a.NB(2)), C.size_t(a.NB(3)), C.size_t(offset)))
}

// Permute moves a's dimension i to place axis[i].
func (ctx *Context) Permute(a Tensor, axis0, axis1, axis2, axis3 int) Tensor {
	need(1<<axis0|1<<axis1|1<<axis2|1<<axis3 == 15, "permute", "axes %d %d %d %d", axis0, axis1, axis2, axis3)
	return ctx.wrap(C.ggml_permute(ctx.c, a.c, C.int(axis0), C.int(axis1), C.int(axis2), C.int(axis3)))
}

// Cont is a copy of a that is contiguous.
func (ctx *Context) Cont(a Tensor) Tensor { return ctx.wrap(C.ggml_cont(ctx.c, a.c)) }

// Cast is a copy of a in another type.
func (ctx *Context) Cast(a Tensor, typ Type) Tensor {
	return ctx.wrap(C.ggml_cast(ctx.c, a.c, C.enum_ggml_type(typ)))
}

// Cpy copies a into b's memory; the result is a view of b.
func (ctx *Context) Cpy(a, b Tensor) Tensor {
	need(a.Elements() == b.Elements(), "cpy", "%v to %v", a, b)
	return ctx.wrap(C.ggml_cpy(ctx.c, a.c, b.c))
}

// GetRows picks rows of a [K R] by the I32 indices b [N], which are below R.
func (ctx *Context) GetRows(a, b Tensor) Tensor {
	need(a.NE(2) == b.NE(1) && a.NE(3) == b.NE(2) && b.NE(3) == 1 && b.Type() == I32, "get_rows", "%v by %v", a, b)
	return ctx.wrap(C.ggml_get_rows(ctx.c, a.c, b.c))
}
