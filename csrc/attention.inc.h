// Attention in blocks of keys: for each tile of six queries and each block, the
// scores, their largest, weights 2^(score - largest), and the weighted sum of the
// values, which is rescaled where a later block has a larger score.

constexpr float log2e = 1.44269504f;

// --- Packing ------------------------------------------------------------------------

inline uint16_t bf16(float v) {
	uint32_t x;
	memcpy(&x, &v, 4);
	return v != v ? 0x7fc0 : uint16_t((x + 0x7fff + ((x >> 16) & 1)) >> 16);
}

// A group of a packed panel: count values, f(j), in the column's four bytes.
template <class F> inline void put_group(int type, char * to, F f) {
	if (type == SUPIR_BF16) {
		const uint16_t h[2] = {bf16(f(0)), bf16(f(1))};
		memcpy(to, h, 4);
	} else {
		const float v = f(0);
		memcpy(to, &v, 4);
	}
}

// Keys as they are, for F32 and BF16: one panel of them, and the values' groups.
static void pack_plain(const supir_attention_desc & a, const AttentionLayout & l, char * dst, const float * k, const float * v, int64_t index) {
	const int64_t size = a.type == SUPIR_BF16 ? 2 : 1, first = index * panel, end = std::min(a.keys, first + panel);
	char * keys = dst + index * l.key_bytes;
	memset(keys, 0, size_t(l.key_bytes));
	for (int64_t key = first; key < end; key++) {
		const float * x = k + key * a.k_stride;
		for (int64_t g = 0; g < l.key_groups; g++) {
			put_group(a.type, keys + g * group_bytes + 4 * (key - first), [&](int64_t j) { return g * size + j < a.dim ? x[g * size + j] : 0.0f; });
		}
	}
	for (int64_t p = 0; p < l.value_panels; p++) {
		char * values = dst + l.key_panels * l.key_bytes + p * l.value_bytes;
		for (int64_t g = first / size; g < divide_up(end, size); g++) {
			for (int64_t c = 0; c < panel; c++) {
				const int64_t d = p * panel + c;
				put_group(a.type, values + g * group_bytes + 4 * c, [&](int64_t j) {
					const int64_t key = g * size + j;
					return d < a.dim && key < a.keys ? v[key * a.v_stride + d] : 0.0f;
				});
			}
		}
	}
}

// Calls f(d, n) for every vector of a row of dim floats, n of whose lanes count.
template <class F> inline void each_vector(int64_t dim, F f) {
	for (int64_t d = 0; d < dim; d += W) f(d, std::min<int64_t>(W, dim - d));
}

// A panel of keys less their mean, each with a scale of its own; returns no number
// where a key holds any, else zero.
static float pack_keys(const supir_attention_desc & a, const AttentionLayout & l, char * dst, const float * k, int64_t count, const float * mean) {
	constexpr int64_t room = 4 * 64; // bytes of a key at a time: transposed in squares
	alignas(64) char rows[panel * (room + 64)];
	float inverse[panel];
	char * side = dst + l.key_groups * group_bytes;
	memset(side, 0, size_t(2 * group_bytes));
	vf none = zero();
	for (int64_t i = 0; i < count; i++) {
		vf most = zero();
		each_vector(a.dim, [&](int64_t d, int64_t n) {
			const vf v = load_n(k + i * a.k_stride + d, n) - load_n(mean + d, n);
			most = vmax(most, vabs(v));
			none = doubt(none, v);
		});
		const float size = largest(most), scale = size / 127.0f;
		inverse[i] = size > 0 ? 127.0f / size : 0.0f;
		memcpy(side + 4 * i, &scale, 4);
	}
	int32_t total[panel] = {};
	for (int64_t first = 0; first < 4 * l.key_groups; first += room) {
		const int64_t bytes = std::min(room, 4 * l.key_groups - first);
		memset(rows, 0, sizeof rows);
		for (int64_t i = 0; i < count; i++) {
			int8_t * to = reinterpret_cast<int8_t *>(rows + i * (room + 64));
			const float * x = k + i * a.k_stride + first;
			vi all = zeroi();
			each_vector(std::min(bytes, a.dim - first), [&](int64_t d, int64_t n) {
				const vi q = to_i((load_n(x + d, n) - load_n(mean + first + d, n)) * set1(inverse[i]));
				all = addi(all, q);
				store_s8(to + d, q);
			});
			total[i] += sumi(all);
		}
		for (int64_t g = 0; g < bytes / 4; g += W) {
			alignas(64) char edge[W * group_bytes];
			const bool whole = g + W <= bytes / 4;
			char * to = whole ? dst + (first / 4 + g) * group_bytes : edge;
			for (int64_t i = 0; i < panel; i += W) transpose(rows + i * (room + 64) + 4 * g, room + 64, to + 4 * i, group_bytes);
			if (!whole) memcpy(dst + (first / 4 + g) * group_bytes, edge, size_t((bytes / 4 - g) * group_bytes));
		}
	}
	for (int64_t i = 0; i < count; i++) {
		const int32_t start = -128 * total[i]; // queries are bytes + 128
		memcpy(side + group_bytes + 4 * i, &start, 4);
	}
	return sum(none);
}

