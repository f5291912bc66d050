// C interface of supir's own kernels for CPUs.
//
// Functions return a status, never throw, keep no state and allocate no memory
// (oneDNN's, in onednn.h, are the exception). A kernel is called by every thread
// of a graph at once, thread ith of nth doing its share; threads never wait for
// one another, so its result is complete when all have returned. What needs all
// of an earlier result is therefore another kernel, another node of the graph.
//
// # Layouts
//
// Maps are channels last, [batch][height][width][channels]: the same memory as
// tokens, [batch][tokens][features]. Both are "rows" here, one per pixel or token.
// Between operators rows are F32. The operands of products are in a compute type:
//
//     SUPIR_F32    the same rows
//     SUPIR_BF16   BF16, an odd number of channels padded by a zero
//     SUPIR_INT8   unsigned bytes, quantised row by row: channels padded to 16,
//                  then the row's scale and scale*zero point as two floats, then
//                  8 bytes of nothing: x = scale*byte - (scale*zero point)
//
// A row takes supir_row_bytes. Quantising is part of the norms (supir_layer_norm,
// supir_group_norm_rows) or a kernel of its own (supir_convert_rows). Since a
// convolution's products are rescaled tap by tap, its pixels have scales of their
// own too, and linear layers and convolutions take the same rows.
//
// Rotation (SUPIR_ROTATE) spreads channels with large values over others before
// they are quantised: rows and weights are multiplied by the same orthogonal
// matrix, signs and Hadamard blocks of the largest power of two up to 256 that
// divides the channels. Products stay what they were. Rows and the weights that
// they meet must agree on it.
//
// # Weights
//
// A product's weights lie in panels of 64 outputs, packed by supir_pack_weights
// once, or at every use from the type they are stored in (supir_product's
// `stored`), a panel at a time in the thread's scratch.
#ifndef SUPIR_KERNELS_H
#define SUPIR_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum supir_status {
	SUPIR_OK = 0,
	SUPIR_BAD_SHAPE = 1,   // a size below one, or sizes that do not fit together
	SUPIR_NO_SCRATCH = 2,  // scratch is missing or too small
	SUPIR_UNSUPPORTED = 3, // a type that this processor or build cannot do
	SUPIR_FAILED = 4,      // oneDNN reported an error
	SUPIR_NO_MEMORY = 5,
};

// The text of a status, in English.
const char * supir_status_text(enum supir_status status);

// --- Processor ----------------------------------------------------------------

enum supir_feature {
	SUPIR_AVX2 = 1 << 0, // with FMA and F16C
	SUPIR_AVX512 = 1 << 1, // F, BW, DQ, VL
	SUPIR_AVX512_VNNI = 1 << 2,
	SUPIR_AVX512_BF16 = 1 << 3,
	SUPIR_AVX_VNNI = 1 << 4,
	SUPIR_AMX_INT8 = 1 << 5, // and the system lets programs use it
	SUPIR_AMX_BF16 = 1 << 6,
	SUPIR_AVX512_FP16 = 1 << 7,
};

// What the processor and the operating system offer, a set of supir_feature.
uint32_t supir_features(void);

// The instruction set that the kernels run on: "avx512 bf16", "avx512", "avx2 vnni",
// "avx2" or "portable", the first that the processor has.
const char * supir_kernel_isa(void);

// Chooses another, for tests and comparisons, before any kernel runs; NULL: the
// best again. False, and nothing changes, where the processor does not have it.
bool supir_use_isa(const char * name);

// Whether products in int8 and BF16 run on oneDNN's small kernels: 1 always, 0
// never, -1 where the processor has AMX, as without this call. For tests and
// comparisons, before scratch is measured. False where there are none.
bool supir_use_onednn(int choice);

// --- Rows -----------------------------------------------------------------------

enum supir_type { SUPIR_F32 = 0, SUPIR_BF16 = 1, SUPIR_INT8 = 2 };

enum { SUPIR_ROTATE = 1 }; // flags

// The type with which products are fastest on this processor: AMX: int8; VNNI:
// int8; else F32.
enum supir_type supir_best_type(void);

// Whether products of a type run on oneDNN's small kernels, see supir_use_onednn.
bool supir_on_tiles(enum supir_type type);

// The bytes of a row of so many channels, a multiple of 4.
int64_t supir_row_bytes(enum supir_type type, int64_t channels);

// Rows of F32 in a compute type. dst [rows][supir_row_bytes], src [rows][channels].
enum supir_status supir_convert_rows(void * dst, const float * src, int64_t rows, int64_t channels,
                                     enum supir_type type, int32_t flags, int ith, int nth);

// Layer norm of every row, (src - mean) / sqrt(variance + eps) * weight + bias,
// in a compute type.
enum supir_status supir_layer_norm(void * dst, const float * src, const float * weight, const float * bias,
                                   int64_t rows, int64_t channels, float eps, enum supir_type type, int32_t flags,
                                   int ith, int nth);

// Group norm takes two kernels. The first adds up: its result is the same for any
// number of threads. stats has supir_group_stats_bytes. src [batch][pixels][channels].
int64_t supir_group_stats_bytes(int64_t pixels, int64_t groups, int64_t batch);
enum supir_status supir_group_stats(void * stats, const float * src, int64_t pixels, int64_t channels, int64_t batch,
                                    int64_t groups, int ith, int nth);
