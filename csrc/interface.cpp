// The C interface: checks sizes, and calls the kernels of the machine's best
// instruction set.
#include "isa.h"

#include <atomic>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "ops.h"

using namespace supir;

const float * supir::rotation_signs() {
	static const struct Signs {
		float x[max_channels];
		Signs() {
			for (int64_t c = 0; c < max_channels; c++) x[c] = rotation_sign(c);
		}
	} signs;
	return signs.x;
}

namespace {

const Kernels * named(const char * name) {
	for (const Kernels * k : {kernels_portable, kernels_avx2, kernels_avx2_vnni, kernels_avx512, kernels_avx512_bf16}) {
		if (k && std::strcmp(k->name, name) == 0) return k;
	}
	return nullptr;
}

const Kernels * best() {
	const uint32_t has = supir_features();
	const uint32_t vnni512 = SUPIR_AVX512 | SUPIR_AVX512_VNNI;
	if (kernels_avx512_bf16 && (has & SUPIR_AVX512_BF16) && (has & vnni512) == vnni512) return kernels_avx512_bf16;
	if (kernels_avx512 && (has & vnni512) == vnni512) return kernels_avx512;
	if (kernels_avx2_vnni && (has & SUPIR_AVX_VNNI)) return kernels_avx2_vnni;
	if (kernels_avx2 && (has & SUPIR_AVX2)) return kernels_avx2;
	return kernels_portable;
}

std::atomic<const Kernels *> chosen{nullptr};

const Kernels & kernels() {
	const Kernels * k = chosen.load(std::memory_order_relaxed);
	if (!k) {
		k = best();
		chosen.store(k, std::memory_order_relaxed);
	}
	return *k;
}

bool is_type(int32_t type) { return type == SUPIR_F32 || type == SUPIR_BF16 || type == SUPIR_INT8; }

bool positive(std::initializer_list<int64_t> sizes) {
	for (int64_t n : sizes) {
		if (n < 1 || n > (int64_t(1) << 40)) return false;
	}
	return true;
}

bool right(const supir_weights & w) {
	return is_type(w.type) && positive({w.out, w.in, w.kh, w.kw}) && w.in <= (1 << 20) && w.kh <= 64 && w.kw <= 64 &&
	       !(w.geglu && w.out % 2) && !((w.flags & SUPIR_ROTATE) && w.in > max_channels);
}

bool right(const supir_attention_desc & a) {
	return is_type(a.type) && positive({a.queries, a.keys, a.batch, a.kv_batch, a.heads, a.dim}) && a.dim % 4 == 0 && a.dim <= 1024 &&
	       (a.kv_batch == a.batch || a.kv_batch == 1) && !(a.causal && a.queries != a.keys) && a.scale > 0 &&
	       a.q_stride >= a.heads * a.dim && a.k_stride >= a.heads * a.dim && a.v_stride >= a.heads * a.dim;
}

} // namespace

