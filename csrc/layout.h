// How rows, packed weights, and packed keys and values lie in memory; shared by
// the kernels of all instruction sets.
//
// Products take their operands in groups of four bytes along the sum: one F32,
// two BF16, four bytes. A row is groups one after the other; a panel is, for each
// group, the 64 outputs' four bytes beside each other.
#pragma once

#include <cstdint>

#include "supir_kernels.h"

namespace supir {

constexpr int64_t panel = 64;                 // outputs of a panel
constexpr int64_t group_bytes = 4 * panel;    // of a panel's group
constexpr int tile_rows = 6;                  // rows that a product's kernel takes at once

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t divide_up(int64_t n, int64_t by) { return (n + by - 1) / by; }

// The groups of n values along a sum.
inline int64_t groups_of(int type, int64_t n) {
	switch (type) {
	case SUPIR_INT8: return round_up(n, 16) / 4;
	case SUPIR_BF16: return divide_up(n, 2);
	default: return n;
	}
}

// What stays where it was made, scratch and packed keys, begins at a whole cache
// line, wherever its memory begins. Packed weights may be copied, and do not.
inline char * aligned(void * p) { return reinterpret_cast<char *>(round_up(int64_t(reinterpret_cast<uintptr_t>(p)), 64)); }
inline const char * aligned(const void * p) { return aligned(const_cast<void *>(p)); }

inline int64_t row_bytes(int type, int64_t channels) {
	return 4 * groups_of(type, channels) + (type == SUPIR_INT8 ? 16 : 0);
}

// A quantised row's floats behind its bytes.
inline const float * row_scales(const void * row, int64_t groups) {
	return reinterpret_cast<const float *>(static_cast<const char *>(row) + 4 * groups);
}

// Packed weights: panel by panel [taps][groups][64][4 bytes], then for int8 the
// outputs' scales [64] and, tap by tap, the sums of their bytes [taps][64], floats.
struct WeightLayout {
	int64_t taps, groups, panels, sums_at, bytes; // sums_at, bytes: of a panel
	explicit WeightLayout(const supir_weights & w)
	    : taps(int64_t(w.kh) * w.kw), groups(groups_of(w.type, w.in)), panels(divide_up(w.out, panel)),
	      sums_at(taps * groups * group_bytes), bytes(sums_at + (w.type == SUPIR_INT8 ? group_bytes * (1 + taps) : 0)) {}
};

// The output that a panel's column stands for; geglu's panels are half a, half b.
inline int64_t column_output(const supir_weights & w, int64_t p, int64_t column) {
	if (!w.geglu) {
		const int64_t o = p * panel + column;
		return o < w.out ? o : -1;
	}
	const int64_t half = w.out / 2, o = p * (panel / 2) + column % (panel / 2);
	return o >= half ? -1 : column < panel / 2 ? o : half + o;
}

// Packed keys and values of one head: keys in panels of 64 keys [groups][64][4],
// for int8 followed by the keys' scales and sums of bytes [64] each; values in
// panels of 64 features over groups of keys, for int8 followed by the features'
// scales [64].
struct AttentionLayout {
	int64_t key_groups, key_panels, key_bytes;       // of a key panel
	int64_t value_groups, value_panels, value_bytes; // of a value panel
	int64_t head_bytes, bytes;
	explicit AttentionLayout(const supir_attention_desc & a)
	    : key_groups(groups_of(a.type, a.dim)), key_panels(divide_up(a.keys, panel)),
	      key_bytes(key_groups * group_bytes + (a.type == SUPIR_INT8 ? 2 * group_bytes : 0)),
	      value_groups(groups_of(a.type, a.keys)), value_panels(divide_up(a.dim, panel)),
	      value_bytes(value_groups * group_bytes + (a.type == SUPIR_INT8 ? group_bytes : 0)),
	      head_bytes(key_panels * key_bytes + value_panels * value_bytes), bytes(head_bytes * a.heads * a.kv_batch) {}
};

// A rotation's block: the largest power of two up to 256 that divides channels.
inline int64_t rotation_block(int64_t channels) {
	int64_t b = 256;
	while (channels % b != 0) b /= 2;
	return b;
}

// The sign that a rotation gives a channel: a hash's bit.
inline float rotation_sign(int64_t channel) {
	uint32_t h = uint32_t(channel) * 0x9E3779B1u;
	h ^= h >> 15;
	h *= 0x85EBCA77u;
	h ^= h >> 13;
	return (h & 1) ? -1.0f : 1.0f;
}

// Pixels are added up in so many parts at most, whatever the number of threads.
constexpr int64_t stats_parts = 64;
inline int64_t parts_of(int64_t pixels) { return pixels < stats_parts * 16 ? divide_up(pixels, 16) : stats_parts; }

} // namespace supir
