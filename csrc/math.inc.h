// Functions of vectors, after simd_*.inc.h.

// 2ˣ of |x| up to 126; relative error 2e-7.
inline vf exp2_(vf x) {
	const vf n = nearest(x), r = x - n; // |r| <= 1/2
	vf p = set1(1.53533877e-4f);
	p = fma(p, r, set1(1.33988303e-3f));
	p = fma(p, r, set1(9.61843710e-3f));
	p = fma(p, r, set1(5.55033257e-2f));
	p = fma(p, r, set1(2.40226479e-1f));
	p = fma(p, r, set1(6.93147203e-1f));
	p = fma(p, r, set1(1.0f));
	return scale2(p, n);
}

// 2ˣ with a relative error of 1e-4, for weights of eight bits.
inline vf exp2_rough(vf x) {
	const vf n = nearest(x), r = x - n;
	vf p = set1(5.5171666e-2f);
	p = fma(p, r, set1(2.4261323e-1f));
	p = fma(p, r, set1(6.9326099e-1f));
	p = fma(p, r, set1(9.9992807e-1f));
	return scale2(p, n);
}

// eˣ.
inline vf exp_(vf x) { return exp2_(vmax(vmin(x, set1(87.0f)), set1(-87.0f)) * set1(1.44269504f)); }

inline vf silu(vf x) { return x / (set1(1.0f) + exp_(zero() - x)); }
inline vf quick_gelu(vf x) { return x / (set1(1.0f) + exp_(x * set1(-1.702f))); }

// x·Φ(x); erf by Abramowitz and Stegun 7.1.26, absolute error 1.5e-7.
inline vf gelu(vf x) {
	const vf z = vabs(x) * set1(0.70710678f);
	const vf t = set1(1.0f) / fma(set1(0.3275911f), z, set1(1.0f));
	vf p = set1(1.061405429f);
	p = fma(p, t, set1(-1.453152027f));
	p = fma(p, t, set1(1.421413741f));
	p = fma(p, t, set1(-0.284496736f));
	p = fma(p, t, set1(0.254829592f));
	const vf tail = p * t * exp_(zero() - z * z); // 1 - erf(z)
	// x·Φ(x) = max(x, 0) - |x|·tail/2
	return fnma(vabs(x) * set1(0.5f), tail, vmax(x, zero()));
}
