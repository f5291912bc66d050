#include "ops.h"

#include <ggml.h>
#include <stdlib.h>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
// Numbers too small for F32's normal range count as zero here: processors take
// a hundred times as long for them, and saturated gates are full of them.
static unsigned flush_denormals(void) {
	const unsigned was = _mm_getcsr();
	_mm_setcsr(was | 0x8040);
	return was;
}
static void restore_denormals(unsigned was) { _mm_setcsr(was); }
#else
static unsigned flush_denormals(void) { return 0; }
static void restore_denormals(unsigned was) { (void) was; }
#endif

static enum supir_status run(const struct supir_op * op, struct ggml_tensor * dst, int ith, int nth) {
	void * src[GGML_MAX_SRC];
	for (int i = 0; i < GGML_MAX_SRC; i++) {
		src[i] = dst->src[i] ? dst->src[i]->data : NULL;
	}
	void * scratch = NULL;
	const struct supir_workspace * w = op->workspace;
	if (w && w->memory && ith < w->threads) {
		scratch = w->memory + (int64_t) ith * w->each;
	}
	switch ((enum supir_op_kind) op->kind) {
	case SUPIR_OP_CONVERT_ROWS:
		return supir_convert_rows(dst->data, src[0], op->rows, op->channels, op->type, op->flags, ith, nth);
	case SUPIR_OP_LAYER_NORM:
		return supir_layer_norm(dst->data, src[0], src[1], src[2], op->rows, op->channels, op->eps, op->type, op->flags, ith, nth);
	case SUPIR_OP_GROUP_STATS:
		return supir_group_stats(dst->data, src[0], op->pixels, op->channels, op->batch, op->groups, ith, nth);
	case SUPIR_OP_GROUP_NORM_ROWS:
		return supir_group_norm_rows(dst->data, src[0], src[1], src[2], src[3], op->modulated ? src[4] : NULL,
		                             op->modulated ? src[5] : NULL, op->pixels, op->channels, op->batch, op->groups,
		                             op->eps, op->silu, op->type, op->flags, ith, nth);
	case SUPIR_OP_CONCAT_ROWS:
		return supir_concat_rows(dst->data, src[0], op->channels, src[1], op->more_channels, op->rows, ith, nth);
	case SUPIR_OP_ROWS_FROM_PLANAR:
		return supir_rows_from_planar(dst->data, src[0], op->pixels, op->channels, op->batch, ith, nth);
	case SUPIR_OP_PLANAR_FROM_ROWS:
		return supir_planar_from_rows(dst->data, src[0], op->pixels, op->channels, op->batch, ith, nth);
	case SUPIR_OP_PRODUCT: {
		int i = 2;
		const float * bias = op->has_bias ? src[i++] : NULL;
		const float * vector = op->has_vector ? src[i++] : NULL;
		const float * residual = op->has_residual ? src[i++] : NULL;
		return supir_product(&op->product, dst->data, src[0], src[1], bias, vector, residual, scratch, ith, nth);
	}
	case SUPIR_OP_ATTENTION_PACK:
		return supir_attention_pack(&op->attention, dst->data, (const float *) src[0] + op->k_offset,
		                            (const float *) src[1] + op->v_offset, ith, nth);
	case SUPIR_OP_ATTENTION:
		return supir_attention(&op->attention, dst->data, (const float *) src[0] + op->q_offset, src[1], scratch, ith, nth);
	}
	return SUPIR_UNSUPPORTED;
}

void supir_run_op(struct ggml_tensor * dst, int ith, int nth, void * data) {
	struct supir_op * op = data;
	const unsigned was = flush_denormals();
	const enum supir_status status = run(op, dst, ith, nth);
	restore_denormals(was);
	if (status != SUPIR_OK) {
		__atomic_store_n(&op->status, (int32_t) status, __ATOMIC_RELAXED);
	}
}

struct supir_stored supir_stored_as(int32_t ggml_type, int32_t order, int64_t values) {
	struct supir_stored s = {.ggml_type = ggml_type, .order = order};
	s.row_bytes = (int64_t) ggml_row_size((enum ggml_type) ggml_type, values);
	s.to_float = ggml_get_type_traits((enum ggml_type) ggml_type)->to_float;
	return s;
}
