// Linear layers and convolutions: tiles of six rows by the 64 outputs of a panel.

template <int Type> struct Dot {
	typedef vf sum_t;
	static sum_t none() { return zero(); }
	static void apply(sum_t & c, vi a, vi b) { gain(c, a, b); }
};
template <> struct Dot<SUPIR_BF16> {
	typedef vf sum_t;
	static sum_t none() { return zero(); }
	static void apply(sum_t & c, vi a, vi b) { gain16(c, a, b); }
};
template <> struct Dot<SUPIR_INT8> {
	typedef vi sum_t;
	static sum_t none() { return zeroi(); }
	static void apply(sum_t & c, vi a, vi b) { gain8(c, a, b); }
};

// The inner loop: c gains R rows times N vectors of a panel's columns.
template <int Type, int R, int N>
inline __attribute__((always_inline)) void accumulate(typename Dot<Type>::sum_t (&c)[R][N], const char * const * rows,
                                                      const char * columns, int64_t groups) {
	const char * r[R];
	for (int i = 0; i < R; i++) r[i] = rows[i];
	for (int64_t g = 0; g < groups; g++) {
		vi b[N];
#pragma GCC unroll 8
		for (int v = 0; v < N; v++) b[v] = loadi(columns + g * group_bytes + v * W * 4);
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
			const vi a = broadcast(r[i] + g * 4);
#pragma GCC unroll 8
			for (int v = 0; v < N; v++) Dot<Type>::apply(c[i][v], a, b[v]);
		}
	}
}

// One tap, or a stretch of its groups, of a tile: out [R][64] is set or gains.
// int8 products are rescaled by the rows' scales and zero points.
template <int Type, int R, bool First>
__attribute__((noinline)) static void multiply(const char * const * rows, const char * b, int64_t groups, const float * scale, const float * zero_point,
                                               const float * sums, float * out) {
	for (int64_t column = 0; column < panel; column += NV * W) {
		typename Dot<Type>::sum_t c[R][NV];
		float * to = out + column;
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < NV; v++) {
				c[i][v] = Dot<Type>::none();
				if constexpr (Type != SUPIR_INT8) {
					if (!First) c[i][v] = load(to + i * panel + v * W);
				}
			}
		}
		accumulate<Type, R, NV>(c, rows, b + 4 * column, groups);
#pragma GCC unroll 8
		for (int i = 0; i < R; i++) {
#pragma GCC unroll 8
			for (int v = 0; v < NV; v++) {
				float * at = to + i * panel + v * W;
				if constexpr (Type == SUPIR_INT8) {
					vf x = fnma(set1(zero_point[i]), load(sums + column + v * W), to_f(c[i][v]) * set1(scale[i]));
					if (!First) x = x + load(at);
					store(at, x);
				} else {
					store(at, c[i][v]);
				}
			}
		}
	}
}

template <int Type, bool First>
static void multiply_rows(int64_t n, const char * const * rows, const char * b, int64_t groups, const float * scale,
                          const float * zero_point, const float * sums, float * out) {
	switch (n) {
	case 1: return multiply<Type, 1, First>(rows, b, groups, scale, zero_point, sums, out);
	case 2: return multiply<Type, 2, First>(rows, b, groups, scale, zero_point, sums, out);
	case 3: return multiply<Type, 3, First>(rows, b, groups, scale, zero_point, sums, out);
	case 4: return multiply<Type, 4, First>(rows, b, groups, scale, zero_point, sums, out);
	case 5: return multiply<Type, 5, First>(rows, b, groups, scale, zero_point, sums, out);
	default: return multiply<Type, 6, First>(rows, b, groups, scale, zero_point, sums, out);
	}
}

// --- The whole product ------------------------------------------------------------------

// What becomes of a panel's sums: scales, bias, vector, activation, residual.
struct Epilogue {
	const supir_product_desc & p;
	const ProductArgs & a;
	float *scale, *bias; // of the panel [64]

	void load_panel(int64_t index, const float * scales) {
		for (int64_t c = 0; c < panel; c++) {
			const int64_t o = column_output(p.weights, index, c);
			scale[c] = scales ? scales[c] : 1.0f;
			bias[c] = a.bias && o >= 0 ? a.bias[o] : 0.0f;
		}
	}

