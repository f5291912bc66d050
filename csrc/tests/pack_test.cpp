// Weights packed from ggml's quantised types against the same values in F32, which
// must come out the same.
#include "testing.h"

namespace {

// ggml's Q8_0 and Q4_K by their definitions, a value at a time.
float half(const uint8_t * p) {
	const int bits = p[0] | p[1] << 8, exponent = bits >> 10 & 31;
	const double fraction = (bits & 1023) / 1024.0;
	const double v = exponent ? std::ldexp(1 + fraction, exponent - 15) : std::ldexp(fraction, -14);
	return float(bits >> 15 ? -v : v);
}

float q8_0(const uint8_t * row, int64_t i) {
	const uint8_t * block = row + i / 32 * 34;
	return half(block) * float(int8_t(block[2 + i % 32]));
}

float q4_k(const uint8_t * row, int64_t i) {
	const uint8_t * block = row + i / 256 * 144;
	const int b = int(i % 256 / 32), j = int(i % 32);
	const uint8_t * six = block + 4;
	int scale = six[b % 4] & 63, least = six[b % 4 + 4] & 63;
	if (b >= 4) {
		scale = (six[b + 4] & 15) | (six[b - 4] >> 6) << 4;
		least = six[b + 4] >> 4 | (six[b] >> 6) << 4;
	}
	const int q = block[16 + b / 2 * 32 + j];
	return half(block) * float(scale) * float(b % 2 ? q >> 4 : q & 15) - half(block + 2) * float(least);
}

void check(int32_t ggml_type, int64_t out, int64_t in, int32_t k, bool taps_first, bool geglu) {
	const bool four = ggml_type == 12;
	const int64_t n = in * k * k, block = four ? 256 : 32, size = four ? 144 : 34, row_bytes = n / block * size;
	std::mt19937 random(1);
	std::vector<uint8_t> stored(size_t(out * row_bytes));
	for (auto & b : stored) b = uint8_t(random());
	std::vector<float> values;
	for (int64_t o = 0; o < out; o++) {
		uint8_t * row = stored.data() + o * row_bytes;
		for (int64_t b = 0; b < n / block; b++) { // scales that are numbers; one of them too small to be normal
			for (int h = 0; h < (four ? 2 : 1); h++) row[b * size + 2 * h + 1] = uint8_t((o + b) % 7 == 0 ? 0 : 0x18 | (random() & 0x83));
		}
		for (int64_t i = 0; i < n; i++) values.push_back(four ? q4_k(row, i) : q8_0(row, i));
	}
	for (supir_type type : all_types) {
		for (int32_t flags : {0, int32_t(SUPIR_ROTATE)}) {
			const supir_weights w = {out, in, k, k, type, flags, geglu};
			const supir_stored as_stored = {ggml_type, taps_first ? SUPIR_TAPS_FIRST : SUPIR_IN_FIRST, row_bytes, nullptr};
			const supir_stored as_floats = {0, as_stored.order, 4 * n, nullptr};
			Guarded got(supir_packed_bytes(&w)), want(supir_packed_bytes(&w)), scratch(3 * supir_pack_scratch(&w));
			for (int t = 0; t < 3; t++) {
				supir_pack_weights(got.data(), &w, &as_stored, stored.data(), scratch.data(), t, 3);
				supir_pack_weights(want.data(), &w, &as_floats, values.data(), scratch.data(), t, 3);
			}
			int64_t differ = 0;
			for (int64_t i = 0; i < supir_packed_bytes(&w); i++) differ += got.data()[i] != want.data()[i];
			// Fused multiplications may round the other way, by one step of a byte.
			if (differ > (four ? supir_packed_bytes(&w) / 10 : 0) || !got.kept() || !want.kept() || !scratch.kept()) {
				fail("%s of type %d to %s%s: %lld of %lld bytes differ", k > 1 ? "convolution" : "linear layer", ggml_type, type_name(type), flags ? ", rotated" : "", (long long) differ,
				     (long long) supir_packed_bytes(&w));
			}
		}
	}
}

} // namespace

int main() {
	return on_every_isa([] {
		check(8, 70, 96, 1, false, false);
		check(8, 2 * 70, 96, 1, false, true);
		check(8, 65, 32, 3, false, false);
		check(8, 65, 32, 3, true, false);
		check(12, 70, 512, 1, false, false);
		check(12, 65, 256, 3, true, false);
	});
}