// A head's keys and values quantised: keys each with a scale of its own, less
// their mean, which changes no weight; values each feature with a scale. That of
// values is no number where a key is none: weights in bytes would not tell.
static void pack_quantised(const supir_attention_desc & a, const AttentionLayout & l, char * dst, const float * k, const float * v) {
	constexpr int64_t most_dim = 1024;
	float mean[most_dim], inverse[most_dim];
	each_vector(a.dim, [&](int64_t d, int64_t n) {
		vf sum = zero();
		for (int64_t key = 0; key < a.keys; key++) sum = sum + load_n(k + key * a.k_stride + d, n);
		store_n(mean + d, sum * set1(1.0f / float(a.keys)), n);
	});
	float none = 0;
	for (int64_t p = 0; p < l.key_panels; p++) {
		none += pack_keys(a, l, dst + p * l.key_bytes, k + p * panel * a.k_stride, std::min(panel, a.keys - p * panel), mean);
	}
	char * values = dst + l.key_panels * l.key_bytes;
	memset(values, 0, size_t(l.value_panels * l.value_bytes));
	each_vector(a.dim, [&](int64_t d, int64_t n) {
		vf most = zero(), wrong = set1(none);
		for (int64_t key = 0; key < a.keys; key++) {
			const vf x = load_n(v + key * a.v_stride + d, n);
			most = vmax(most, vabs(x));
			wrong = doubt(wrong, x);
		}
		char * at = values + d / panel * l.value_bytes + 4 * (d % panel);
		store_n(reinterpret_cast<float *>(at + l.value_groups * group_bytes), fma(most, set1(1 / 127.0f), wrong), n);
		store_n(inverse + d, set1(127.0f) / vmax(most, set1(1e-30f)), n);
	});
	for (int64_t key = 0; key < a.keys; key += 4) { // the four bytes of a group
		each_vector(a.dim, [&](int64_t d, int64_t n) {
			vi word = zeroi();
			for (int64_t j = std::min<int64_t>(3, a.keys - 1 - key); j >= 0; j--) {
				const vi q = to_i(load_n(v + (key + j) * a.v_stride + d, n) * load_n(inverse + d, n));
				word = or_(shl<8>(word), and_(q, set1i(255)));
			}
			char * at = values + d / panel * l.value_bytes + key / 4 * group_bytes + 4 * (d % panel);
			store_n(reinterpret_cast<float *>(at), as_f(word), n);
		});
	}
}

static void attention_pack(const supir_attention_desc & a, char * dst, const float * k, const float * v, int ith, int nth) {
	const AttentionLayout l(a);
	const int64_t heads = a.kv_batch * a.heads, parts = a.type == SUPIR_INT8 ? 1 : l.key_panels;
	range(heads * parts, ith, nth, [&](int64_t unit) {
		const int64_t head = unit / parts, n = head / a.heads, h = head % a.heads;
		const float * hk = k + n * a.keys * a.k_stride + h * a.dim;
		const float * hv = v + n * a.keys * a.v_stride + h * a.dim;
		char * to = dst + head * l.head_bytes;
		if (a.type == SUPIR_INT8) {
			pack_quantised(a, l, to, hk, hv);
		} else {
			pack_plain(a, l, to, hk, hv, unit % parts);
		}
	});
}

