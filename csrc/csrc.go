// Package csrc holds supir's own kernels, C++ behind a C header, as operators of
// ggml graphs for the CPU. Package nn uses them where it computes on the CPU;
// SUPIR_ENGINE=ggml in the environment does without.
package csrc

/*
#cgo pkg-config: ggml
#cgo CXXFLAGS: -std=c++17 -O3
#include <stdlib.h>
#include <ggml.h>
#include "supir_kernels.h"

struct supir_group_norm_data {
	int64_t groups;
	float eps;
};

static void supir_group_norm_op(struct ggml_tensor * dst, int ith, int nth, void * data) {
	const struct supir_group_norm_data * d = (const struct supir_group_norm_data *) data;
	supir_group_norm((float *) dst->data, (const float *) dst->src[0]->data, (const float *) dst->src[1]->data,
		(const float *) dst->src[2]->data, dst->ne[0]*dst->ne[1], dst->ne[2], dst->ne[3], d->groups, d->eps, ith, nth);
}

static void * supir_group_norm_fn(void) { return (void *) supir_group_norm_op; }
*/
import "C"

import "unsafe"

// An Op is an operator of a graph: a function for ggml, and what it needs to
// know, which must live as long as the graph and is freed by Close.
type Op struct {
	Func unsafe.Pointer // a ggml_custom_op_t
	Data unsafe.Pointer
}

// Close frees the operator's data. It may be repeated.
func (o *Op) Close() {
	C.free(o.Data)
	o.Data = nil
}

// GroupNorm normalises a contiguous F32 map [W H C N] in groups of channels, with
// weights and biases of C elements: operands map, weight, bias.
func GroupNorm(groups int, eps float32) Op {
	d := (*C.struct_supir_group_norm_data)(C.malloc(C.sizeof_struct_supir_group_norm_data))
	d.groups, d.eps = C.int64_t(groups), C.float(eps)
	return Op{Func: C.supir_group_norm_fn(), Data: unsafe.Pointer(d)}
}
