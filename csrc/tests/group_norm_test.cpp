// Compares the group norm with a plain one in double, over odd shapes and
// numbers of threads, with guards around the result.
#include "../supir_kernels.h"

#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

static int failures = 0;

static void check(int64_t pixels, int64_t channels, int64_t batch, int64_t groups, int threads) {
	const float eps = 1e-5f, guard = 12345.0f;
	const int64_t n = pixels * channels * batch, edge = 32;
	std::mt19937 random(1);
	std::normal_distribution<float> normal(0.5f, 2.0f);
	std::vector<float> src(n), weight(channels), bias(channels), dst(n + 2 * edge, guard);
	for (auto * v : {&src, &weight, &bias}) {
		for (float & x : *v) x = normal(random);
	}
	for (int t = 0; t < threads; t++) {
		if (supir_group_norm(dst.data() + edge, src.data(), weight.data(), bias.data(), pixels, channels, batch, groups, eps, t, threads) != SUPIR_OK) {
			std::printf("FAIL: status\n");
			failures++;
		}
	}
	double wrong = 0, norm = 0;
	const int64_t each = channels / groups;
	for (int64_t g = 0; g < batch * groups; g++) {
		const float * x = src.data() + g * each * pixels;
		double mean = 0, variance = 0;
		for (int64_t i = 0; i < each * pixels; i++) mean += x[i];
		mean /= double(each * pixels);
		for (int64_t i = 0; i < each * pixels; i++) variance += (x[i] - mean) * (x[i] - mean);
		variance /= double(each * pixels);
		for (int64_t i = 0; i < each * pixels; i++) {
			const int64_t c = (g % groups) * each + i / pixels;
			const double want = (x[i] - mean) / std::sqrt(variance + eps) * weight[c] + bias[c];
			const double got = dst[edge + g * each * pixels + i];
			wrong += (got - want) * (got - want);
			norm += want * want;
		}
	}
	bool guarded = true;
	for (int64_t i = 0; i < edge; i++) guarded = guarded && dst[i] == guard && dst[edge + n + i] == guard;
	if (!(wrong <= 1e-12 * norm) || !guarded) {
		std::printf("FAIL: pixels %lld channels %lld batch %lld groups %lld threads %d: error %g, guards %s\n", (long long) pixels,
		            (long long) channels, (long long) batch, (long long) groups, threads, wrong / norm, guarded ? "kept" : "overwritten");
		failures++;
	}
}

int main() {
	for (int64_t pixels : {1, 7, 16, 33, 1024, 4099}) {
		for (int threads : {1, 2, 5}) {
			check(pixels, 8, 1, 1, threads);
			check(pixels, 8, 1, 8, threads);
			check(pixels, 96, 2, 32, threads);
			check(pixels, 3, 3, 1, threads);
		}
	}
	if (supir_group_norm(nullptr, nullptr, nullptr, nullptr, 4, 6, 1, 4, 1e-5f, 0, 1) != SUPIR_BAD_SHAPE) {
		std::printf("FAIL: 6 channels in 4 groups are accepted\n");
		failures++;
	}
	std::printf("%s\n", failures ? "FAILED" : "ok");
	return failures != 0;
}
