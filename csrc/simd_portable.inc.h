// Four lanes of plain C++, which compilers turn into what there is.
constexpr int W = 4;
constexpr int NV = 2;
struct vf { float x[W]; };
struct vi { int32_t x[W]; };

template <class F> inline vf mapf(F f) { vf r; for (int i = 0; i < W; i++) r.x[i] = f(i); return r; }
template <class F> inline vi mapi(F f) { vi r; for (int i = 0; i < W; i++) r.x[i] = f(i); return r; }
inline vf operator+(vf a, vf b) { return mapf([&](int i) { return a.x[i] + b.x[i]; }); }
inline vf operator-(vf a, vf b) { return mapf([&](int i) { return a.x[i] - b.x[i]; }); }
inline vf operator*(vf a, vf b) { return mapf([&](int i) { return a.x[i] * b.x[i]; }); }
inline vf operator/(vf a, vf b) { return mapf([&](int i) { return a.x[i] / b.x[i]; }); }
inline vf load(const float * p) { vf r; memcpy(r.x, p, sizeof r.x); return r; }
inline void store(float * p, vf v) { memcpy(p, v.x, sizeof v.x); }
inline vf load_n(const float * p, int64_t n) { return mapf([&](int i) { return i < n ? p[i] : 0; }); }
inline void store_n(float * p, vf v, int64_t n) { memcpy(p, v.x, size_t(4 * n)); }
inline vi loadi(const void * p) { vi r; memcpy(r.x, p, sizeof r.x); return r; }
inline void storei(void * p, vi v) { memcpy(p, v.x, sizeof v.x); }
inline vf set1(float x) { return mapf([&](int) { return x; }); }
inline vi set1i(int32_t x) { return mapi([&](int) { return x; }); }
inline vi broadcast(const void * p) { int32_t x; memcpy(&x, p, 4); return set1i(x); }
inline vf zero() { return set1(0); }
inline vi zeroi() { return set1i(0); }
inline vf fma(vf a, vf b, vf c) { return a * b + c; }
inline vf fnma(vf a, vf b, vf c) { return c - a * b; }
inline vf vmax(vf a, vf b) { return mapf([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; }); }
inline vf vmin(vf a, vf b) { return mapf([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; }); }
inline vf vabs(vf a) { return mapf([&](int i) { return std::fabs(a.x[i]); }); }
inline vf nearest(vf a) { return mapf([&](int i) { return std::nearbyint(a.x[i]); }); }
inline vf scale2(vf a, vf n) { return mapf([&](int i) { return n.x[i] < -126 ? 0 : std::ldexp(a.x[i], int(n.x[i])); }); } // a·2ⁿ
inline vi to_i(vf a) { return mapi([&](int i) { return int32_t(std::lrint(a.x[i])); }); }
inline vf to_f(vi a) { return mapf([&](int i) { return float(a.x[i]); }); }
inline vf as_f(vi a) { vf r; memcpy(r.x, a.x, sizeof r.x); return r; }
inline vi as_i(vf a) { vi r; memcpy(r.x, a.x, sizeof r.x); return r; }
inline vi addi(vi a, vi b) { return mapi([&](int i) { return a.x[i] + b.x[i]; }); }
template <int N> inline vi shl(vi a) { return mapi([&](int i) { return int32_t(uint32_t(a.x[i]) << N); }); }
inline vi and_(vi a, vi b) { return mapi([&](int i) { return a.x[i] & b.x[i]; }); }
inline vi or_(vi a, vi b) { return mapi([&](int i) { return a.x[i] | b.x[i]; }); }
inline float sum(vf a) { float s = 0; for (float v : a.x) s += v; return s; }
inline float largest(vf a) { return *std::max_element(a.x, a.x + W); }
inline float smallest(vf a) { return *std::min_element(a.x, a.x + W); }
inline int32_t sumi(vi a) { int32_t s = 0; for (int32_t v : a.x) s += v; return s; }
inline void store_u8(uint8_t * p, vi v) { for (int i = 0; i < W; i++) p[i] = uint8_t(std::min(255, std::max(0, v.x[i]))); }
inline void store_s8(int8_t * p, vi v) { for (int i = 0; i < W; i++) p[i] = int8_t(std::min(127, std::max(-128, v.x[i]))); }
inline void store_bf16(uint16_t * p, vf v) { // to nearest even; NaN stays NaN
	for (int i = 0; i < W; i++) {
		uint32_t x;
		memcpy(&x, &v.x[i], 4);
		p[i] = v.x[i] != v.x[i] ? 0x7fc0 : uint16_t((x + 0x7fff + ((x >> 16) & 1)) >> 16);
	}
}
// Sums of products, in place.
inline void gain(vf & c, vi a, vi b) { c = fma(as_f(a), as_f(b), c); }
inline void gain8(vi & c, vi a, vi b) { // unsigned a, signed b
	for (int i = 0; i < W; i++) {
		for (int j = 0; j < 32; j += 8) c.x[i] += int32_t(uint8_t(uint32_t(a.x[i]) >> j)) * int8_t(uint8_t(uint32_t(b.x[i]) >> j));
	}
}
inline void gain16(vf & c, vi a, vi b) {
	const vi high = set1i(int32_t(0xffff0000));
	gain(c, shl<16>(a), shl<16>(b));
	gain(c, and_(a, high), and_(b, high));
}

// One stage of Hadamard's transform within a vector: lanes H apart, a + b and a - b.
template <int H> inline vf butterfly(vf a) { return mapf([&](int i) { return i & H ? a.x[i ^ H] - a.x[i] : a.x[i] + a.x[i ^ H]; }); }

// W signed or unsigned bytes as integers.
inline vi load_s8(const void * p) { return mapi([&](int i) { return int32_t(static_cast<const int8_t *>(p)[i]); }); }
inline vi load_u8(const void * p) { return mapi([&](int i) { return int32_t(static_cast<const uint8_t *>(p)[i]); }); }
template <int N> inline vi shr(vi a) { return mapi([&](int i) { return int32_t(uint32_t(a.x[i]) >> N); }); }

// W rows of W words, `stride` bytes apart, to columns, `to_stride` bytes apart.
inline void transpose(const char * from, int64_t stride, char * to, int64_t to_stride) {
	for (int i = 0; i < W; i++) {
		for (int j = 0; j < W; j++) memcpy(to + i * to_stride + 4 * j, from + j * stride + 4 * i, 4);
	}
}
