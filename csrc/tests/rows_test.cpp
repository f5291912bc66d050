// Norms and conversions against naive ones in double. What int8 rows hold is read
// back as products read it.
#include "testing.h"

#include <algorithm>

namespace {

// A row of a compute type as floats.
std::vector<float> read_row(const char * row, int type, int64_t channels) {
	std::vector<float> x(static_cast<size_t>(channels));
	for (int64_t c = 0; c < channels; c++) {
		if (type == SUPIR_F32) {
			std::memcpy(&x[size_t(c)], row + 4 * c, 4);
		} else if (type == SUPIR_BF16) {
			uint16_t h;
			std::memcpy(&h, row + 2 * c, 2);
			const uint32_t bits = uint32_t(h) << 16;
			std::memcpy(&x[size_t(c)], &bits, 4);
		} else {
			float s[2];
			std::memcpy(s, row + (channels + 15) / 16 * 16, 8);
			x[size_t(c)] = s[0] * float(uint8_t(row[c])) - s[1];
		}
	}
	return x;
}

void compare(const char * name, Guarded & rows, int type, int64_t count, int64_t channels, const std::vector<double> & want, double exact) {
	std::vector<float> got;
	for (int64_t r = 0; r < count; r++) {
		const auto row = read_row(rows.data() + r * supir_row_bytes(supir_type(type), channels), type, channels);
		got.insert(got.end(), row.begin(), row.end());
	}
	const double e = error(got.data(), want), most = type == SUPIR_INT8 ? 2e-4 : type == SUPIR_BF16 ? 4e-6 : exact;
	if (!(e <= most) || !rows.kept()) fail("%s %s: %lld rows of %lld: error %g, at most %g, guards %s", name, type_name(type), (long long) count, (long long) channels, e, most, rows.kept() ? "kept" : "overwritten");
}

void conversion(int64_t rows, int64_t channels) {
	const auto x = normal(rows * channels, 1, 1, 0.2f);
	const std::vector<double> want(x.begin(), x.end());
	for (supir_type type : all_types) {
		Guarded dst(rows * supir_row_bytes(type, channels));
		for (int t = 0; t < 3; t++) supir_convert_rows(dst.data(), x.data(), rows, channels, type, 0, t, 3);
		compare("conversion", dst, type, rows, channels, want, 0);
	}
}

// A rotation keeps lengths and inner products.
void rotation(int64_t channels) {
	const auto x = normal(2 * channels, 1);
	Guarded dst(8 * channels);
	supir_convert_rows(dst.data(), x.data(), 2, channels, SUPIR_F32, SUPIR_ROTATE, 0, 1);
	double before = 0, after = 0, length = 0;
	for (int64_t c = 0; c < channels; c++) {
		before += double(x[size_t(c)]) * x[size_t(channels + c)];
		after += double(dst.floats()[c]) * dst.floats()[channels + c];
		length += double(x[size_t(c)]) * x[size_t(c)];
	}
	if (std::fabs(before - after) > 1e-5 * length || !dst.kept()) fail("rotation of %lld: %g became %g", (long long) channels, before, after);
}

void layer(int64_t rows, int64_t channels, float mean) {
	const auto x = normal(rows * channels, 1, 2, mean), w = normal(channels, 2), b = normal(channels, 3);
	std::vector<double> want;
	for (int64_t r = 0; r < rows; r++) {
		const float * row = x.data() + r * channels;
		double m = 0, v = 0;
		for (int64_t c = 0; c < channels; c++) m += row[c] / double(channels);
		for (int64_t c = 0; c < channels; c++) v += (row[c] - m) * (row[c] - m) / double(channels);
		for (int64_t c = 0; c < channels; c++) want.push_back((row[c] - m) / std::sqrt(v + 1e-5) * w[size_t(c)] + b[size_t(c)]);
	}
	for (supir_type type : all_types) {
		Guarded dst(rows * supir_row_bytes(type, channels));
		for (int t = 0; t < 3; t++) supir_layer_norm(dst.data(), x.data(), w.data(), b.data(), rows, channels, 1e-5f, type, 0, t, 3);
		compare("layer norm", dst, type, rows, channels, want, 1e-10);
	}
}

void group(int64_t batch, int64_t pixels, int64_t channels, int64_t groups, bool silu, bool modulated, float mean) {
	const int64_t n = batch * pixels * channels, each = channels / groups;
	const auto x = normal(n, 1, 2, mean), w = normal(channels, 2), b = normal(channels, 3), scale = normal(n, 4), shift = normal(n, 5);
	std::vector<double> want(static_cast<size_t>(n));
	for (int64_t i = 0; i < batch * groups; i++) {
		const int64_t image = i / groups, first = i % groups * each;
		double m = 0, v = 0;
		auto all = [&](auto f) {
			for (int64_t p = 0; p < pixels; p++) {
				for (int64_t c = first; c < first + each; c++) f(size_t((image * pixels + p) * channels + c), size_t(c));
			}
		};
		all([&](size_t at, size_t) { m += x[at] / double(pixels * each); });
		all([&](size_t at, size_t) { v += (x[at] - m) * (x[at] - m) / double(pixels * each); });
		all([&](size_t at, size_t c) {
			double y = (x[at] - m) / std::sqrt(v + 1e-5) * w[c] + b[c];
			if (modulated) y = y * (1 + double(scale[at])) + shift[at];
			want[at] = silu ? y / (1 + std::exp(-y)) : y;
		});
	}
	for (supir_type type : all_types) {
		Guarded dst(batch * pixels * supir_row_bytes(type, channels)), stats(supir_group_stats_bytes(pixels, groups, batch));
		for (int t = 0; t < 3; t++) supir_group_stats(stats.data(), x.data(), pixels, channels, batch, groups, t, 3);
		for (int t = 0; t < 3; t++) {
			supir_group_norm_rows(dst.data(), x.data(), stats.data(), w.data(), b.data(), modulated ? scale.data() : nullptr, modulated ? shift.data() : nullptr, pixels,
			                      channels, batch, groups, 1e-5f, silu, type, 0, t, 3);
		}
		compare("group norm", dst, type, batch * pixels, channels, want, 1e-10);
		if (!stats.kept()) fail("group stats: guards overwritten");
	}
}

void planar(int64_t batch, int64_t channels, int64_t pixels) {
	const auto x = normal(batch * channels * pixels, 1);
	Guarded rows(4 * batch * channels * pixels), back(4 * batch * channels * pixels);
	for (int t = 0; t < 3; t++) supir_rows_from_planar(rows.floats(), x.data(), pixels, channels, batch, t, 3);
	for (int t = 0; t < 3; t++) supir_planar_from_rows(back.floats(), rows.floats(), pixels, channels, batch, t, 3);
	bool same = std::memcmp(back.data(), x.data(), x.size() * 4) == 0 && rows.kept() && back.kept();
	for (int64_t p = 0; p < pixels; p++) same = same && rows.floats()[p * channels] == x[size_t(p)];
	if (!same) fail("planar maps: %lld×%lld×%lld", (long long) batch, (long long) channels, (long long) pixels);
}

} // namespace

int main() {
	return on_every_isa([] {
		for (int64_t channels : {1, 3, 16, 33, 320, 1300}) {
			conversion(7, channels);
			rotation(channels);
			layer(7, channels, 0.5f);
			planar(2, channels, 37);
		}
		layer(3, 640, 100);
		group(1, 1, 8, 2, false, false, 0);
		group(2, 15, 6, 2, true, false, 0.5f);
		group(2, 77, 64, 32, true, true, 0);
		group(1, 2000, 33, 1, false, false, 0);
		group(1, 1500, 96, 32, true, false, 100);
	});
}
