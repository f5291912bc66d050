// Kernels that write rows: conversion, norms.

template <class F> inline void range(int64_t n, int ith, int nth, F f) {
	for (int64_t i = n * ith / nth, end = n * (ith + 1) / nth; i < end; i++) f(i);
}

// Hadamard's transform of N floats, a power of two, times scale and signs, in
// place; N of W and more in registers from beginning to end.
template <int N> inline void hadamard(float * x, const float * signs, float scale) {
	if constexpr (N < W) {
		for (int i = 0; i < N; i++) x[i] *= scale * signs[i];
		for (int h = 1; h < N; h *= 2) {
			for (int i = 0; i < N; i++) {
				if (i & h) continue;
				const float a = x[i], b = x[i + h];
				x[i] = a + b;
				x[i + h] = a - b;
			}
		}
	} else {
		constexpr int V = N / W;
		const vf factor = set1(scale);
		vf v[V];
#pragma GCC unroll 64
		for (int i = 0; i < V; i++) {
			v[i] = butterfly<2>(butterfly<1>(load(x + i * W) * load(signs + i * W) * factor));
			if constexpr (W > 4) v[i] = butterfly<4>(v[i]);
			if constexpr (W > 8) v[i] = butterfly<8>(v[i]);
		}
#pragma GCC unroll 8
		for (int h = 1; h < V; h *= 2) {
#pragma GCC unroll 64
			for (int i = 0; i < V; i++) {
				if (i & h) continue;
				const vf a = v[i], b = v[i + h];
				v[i] = a + b;
				v[i + h] = a - b;
			}
		}
#pragma GCC unroll 64
		for (int i = 0; i < V; i++) store(x + i * W, v[i]);
	}
}

template <int N> static void rotate_blocks(float * x, int64_t channels) {
	const float scale = 1.0f / std::sqrt(float(N)), * signs = rotation_signs();
	for (int64_t c = 0; c < channels; c += N) hadamard<N>(x + c, signs + c, scale);
}

// Rotates a row in place: signs, then Hadamard blocks.
static void rotate(float * x, int64_t channels) {
	switch (rotation_block(channels)) {
	case 256: return rotate_blocks<256>(x, channels);
	case 128: return rotate_blocks<128>(x, channels);
	case 64: return rotate_blocks<64>(x, channels);
	case 32: return rotate_blocks<32>(x, channels);
	case 16: return rotate_blocks<16>(x, channels);
	case 8: return rotate_blocks<8>(x, channels);
	case 4: return rotate_blocks<4>(x, channels);
	case 2: return rotate_blocks<2>(x, channels);
	default: return rotate_blocks<1>(x, channels);
	}
}

// What is infinite or no number has no place in bytes, and minima and maxima pass
// over it: a scale that is no number takes it to the result. doubt adds v to a sum
// that is zero as long as every v is finite.
inline vf doubt(vf sum, vf v) { return fma(v, zero(), sum); }

// The largest absolute value; no number where one is none, or infinite.
inline float largest_size(const float * x, int64_t n) {
	vf most = zero(), none = zero();
	int64_t i = 0;
	for (; i + W <= n; i += W) {
		const vf v = load(x + i);
		most = vmax(most, vabs(v));
		none = doubt(none, v);
	}
	if (i < n) {
		const vf v = load_n(x + i, n - i);
		most = vmax(most, vabs(v));
		none = doubt(none, v);
	}
	return largest(most) + sum(none);
}

// Quantises a row between its smallest and its largest value.
inline void quantise_row(char * dst, const float * x, int64_t channels) {
	vf low = set1(x[0]), high = low, none = zero();
	int64_t c = 0;
	for (; c + W <= channels; c += W) {
		const vf v = load(x + c);
		low = vmin(low, v);
		high = vmax(high, v);
		none = doubt(none, v);
	}
	if (c < channels) none = doubt(none, load_n(x + c, channels - c));
	float least = smallest(low), most = largest(high);
	for (; c < channels; c++) {
		least = std::min(least, x[c]);
		most = std::max(most, x[c]);
	}
	const float width = most - least;
	const float scale = width > 0 ? width / 255.0f : 1.0f;
	const vf inverse = set1(width > 0 ? 255.0f / width : 0.0f), offset = set1(least);
	uint8_t * q = reinterpret_cast<uint8_t *>(dst);
	for (c = 0; c + W <= channels; c += W) store_u8(q + c, to_i((load(x + c) - offset) * inverse));
	const int64_t padded = round_up(channels, 16);
	if (c < padded) {
		memset(q + c, 0, size_t(padded - c));
		uint8_t edge[W];
		if (c < channels) {
			store_u8(edge, to_i((load_n(x + c, channels - c) - offset) * inverse));
			memcpy(q + c, edge, size_t(channels - c));
		}
	}
	float * after = reinterpret_cast<float *>(dst + padded);
	after[0] = scale + sum(none);
	after[1] = -least; // scale times zero point
	after[2] = after[3] = 0;
}