extern "C" {

const char * supir_status_text(enum supir_status status) {
	switch (status) {
	case SUPIR_OK: return "no error";
	case SUPIR_BAD_SHAPE: return "sizes that do not fit together";
	case SUPIR_NO_SCRATCH: return "no scratch memory";
	case SUPIR_UNSUPPORTED: return "a type that this processor or build cannot do";
	case SUPIR_FAILED: return "oneDNN failed";
	case SUPIR_NO_MEMORY: return "out of memory";
	}
	return "an unknown status";
}

const char * supir_kernel_isa(void) { return kernels().name; }

bool supir_use_isa(const char * name) {
	const Kernels * k = name ? named(name) : best();
	const uint32_t has = supir_features();
	auto wants = [&](const Kernels * which, uint32_t set) { return k == which && (has & set) != set; };
	if (!k || wants(kernels_avx2, SUPIR_AVX2) || wants(kernels_avx2_vnni, SUPIR_AVX_VNNI) ||
	    wants(kernels_avx512, SUPIR_AVX512 | SUPIR_AVX512_VNNI) ||
	    wants(kernels_avx512_bf16, SUPIR_AVX512 | SUPIR_AVX512_VNNI | SUPIR_AVX512_BF16)) {
		return false;
	}
	chosen.store(k, std::memory_order_relaxed);
	return true;
}

int64_t supir_row_bytes(enum supir_type type, int64_t channels) { return row_bytes(type, channels); }

enum supir_status supir_convert_rows(void * dst, const float * src, int64_t rows, int64_t channels, enum supir_type type,
                                     int32_t flags, int ith, int nth) {
	if (!positive({rows, channels})) return SUPIR_BAD_SHAPE;
	const bool rotate = flags & SUPIR_ROTATE;
	if (!is_type(type) || (rotate && channels > max_channels)) return SUPIR_UNSUPPORTED;
	kernels().convert_rows({dst, src, rows, channels, type, rotate, ith, nth});
	return SUPIR_OK;
}

enum supir_status supir_layer_norm(void * dst, const float * src, const float * weight, const float * bias, int64_t rows,
                                   int64_t channels, float eps, enum supir_type type, int32_t flags, int ith, int nth) {
	if (!positive({rows, channels})) return SUPIR_BAD_SHAPE;
	if (!is_type(type) || channels > max_channels) return SUPIR_UNSUPPORTED;
	kernels().layer_norm({dst, src, rows, channels, type, (flags & SUPIR_ROTATE) != 0, ith, nth}, weight, bias, eps);
	return SUPIR_OK;
}

int64_t supir_group_stats_bytes(int64_t pixels, int64_t groups, int64_t batch) {
	return parts_of(pixels) * groups * batch * 2 * int64_t(sizeof(double));
}

enum supir_status supir_group_stats(void * stats, const float * src, int64_t pixels, int64_t channels, int64_t batch,
                                    int64_t groups, int ith, int nth) {
	if (!positive({pixels, channels, batch, groups}) || channels % groups) return SUPIR_BAD_SHAPE;
	if (channels > max_norm_channels) return SUPIR_UNSUPPORTED;
	kernels().group_stats({pixels, channels, batch, groups, ith, nth}, static_cast<double *>(stats), src);
	return SUPIR_OK;
}

enum supir_status supir_group_norm_rows(void * dst, const float * src, const void * stats, const float * weight, const float * bias,
                                        const float * scale, const float * shift, int64_t pixels, int64_t channels, int64_t batch,
                                        int64_t groups, float eps, bool silu, enum supir_type type, int32_t flags, int ith, int nth) {
	if (!positive({pixels, channels, batch, groups}) || channels % groups || !scale != !shift) return SUPIR_BAD_SHAPE;
	if (!is_type(type) || channels > max_norm_channels) return SUPIR_UNSUPPORTED;
	kernels().group_norm_rows({pixels, channels, batch, groups, ith, nth},
	                          {dst, src, batch * pixels, channels, type, (flags & SUPIR_ROTATE) != 0, ith, nth},
	                          static_cast<const double *>(stats), weight, bias, scale, shift, eps, silu);
	return SUPIR_OK;
}

enum supir_status supir_concat_rows(float * dst, const float * a, int64_t a_channels, const float * b, int64_t b_channels,
                                    int64_t rows, int ith, int nth) {
	if (!positive({rows, a_channels, b_channels})) return SUPIR_BAD_SHAPE;
	for (int64_t i = rows * ith / nth; i < rows * (ith + 1) / nth; i++) {
		float * to = dst + i * (a_channels + b_channels);
		std::memcpy(to, a + i * a_channels, size_t(4 * a_channels));
		std::memcpy(to + a_channels, b + i * b_channels, size_t(4 * b_channels));
	}
	return SUPIR_OK;
}

// Blocks of 16 pixels, so that both sides' cache lines are used whole.
enum supir_status supir_rows_from_planar(float * dst, const float * src, int64_t pixels, int64_t channels, int64_t batch, int ith, int nth) {
	if (!positive({pixels, channels, batch})) return SUPIR_BAD_SHAPE;
	const int64_t blocks = divide_up(pixels, 16);
	for (int64_t i = batch * blocks * ith / nth; i < batch * blocks * (ith + 1) / nth; i++) {
		const int64_t at = i / blocks * pixels * channels, from = i % blocks * 16, to = std::min(pixels, from + 16);
		for (int64_t c = 0; c < channels; c++) {
			for (int64_t p = from; p < to; p++) dst[at + p * channels + c] = src[at + c * pixels + p];
		}
	}
	return SUPIR_OK;
}

enum supir_status supir_planar_from_rows(float * dst, const float * src, int64_t pixels, int64_t channels, int64_t batch, int ith, int nth) {
	if (!positive({pixels, channels, batch})) return SUPIR_BAD_SHAPE;
	const int64_t blocks = divide_up(pixels, 16);
	for (int64_t i = batch * blocks * ith / nth; i < batch * blocks * (ith + 1) / nth; i++) {
		const int64_t at = i / blocks * pixels * channels, from = i % blocks * 16, to = std::min(pixels, from + 16);
		for (int64_t c = 0; c < channels; c++) {
			for (int64_t p = from; p < to; p++) dst[at + c * pixels + p] = src[at + p * channels + c];
		}
	}
	return SUPIR_OK;
}

int64_t supir_packed_bytes(const struct supir_weights * w) {
	const WeightLayout l(*w);
	return l.panels * l.bytes;
}

int64_t supir_pack_scratch(const struct supir_weights * w) { return PackScratch(*w).bytes; }

enum supir_status supir_pack_weights(void * dst, const struct supir_weights * w, const struct supir_stored * stored,
                                     const void * src, void * scratch, int ith, int nth) {
	if (!right(*w) || stored->row_bytes < 1) return SUPIR_BAD_SHAPE;
	if (!scratch) return SUPIR_NO_SCRATCH;
	const WeightLayout l(*w);
	char * own = static_cast<char *>(scratch) + ith * supir_pack_scratch(w);
	for (int64_t p = l.panels * ith / nth; p < l.panels * (ith + 1) / nth; p++) {
		kernels().pack_panel(*w, *stored, static_cast<const char *>(src), p, static_cast<char *>(dst) + p * l.bytes, own);
	}
	return SUPIR_OK;
}

enum supir_status supir_pack_all(void * dst, const struct supir_weights * w, const struct supir_stored * stored, const void * src, int threads) try {
	if (!right(*w) || threads < 1) return SUPIR_BAD_SHAPE;
	std::vector<char> scratch(size_t(supir_pack_scratch(w) * threads));
	std::atomic<int> status{SUPIR_OK};
	auto work = [&](int i) {
		const int s = supir_pack_weights(dst, w, stored, src, scratch.data(), i, threads);
		if (s != SUPIR_OK) status = s;
	};
	std::vector<std::thread> others;
	for (int i = 1; i < threads; i++) {
		try {
			others.emplace_back(work, i);
		} catch (const std::exception &) { // the system has no more threads
			work(i);
		}
	}
	work(0);
	for (std::thread & t : others) t.join();
	return supir_status(status.load());
} catch (const std::exception &) {
	return SUPIR_NO_MEMORY;
}

int64_t supir_product_scratch(const struct supir_product_desc * p) { return ProductScratch(*p).bytes + 63; }

enum supir_status supir_product(const struct supir_product_desc * p, float * dst, const void * rows, const void * weights,
                                const float * bias, const float * vector, const float * residual, void * scratch, int ith, int nth) {
	if (!right(p->weights) || !positive({p->n, p->h, p->w, p->out_h, p->out_w, p->stride}) || p->top < 0 || p->left < 0 ||
	    (p->weights.geglu && (vector || p->activation))) {
		return SUPIR_BAD_SHAPE;
	}
	if (!scratch) return SUPIR_NO_SCRATCH;
	const bool done = kernels().product({p, dst, static_cast<const char *>(rows), static_cast<const char *>(weights), bias, vector, residual,
	                                     aligned(scratch), ith, nth});
	return done ? SUPIR_OK : SUPIR_FAILED;
}

int64_t supir_attention_packed_bytes(const struct supir_attention_desc * a) { return AttentionLayout(*a).bytes + 63; }

enum supir_status supir_attention_pack(const struct supir_attention_desc * a, void * dst, const float * k, const float * v, int ith, int nth) {
	if (!right(*a)) return SUPIR_BAD_SHAPE;
	kernels().attention_pack(*a, aligned(dst), k, v, ith, nth);
	return SUPIR_OK;
}

int64_t supir_attention_scratch(const struct supir_attention_desc * a) { return AttentionScratch(*a).bytes + 63; }

enum supir_status supir_attention(const struct supir_attention_desc * a, float * dst, const float * q, const void * packed,
                                  void * scratch, int ith, int nth) {
	if (!right(*a)) return SUPIR_BAD_SHAPE;
	if (!scratch) return SUPIR_NO_SCRATCH;
	kernels().attention(*a, dst, q, aligned(packed), aligned(scratch), ith, nth);
	return SUPIR_OK;
}

} // extern "C"
