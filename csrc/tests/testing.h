// What the kernels' tests share: random data, guarded memory, errors.
#pragma once

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <vector>

#include "../supir_kernels.h"

inline int failures = 0;

inline void fail(const char * format, ...) {
	va_list args;
	va_start(args, format);
	std::printf("FAIL %s: ", supir_kernel_isa());
	std::vprintf(format, args);
	std::printf("\n");
	va_end(args);
	failures++;
}

// Memory between two guards, which tells whether a kernel wrote beyond it.
class Guarded {
public:
	explicit Guarded(int64_t bytes) : bytes_(bytes), memory_(size_t(bytes + 2 * edge), fill) {}
	char * data() { return memory_.data() + edge; }
	float * floats() { return reinterpret_cast<float *>(data()); }
	bool kept() const {
		for (int64_t i = 0; i < edge; i++) {
			if (memory_[size_t(i)] != fill || memory_[size_t(edge + bytes_ + i)] != fill) return false;
		}
		return true;
	}

private:
	static constexpr int64_t edge = 256;
	static constexpr char fill = 0x5a;
	int64_t bytes_;
	std::vector<char> memory_;
};

inline std::vector<float> normal(int64_t n, uint32_t seed, float scale = 1, float mean = 0) {
	std::mt19937 random(seed);
	std::normal_distribution<float> d(mean, scale);
	std::vector<float> x(static_cast<size_t>(n));
	for (float & v : x) v = d(random);
	return x;
}

// The normalised squared error.
inline double error(const float * got, const std::vector<double> & want) {
	double wrong = 0, norm = 0;
	for (size_t i = 0; i < want.size(); i++) {
		wrong += (got[i] - want[i]) * (got[i] - want[i]);
		norm += want[i] * want[i];
	}
	return norm > 0 ? wrong / norm : wrong;
}

// Values that must not get lost: of which results are none either.
inline std::vector<float> no_numbers() {
	float ones; // rounds up to a zero where one does not look
	const uint32_t bits = 0x7fffffff;
	std::memcpy(&ones, &bits, 4);
	return {NAN, -NAN, INFINITY, -INFINITY, ones};
}

inline bool all_finite(const float * x, int64_t n) {
	for (int64_t i = 0; i < n; i++) {
		if (!std::isfinite(x[i])) return false;
	}
	return true;
}

inline const char * type_name(int type) { return type == SUPIR_INT8 ? "int8" : type == SUPIR_BF16 ? "bf16" : "f32"; }

constexpr supir_type all_types[] = {SUPIR_F32, SUPIR_BF16, SUPIR_INT8};

// Runs the tests on every instruction set of the machine.
template <class F> int on_every_isa(F tests) {
	for (const char * isa : {"portable", "avx2", "avx2 vnni", "avx512", "avx512 bf16"}) {
		if (!supir_use_isa(isa)) {
			std::printf("%s: not here\n", isa);
			continue;
		}
		tests();
		std::printf("%s: done\n", isa);
	}
	if (failures) std::printf("%d failures\n", failures);
	return failures != 0;
}
