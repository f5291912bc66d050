// The kernels of one instruction set, as a table: kernels_*.cpp each fill one
// from the same source (rows.inc.h, pack.inc.h, product.inc.h, attention.inc.h), and interface.cpp
// picks the machine's best.
#pragma once

#include "layout.h"
#include "tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace supir {

struct RowsArgs { // of the kernels that write rows
	void * dst;
	const float * src;
	int64_t rows, channels;
	int type;
	bool rotate;
	int ith, nth;
};

struct GroupArgs {
	int64_t pixels, channels, batch, groups;
	int ith, nth;
};

struct ProductArgs {
	const supir_product_desc * desc;
	float * dst;
	const char * rows;
	const char * weights;
	const float *bias, *vector, *residual;
	char * scratch;
	int ith, nth;
};

struct Kernels {
	const char * name;
	void (*convert_rows)(const RowsArgs &);
	void (*layer_norm)(const RowsArgs &, const float * weight, const float * bias, float eps);
	void (*group_stats)(const GroupArgs &, double * stats, const float * src);
	void (*group_norm_rows)(const GroupArgs &, const RowsArgs &, const double * stats, const float * weight, const float * bias,
	                        const float * scale, const float * shift, float eps, bool silu);
	void (*pack_panel)(const supir_weights &, const supir_stored &, const char * src, int64_t p, char * dst, char * scratch);
	bool (*product)(const ProductArgs &); // false: oneDNN failed
	void (*attention_pack)(const supir_attention_desc &, char * dst, const float * k, const float * v, int ith, int nth);
	void (*attention)(const supir_attention_desc &, float * dst, const float * q, const char * packed, char * scratch, int ith, int nth);
};

// Null where the compiler or the architecture does not know the instruction set.
extern const Kernels * const kernels_portable;
extern const Kernels * const kernels_avx2;
extern const Kernels * const kernels_avx2_vnni;
extern const Kernels * const kernels_avx512;
extern const Kernels * const kernels_avx512_bf16;

// Kernels of rows keep a row of floats on the stack, group norms as much as six: a
// thread may have no more than 128 KiB of it.
constexpr int64_t max_channels = 16384;
constexpr int64_t max_norm_channels = 4096;

// rotation_sign of max_channels channels (interface.cpp).
const float * rotation_signs();

// Attention goes through keys and queries in blocks that stay in the caches.
constexpr int64_t key_block = 512;  // a multiple of panel
constexpr int64_t query_tiles = 16; // of tile_rows queries

// A product goes block by block of rows: tiles that meet a stretch of a panel
// while it is in the second-level cache.
constexpr int64_t block_tiles = 16;
constexpr int64_t block_rows = block_tiles * tile_rows;
constexpr int64_t stretch_groups = 512;

// Where packing's scratch holds what, in bytes: an output's values as floats, twice,
// and as groups, W outputs of which are then put in their columns at once.
struct PackScratch {
	int64_t values, other, rows, row_bytes, bytes;
	explicit PackScratch(const supir_weights & w) {
		const WeightLayout l(w);
		values = 0;
		other = values + round_up(4 * l.taps * w.in, 64);
		rows = other + round_up(4 * l.taps * w.in, 64);
		row_bytes = 4 * (l.taps * l.groups + 16); // and no power of two
		bytes = rows + round_up(16 * row_bytes, 64);
	}
};

// Where a product's scratch holds what, in bytes.
struct ProductScratch {
	int64_t sums, columns, zeros, windows, scales, panel, rows, tiles, copies, bytes;
	explicit ProductScratch(const supir_product_desc & p) {
		const WeightLayout l(p.weights);
		sums = 0;                                          // [block_rows][64] floats
		columns = sums + block_rows * supir::panel * 4;    // of the panel: scales, biases
		zeros = columns + 2 * supir::panel * 4;            // a row of zeros
		windows = zeros + round_up(row_bytes(p.weights.type, p.weights.in), 64); // [taps][block_rows] pointers
		scales = windows + l.taps * block_rows * 8;        // and twice as many floats
		panel = scales + l.taps * block_rows * 8;          // unpacked
		rows = panel + (p.stored.row_bytes ? round_up(l.bytes, 64) : 0); // stored rows as floats
		tiles = rows + (p.stored.row_bytes ? round_up(supir_pack_scratch(&p.weights), 64) : 0); // for tiles, a tap's sums
		copies = tiles + (use_tiles(p.weights.type) ? tile_scratch + block_rows * supir::panel * 4 : 0); // and [taps][block_rows] rows
		const bool linear = l.taps == 1 && p.stride == 1 && !p.upsample && p.top == 0 && p.left == 0 && p.out_h == p.h && p.out_w == p.w;
		bytes = copies + (use_tiles(p.weights.type) && !linear ? l.taps * block_rows * 4 * l.groups : 0);
	}
};

struct AttentionScratch {
	int64_t queries, query_bytes, state, out, out_width, scores, weights, weight_bytes, bytes;
	explicit AttentionScratch(const supir_attention_desc & a) {
		const AttentionLayout l(a);
		query_bytes = 4 * l.key_groups;
		out_width = l.value_panels * panel;
		weight_bytes = 4 * groups_of(a.type, key_block);
		queries = 0;                                                         // in the compute type
		state = queries + round_up(query_tiles * tile_rows * query_bytes, 64); // of a query: scale, largest score, sum
		out = state + query_tiles * tile_rows * 4 * 4;
		scores = out + query_tiles * tile_rows * out_width * 4;
		weights = scores + tile_rows * key_block * 4;
		bytes = weights + tile_rows * weight_bytes;
	}
};

} // namespace supir
