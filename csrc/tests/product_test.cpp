// Linear layers and convolutions against naive sums in double, in every type, of
// odd shapes, over numbers of threads, with guards around the results; and how
// much of a layer with outlier channels survives int8.
#include "testing.h"

#include <map>
#include <string>

namespace {

struct Case {
	const char * name;
	int64_t out, in;
	int32_t k;
	int64_t n, h, w;
	int32_t stride = 1, top = 0, left = 0, bottom = 0, right = 0;
	bool upsample = false, geglu = false;
	int32_t activation = SUPIR_NO_ACTIVATION;
	bool bias = true, vector = false, residual = false;
	double outliers = 0; // share of channels that are 20 times larger
	bool relu = false;   // input cut off at zero, as after an activation
};

double activate(double x, int32_t kind) {
	switch (kind) {
	case SUPIR_SILU: return x / (1 + std::exp(-x));
	case SUPIR_GELU: return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0)));
	case SUPIR_QUICK_GELU: return x / (1 + std::exp(-1.702 * x));
	}
	return x;
}

std::vector<double> reference(const Case & c, const supir_product_desc & p, const std::vector<float> & x, const std::vector<float> & w,
                              const float * bias, const float * vector, const float * residual) {
	const int64_t outputs = c.geglu ? c.out / 2 : c.out;
	std::vector<double> y(size_t(c.n * p.out_h * p.out_w * outputs)), line(size_t(c.out));
	const int64_t h = c.upsample ? 2 * c.h : c.h, width = c.upsample ? 2 * c.w : c.w;
	for (int64_t m = 0; m < c.n * p.out_h * p.out_w; m++) {
		const int64_t image = m / (p.out_h * p.out_w), oy = m / p.out_w % p.out_h, ox = m % p.out_w;
		for (int64_t o = 0; o < c.out; o++) {
			double s = bias ? bias[o] : 0;
			for (int i = 0; i < c.k; i++) {
				for (int j = 0; j < c.k; j++) {
					int64_t iy = oy * c.stride - c.top + i, ix = ox * c.stride - c.left + j;
					if (iy < 0 || iy >= h || ix < 0 || ix >= width) continue;
					if (c.upsample) iy /= 2, ix /= 2;
					const float * row = x.data() + ((image * c.h + iy) * c.w + ix) * c.in;
					const float * kernel = w.data() + o * c.in * c.k * c.k + i * c.k + j;
					for (int64_t ch = 0; ch < c.in; ch++) s += double(row[ch]) * kernel[ch * c.k * c.k];
				}
			}
			line[size_t(o)] = s;
		}
		for (int64_t o = 0; o < outputs; o++) {
			double v = c.geglu ? line[size_t(o)] * activate(line[size_t(outputs + o)], SUPIR_GELU) : line[size_t(o)];
			if (vector) v += vector[image * outputs + o];
			v = activate(v, c.activation);
			if (residual) v += residual[m * outputs + o];
			y[size_t(m * outputs + o)] = v;
		}
	}
	return y;
}

// The largest error of the type, as a normalised square.
double bound(int type) { return type == SUPIR_INT8 ? 3e-4 : type == SUPIR_BF16 ? 2e-5 : 2e-12; }