// --- The products -------------------------------------------------------------------

// A panel's scores, the first N vectors of them at a time: queries times keys, for
// int8 times the keys' scales.
template <int Type, int R, int N>
__attribute__((noinline)) static void scores_of(const char * queries, int64_t query_bytes, const char * keys, int64_t groups, int64_t columns, float * out) {
	const char * rows[R];
	for (int i = 0; i < R; i++) rows[i] = queries + i * query_bytes;
	const char * side = keys + groups * group_bytes;
	for (int64_t column = 0; column < columns; column += N * W) {
		typename Dot<Type>::sum_t c[R][N];
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < N; v++) {
				if constexpr (Type == SUPIR_INT8) c[i][v] = loadi(side + group_bytes + 4 * (column + v * W));
				else c[i][v] = zero();
			}
		}
		accumulate<Type, R, N>(c, rows, keys + 4 * column, groups);
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < N; v++) {
				float * at = out + i * key_block + column + v * W;
				if constexpr (Type == SUPIR_INT8) store(at, to_f(c[i][v]) * load(reinterpret_cast<const float *>(side) + column + v * W));
				else store(at, c[i][v]);
			}
		}
	}
}

// A block's weighted sum of values: out = factor·out + rescale·(weights times values).
template <int Type, int R>
__attribute__((noinline)) static void gather_values(const char * weights, int64_t weight_bytes, const char * values, int64_t groups, const float * factor,
                          const float * rescale, float * out, int64_t out_width) {
	const char * rows[R];
	for (int i = 0; i < R; i++) rows[i] = weights + i * weight_bytes;
	for (int64_t column = 0; column < panel; column += NV * W) {
		typename Dot<Type>::sum_t c[R][NV];
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < NV; v++) c[i][v] = Dot<Type>::none();
		}
		accumulate<Type, R, NV>(c, rows, values + 4 * column, groups);
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < NV; v++) {
				float * at = out + i * out_width + column + v * W;
				vf x;
				if constexpr (Type == SUPIR_INT8) x = to_f(c[i][v]);
				else x = c[i][v];
				store(at, fma(load(at), set1(factor[i]), x * set1(rescale[i])));
			}
		}
	}
}

// --- Weights of a block ---------------------------------------------------------------

struct QueryState {
	float scale;   // from scores to exponents of two
	float largest; // score so far
	float sum;     // of weights, relative to 2^(scale·largest)
	float unused;
};

