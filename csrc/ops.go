package csrc

/*
#include <stdlib.h>
#include <ggml.h>
#include "ops.h"

static void * supir_op_function(void) { return (void *) supir_run_op; }
*/
import "C"

import (
	"unsafe"
)

// An Op is an operator of a graph: a function for ggml, and what it needs to
// know, which must live as long as the graph and is freed by Close.
type Op struct {
	Func unsafe.Pointer // a ggml_custom_op_t
	Data unsafe.Pointer // a struct supir_op
}

// Close frees the operator's data. It may be repeated.
func (o *Op) Close() {
	C.free(o.Data)
	o.Data = nil
}

// Err is what went wrong when the graph ran, nil if nothing did. Sizes that do
// not fit are found then; ggml has no way to stop for them.
func (o *Op) Err() error {
	return statusError(C.enum_supir_status((*C.struct_supir_op)(o.Data).status))
}

func newOp(kind C.int32_t) (Op, *C.struct_supir_op) {
	d := (*C.struct_supir_op)(C.calloc(1, C.sizeof_struct_supir_op))
	d.kind = kind
	return Op{Func: C.supir_op_function(), Data: unsafe.Pointer(d)}, d
}

// ConvertRows turns F32 rows into a compute type: operand x [C rows], result
// [r.Bytes(C) rows].
func ConvertRows(rows, channels int, r Rows) Op {
	op, d := newOp(C.SUPIR_OP_CONVERT_ROWS)
	d.rows, d.channels, d._type, d.flags = C.int64_t(rows), C.int64_t(channels), C.int32_t(r.Type), r.flags()
	return op
}

// LayerNorm normalises every row, then scales and shifts every channel, and
// leaves rows as r says: operands x [C rows], weight, bias [C].
func LayerNorm(rows, channels int, eps float32, r Rows) Op {
	op, d := newOp(C.SUPIR_OP_LAYER_NORM)
	d.rows, d.channels, d.eps, d._type, d.flags = C.int64_t(rows), C.int64_t(channels), C.float(eps), C.int32_t(r.Type), r.flags()
	return op
}

// GroupStatsBytes is the size of what GroupStats computes, a tensor of type I8.
func GroupStatsBytes(pixels, groups, batch int) int64 {
	return int64(C.supir_group_stats_bytes(C.int64_t(pixels), C.int64_t(groups), C.int64_t(batch)))
}

// GroupStats adds up groups of channels over each picture of a batch: operand x
// [C pixels N], result for GroupNormRows.
func GroupStats(pixels, channels, batch, groups int) Op {
	op, d := newOp(C.SUPIR_OP_GROUP_STATS)
	d.pixels, d.channels, d.batch, d.groups = C.int64_t(pixels), C.int64_t(channels), C.int64_t(batch), C.int64_t(groups)
	return op
}

// GroupNormRows normalises groups of channels, scales and shifts every channel,
// applies SiLU if asked to and leaves rows as r says: operands x [C pixels N], its
// stats, weight, bias [C] and, if modulated, two maps like x: the normalised map
// is times 1 + the first, plus the second, before SiLU.
func GroupNormRows(pixels, channels, batch, groups int, eps float32, silu, modulated bool, r Rows) Op {
	op, d := newOp(C.SUPIR_OP_GROUP_NORM_ROWS)
	d.pixels, d.channels, d.batch, d.groups = C.int64_t(pixels), C.int64_t(channels), C.int64_t(batch), C.int64_t(groups)
	d.eps, d.silu, d.modulated, d._type, d.flags = C.float(eps), C.bool(silu), C.bool(modulated), C.int32_t(r.Type), r.flags()
	return op
}

// ConcatRows puts b's channels behind a's: operands a [A rows], b [B rows].
func ConcatRows(rows, a, b int) Op {
	op, d := newOp(C.SUPIR_OP_CONCAT_ROWS)
	d.rows, d.channels, d.more_channels = C.int64_t(rows), C.int64_t(a), C.int64_t(b)
	return op
}

// RowsFromPlanar turns a planar map [pixels C N] into rows [C pixels N].
func RowsFromPlanar(pixels, channels, batch int) Op {
	op, d := newOp(C.SUPIR_OP_ROWS_FROM_PLANAR)
	d.pixels, d.channels, d.batch = C.int64_t(pixels), C.int64_t(channels), C.int64_t(batch)
	return op
}

// PlanarFromRows is the way back.
func PlanarFromRows(pixels, channels, batch int) Op {
	op, d := newOp(C.SUPIR_OP_PLANAR_FROM_ROWS)
	d.pixels, d.channels, d.batch = C.int64_t(pixels), C.int64_t(channels), C.int64_t(batch)
	return op
}

// Weights describes a linear layer's or a convolution's matrix.
type Weights struct {
	Out, In int
	KH, KW  int  // a convolution's kernel; 1 for linear layers
	Rows    Rows // of the rows it will meet
	GEGLU   bool // the outputs are the halves a, b of a·GELU(b)
}

func (w Weights) c() C.struct_supir_weights {
	return C.struct_supir_weights{out: C.int64_t(w.Out), in: C.int64_t(w.In), kh: C.int32_t(w.KH), kw: C.int32_t(w.KW),
		_type: C.int32_t(w.Rows.Type), flags: w.Rows.flags(), geglu: C.bool(w.GEGLU)}
}

// PackedBytes is the size of the weights packed, a tensor of type I8.
func (w Weights) PackedBytes() int64 {
	c := w.c()
	return int64(C.supir_packed_bytes(&c))
}