	vf activate(vf x) const {
		switch (p.activation) {
		case SUPIR_SILU: return silu(x);
		case SUPIR_GELU: return gelu(x);
		case SUPIR_QUICK_GELU: return quick_gelu(x);
		}
		return x;
	}

	// Brings what rows will touch nearer.
	void fetch(int64_t index, int64_t m, int64_t n) const {
		const int64_t width = p.weights.geglu ? panel / 2 : panel, outputs = p.weights.geglu ? p.weights.out / 2 : p.weights.out;
		const int64_t count = std::min(width, outputs - index * width);
		for (int64_t i = 0; i < n; i++) {
			const int64_t at = (m + i) * outputs + index * width;
			for (int64_t c = 0; c < count; c += 16) {
				__builtin_prefetch(a.dst + at + c, 1);
				if (a.residual) __builtin_prefetch(a.residual + at + c);
			}
		}
	}

	void rows(const float * sums, int64_t index, int64_t m, int64_t n) const {
		for (int64_t i = 0; i < n; i++) row(sums + i * panel, index, m + i);
	}

	// A row of sums to the output's pixel m.
	void row(const float * sums, int64_t index, int64_t m) const {
		const bool geglu = p.weights.geglu;
		const int64_t width = geglu ? panel / 2 : panel;
		const int64_t outputs = geglu ? p.weights.out / 2 : p.weights.out;
		const int64_t first = index * width, count = std::min(width, outputs - first);
		float * dst = a.dst + m * outputs + first;
		const float * residual = a.residual ? a.residual + m * outputs + first : nullptr;
		if (count == panel && !geglu && !a.vector && !p.activation) { // the most frequent, without questions
#pragma GCC unroll 16
			for (int64_t c = 0; c < panel; c += W) {
				vf x = fma(load(sums + c), load(scale + c), load(bias + c));
				if (residual) x = x + load(residual + c);
				store(dst + c, x);
			}
			return;
		}
		const float * vector = a.vector ? a.vector + m / (p.out_h * p.out_w) * outputs + first : nullptr;
		for (int64_t c = 0; c < count; c += W) {
			const int64_t left = count - c;
			const bool whole = left >= W;
			auto at = [&](const float * x) { return whole ? load(x + c) : load_n(x + c, left); };
			vf x = load(sums + c);
			x = fma(x, load(scale + c), load(bias + c));
			if (geglu) {
				const int64_t b = c + panel / 2;
				const vf y = load(sums + b);
				x = x * gelu(fma(y, load(scale + b), load(bias + b)));
			}
			if (vector) x = x + at(vector);
			if (p.activation) x = activate(x);
			if (residual) x = x + at(residual);
			if (whole) store(dst + c, x);
			else store_n(dst + c, x, left);
		}
	}
};

// The rows that a block of output pixels sees through each tap: [taps][block_rows].
template <int Type> struct Window {
	const supir_product_desc & p;
	const char * rows;
	const char * zeros;
	int64_t bytes, groups;
	const char ** at;
	float *scale, *zero_point;

	void see(int64_t i, const char * row) {
		at[i] = row;
		if constexpr (Type == SUPIR_INT8) {
			const float * s = row_scales(row, groups);
			scale[i] = s[0];
			zero_point[i] = s[1];
		}
	}

	// True where output m is made of row m.
	bool linear() const {
		return p.weights.kh * p.weights.kw == 1 && p.stride == 1 && !p.upsample && p.out_h == p.h && p.out_w == p.w && p.top == 0 && p.left == 0;
	}

	// Looks from n output pixels, m and those after it.
	void look(int64_t m, int64_t n) {
		const supir_weights & k = p.weights;
		if (linear()) {
			for (int64_t i = 0; i < n; i++) see(i, rows + (m + i) * bytes);
			return;
		}
		const int64_t h = p.upsample ? 2 * p.h : p.h, w = p.upsample ? 2 * p.w : p.w, pixels = p.out_h * p.out_w;
		for (int64_t i = 0; i < n; i++) {
			const int64_t image = (m + i) / pixels, top = (m + i) % pixels / p.out_w * p.stride - p.top, left = (m + i) % p.out_w * p.stride - p.left;
			for (int64_t tap = 0; tap < int64_t(k.kh) * k.kw; tap++) {
				int64_t y = top + tap / k.kw, x = left + tap % k.kw;
				const int64_t to = tap * block_rows + i;
				if (y < 0 || y >= h || x < 0 || x >= w) {
					at[to] = Type == SUPIR_INT8 ? rows : zeros; // any bytes will do where the scale is 0
					scale[to] = zero_point[to] = 0;
					continue;
				}
				if (p.upsample) y /= 2, x /= 2;
				see(to, rows + ((image * p.h + y) * p.w + x) * bytes);
			}
		}
	}
};