void check(const Case & c, bool rotate, bool taps_first, bool stored) {
	const int64_t taps = int64_t(c.k) * c.k, outputs = c.geglu ? c.out / 2 : c.out;
	auto x = normal(c.n * c.h * c.w * c.in, 1);
	if (c.relu) {
		for (float & v : x) v = v > 0 ? v : 0;
	}
	if (c.outliers > 0) {
		const int64_t each = int64_t(1 / c.outliers);
		for (size_t i = 0; i < x.size(); i++) {
			if (int64_t(i) % c.in % each == each / 2) x[i] *= 20;
		}
	}
	const auto w = normal(c.out * c.in * taps, 2, 1 / std::sqrt(float(c.in * taps)));
	const auto bias = normal(c.out, 3), vector = normal(c.n * outputs, 4);
	supir_product_desc p = {};
	p.n = c.n, p.h = c.h, p.w = c.w, p.stride = c.stride, p.top = c.top, p.left = c.left;
	const int64_t up = c.upsample ? 2 : 1;
	p.out_h = (up * c.h + c.top + c.bottom - c.k) / c.stride + 1;
	p.out_w = (up * c.w + c.left + c.right - c.k) / c.stride + 1;
	p.upsample = c.upsample, p.activation = c.activation;
	const int64_t pixels = c.n * p.out_h * p.out_w;
	const auto residual = normal(pixels * outputs, 5);
	static std::map<std::string, std::vector<double>> known; // of the same data every time
	auto & want = known[c.name];
	if (want.empty()) want = reference(c, p, x, w, c.bias ? bias.data() : nullptr, c.vector ? vector.data() : nullptr, c.residual ? residual.data() : nullptr);

	std::vector<float> reordered = w;
	if (taps_first) {
		for (int64_t o = 0; o < c.out; o++) {
			for (int64_t i = 0; i < c.in; i++) {
				for (int64_t t = 0; t < taps; t++) reordered[size_t((o * taps + t) * c.in + i)] = w[size_t((o * c.in + i) * taps + t)];
			}
		}
	}
	for (supir_type type : all_types) {
		p.weights = {c.out, c.in, c.k, c.k, type, rotate ? SUPIR_ROTATE : 0, c.geglu};
		const supir_stored how = {0, taps_first ? SUPIR_TAPS_FIRST : SUPIR_IN_FIRST, 4 * c.in * taps, nullptr};
		p.stored = stored ? how : supir_stored{};
		const int64_t rows = c.n * c.h * c.w;
		Guarded packed_rows(rows * supir_row_bytes(type, c.in)), packed(supir_packed_bytes(&p.weights));
		for (int threads : {1, 3}) {
			std::vector<char> scratch(size_t(supir_pack_scratch(&p.weights) * threads));
			Guarded dst(4 * pixels * outputs);
			std::vector<char> own(size_t(supir_product_scratch(&p)), 0x11);
			for (int t = 0; t < threads; t++) {
				if (supir_convert_rows(packed_rows.data(), x.data(), rows, c.in, type, p.weights.flags, t, threads) != SUPIR_OK) fail("%s: rows", c.name);
				if (supir_pack_weights(packed.data(), &p.weights, &how, reordered.data(), scratch.data(), t, threads) != SUPIR_OK) fail("%s: pack", c.name);
			}
			for (int t = 0; t < threads; t++) {
				const auto status = supir_product(&p, dst.floats(), packed_rows.data(), stored ? (const void *) reordered.data() : packed.data(), c.bias ? bias.data() : nullptr,
				                                  c.vector ? vector.data() : nullptr, c.residual ? residual.data() : nullptr, own.data(), t, threads);
				if (status != SUPIR_OK) fail("%s: %s", c.name, supir_status_text(status));
			}
			const double e = error(dst.floats(), want);
			double most = bound(type);
			if (type == SUPIR_INT8 && c.outliers > 0 && c.k > 1) most = 5e-4;
			if (type == SUPIR_INT8 && c.outliers > 0 && !rotate) most = 1; // what rotation is for
			if (!(e <= most)) fail("%s %s%s%s threads %d: error %g, at most %g", c.name, type_name(type), rotate ? " rotated" : "", stored ? " stored" : "", threads, e, most);
			if (c.outliers > 0 && type == SUPIR_INT8 && threads == 1) std::printf("%s%s: error %.2g\n", c.name, rotate ? " rotated" : "", e);
			if (!dst.kept() || !packed.kept() || !packed_rows.kept()) fail("%s %s: guards overwritten", c.name, type_name(type));
		}
	}
}