// Stored says how a weight's rows (one per output) are stored: in which of
// ggml's types, and in which order.
type Stored struct {
	Type      int32 // a ggml type
	TapsFirst bool  // [KH KW In], else [In KH KW] as PyTorch has it
}

func (w Weights) stored(s Stored) C.struct_supir_stored {
	order := C.int32_t(C.SUPIR_IN_FIRST)
	if s.TapsFirst {
		order = C.SUPIR_TAPS_FIRST
	}
	return C.supir_stored_as(C.int32_t(s.Type), order, C.int64_t(w.In*w.KH*w.KW))
}

// Pack packs weights from src, rows stored as s says, to dst of PackedBytes, on
// so many threads.
func (w Weights) Pack(dst, src unsafe.Pointer, s Stored, threads int) error {
	c, stored := w.c(), w.stored(s)
	return statusError(C.supir_pack_all(dst, &c, &stored, src, C.int(threads)))
}

// An Activation follows a product.
type Activation int32

// The activations; GELU is the exact one.
const (
	None      Activation = C.SUPIR_NO_ACTIVATION
	SiLU      Activation = C.SUPIR_SILU
	GELU      Activation = C.SUPIR_GELU
	QuickGELU Activation = C.SUPIR_QUICK_GELU
)

// Product describes a linear layer or a convolution with what is fused to it:
//
//	activation(W·rows + bias + vector) + residual
//
// Operands: rows [Weights.Rows.Bytes(In) W·H N]; weights, packed, or as they are
// stored; then those that there are of bias [Out], vector [Out N], residual.
// Result: F32 [Out OutW·OutH N], half as many channels for GEGLU.
type Product struct {
	Weights
	Stored     *Stored // nil: packed
	N, H, W    int     // input; linear: N batches of H 1, W tokens
	OutH, OutW int
	Stride     int
	Top, Left  int  // padding; that of bottom and right follows from OutH, OutW
	Upsample   bool // the input counts as twice as large, nearest neighbours
	Activation Activation
	Bias       bool
	Vector     bool // one vector for each of N, added to all of its pixels
	Residual   bool
}

// Op makes the operator, with its scratch in ws.
func (p Product) Op(ws *Workspace) Op {
	op, d := newOp(C.SUPIR_OP_PRODUCT)
	d.product = C.struct_supir_product_desc{weights: p.c(), n: C.int64_t(p.N), h: C.int64_t(p.H), w: C.int64_t(p.W),
		out_h: C.int64_t(p.OutH), out_w: C.int64_t(p.OutW), stride: C.int32_t(p.Stride), top: C.int32_t(p.Top), left: C.int32_t(p.Left),
		upsample: C.bool(p.Upsample), activation: C.int32_t(p.Activation)}
	if p.Stored != nil {
		d.product.stored = p.stored(*p.Stored)
	}
	d.has_bias, d.has_vector, d.has_residual = C.bool(p.Bias), C.bool(p.Vector), C.bool(p.Residual)
	d.workspace = ws.c
	ws.need(C.supir_product_scratch(&d.product))
	return op
}

// Attention describes softmax(q·kᵀ·Scale)·v of heads that lie beside each other
// in a row. Strides and offsets, in floats, find q, k and v within wider rows; a
// stride of 0 stands for rows of Heads·Dim.
type Attention struct {
	Queries, Keys             int // of each of a batch
	Batch, KVBatch            int // KVBatch is Batch, or 1 where all share k and v
	Heads, Dim                int // Dim is a multiple of 4
	Scale                     float32
	Causal                    bool
	Type                      Type
	QStride, KStride, VStride int
	QOffset, KOffset, VOffset int
}

func (a Attention) c() C.struct_supir_attention_desc {
	stride := func(s int) C.int64_t {
		if s == 0 {
			s = a.Heads * a.Dim
		}
		return C.int64_t(s)
	}
	return C.struct_supir_attention_desc{queries: C.int64_t(a.Queries), keys: C.int64_t(a.Keys), batch: C.int64_t(a.Batch),
		kv_batch: C.int64_t(a.KVBatch), heads: C.int64_t(a.Heads), dim: C.int64_t(a.Dim), q_stride: stride(a.QStride),
		k_stride: stride(a.KStride), v_stride: stride(a.VStride), scale: C.float(a.Scale), causal: C.bool(a.Causal), _type: C.int32_t(a.Type)}
}

// PackedBytes is the size of the packed keys and values, a tensor of type I8.
func (a Attention) PackedBytes() int64 {
	c := a.c()
	return int64(C.supir_attention_packed_bytes(&c))
}

// Pack makes the operator that packs keys and values: operands k, v (one tensor
// twice where both lie in the same rows).
func (a Attention) Pack() Op {
	op, d := newOp(C.SUPIR_OP_ATTENTION_PACK)
	d.attention, d.k_offset, d.v_offset = a.c(), C.int64_t(a.KOffset), C.int64_t(a.VOffset)
	return op
}

// Op makes the operator: operands q, the packed keys and values. Result: F32
// [Heads·Dim Queries Batch].
func (a Attention) Op(ws *Workspace) Op {
	op, d := newOp(C.SUPIR_OP_ATTENTION)
	d.attention, d.q_offset = a.c(), C.int64_t(a.QOffset)
	d.workspace = ws.c
	ws.need(C.supir_attention_scratch(&d.attention))
	return op
}