inline void write_bf16(uint16_t * dst, const float * x, int64_t n) {
	int64_t i = 0;
	for (; i + W <= n; i += W) store_bf16(dst + i, load(x + i));
	if (i < n) {
		uint16_t edge[W];
		store_bf16(edge, load_n(x + i, n - i));
		memcpy(dst + i, edge, size_t(2 * (n - i)));
	}
}

// Writes a row in its compute type; x is overwritten where it is rotated.
inline void write_row(const RowsArgs & a, int64_t row, float * x) {
	char * dst = static_cast<char *>(a.dst) + row * row_bytes(a.type, a.channels);
	if (a.rotate) rotate(x, a.channels);
	switch (a.type) {
	case SUPIR_INT8: quantise_row(dst, x, a.channels); break;
	case SUPIR_BF16: {
		uint16_t * to = reinterpret_cast<uint16_t *>(dst);
		write_bf16(to, x, a.channels);
		if (a.channels % 2) to[a.channels] = 0;
		break;
	}
	default:
		if (reinterpret_cast<float *>(dst) != x) memcpy(dst, x, size_t(4 * a.channels));
	}
}

// Where a row is worked out before it is written: in place for F32.
inline float * workplace(const RowsArgs & a, int64_t row, float * buffer) {
	return a.type == SUPIR_F32 ? static_cast<float *>(a.dst) + row * a.channels : buffer;
}

static void convert_rows(const RowsArgs & a) {
	alignas(64) float buffer[max_channels];
	range(a.rows, a.ith, a.nth, [&](int64_t row) {
		const float * src = a.src + row * a.channels;
		if (a.rotate) {
			memcpy(buffer, src, size_t(4 * a.channels));
			src = buffer;
		}
		write_row(a, row, const_cast<float *>(src));
	});
}

static void layer_norm(const RowsArgs & a, const float * weight, const float * bias, float eps) {
	alignas(64) float buffer[max_channels];
	const int64_t n = a.channels;
	range(a.rows, a.ith, a.nth, [&](int64_t row) {
		const float * src = a.src + row * n;
		float * to = workplace(a, row, buffer);
		const vf first = set1(src[0]); // sums of differences from it keep their precision
		vf s = zero(), q = zero();
		int64_t c = 0;
		for (; c + W <= n; c += W) {
			const vf d = load(src + c) - first;
			s = s + d;
			q = fma(d, d, q);
		}
		double total = sum(s), squares = sum(q);
		for (; c < n; c++) {
			const double d = double(src[c]) - src[0];
			total += d;
			squares += d * d;
		}
		const double shifted = total / double(n);
		const double variance = std::max(0.0, squares / double(n) - shifted * shifted);
		const float mean = float(src[0] + shifted), inverse = float(1.0 / std::sqrt(variance + eps));
		const vf vmean = set1(mean), vinverse = set1(inverse);
		for (c = 0; c + W <= n; c += W) {
			store(to + c, fma((load(src + c) - vmean) * vinverse, load(weight + c), load(bias + c)));
		}
		for (; c < n; c++) to[c] = (src[c] - mean) * inverse * weight[c] + bias[c];
		write_row(a, row, to);
	});
}

