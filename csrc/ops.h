// The kernels as custom operators of ggml's graphs: what an operator needs to
// know, and the function that ggml calls with it. The Go side (ops.go) makes them.
#ifndef SUPIR_OPS_H
#define SUPIR_OPS_H

#include "supir_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

// Scratch memory of a program's operators, which run one after the other:
// `each` bytes for each of `threads` threads.
struct supir_workspace {
	char * memory;
	int64_t each;
	int32_t threads;
};

enum supir_op_kind {
	SUPIR_OP_CONVERT_ROWS,
	SUPIR_OP_LAYER_NORM,
	SUPIR_OP_GROUP_STATS,
	SUPIR_OP_GROUP_NORM_ROWS,
	SUPIR_OP_CONCAT_ROWS,
	SUPIR_OP_ROWS_FROM_PLANAR,
	SUPIR_OP_PLANAR_FROM_ROWS,
	SUPIR_OP_PRODUCT,
	SUPIR_OP_ATTENTION_PACK,
	SUPIR_OP_ATTENTION,
};

struct supir_op {
	int32_t kind;   // supir_op_kind
	int32_t status; // the first supir_status that was not OK; threads write it
	const struct supir_workspace * workspace;
	int64_t rows, pixels, channels, more_channels, batch, groups;
	float eps;
	bool silu, modulated;
	int32_t type, flags;
	bool has_bias, has_vector, has_residual;
	struct supir_product_desc product;
	struct supir_attention_desc attention;
	int64_t q_offset, k_offset, v_offset; // floats
};

// The ggml_custom_op_t of all of them; data is a struct supir_op.
struct ggml_tensor;
void supir_run_op(struct ggml_tensor * dst, int ith, int nth, void * data);

// What ggml knows of a type, as supir_stored wants it.
struct supir_stored supir_stored_as(int32_t ggml_type, int32_t order, int64_t values);

// Packs weights on so many threads of its own; allocates scratch.
enum supir_status supir_pack_all(void * dst, const struct supir_weights * w, const struct supir_stored * stored,
                                 const void * src, int threads);

#ifdef __cplusplus
}
#endif

#endif