// The second normalises, (src - mean) / sqrt(variance + eps) * weight + bias, then
// SiLU if asked for, in a compute type. With scale and shift (both [batch][pixels]
// [channels], or both NULL) the normalised map is times 1 + scale, plus shift,
// before SiLU: what a ZeroSFT does.
enum supir_status supir_group_norm_rows(void * dst, const float * src, const void * stats, const float * weight,
                                        const float * bias, const float * scale, const float * shift, int64_t pixels,
                                        int64_t channels, int64_t batch, int64_t groups, float eps, bool silu,
                                        enum supir_type type, int32_t flags, int ith, int nth);

// Channels of b behind those of a, row by row.
enum supir_status supir_concat_rows(float * dst, const float * a, int64_t a_channels, const float * b,
                                    int64_t b_channels, int64_t rows, int ith, int nth);

// Planar maps [batch][channels][pixels] to rows and back.
enum supir_status supir_rows_from_planar(float * dst, const float * src, int64_t pixels, int64_t channels,
                                         int64_t batch, int ith, int nth);
enum supir_status supir_planar_from_rows(float * dst, const float * src, int64_t pixels, int64_t channels,
                                         int64_t batch, int ith, int nth);

// --- Linear layers and convolutions -----------------------------------------------

// What a layer's weights are: [out][in] where kh and kw are 1, else a convolution's.
struct supir_weights {
	int64_t out, in; // channels
	int32_t kh, kw;  // kernel's height and width, up to 64
	int32_t type;    // supir_type that the products are computed in
	int32_t flags;   // SUPIR_ROTATE
	bool geglu;      // outputs are the halves a, b of a·GELU(b)
};

// The order of a stored output's in*kh*kw values.
enum supir_order {
	SUPIR_IN_FIRST = 0,   // [in][kh][kw], as PyTorch keeps convolutions
	SUPIR_TAPS_FIRST = 1, // [kh][kw][in]
};

// How weights are stored: row after row, each of in*kh*kw values of a ggml type.
struct supir_stored {
	int32_t ggml_type; // F32, F16, BF16 or a quantised one
	int32_t order;     // supir_order
	int64_t row_bytes;
	void (*to_float)(const void * src, float * dst, int64_t n); // ggml's; NULL for F32
};

// The bytes that weights take packed. They may be copied anywhere, and are read
// fastest at a multiple of 64.
int64_t supir_packed_bytes(const struct supir_weights * w);

// Packs weights; threads share the panels. scratch [nth][supir_pack_scratch].
int64_t supir_pack_scratch(const struct supir_weights * w);
enum supir_status supir_pack_weights(void * dst, const struct supir_weights * w, const struct supir_stored * stored,
                                     const void * src, void * scratch, int ith, int nth);

enum supir_activation { SUPIR_NO_ACTIVATION = 0, SUPIR_SILU = 1, SUPIR_GELU = 2, SUPIR_QUICK_GELU = 3 };

// dst = activation(W * rows + bias + vector[image]) + residual, for all pixels of
// the output, or a·GELU(b) + residual for geglu, whose output has out/2 channels.
//
// The input is a map of n images, h × w pixels; a linear layer's is n batches of
// h = 1 row of w tokens. An output pixel (y, x) sees the input's (y*stride - top
// + i, x*stride - left + j) for the taps (i, j), zero outside; with upsample the
// input counts as twice as large, each pixel repeated in both directions. The
// output's size is the caller's to choose (out_h, out_w), and so are bottom and
// right padding with it.
struct supir_product_desc {
	struct supir_weights weights;
	struct supir_stored stored; // row_bytes 0: the weights are packed
	int64_t n, h, w;
	int64_t out_h, out_w;
	int32_t stride, top, left;
	bool upsample;
	int32_t activation; // supir_activation
};

// Bytes of scratch per thread.
int64_t supir_product_scratch(const struct supir_product_desc * p);

// rows [n][h][w][supir_row_bytes], weights as supir_pack_weights left them or
// stored; bias [out], vector [n][out], residual [n][out_h][out_w][out, or out/2]
// may be NULL. dst may be residual.
enum supir_status supir_product(const struct supir_product_desc * p, float * dst, const void * rows, const void * weights,
                                const float * bias, const float * vector, const float * residual, void * scratch,
                                int ith, int nth);

// --- Attention --------------------------------------------------------------------

// softmax(q·kᵀ·scale)·v, of heads beside each other in a row: head i is features
// i*dim … of q, k, v and dst. q, k and v may be parts of wider rows: strides are
// in floats from row to row, and the pointers are to the first row's first head.
struct supir_attention_desc {
	int64_t queries, keys;   // tokens of each of a batch
	int64_t batch, kv_batch; // kv_batch: batch, or 1 where all share k and v
	int64_t heads, dim;      // features of a head: a multiple of 4
	int64_t q_stride, k_stride, v_stride;
	float scale;
	bool causal;  // query i sees keys 0…i
	int32_t type; // supir_type of the two products
};

// Keys and values are packed first, which is a kernel of its own, since all
// threads read all of them, and since they may stay while queries change.
int64_t supir_attention_packed_bytes(const struct supir_attention_desc * a);
enum supir_status supir_attention_pack(const struct supir_attention_desc * a, void * dst, const float * k, const float * v,
                                       int ith, int nth);
int64_t supir_attention_scratch(const struct supir_attention_desc * a); // bytes per thread
// dst [batch][queries][heads*dim].
enum supir_status supir_attention(const struct supir_attention_desc * a, float * dst, const float * q, const void * packed,
                                  void * scratch, int ith, int nth);

#ifdef __cplusplus
}
#endif

#endif
