// Weights from the types they are stored in to panels.

inline float half(const void * p) {
	uint16_t h;
	memcpy(&h, p, 2);
	const uint32_t sign = uint32_t(h & 0x8000) << 16, body = uint32_t(h & 0x7fff) << 13;
	uint32_t bits;
	if (body >= 0x0f800000u) bits = sign | (body + 0x70000000u); // infinite or no number
	else bits = body + 0x38000000u;
	float v;
	memcpy(&v, &bits, 4);
	if (body < 0x00800000u) { // subnormal: shift the leading one out again
		bits = body + 0x38800000u;
		memcpy(&v, &bits, 4);
		v -= 6.103515625e-05f;
	}
	if (body < 0x0f800000u && sign) v = -v;
	return v;
}

// ggml's Q8_0: 32 bytes with a scale before them.
static void read_q8_0(const char * src, float * dst, int64_t n) {
	for (int64_t i = 0; i < n; i += 32, src += 34) {
		const vf scale = set1(half(src));
		for (int j = 0; j < 32; j += W) store(dst + i + j, to_f(load_s8(src + 2 + j)) * scale);
	}
}

// ggml's Q4_K: 256 values in blocks of 32 that have six bits each of scale and
// minimum, of a scale and a minimum before them.
static void read_q4_k(const char * src, float * dst, int64_t n) {
	for (int64_t i = 0; i < n; i += 256, src += 144) {
		const float scale = half(src), minimum = half(src + 2);
		const uint8_t * six = reinterpret_cast<const uint8_t *>(src + 4);
		for (int b = 0; b < 8; b++) {
			const int s = b < 4 ? six[b] & 63 : (six[b + 4] & 15) | (six[b - 4] >> 6) << 4;
			const int m = b < 4 ? six[b + 4] & 63 : six[b + 4] >> 4 | (six[b] >> 6) << 4;
			const vf factor = set1(scale * float(s)), offset = set1(minimum * float(m));
			const char * four = src + 16 + b / 2 * 32;
			for (int j = 0; j < 32; j += W) {
				vi q = load_u8(four + j);
				q = b % 2 ? shr<4>(q) : and_(q, set1i(15));
				store(dst + i + 32 * b + j, to_f(q) * factor - offset);
			}
		}
	}
}

static void read_values(const supir_stored & s, const char * src, float * dst, int64_t n) {
	constexpr int q8_0 = 8, q4_k = 12; // ggml's numbers of them, which files hold too
	if (s.ggml_type == q8_0 && n % 32 == 0) read_q8_0(src, dst, n);
	else if (s.ggml_type == q4_k && n % 256 == 0) read_q4_k(src, dst, n);
	else if (s.to_float) s.to_float(src, dst, n);
	else memcpy(dst, src, size_t(4 * n));
}

// A stored output's values as floats, tap by tap, rotated if so.
static void read_output(const supir_weights & w, const supir_stored & s, const char * src, float * dst, float * other) {
	const int64_t taps = int64_t(w.kh) * w.kw, n = w.in * taps;
	const bool reorder = taps > 1 && s.order == SUPIR_IN_FIRST;
	read_values(s, src, reorder ? other : dst, n);
	if (reorder) {
		for (int64_t t = 0; t < taps; t++) {
			for (int64_t i = 0; i < w.in; i++) dst[t * w.in + i] = other[i * taps + t];
		}
	}
	if (w.flags & SUPIR_ROTATE) {
		for (int64_t t = 0; t < taps; t++) rotate(dst + t * w.in, w.in);
	}
}

// An output's values as groups of four bytes; for int8 also its scale and the
// taps' sums of bytes.
static void write_groups(const supir_weights & w, const WeightLayout & l, const float * x, char * dst, float * scale, float * sums) {
	if (w.type == SUPIR_F32) {
		memcpy(dst, x, size_t(4 * l.taps * w.in));
		return;
	}
	if (w.type == SUPIR_BF16) {
		memset(dst, 0, size_t(4 * l.taps * l.groups));
		for (int64_t t = 0; t < l.taps; t++) write_bf16(reinterpret_cast<uint16_t *>(dst + 4 * t * l.groups), x + t * w.in, w.in);
		return;
	}
	const float most = largest_size(x, l.taps * w.in);
	*scale = most / 127.0f;
	const vf inverse = set1(most > 0 ? 127.0f / most : 0.0f);
	for (int64_t t = 0; t < l.taps; t++) {
		int8_t * to = reinterpret_cast<int8_t *>(dst + 4 * t * l.groups);
		vi total = zeroi();
		int64_t c = 0;
		for (; c + W <= w.in; c += W) {
			const vi q = to_i(load(x + t * w.in + c) * inverse);
			total = addi(total, q);
			store_s8(to + c, q);
		}
		if (c < 4 * l.groups) {
			memset(to + c, 0, size_t(4 * l.groups - c));
			if (c < w.in) {
				int8_t edge[W];
				const vi q = to_i(load_n(x + t * w.in + c, w.in - c) * inverse);
				total = addi(total, q);
				store_s8(edge, q);
				memcpy(to + c, edge, size_t(w.in - c));
			}
		}
		sums[t * panel] = float(sumi(total));
	}
}

static void pack_panel(const supir_weights & w, const supir_stored & s, const char * src, int64_t p, char * dst, char * scratch) {
	const WeightLayout l(w);
	const PackScratch at(w);
	float * values = reinterpret_cast<float *>(scratch + at.values);
	float * other = reinterpret_cast<float *>(scratch + at.other);
	char * rows = scratch + at.rows;
	float * scales = reinterpret_cast<float *>(dst + l.sums_at);
	const int64_t groups = l.taps * l.groups;
	for (int64_t column = 0; column < panel; column += W) {
		for (int64_t i = 0; i < W; i++) {
			const int64_t o = column_output(w, p, column + i);
			if (o < 0) memset(values, 0, size_t(4 * l.taps * w.in));
			else read_output(w, s, src + o * s.row_bytes, values, other);
			write_groups(w, l, values, rows + i * at.row_bytes, scales + column + i, scales + panel + column + i);
		}
		int64_t g = 0;
		for (; g + W <= groups; g += W) transpose(rows + 4 * g, at.row_bytes, dst + g * group_bytes + 4 * column, group_bytes);
		for (; g < groups; g++) {
			for (int64_t i = 0; i < W; i++) memcpy(dst + g * group_bytes + 4 * (column + i), rows + i * at.row_bytes + 4 * g, 4);
		}
	}
}