// A part's mean and sum of squared differences from it, for each group. Channels
// are added up first, each as differences from its first pixel: in floats for a
// few pixels, then in doubles, since large smooth maps leave nothing to chance.
static void group_stats(const GroupArgs & a, double * stats, const float * src) {
	constexpr int64_t few = 64;
	alignas(64) float sums[max_norm_channels], squares[max_norm_channels];
	alignas(64) double all_sums[max_norm_channels], all_squares[max_norm_channels];
	const int64_t parts = parts_of(a.pixels), each = a.channels / a.groups, n = a.channels;
	range(a.batch * parts, a.ith, a.nth, [&](int64_t i) {
		const int64_t part = i % parts;
		const int64_t from = a.pixels * part / parts, to = a.pixels * (part + 1) / parts;
		const float * map = src + (i / parts) * a.pixels * n;
		const float * first = map + from * n;
		std::fill(all_sums, all_sums + n, 0.0);
		std::fill(all_squares, all_squares + n, 0.0);
		for (int64_t next = from + 1; next < to; next += few) {
			memset(sums, 0, size_t(4 * n));
			memset(squares, 0, size_t(4 * n));
			for (int64_t p = next; p < std::min(next + few, to); p++) {
				const float * x = map + p * n;
				int64_t c = 0;
				for (; c + W <= n; c += W) {
					const vf d = load(x + c) - load(first + c);
					store(sums + c, load(sums + c) + d);
					store(squares + c, fma(d, d, load(squares + c)));
				}
				for (; c < n; c++) {
					const float d = x[c] - first[c];
					sums[c] += d;
					squares[c] += d * d;
				}
			}
			for (int64_t c = 0; c < n; c++) {
				all_sums[c] += sums[c];
				all_squares[c] += squares[c];
			}
		}
		const double pixels = double(to - from);
		double * out = stats + i * a.groups * 2;
		for (int64_t g = 0; g < a.groups; g++) {
			double mean = 0;
			for (int64_t c = g * each; c < (g + 1) * each; c++) mean += first[c] + all_sums[c] / pixels;
			mean /= double(each);
			double rest = 0;
			for (int64_t c = g * each; c < (g + 1) * each; c++) {
				const double shifted = all_sums[c] / pixels, apart = first[c] + shifted - mean;
				rest += all_squares[c] - shifted * all_sums[c] + pixels * apart * apart;
			}
			out[2 * g] = mean;
			out[2 * g + 1] = rest;
		}
	});
}

static void group_norm_rows(const GroupArgs & a, const RowsArgs & r, const double * stats, const float * weight,
                            const float * bias, const float * scale, const float * shift, float eps, bool with_silu) {
	alignas(64) float buffer[max_norm_channels], factor[max_norm_channels], term[max_norm_channels];
	const int64_t parts = parts_of(a.pixels), each = a.channels / a.groups, n = a.channels;
	int64_t image = -1;
	range(r.rows, a.ith, a.nth, [&](int64_t row) {
		if (row / a.pixels != image) { // parts' means and squares to a factor and a term for each channel
			image = row / a.pixels;
			const double * s = stats + image * parts * a.groups * 2;
			for (int64_t g = 0; g < a.groups; g++) {
				double mean = 0, rest = 0;
				for (int64_t p = 0; p < parts; p++) {
					const double pixels = double(a.pixels * (p + 1) / parts - a.pixels * p / parts);
					mean += pixels * s[(p * a.groups + g) * 2];
				}
				mean /= double(a.pixels);
				for (int64_t p = 0; p < parts; p++) {
					const double pixels = double(a.pixels * (p + 1) / parts - a.pixels * p / parts);
					const double apart = s[(p * a.groups + g) * 2] - mean;
					rest += s[(p * a.groups + g) * 2 + 1] + pixels * double(each) * apart * apart;
				}
				const double inverse = 1.0 / std::sqrt(std::max(0.0, rest / (double(a.pixels) * double(each))) + eps);
				for (int64_t c = g * each; c < (g + 1) * each; c++) {
					factor[c] = float(inverse * weight[c]);
					term[c] = float(bias[c] - mean * inverse * weight[c]);
				}
			}
		}
		const float * src = r.src + row * n;
		float * to = workplace(r, row, buffer);
		for (int64_t c = 0; c < n; c += W) {
			const int64_t left = n - c;
			const bool whole = left >= W;
			auto at = [&](const float * p) { return whole ? load(p + c) : load_n(p + c, left); };
			vf x = fma(at(src), at(factor), at(term));
			if (scale) x = fma(x, at(scale + row * n), x) + at(shift + row * n);
			if (with_silu) x = silu(x);
			if (whole) store(to + c, x);
			else store_n(to + c, x, left);
		}
		write_row(r, row, to);
	});
}