// A block's rows by a panel on AMX: tap by tap to 32-bit sums, which are rescaled
// to floats or added up like those of `multiply`.
template <int Type> struct Tiles {
	const WeightLayout & l;
	const Window<Type> & window;
	char *scratch, *copies; // ProductScratch's
	bool linear;            // rows lie where they are wanted
	const void *whole = nullptr, *edge = nullptr;
	int64_t edge_rows = 0;
	const void * current = nullptr;

	// False where oneDNN has no kernel: then not at all.
	bool prepare(int64_t rows) {
		const int64_t stride = linear ? window.bytes : 4 * l.groups;
		if (rows >= block_rows) whole = tile_kernel(Type, block_rows, l.groups, stride);
		edge_rows = rows % block_rows;
		if (edge_rows) edge = tile_kernel(Type, edge_rows, l.groups, stride);
		return (rows < block_rows || whole) && (!edge_rows || edge);
	}

	// Brings a block's rows together, after window.look.
	void gather(int64_t rows) {
		if (linear) return;
		for (int64_t t = 0; t < l.taps; t++) {
			for (int64_t i = 0; i < rows; i++) memcpy(copies + (t * block_rows + i) * 4 * l.groups, window.at[t * block_rows + i], size_t(4 * l.groups));
		}
	}

	bool multiply(int64_t rows, const char * weights, const float * sums, float * out) {
		const void * kernel = rows == block_rows ? whole : edge;
		if (kernel != current && !begin_tiles(kernel)) return false;
		current = kernel;
		int32_t * c = reinterpret_cast<int32_t *>(scratch + tile_scratch);
		for (int64_t t = 0; t < l.taps; t++) {
			const char * a = linear ? window.at[0] : copies + t * block_rows * 4 * l.groups;
			if (!run_tiles(kernel, a, weights + t * l.groups * group_bytes, c, scratch)) return false;
			for (int64_t i = 0; i < rows; i++) {
				for (int64_t column = 0; column < panel; column += W) {
					const int64_t at = i * panel + column;
					vf x;
					if constexpr (Type == SUPIR_INT8) {
						x = fnma(set1(window.zero_point[t * block_rows + i]), load(sums + t * panel + column), to_f(loadi(c + at)) * set1(window.scale[t * block_rows + i]));
					} else {
						x = as_f(loadi(c + at));
					}
					store(out + at, t == 0 ? x : load(out + at) + x);
				}
			}
		}
		return true;
	}
};

// How threads share a product: rows into `rows` shares, panels into `panels`.
struct Shares {
	int64_t rows, panels;
	Shares(int64_t tiles, int64_t all_panels, bool stored, int64_t nth) {
		rows = nth;
		if (stored) { // every panel is unpacked by as few as possible
			for (rows = 1; rows < nth && (nth % rows || nth / rows > all_panels); rows++) {}
		} else { // blocks of rows stay whole
			while (rows > 1 && (nth % rows || rows * block_tiles > tiles)) rows--;
		}
		panels = nth / rows;
	}
};

