#include "supir_kernels.h"

#include <cmath>

// Loops below are compiled for several instruction sets; the machine's best is
// chosen when the program starts.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define SUPIR_CLONES __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3,tree-vectorize")))
#else
#define SUPIR_CLONES
#endif

namespace {

struct Moments {
	double sum, squares;
};

// Sixteen partial sums, so that the loop runs in vectors.
SUPIR_CLONES Moments moments(const float * x, int64_t n) {
	constexpr int lanes = 16;
	double sum[lanes] = {}, squares[lanes] = {};
	int64_t i = 0;
	for (; i + lanes <= n; i += lanes) {
		for (int l = 0; l < lanes; l++) {
			const double v = x[i + l];
			sum[l] += v;
			squares[l] += v * v;
		}
	}
	Moments m = {0, 0};
	for (int l = 0; l < lanes; l++) {
		m.sum += sum[l];
		m.squares += squares[l];
	}
	for (; i < n; i++) {
		m.sum += x[i];
		m.squares += double(x[i]) * x[i];
	}
	return m;
}

SUPIR_CLONES void normalise(float * dst, const float * src, int64_t n, float mean, float scale, float bias) {
	for (int64_t i = 0; i < n; i++) {
		dst[i] = (src[i] - mean) * scale + bias;
	}
}

} // namespace

enum supir_status supir_group_norm(float * dst, const float * src, const float * weight, const float * bias,
                                   int64_t pixels, int64_t channels, int64_t batch, int64_t groups, float eps,
                                   int ith, int nth) {
	if (pixels < 1 || channels < 1 || batch < 1 || groups < 1 || channels % groups != 0) {
		return SUPIR_BAD_SHAPE;
	}
	const int64_t each = channels / groups; // channels of a group
	const int64_t all = batch * groups;
	// With too few groups to go round, every thread sums up each group, and
	// writes its share of the pixels.
	const bool shared = all < nth;
	for (int64_t g = shared ? 0 : ith; g < all; g += shared ? 1 : nth) {
		const int64_t first = (g % groups) * each; // channel
		const int64_t at = g * each * pixels;      // of src and dst
		const Moments m = moments(src + at, each * pixels);
		const double n = double(each) * double(pixels);
		const double mean = m.sum / n;
		const double variance = m.squares / n - mean * mean;
		const double inverse = 1.0 / std::sqrt((variance > 0 ? variance : 0) + eps);
		const int64_t from = shared ? pixels * ith / nth : 0;
		const int64_t to = shared ? pixels * (ith + 1) / nth : pixels;
		for (int64_t c = 0; c < each; c++) {
			const int64_t row = at + c * pixels;
			const float scale = float(inverse * weight[first + c]);
			normalise(dst + row + from, src + row + from, to - from, float(mean), scale, bias[first + c]);
		}
	}
	return SUPIR_OK;
}
