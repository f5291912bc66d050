// Eight lanes.
constexpr int W = 8;
constexpr int NV = 2; // vectors of a tile's columns: 6×2 sums, 2 of the panel, one of the row
typedef __m256 vf;
typedef __m256i vi;

inline vi first_lanes(int64_t n) {
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(int32_t(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline vf load(const float * p) { return _mm256_loadu_ps(p); }
inline void store(float * p, vf v) { _mm256_storeu_ps(p, v); }
inline vf load_n(const float * p, int64_t n) { return _mm256_maskload_ps(p, first_lanes(n)); }
inline void store_n(float * p, vf v, int64_t n) { _mm256_maskstore_ps(p, first_lanes(n), v); }
inline vi loadi(const void * p) { return _mm256_loadu_si256(static_cast<const __m256i *>(p)); }
inline void storei(void * p, vi v) { _mm256_storeu_si256(static_cast<__m256i *>(p), v); }
inline vi broadcast(const void * p) { int32_t x; memcpy(&x, p, 4); return _mm256_set1_epi32(x); }
inline vf set1(float x) { return _mm256_set1_ps(x); }
inline vi set1i(int32_t x) { return _mm256_set1_epi32(x); }
inline vf zero() { return _mm256_setzero_ps(); }
inline vi zeroi() { return _mm256_setzero_si256(); }
inline vf fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
inline vf vmax(vf a, vf b) { return _mm256_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm256_min_ps(a, b); }
inline vf vabs(vf a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff))); }
inline vf nearest(vf a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vi to_i(vf a) { return _mm256_cvtps_epi32(a); }
inline vf to_f(vi a) { return _mm256_cvtepi32_ps(a); }
inline vf as_f(vi a) { return _mm256_castsi256_ps(a); }
inline vi as_i(vf a) { return _mm256_castps_si256(a); }
inline vi addi(vi a, vi b) { return _mm256_add_epi32(a, b); }
template <int N> inline vi shl(vi a) { return _mm256_slli_epi32(a, N); }
inline vi and_(vi a, vi b) { return _mm256_and_si256(a, b); }
inline vi or_(vi a, vi b) { return _mm256_or_si256(a, b); }
inline vf scale2(vf a, vf n) { // a·2ⁿ, 0 below 2⁻¹²⁶
	const vi e = _mm256_cvtps_epi32(vmax(n, set1(-127)));
	return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23)));
}
inline float sum(vf a) { alignas(32) float x[W]; _mm256_store_ps(x, a); float s = 0; for (float v : x) s += v; return s; }
inline float largest(vf a) { alignas(32) float x[W]; _mm256_store_ps(x, a); return *std::max_element(x, x + W); }
inline float smallest(vf a) { alignas(32) float x[W]; _mm256_store_ps(x, a); return *std::min_element(x, x + W); }
inline int32_t sumi(vi a) { alignas(32) int32_t x[W]; _mm256_store_si256(reinterpret_cast<vi *>(x), a); int32_t s = 0; for (int32_t v : x) s += v; return s; }
inline __m128i words(vi v) { return _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1)); }
inline void store_u8(uint8_t * p, vi v) { const __m128i w = words(v); _mm_storel_epi64(reinterpret_cast<__m128i *>(p), _mm_packus_epi16(w, w)); }
inline void store_s8(int8_t * p, vi v) { const __m128i w = words(v); _mm_storel_epi64(reinterpret_cast<__m128i *>(p), _mm_packs_epi16(w, w)); }
inline void store_bf16(uint16_t * p, vf v) { // to nearest even; NaN stays NaN
	const vi x = _mm256_castps_si256(v);
	const vi odd = _mm256_and_si256(_mm256_srli_epi32(x, 16), _mm256_set1_epi32(1));
	const vi none = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
	const vi rounded = _mm256_srli_epi32(_mm256_add_epi32(_mm256_add_epi32(x, _mm256_set1_epi32(0x7fff)), odd), 16);
	const vi r = _mm256_or_si256(rounded, _mm256_and_si256(none, _mm256_set1_epi32(0x7fc0)));
	_mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1)));
}
// Sums of products, in place: left to itself, GCC copies all sums at every turn of
// the inner loop.
inline void gain(vf & c, vi a, vi b) { __asm__("vfmadd231ps %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); }
#ifdef SUPIR_AVX_VNNI_PRODUCTS
inline void gain8(vi & c, vi a, vi b) { __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(c) : "x"(a), "x"(b)); } // unsigned a, signed b
#else
inline void gain8(vi & c, vi a, vi b) { // without saturation, unlike vpmaddubsw: even and odd bytes as words
	const vi even_a = _mm256_and_si256(a, _mm256_set1_epi16(255)), odd_a = _mm256_srli_epi16(a, 8);
	const vi even_b = _mm256_srai_epi16(_mm256_slli_epi16(b, 8), 8), odd_b = _mm256_srai_epi16(b, 8);
	c = addi(c, addi(_mm256_madd_epi16(even_a, even_b), _mm256_madd_epi16(odd_a, odd_b)));
}
#endif
inline void gain16(vf & c, vi a, vi b) {
	const vi high = _mm256_set1_epi32(int32_t(0xffff0000));
	gain(c, shl<16>(a), shl<16>(b));
	gain(c, and_(a, high), and_(b, high));
}

// One stage of Hadamard's transform within a vector: lanes H apart, a + b and a - b.
template <int H> inline vf butterfly(vf a) {
	if constexpr (H == 1) return _mm256_blend_ps(a + _mm256_permute_ps(a, 0xb1), _mm256_permute_ps(a, 0xb1) - a, 0xaa);
	else if constexpr (H == 2) return _mm256_blend_ps(a + _mm256_permute_ps(a, 0x4e), _mm256_permute_ps(a, 0x4e) - a, 0xcc);
	else return _mm256_blend_ps(a + _mm256_permute2f128_ps(a, a, 1), _mm256_permute2f128_ps(a, a, 1) - a, 0xf0);
}

// W signed or unsigned bytes as integers.
inline vi load_s8(const void * p) { return _mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i *>(p))); }
inline vi load_u8(const void * p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64(static_cast<const __m128i *>(p))); }
template <int N> inline vi shr(vi a) { return _mm256_srli_epi32(a, N); }

// W rows of W words, `stride` bytes apart, to columns, `to_stride` bytes apart.
inline void transpose(const char * from, int64_t stride, char * to, int64_t to_stride) {
	for (int i = 0; i < W; i++) {
		for (int j = 0; j < W; j++) memcpy(to + i * to_stride + 4 * j, from + j * stride + 4 * i, 4);
	}
}