template <int Type> static bool product_of(const ProductArgs & a) {
	const supir_product_desc & p = *a.desc;
	const WeightLayout l(p.weights);
	const ProductScratch at(p);
	const bool stored = p.stored.row_bytes != 0;
	bool failed = false;
	float * sums = reinterpret_cast<float *>(a.scratch + at.sums);
	float * columns = reinterpret_cast<float *>(a.scratch + at.columns);
	memset(a.scratch + at.zeros, 0, size_t(row_bytes(Type, p.weights.in)));
	Epilogue epilogue{p, a, columns, columns + panel};
	float * scales = reinterpret_cast<float *>(a.scratch + at.scales);
	Window<Type> window{p, a.rows, a.scratch + at.zeros, row_bytes(Type, p.weights.in), l.groups,
	                    reinterpret_cast<const char **>(a.scratch + at.windows), scales, scales + l.taps * block_rows};
	// int8 sums are rescaled tap by tap, others go on from stretch to stretch.
	const int64_t step = Type == SUPIR_INT8 ? l.groups : stretch_groups;
	const bool whole = l.taps * divide_up(l.groups, step) == 1;

	const int64_t total = p.n * p.out_h * p.out_w, tiles = divide_up(total, tile_rows);
	const Shares shares(tiles, l.panels, stored, a.nth);
	const int64_t row_share = a.ith / shares.panels, panel_share = a.ith % shares.panels;
	const int64_t from = tiles * row_share / shares.rows * tile_rows, to = std::min(total, tiles * (row_share + 1) / shares.rows * tile_rows);
	const int64_t first = l.panels * panel_share / shares.panels, last = l.panels * (panel_share + 1) / shares.panels;
	Tiles<Type> amx{l, window, a.scratch + at.tiles, a.scratch + at.copies, window.linear()};
	const bool on_tiles = use_tiles(Type) && to > from && amx.prepare(to - from);

	// A block of rows by a panel.
	auto work = [&](int64_t m, int64_t rows, int64_t index, const char * weights) {
		const float * side = reinterpret_cast<const float *>(weights + l.sums_at);
		epilogue.load_panel(index, Type == SUPIR_INT8 ? side : nullptr);
		if (on_tiles) {
			if (!amx.multiply(rows, weights, side + panel, sums)) failed = true;
			return epilogue.rows(sums, index, m, rows);
		}
		for (int64_t tap = 0; tap < l.taps; tap++) {
			for (int64_t g = 0; g < l.groups; g += step) {
				const int64_t groups = std::min(step, l.groups - g);
				for (int64_t i = 0; i < rows; i += tile_rows) {
					const int64_t n = std::min<int64_t>(tile_rows, rows - i), seen = tap * block_rows + i;
					const char * from[tile_rows];
					for (int64_t j = 0; j < n; j++) from[j] = window.at[seen + j] + 4 * g;
					float * to = sums + (whole ? 0 : i * panel); // which stays nearer
					if (whole) epilogue.fetch(index, m + i, n);
					const auto multiply = tap == 0 && g == 0 ? multiply_rows<Type, true> : multiply_rows<Type, false>;
					multiply(n, from, weights + (tap * l.groups + g) * group_bytes, groups, window.scale + seen, window.zero_point + seen,
					         side + panel * (1 + tap), to);
					if (whole) epilogue.rows(to, index, m + i, n);
				}
			}
		}
		if (!whole) epilogue.rows(sums, index, m, rows);
	};

	auto blocks = [&](auto f) {
		for (int64_t m = from; m < to; m += block_rows) {
			window.look(m, std::min(to - m, block_rows));
			if (on_tiles) amx.gather(std::min(to - m, block_rows));
			f(m, std::min(to - m, block_rows));
		}
	};
	if (stored) {
		for (int64_t index = first; index < last; index++) {
			pack_panel(p.weights, p.stored, a.weights, index, a.scratch + at.panel, a.scratch + at.rows);
			blocks([&](int64_t m, int64_t rows) { work(m, rows, index, a.scratch + at.panel); });
		}
	} else {
		blocks([&](int64_t m, int64_t rows) {
			for (int64_t index = first; index < last; index++) work(m, rows, index, a.weights + index * l.bytes);
		});
	}
	if (on_tiles) end_tiles();
	return !failed;
}

static bool product(const ProductArgs & a) {
	switch (a.desc->weights.type) {
	case SUPIR_INT8: return product_of<SUPIR_INT8>(a);
	case SUPIR_BF16: return product_of<SUPIR_BF16>(a);
	default: return product_of<SUPIR_F32>(a);
	}
}