// Turns a row of n scores into weights relative to the block's largest score, and
// returns their sum. (vmax gives its second operand where one is no number.)
template <int Type> static float weigh(const float * scores, int64_t n, int64_t padded, float scale, float most, char * dst) {
	const vf factor = set1(scale), offset = set1(-scale * most);
	if constexpr (Type == SUPIR_INT8) {
		static const float full[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
		uint8_t * to = reinterpret_cast<uint8_t *>(dst);
		vi total = zeroi();
		int64_t i = 0;
		for (; i + W <= n; i += W) {
			const vi q = to_i(exp2_rough(fma(load(scores + i), factor, offset)) * set1(255.0f));
			total = addi(total, q);
			store_u8(to + i, q);
		}
		if (i < n) { // lanes beyond n count nothing
			const vf x = vmin(fma(load_n(scores + i, n - i), factor, offset), zero());
			const vi q = to_i(exp2_rough(x) * load_n(full, n - i));
			total = addi(total, q);
			store_u8(to + i, q);
			i += W;
		}
		if (i < padded) memset(to + i, 0, size_t(padded - i));
		return float(sumi(total));
	} else {
		alignas(64) float edge[W];
		vf total = zero();
		float * floats = reinterpret_cast<float *>(dst);
		uint16_t * halves = reinterpret_cast<uint16_t *>(dst);
		int64_t i = 0;
		for (; i + W <= n; i += W) {
			const vf x = exp2_(vmax(set1(-126.0f), fma(load(scores + i), factor, offset)));
			total = total + x;
			if constexpr (Type == SUPIR_BF16) store_bf16(halves + i, x);
			else store(floats + i, x);
		}
		float all = sum(total);
		if (i < n) {
			store(edge, exp2_(vmax(set1(-126.0f), fma(load_n(scores + i, n - i), factor, offset))));
			for (; i < n; i++) {
				const float x = edge[i % W];
				all += x;
				if constexpr (Type == SUPIR_BF16) halves[i] = bf16(x);
				else floats[i] = x;
			}
		}
		for (; i < padded; i++) {
			if constexpr (Type == SUPIR_BF16) halves[i] = 0;
			else floats[i] = 0;
		}
		return all;
	}
}

inline float largest_of(const float * x, int64_t n) {
	vf most = set1(x[0]);
	int64_t i = 0;
	for (; i + W <= n; i += W) most = vmax(most, load(x + i));
	if (i < n && n >= W) {
		most = vmax(most, load(x + n - W)); // some once more
		i = n;
	}
	float m = largest(most);
	for (; i < n; i++) m = std::max(m, x[i]);
	return m;
}

// --- The whole attention ----------------------------------------------------------------

// A query in the compute type; returns its scale. For int8 bytes + 128.
template <int Type> static float write_query(char * dst, const float * q, int64_t dim, int64_t bytes) {
	if constexpr (Type == SUPIR_INT8) {
		const float most = largest_size(q, dim);
		const vf inverse = set1(most > 0 ? 127.0f / most : 0.0f), middle = set1(128.0f);
		int64_t d = 0;
		for (; d + W <= dim; d += W) store_u8(reinterpret_cast<uint8_t *>(dst + d), to_i(fma(load(q + d), inverse, middle)));
		if (d < bytes) {
			uint8_t edge[W];
			memset(dst + d, 0, size_t(bytes - d));
			store_u8(edge, to_i(fma(load_n(q + d, std::max<int64_t>(0, dim - d)), inverse, middle)));
			if (d < dim) memcpy(dst + d, edge, size_t(dim - d));
		}
		return most / 127.0f;
	} else if constexpr (Type == SUPIR_BF16) {
		memset(dst, 0, size_t(bytes));
		write_bf16(reinterpret_cast<uint16_t *>(dst), q, dim);
		return 1.0f;
	} else {
		memcpy(dst, q, size_t(4 * dim));
		return 1.0f;
	}
}

// One tile of R queries against one block of keys.
template <int Type, int R>
static void attend(const supir_attention_desc & a, const AttentionLayout & l, const AttentionScratch & at, char * scratch,
                   const char * head, int64_t tile, int64_t first_query, int64_t first_key) {
	const int64_t keys = std::min(key_block, a.keys - first_key);
	const char * queries = scratch + at.queries + tile * tile_rows * at.query_bytes;
	QueryState * state = reinterpret_cast<QueryState *>(scratch + at.state) + tile * tile_rows;
	float * out = reinterpret_cast<float *>(scratch + at.out) + tile * tile_rows * at.out_width;
	float * scores = reinterpret_cast<float *>(scratch + at.scores);
	char * weights = scratch + at.weights;
	for (int64_t k = 0; k < keys; k += panel) {
		const char * panel_keys = head + (first_key + k) / panel * l.key_bytes;
		if (keys - k > W) scores_of<Type, R, NV>(queries, at.query_bytes, panel_keys, l.key_groups, std::min(panel, keys - k), scores + k);
		else scores_of<Type, R, 1>(queries, at.query_bytes, panel_keys, l.key_groups, W, scores + k);
	}
	const int64_t size = Type == SUPIR_INT8 ? 4 : Type == SUPIR_BF16 ? 2 : 1; // keys of a group
	const int64_t groups = groups_of(Type, keys);
	float factor[R], rescale[R];
	for (int i = 0; i < R; i++) {
		const float * row = scores + i * key_block;
		const int64_t seen = a.causal ? std::min(keys, first_query + i + 1 - first_key) : keys;
		char * to = weights + i * at.weight_bytes;
		if (seen <= 0) {
			memset(to, 0, size_t(4 * groups));
			factor[i] = 1;
			rescale[i] = 0;
			continue;
		}
		QueryState & s = state[i];
		const float most = largest_of(row, seen);
		const float sum = weigh<Type>(row, seen, groups * size, s.scale, most, to);
		const float now = std::max(s.largest, most);
		factor[i] = s.sum <= 0 ? 0.0f : s.largest == now ? 1.0f : std::exp2(s.scale * (s.largest - now));
		rescale[i] = most == now ? 1.0f : std::exp2(s.scale * (most - now));
		s.sum = s.sum * factor[i] + sum * rescale[i];
		s.largest = now;
	}
	for (int64_t p = 0; p < l.value_panels; p++) {
		const char * values = head + l.key_panels * l.key_bytes + p * l.value_bytes + first_key / size * group_bytes;
		gather_values<Type, R>(weights, at.weight_bytes, values, groups, factor, rescale, out + p * panel, at.out_width);
	}
}

template <int Type>
static void attention_of(const supir_attention_desc & a, float * dst, const float * q, const char * packed, char * scratch, int ith, int nth) {
	const AttentionLayout l(a);
	const AttentionScratch at(a);
	constexpr int64_t ahead = 8;
	const int64_t block = query_tiles * tile_rows, blocks = divide_up(a.queries, block), width = a.heads * a.dim;
	QueryState * state = reinterpret_cast<QueryState *>(scratch + at.state);
	float * out = reinterpret_cast<float *>(scratch + at.out);
	range(a.batch * a.heads * blocks, ith, nth, [&](int64_t unit) {
		const int64_t first = unit % blocks * block, count = std::min(block, a.queries - first);
		const int64_t n = unit / blocks / a.heads, h = unit / blocks % a.heads;
		const char * head = packed + ((a.kv_batch == 1 ? 0 : n) * a.heads + h) * l.head_bytes;
		for (int64_t i = 0; i < count; i++) {
			const float * x = q + (n * a.queries + first + i) * a.q_stride + h * a.dim;
			if (i + ahead < count) { // a head's part of a row is too short for the processor to see it coming
				for (int64_t d = 0; d < a.dim; d += 16) __builtin_prefetch(x + ahead * a.q_stride + d);
			}
			const float scale = write_query<Type>(scratch + at.queries + i * at.query_bytes, x, a.dim, at.query_bytes);
			state[i] = {scale * a.scale * log2e, -INFINITY, 0, 0};
		}
		memset(out, 0, size_t(4 * count * at.out_width));
		for (int64_t key = 0; key < a.keys; key += key_block) {
			if (a.causal && key >= first + count) break;
			for (int64_t tile = 0; tile * tile_rows < count; tile++) {
				const int64_t query = first + tile * tile_rows;
				switch (std::min<int64_t>(tile_rows, count - tile * tile_rows)) {
				case 1: attend<Type, 1>(a, l, at, scratch, head, tile, query, key); break;
				case 2: attend<Type, 2>(a, l, at, scratch, head, tile, query, key); break;
				case 3: attend<Type, 3>(a, l, at, scratch, head, tile, query, key); break;
				case 4: attend<Type, 4>(a, l, at, scratch, head, tile, query, key); break;
				case 5: attend<Type, 5>(a, l, at, scratch, head, tile, query, key); break;
				default: attend<Type, 6>(a, l, at, scratch, head, tile, query, key);
				}
			}
		}
		for (int64_t i = 0; i < count; i++) {
			float * to = dst + (n * a.queries + first + i) * width + h * a.dim;
			const float * from = out + i * at.out_width;
			const float inverse = 1.0f / state[i].sum + 0 * state[i].scale; // no number where the query holds any
			for (int64_t d = 0; d < a.dim; d += W) {
				vf factor = set1(inverse);
				if constexpr (Type == SUPIR_INT8) {
					const char * values = head + l.key_panels * l.key_bytes + d / panel * l.value_bytes;
					factor = factor * load(reinterpret_cast<const float *>(values + l.value_groups * group_bytes) + d % panel);
				}
				if (d + W <= a.dim) store(to + d, load(from + d) * factor);
				else store_n(to + d, load(from + d) * factor, a.dim - d);
			}
		}
	});
}

static void attention(const supir_attention_desc & a, float * dst, const float * q, const char * packed, char * scratch, int ith, int nth) {
	switch (a.type) {
	case SUPIR_INT8: return attention_of<SUPIR_INT8>(a, dst, q, packed, scratch, ith, nth);
	case SUPIR_BF16: return attention_of<SUPIR_BF16>(a, dst, q, packed, scratch, ith, nth);
	default: return attention_of<SUPIR_F32>(a, dst, q, packed, scratch, ith, nth);
	}
}
