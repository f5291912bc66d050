// Sixteen lanes.
constexpr int W = 16;
constexpr int NV = 4; // vectors of a tile's columns: 6×4 sums, 4 of the panel, one of the row
typedef __m512 vf;
typedef __m512i vi;

inline vf load(const float * p) { return _mm512_loadu_ps(p); }
inline void store(float * p, vf v) { _mm512_storeu_ps(p, v); }
inline vf load_n(const float * p, int64_t n) { return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p); }
inline void store_n(float * p, vf v, int64_t n) { _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v); }
inline vi loadi(const void * p) { return _mm512_loadu_si512(p); }
inline void storei(void * p, vi v) { _mm512_storeu_si512(p, v); }
inline vi broadcast(const void * p) { int32_t x; memcpy(&x, p, 4); return _mm512_set1_epi32(x); }
inline vf set1(float x) { return _mm512_set1_ps(x); }
inline vi set1i(int32_t x) { return _mm512_set1_epi32(x); }
inline vf zero() { return _mm512_setzero_ps(); }
inline vi zeroi() { return _mm512_setzero_si512(); }
inline vf fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
inline vf fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
inline vf vmax(vf a, vf b) { return _mm512_max_ps(a, b); }
inline vf vmin(vf a, vf b) { return _mm512_min_ps(a, b); }
inline vf vabs(vf a) { return _mm512_abs_ps(a); }
inline vf nearest(vf a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vf scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); } // a·2ⁿ
inline vi to_i(vf a) { return _mm512_cvtps_epi32(a); }
inline vf to_f(vi a) { return _mm512_cvtepi32_ps(a); }
inline vf as_f(vi a) { return _mm512_castsi512_ps(a); }
inline vi as_i(vf a) { return _mm512_castps_si512(a); }
inline vi addi(vi a, vi b) { return _mm512_add_epi32(a, b); }
template <int N> inline vi shl(vi a) { return _mm512_slli_epi32(a, N); }
inline vi and_(vi a, vi b) { return _mm512_and_si512(a, b); }
inline vi or_(vi a, vi b) { return _mm512_or_si512(a, b); }
inline float sum(vf a) { return _mm512_reduce_add_ps(a); }
inline float largest(vf a) { return _mm512_reduce_max_ps(a); }
inline float smallest(vf a) { return _mm512_reduce_min_ps(a); }
inline int32_t sumi(vi a) { return _mm512_reduce_add_epi32(a); }
inline void store_u8(uint8_t * p, vi v) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtusepi32_epi8(v)); } // 0…255
inline void store_s8(int8_t * p, vi v) { _mm_storeu_si128(reinterpret_cast<__m128i *>(p), _mm512_cvtsepi32_epi8(v)); }
inline void store_bf16(uint16_t * p, vf v) { // to nearest even; NaN stays NaN
	const vi x = _mm512_castps_si512(v);
	const vi odd = _mm512_and_si512(_mm512_srli_epi32(x, 16), _mm512_set1_epi32(1));
	const vi rounded = _mm512_srli_epi32(_mm512_add_epi32(_mm512_add_epi32(x, _mm512_set1_epi32(0x7fff)), odd), 16);
	const vi r = _mm512_mask_or_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), rounded, _mm512_set1_epi32(0x7fc0));
	_mm256_storeu_si256(reinterpret_cast<__m256i *>(p), _mm512_cvtepi32_epi16(r));
}
// Sums of products, in place: left to itself, GCC copies all sums at every turn of
// the inner loop.
inline void gain(vf & c, vi a, vi b) { __asm__("vfmadd231ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }
inline void gain8(vi & c, vi a, vi b) { __asm__("vpdpbusd %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); } // unsigned a, signed b
#ifdef SUPIR_BF16_PRODUCTS
inline void gain16(vf & c, vi a, vi b) { __asm__("vdpbf16ps %2, %1, %0" : "+v"(c) : "v"(a), "v"(b)); }
#else
inline void gain16(vf & c, vi a, vi b) {
	const vi high = _mm512_set1_epi32(int32_t(0xffff0000));
	gain(c, _mm512_slli_epi32(a, 16), _mm512_slli_epi32(b, 16));
	gain(c, _mm512_and_si512(a, high), _mm512_and_si512(b, high));
}
#endif

// One stage of Hadamard's transform within a vector: lanes H apart, a + b and a - b.
template <int H> inline vf butterfly(vf a) {
	if constexpr (H == 1) return _mm512_mask_sub_ps(_mm512_add_ps(a, _mm512_permute_ps(a, 0xb1)), 0xaaaa, _mm512_permute_ps(a, 0xb1), a);
	else if constexpr (H == 2) return _mm512_mask_sub_ps(_mm512_add_ps(a, _mm512_permute_ps(a, 0x4e)), 0xcccc, _mm512_permute_ps(a, 0x4e), a);
	else if constexpr (H == 4) return _mm512_mask_sub_ps(_mm512_add_ps(a, _mm512_shuffle_f32x4(a, a, 0xb1)), 0xf0f0, _mm512_shuffle_f32x4(a, a, 0xb1), a);
	else return _mm512_mask_sub_ps(_mm512_add_ps(a, _mm512_shuffle_f32x4(a, a, 0x4e)), 0xff00, _mm512_shuffle_f32x4(a, a, 0x4e), a);
}

// W signed or unsigned bytes as integers.
inline vi load_s8(const void * p) { return _mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i *>(p))); }
inline vi load_u8(const void * p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i *>(p))); }
template <int N> inline vi shr(vi a) { return _mm512_srli_epi32(a, N); }

// W rows of W words, `stride` bytes apart, to columns, `to_stride` bytes apart.
inline void transpose(const char * from, int64_t stride, char * to, int64_t to_stride) {
	vi a[16], b[16];
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++) a[i] = loadi(from + i * stride);
#pragma GCC unroll 4
	for (int i = 0; i < 16; i += 4) { // 4×4 words within each 128 bits
		const vi x0 = _mm512_unpacklo_epi32(a[i], a[i + 1]), x1 = _mm512_unpackhi_epi32(a[i], a[i + 1]);
		const vi x2 = _mm512_unpacklo_epi32(a[i + 2], a[i + 3]), x3 = _mm512_unpackhi_epi32(a[i + 2], a[i + 3]);
		b[i] = _mm512_unpacklo_epi64(x0, x2);
		b[i + 1] = _mm512_unpackhi_epi64(x0, x2);
		b[i + 2] = _mm512_unpacklo_epi64(x1, x3);
		b[i + 3] = _mm512_unpackhi_epi64(x1, x3);
	}
#pragma GCC unroll 4
	for (int i = 0; i < 4; i++) { // 4×4 quarters
		const vi x0 = _mm512_shuffle_i32x4(b[i], b[i + 4], 0x88), x1 = _mm512_shuffle_i32x4(b[i], b[i + 4], 0xdd);
		const vi x2 = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0x88), x3 = _mm512_shuffle_i32x4(b[i + 8], b[i + 12], 0xdd);
		storei(to + i * to_stride, _mm512_shuffle_i32x4(x0, x2, 0x88));
		storei(to + (i + 4) * to_stride, _mm512_shuffle_i32x4(x1, x3, 0x88));
		storei(to + (i + 8) * to_stride, _mm512_shuffle_i32x4(x0, x2, 0xdd));
		storei(to + (i + 12) * to_stride, _mm512_shuffle_i32x4(x1, x3, 0xdd));
	}
}
