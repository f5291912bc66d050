// Attention against a naive one in double.
#include "testing.h"

#include <algorithm>

namespace {

void check(int64_t batch, int64_t kv_batch, int64_t queries, int64_t keys, int64_t heads, int64_t dim, bool causal, int64_t extra, float spread) {
	const int64_t width = heads * dim, stride = width + extra;
	const auto q = normal(batch * queries * stride, 1, spread), k = normal(kv_batch * keys * stride, 2, spread, 0.3f), v = normal(kv_batch * keys * stride, 3);
	const float scale = 1 / std::sqrt(float(dim));
	std::vector<double> want(size_t(batch * queries * width)), weights(static_cast<size_t>(keys));
	for (int64_t n = 0; n < batch; n++) {
		const int64_t kn = kv_batch == 1 ? 0 : n;
		for (int64_t h = 0; h < heads; h++) {
			for (int64_t i = 0; i < queries; i++) {
				const int64_t seen = causal ? i + 1 : keys;
				double most = -1e300, sum = 0;
				for (int64_t j = 0; j < seen; j++) {
					double s = 0;
					for (int64_t d = 0; d < dim; d++) s += double(q[size_t((n * queries + i) * stride + h * dim + d)]) * k[size_t((kn * keys + j) * stride + h * dim + d)];
					weights[size_t(j)] = s * scale;
					most = std::max(most, s * scale);
				}
				for (int64_t j = 0; j < seen; j++) sum += weights[size_t(j)] = std::exp(weights[size_t(j)] - most);
				for (int64_t d = 0; d < dim; d++) {
					double s = 0;
					for (int64_t j = 0; j < seen; j++) s += weights[size_t(j)] * v[size_t((kn * keys + j) * stride + h * dim + d)];
					want[size_t((n * queries + i) * width + h * dim + d)] = s / sum;
				}
			}
		}
	}
	for (supir_type type : all_types) {
		const supir_attention_desc a = {queries, keys, batch, kv_batch, heads, dim, stride, stride, stride, scale, causal, type};
		for (int threads : {1, 3}) {
			Guarded packed(supir_attention_packed_bytes(&a)), dst(4 * batch * queries * width), scratch(supir_attention_scratch(&a));
			for (int t = 0; t < threads; t++) {
				if (supir_attention_pack(&a, packed.data(), k.data(), v.data(), t, threads) != SUPIR_OK) fail("pack");
			}
			for (int t = 0; t < threads; t++) {
				if (supir_attention(&a, dst.floats(), q.data(), packed.data(), scratch.data(), t, threads) != SUPIR_OK) fail("status");
			}
			const double e = error(dst.floats(), want), most = type == SUPIR_INT8 ? 1e-3 : type == SUPIR_BF16 ? 5e-5 : 2e-12;
			if (!(e <= most) || !packed.kept() || !dst.kept() || !scratch.kept()) {
				fail("%s batch %lld/%lld, %lld queries, %lld keys, %lld heads of %lld%s, spread %g, threads %d: error %g, guards %s", type_name(type), (long long) batch,
				     (long long) kv_batch, (long long) queries, (long long) keys, (long long) heads, (long long) dim, causal ? ", causal" : "", spread, threads, e,
				     packed.kept() && dst.kept() && scratch.kept() ? "kept" : "overwritten");
			}
		}
	}
}

// What is no number in a query, a key or a value shows in the result.
void none(int64_t queries, int64_t keys, int64_t heads, int64_t dim) {
	const int64_t width = heads * dim;
	for (supir_type type : all_types) {
		const supir_attention_desc a = {queries, keys, 1, 1, heads, dim, width, width, width, 1 / std::sqrt(float(dim)), false, type};
		for (int where = 0; where < 3; where++) {
			int64_t place = 0;
			for (float value : no_numbers()) {
				std::vector<float> x[3] = {normal(queries * width, 1), normal(keys * width, 2), normal(keys * width, 3)};
				const int64_t size = int64_t(x[where].size());
				x[where][size_t(place++ * (size - 1) / 4)] = value;
				Guarded packed(supir_attention_packed_bytes(&a)), dst(4 * queries * width), scratch(supir_attention_scratch(&a));
				supir_attention_pack(&a, packed.data(), x[1].data(), x[2].data(), 0, 1);
				supir_attention(&a, dst.floats(), x[0].data(), packed.data(), scratch.data(), 0, 1);
				if (all_finite(dst.floats(), queries * width)) fail("%s: %g in %s is lost, %lld keys, dim %lld", type_name(type), value, where == 0 ? "a query" : where == 1 ? "a key" : "a value", (long long) keys, (long long) dim);
			}
		}
	}
}

} // namespace

int main() {
	return on_every_isa([] {
		none(13, 77, 2, 64);
		none(5, 1100, 1, 16);
		check(1, 1, 1, 1, 1, 4, false, 0, 1);
		check(2, 2, 5, 7, 2, 8, false, 0, 1);
		check(2, 1, 33, 77, 2, 64, false, 0, 1); // cross-attention, one text
		check(2, 2, 100, 77, 3, 64, false, 128, 1);
		check(1, 1, 77, 77, 2, 64, true, 0, 1); // a text's own
		check(1, 1, 600, 600, 1, 16, true, 0, 1);
		check(1, 1, 100, 1100, 1, 64, false, 0, 1); // several blocks of keys
		check(1, 1, 40, 530, 1, 160, false, 0, 1);  // more than a panel of features
		check(1, 1, 64, 256, 2, 64, false, 0, 2);   // sharp
	});
}