// What is no number in a row or a weight shows in the result.
void none(int64_t out, int64_t in, bool rotate) {
	const int64_t tokens = 9;
	for (supir_type type : all_types) {
		supir_product_desc p = {};
		p.n = 1, p.h = 1, p.w = tokens, p.out_h = 1, p.out_w = tokens, p.stride = 1;
		p.weights = {out, in, 1, 1, type, rotate ? SUPIR_ROTATE : 0, false};
		const supir_stored how = {0, SUPIR_IN_FIRST, 4 * in, nullptr};
		for (bool weight : {false, true}) {
			int64_t place = 0;
			for (float value : no_numbers()) {
				auto x = normal(tokens * in, 1), w = normal(out * in, 2);
				auto & to = weight ? w : x;
				to[size_t(place++ * int64_t(to.size() - 1) / 4)] = value;
				Guarded rows(tokens * supir_row_bytes(type, in)), packed(supir_packed_bytes(&p.weights)), dst(4 * tokens * out);
				std::vector<char> scratch(size_t(supir_pack_scratch(&p.weights))), own(size_t(supir_product_scratch(&p)));
				supir_convert_rows(rows.data(), x.data(), tokens, in, type, p.weights.flags, 0, 1);
				supir_pack_weights(packed.data(), &p.weights, &how, w.data(), scratch.data(), 0, 1);
				supir_product(&p, dst.floats(), rows.data(), packed.data(), nullptr, nullptr, nullptr, own.data(), 0, 1);
				if (all_finite(dst.floats(), tokens * out)) fail("%s%s: %g in a %s is lost, %lld to %lld", type_name(type), rotate ? " rotated" : "", value, weight ? "weight" : "row", (long long) in, (long long) out);
			}
		}
	}
}

std::vector<Case> cases() {
	std::vector<Case> list;
	auto linear = [&](const char * name, int64_t out, int64_t in, int64_t n, int64_t tokens) -> Case & {
		list.push_back({name, out, in, 1, n, 1, tokens});
		return list.back();
	};
	linear("linear", 70, 48, 2, 19);
	linear("linear, one token", 7, 5, 1, 1);
	linear("linear, 3 in", 65, 3, 1, 7);
	linear("linear, no bias", 64, 64, 1, 13).bias = false;
	linear("linear, wide sum", 64, 1300, 1, 8);
	linear("linear, residual", 130, 96, 2, 77).residual = true;
	linear("linear, silu", 130, 96, 1, 12).activation = SUPIR_SILU;
	linear("linear, gelu", 130, 96, 1, 12).activation = SUPIR_GELU;
	linear("linear, quick gelu and vector", 130, 96, 2, 12).activation = SUPIR_QUICK_GELU;
	list.back().vector = true;
	linear("geglu", 2 * 70, 64, 1, 29).geglu = true;
	linear("geglu, residual", 2 * 64, 96, 1, 29).geglu = true;
	list.back().residual = true;
	linear("linear, outliers", 320, 1280, 1, 64).outliers = 0.01;
	linear("linear of 320, outliers", 320, 320, 1, 64).outliers = 0.01;
	auto conv = [&](const char * name, int64_t out, int64_t in, int64_t n, int64_t h, int64_t w, int32_t stride, int32_t pad) -> Case & {
		list.push_back({name, out, in, 3, n, h, w, stride, pad, pad, pad, pad});
		return list.back();
	};
	conv("conv", 70, 32, 2, 7, 9, 1, 1);
	conv("conv, one pixel", 5, 3, 1, 1, 1, 1, 1);
	conv("conv, stride 2", 64, 20, 2, 7, 10, 2, 1);
	conv("conv, corner", 33, 20, 1, 6, 10, 2, 0);
	list.back().bottom = list.back().right = 1;
	conv("conv, upsample", 40, 17, 2, 5, 3, 1, 1).upsample = true;
	conv("conv, all of it", 66, 64, 2, 8, 8, 1, 1).vector = true;
	list.back().residual = true;
	list.back().activation = SUPIR_SILU;
	conv("conv, 100 pixels a row", 20, 16, 1, 3, 100, 1, 1);
	conv("conv, outliers", 64, 320, 1, 12, 12, 1, 1).outliers = 0.01;
	conv("conv after an activation", 64, 320, 1, 12, 12, 1, 1).relu = true;
	return list;
}

} // namespace

int main() {
	auto all = [] {
		for (bool rotate : {false, true}) {
			none(70, 48, rotate);
			none(5, 37, rotate);
		}
		for (const Case & c : cases()) {
			check(c, false, false, false);
			check(c, true, true, false);
			check(c, true, false, true);
		}
	};
	on_every_isa(all);
	supir_use_isa(nullptr);
	if (supir_use_onednn(1)) {
		all();
		std::printf("oneDNN's small kernels: done\n");
	} else {
		std::printf("oneDNN's small kernels: not here\n");
	}
	return failures != 0;
}
