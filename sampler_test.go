package supir

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

// A gaussian is a data distribution whose best denoiser is known: the posterior mean. Its probability
// flow is known, too: x(σ) = mean + (x(σ_0)-mean)·√((variance+σ²)/(variance+σ_0²)).
type gaussian struct{ mean, variance float64 }

func (g gaussian) denoise(x []float32, sigma, _ float64) ([]float32, error) {
	noise := sigma * sigma
	denoised := make([]float32, len(x))
	for i, v := range x {
		denoised[i] = float32((g.variance*float64(v) + noise*g.mean) / (g.variance + noise))
	}
	return denoised, nil
}

// flow is where the probability flow takes x from sigma to 0.
func (g gaussian) flow(x float32, sigma float64) float64 {
	return g.mean + (float64(x)-g.mean)*math.Sqrt(g.variance/(g.variance+sigma*sigma))
}

// constant is the denoiser of data that is always the same.
func constant(value []float32) denoiser {
	return func([]float32, float64, float64) ([]float32, error) { return slices.Clone(value), nil }
}

// counted counts the fields drawn from a noise source.
func counted(noise noiseSource, draws *int) noiseSource {
	return func(dst []float32) {
		*draws++
		noise(dst)
	}
}

// sampler is a sampler with everything set but its denoiser and noise.
type sampler func(ctx context.Context, x []float32, denoise denoiser, noise noiseSource) error

func edmSampler(p edm) sampler {
	return func(ctx context.Context, x []float32, denoise denoiser, noise noiseSource) error {
		return sampleEDM(ctx, x, denoise, noise, p)
	}
}

func dpmppSampler(p dpmpp) sampler {
	return func(ctx context.Context, x []float32, denoise denoiser, noise noiseSource) error {
		return sampleDPMPP2M(ctx, x, denoise, noise, p)
	}
}

// odeSamplers are both samplers without noise, and the order of their error in the number of steps.
func odeSamplers(s sampling) map[string]sampler {
	return map[string]sampler{"EDM": edmSampler(edm{sampling: s}), "DPM++ 2M": dpmppSampler(dpmpp{sampling: s})}
}

// startOf is the latent that a seed's run starts from.
func startOf(seed uint64, n int, sigmas []float64) []float32 {
	x := normals(seed, n)
	for i := range x {
		x[i] *= float32(math.Sqrt(1 + sigmas[0]*sigmas[0]))
	}
	return x
}

// With a constant prediction D the flow is a straight line, x = D + (x_0-D)·σ/σ_0, which both samplers
// follow exactly, at any number of steps and any size of latent.
func TestConstantDenoiser(t *testing.T) {
	for _, steps := range []int{1, 2, 3, 8, 50} {
		for _, size := range []int{1, 4 * 6 * 5} {
			want := normals(3, size)
			s := sampling{sigmas: samplingSigmas(steps), control: linear{1, 1}}
			initial := startOf(1, size, s.sigmas)
			seen := 0
			s.step = func(step int, x, denoised []float32) {
				assert.Equal(t, seen%steps, step)
				assert.Equal(t, want, denoised)
				for i, v := range x {
					line := float64(want[i]) + float64(initial[i]-want[i])*s.sigmas[step+1]/s.sigmas[0]
					assert.InDelta(t, line, v, 2e-5)
				}
				seen++
			}
			for name, sample := range odeSamplers(s) {
				x := slices.Repeat([]float32{float32(math.NaN())}, size)
				require.NoError(t, sample(t.Context(), x, constant(want), newNoise(1)))
				assert.InDeltaSlice(t, want, x, 1e-5, "%s, %d steps", name, steps)
			}
			assert.Equal(t, 2*steps, seen)
		}
	}
}

// On a Gaussian each zero-churn EDM step is Euler's: x-mean shrinks by 1 + (σ_next-σ)·σ/(variance+σ²).
func TestEDMWithoutChurnIsEuler(t *testing.T) {
	g := gaussian{mean: 0.7, variance: 0.5}
	p := edm{sampling: sampling{sigmas: samplingSigmas(7)}, noise: 1}
	x := make([]float32, 64)
	require.NoError(t, sampleEDM(t.Context(), x, g.denoise, newNoise(1), p))
	shrink := 1.0
	for k, next := range p.sigmas[1:] {
		sigma := p.sigmas[k]
		shrink *= 1 + (next-sigma)*sigma/(g.variance+sigma*sigma)
	}
	for i, v := range startOf(1, len(x), p.sigmas) {
		assert.InDelta(t, g.mean+(float64(v)-g.mean)*shrink, x[i], 1e-5)
	}
}

// The error against the flow falls with the steps: as their number for EDM, faster for DPM++ 2M.
func TestOrderOfConvergence(t *testing.T) {
	g := gaussian{mean: -0.3, variance: 0.8}
	final := func(sigmas []float64, sample sampler) float64 {
		x := make([]float32, 256)
		require.NoError(t, sample(t.Context(), x, g.denoise, newNoise(1)))
		worst := 0.0
		for i, v := range startOf(1, len(x), sigmas) {
			worst = max(worst, math.Abs(g.flow(v, sigmas[0])-float64(x[i])))
		}
		return worst
	}
	for _, n := range []int{16, 32} {
		coarse, fine := edgedSigmas(n), edgedSigmas(2*n)
		gain := func(name string) float64 {
			return final(coarse, odeSamplers(sampling{sigmas: coarse})[name]) /
				final(fine, odeSamplers(sampling{sigmas: fine})[name])
		}
		assert.InDelta(t, 2, gain("EDM"), 0.3, "%d steps", n)
		assert.Greater(t, gain("DPM++ 2M"), 3.0, "%d steps", n)
	}
}

// edgedSigmas is n noise levels evenly spaced in ln σ, from high to almost none.
func edgedSigmas(n int) []float64 {
	sigmas := make([]float64, n+1)
	for k := range n {
		sigmas[k] = 14 * math.Pow(0.001/14, float64(k)/float64(n-1))
	}
	return sigmas
}

// On a Gaussian churned EDM keeps x Gaussian; each step's mean and variance follow from the last's.
func TestChurnedEDMKeepsItsDistribution(t *testing.T) {
	const steps, size, sNoise = 20, 1 << 14, 1.05
	g := gaussian{mean: 0.4, variance: 0.6}
	p := edm{sampling: sampling{sigmas: samplingSigmas(steps)}, churn: 4, noise: sNoise, churnMin: 0.1, churnMax: 10}
	mean, variance := 0.0, 1+p.sigmas[0]*p.sigmas[0]
	p.step = func(step int, x, _ []float32) {
		sigma, next := p.sigmas[step], p.sigmas[step+1]
		sigmaHat := sigma
		if sigma >= 0.1 && sigma <= 10 {
			sigmaHat *= 1 + 4./steps
		}
		shrink := 1 + (next-sigmaHat)*sigmaHat/(g.variance+sigmaHat*sigmaHat)
		mean = g.mean + (mean-g.mean)*shrink
		variance = shrink * shrink * (variance + sNoise*sNoise*(sigmaHat*sigmaHat-sigma*sigma))
		got := momentsOf(x, 1, size)
		// Five standard errors.
		require.InDelta(t, mean, got.mean, 5*math.Sqrt(variance/size), "step %d", step)
		require.InDelta(t, variance, got.variance, 5*variance*math.Sqrt(2./size), "step %d", step)
	}
	require.NoError(t, sampleEDM(t.Context(), make([]float32, size), g.denoise, newNoise(5), p))
}

// With noise DPM++ still draws from the data's distribution, at many steps.
func TestDPMPP2MKeepsTheDistribution(t *testing.T) {
	const steps, size = 200, 1 << 14
	g := gaussian{mean: 0.4, variance: 0.6}
	for _, eta := range []float64{0, 0.5, 1} {
		p := dpmpp{sampling: sampling{sigmas: karrasSigmas(steps, samplingSigmas(steps)[steps-1])}, eta: eta, noise: 1}
		x := make([]float32, size)
		require.NoError(t, sampleDPMPP2M(t.Context(), x, g.denoise, newNoise(5), p))
		m := momentsOf(x, 1, size)
		assert.InDelta(t, g.mean, m.mean, 0.03, "η=%v", eta)
		assert.InDelta(t, g.variance, m.variance, 0.03, "η=%v", eta)
	}
}

// One churned, guided step, with the paper's formulas written out.
func TestEDMStepByHand(t *testing.T) {
	const size = 32
	centre := normals(9, size)
	g := gaussian{mean: 0.2, variance: 0.3}
	p := edm{
		sampling: sampling{sigmas: samplingSigmas(4), guidance: restoration{tau: 4, centre: centre}},
		churn:    1, noise: 1.003, // γ = 1/4
	}
	var after []float32
	p.step = func(step int, x, _ []float32) {
		if step == 0 {
			after = slices.Clone(x)
		}
	}
	require.NoError(t, sampleEDM(t.Context(), make([]float32, size), g.denoise, newNoise(1), p))

	noise := newNoise(1)
	epsilon0, epsilon := make([]float32, size), make([]float32, size)
	noise(epsilon0)
	noise(epsilon)
	sigma, next := p.sigmas[0], p.sigmas[1]
	sigmaHat := sigma * 1.25
	kt := math.Pow(sigma/14.6146, 4)
	for i := range after {
		z := float64(epsilon0[i]) * math.Sqrt(1+sigma*sigma)
		z += 1.003 * float64(epsilon[i]) * math.Sqrt(sigmaHat*sigmaHat-sigma*sigma)
		h := (g.variance*z + sigmaHat*sigmaHat*g.mean) / (g.variance + sigmaHat*sigmaHat)
		d := (z - (h + kt*(float64(centre[i])-h))) / sigmaHat
		assert.InDelta(t, z+(next-sigmaHat)*d, after[i], 1e-5)
	}
}

// Three DPM++ steps with the specification's formulas written out.
func TestDPMPP2MStepsByHand(t *testing.T) {
	const size, eta, sNoise = 16, 0.7, 1.01
	g := gaussian{mean: 0.2, variance: 0.3}
	sigmas := karrasSigmas(3, samplingSigmas(3)[2])
	x := make([]float32, size)
	p := dpmpp{sampling: sampling{sigmas: sigmas}, eta: eta, noise: sNoise}
	require.NoError(t, sampleDPMPP2M(t.Context(), x, g.denoise, newNoise(1), p))

	noise := newNoise(1)
	epsilon0, epsilon := make([]float32, size), make([]float32, size)
	noise(epsilon0)
	noise(epsilon)
	posterior := func(z, s float64) float64 { return (g.variance*z + s*s*g.mean) / (g.variance + s*s) }
	h0, h1 := math.Log(sigmas[0])-math.Log(sigmas[1]), math.Log(sigmas[1])-math.Log(sigmas[2])
	r := h0 / h1
	for i := range x {
		z := float64(epsilon0[i]) * math.Sqrt(1+sigmas[0]*sigmas[0])
		first := posterior(z, sigmas[0])
		z = sigmas[1]/sigmas[0]*math.Exp(-eta*h0)*z - math.Expm1(-h0-eta*h0)*first
		second := posterior(z, sigmas[1])
		d := (1+1/(2*r))*second - 1/(2*r)*first
		z = sigmas[2]/sigmas[1]*math.Exp(-eta*h1)*z - math.Expm1(-h1-eta*h1)*d
		z += sigmas[2] * math.Sqrt(-math.Expm1(-2*eta*h1)) * sNoise * float64(epsilon[i])
		assert.InDelta(t, posterior(z, sigmas[2]), x[i], 1e-5)
	}
}

func TestNoiseDraws(t *testing.T) {
	run := func(sample sampler) int {
		draws := 0
		x := make([]float32, 4)
		require.NoError(t, sample(t.Context(), x, perPixel, counted(newNoise(1), &draws)))
		return draws - 1 // the initial noise
	}
	for _, steps := range []int{1, 2, 5} {
		s := sampling{sigmas: samplingSigmas(steps), control: linear{1, 1}}
		assert.Equal(t, 0, run(edmSampler(edm{sampling: s})), "EDM, no churn")
		assert.Equal(t, steps, run(edmSampler(edm{sampling: s, churn: 5})), "EDM, churned")
		assert.Equal(t, steps, run(edmSampler(edm{sampling: s, alwaysDraw: true})), "EDM, tiled")
		assert.Equal(t, steps, run(edmSampler(edm{sampling: s, alwaysDraw: true, churn: 5})), "EDM, tiled, churned")
		for _, eta := range []float64{0, 1} {
			assert.Equal(t, max(steps-2, 0), run(dpmppSampler(dpmpp{sampling: s, eta: eta})), "DPM++, η=%v", eta)
		}
	}
	s := sampling{sigmas: samplingSigmas(8)} // 14.6, 7.3, 4.1, 2.5, 1.6, 1.1, 0.7, 0.4
	assert.Equal(t, 3, run(edmSampler(edm{sampling: s, churn: 5, churnMin: 1, churnMax: 3})))
}

// Noise drawn and not used changes nothing.
func TestUnusedNoise(t *testing.T) {
	s := sampling{sigmas: samplingSigmas(5), control: linear{1, 1}}
	untiled, tiled := make([]float32, 8), make([]float32, 8)
	require.NoError(t, sampleEDM(t.Context(), untiled, perPixel, newNoise(1), edm{sampling: s}))
	require.NoError(t, sampleEDM(t.Context(), tiled, perPixel, newNoise(1), edm{sampling: s, alwaysDraw: true}))
	assert.Equal(t, untiled, tiled)
}

func TestGamma(t *testing.T) {
	p := edm{sampling: sampling{sigmas: samplingSigmas(50)}, churn: 5}
	assert.Equal(t, 0.1, p.gamma(3))
	p.churn = 50
	assert.Equal(t, math.Sqrt2-1, p.gamma(3))
	p.churnMin, p.churnMax = 0.05, 3
	assert.Equal(t, math.Sqrt2-1, p.gamma(3), "the ends belong to the range")
	assert.Equal(t, math.Sqrt2-1, p.gamma(0.05))
	assert.Zero(t, p.gamma(3.001))
	assert.Zero(t, p.gamma(0.049))
}

// The denoiser is asked at σ̂, its control weighed by w(σ).
func TestScheduleOfADenoiser(t *testing.T) {
	var sigmas, controls []float64
	denoise := func(x []float32, sigma, controlScale float64) ([]float32, error) {
		sigmas, controls = append(sigmas, sigma), append(controls, controlScale)
		return slices.Clone(x), nil
	}
	s := sampling{sigmas: samplingSigmas(2), control: linear{start: 0.1, end: 0.9}}
	high, low := s.sigmas[0], s.sigmas[1]
	x := make([]float32, 4)

	require.NoError(t, sampleEDM(t.Context(), x, denoise, newNoise(1), edm{sampling: s, churn: 0.5}))
	assert.InDeltaSlice(t, []float64{1.25 * high, 1.25 * low}, sigmas, 1e-12)
	assert.Equal(t, []float64{s.control.at(high), s.control.at(low)}, controls)

	sigmas, controls = nil, nil
	require.NoError(t, sampleDPMPP2M(t.Context(), x, denoise, newNoise(1), dpmpp{sampling: s, eta: 1, noise: 1}))
	assert.Equal(t, []float64{high, low}, sigmas)
	assert.Equal(t, []float64{s.control.at(high), s.control.at(low)}, controls)
}

// Small τ_r holds every prediction to z_LQ, but the last ones; large τ_r only the first; none, none.
func TestRestorationLimits(t *testing.T) {
	const size = 16
	centre, free := normals(1, size), normals(2, size)
	for _, test := range []struct {
		tau  float64
		held func(sigma, next float64) bool
	}{
		{1e-9, func(_, next float64) bool { return next > 0.05 }},
		{1e4, func(sigma, _ float64) bool { return sigma > 14.6 }},
		{0, func(_, _ float64) bool { return false }},
		{-1, func(_, _ float64) bool { return false }},
	} {
		s := sampling{sigmas: samplingSigmas(400), guidance: restoration{tau: test.tau, centre: centre}}
		s.step = func(step int, _, denoised []float32) {
			want := free
			if test.held(s.sigmas[step], s.sigmas[step+1]) {
				want = centre
			}
			// (σ_0/σ_T)^τ_r is a little above 1: σ_T is rounded.
			require.InDeltaSlice(t, want, denoised, 0.15, "τ=%v, step %d", test.tau, step)
		}
		for name, sample := range odeSamplers(s) {
			require.NoError(t, sample(t.Context(), make([]float32, size), constant(free), newNoise(1)), name)
		}
	}
}

// The weight of z_LQ is k_t = (σ_t/σ_T)^τ_r.
func TestRestorationWeight(t *testing.T) {
	r := restoration{tau: 4, centre: []float32{1, 1}}
	z := []float32{0, 3}
	r.apply(z, sigmaMax/2, 1)
	assert.InDeltaSlice(t, []float32{1. / 16, 3 - 2./16}, z, 1e-6)
	r.apply(z, sigmaMax/2, restoreSigmaMin)
	assert.InDeltaSlice(t, []float32{1. / 16, 3 - 2./16}, z, 1e-6, "off at the end")
}

// A window's whole step is the step's window: tiling pixelwise work changes no sampler's result.
func TestTiledSampling(t *testing.T) {
	const h, w = 24, 13
	s := sampling{
		sigmas: samplingSigmas(6), control: linear{0.5, 1},
		guidance: restoration{tau: 2, centre: normals(4, 4*h*w)},
	}
	inWindows := tiled(h, w, windows(h, w, 8, 4), func(int) denoiser { return perPixel })
	for name, sample := range map[string]sampler{
		"EDM":   edmSampler(edm{sampling: s, churn: 2, noise: 1.003}),
		"DPM++": dpmppSampler(dpmpp{sampling: s, eta: 1, noise: 1}),
	} {
		whole, parts := make([]float32, 4*h*w), make([]float32, 4*h*w)
		require.NoError(t, sample(t.Context(), whole, perPixel, newNoise(1)))
		require.NoError(t, sample(t.Context(), parts, inWindows, newNoise(1)))
		assert.Less(t, goldentest.NMSE(parts, whole), 1e-11, name)
	}
}

func TestSeedFixesTheRun(t *testing.T) {
	sample := edmSampler(edm{sampling: sampling{sigmas: samplingSigmas(5), control: linear{1, 1}}, churn: 5, noise: 1})
	run := func(seed uint64) []float32 {
		x := make([]float32, 16)
		require.NoError(t, sample(t.Context(), x, perPixel, newNoise(seed)))
		return x
	}
	assert.Equal(t, run(1), run(1))
	assert.NotEqual(t, run(1), run(2))
}

func TestSamplersStop(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	calls := 0
	s := sampling{sigmas: samplingSigmas(9)}
	s.step = func(step int, _, _ []float32) {
		if step == 2 {
			cancel(errors.New("enough"))
		}
	}
	denoise := func(x []float32, _, _ float64) ([]float32, error) {
		calls++
		return slices.Clone(x), nil
	}
	require.ErrorIs(t, sampleEDM(ctx, make([]float32, 4), denoise, newNoise(1), edm{sampling: s}), context.Canceled)
	assert.Equal(t, 3, calls)
	require.ErrorIs(t, sampleDPMPP2M(ctx, make([]float32, 4), denoise, newNoise(1), dpmpp{sampling: s}), context.Canceled)
	assert.Equal(t, 3, calls)
}

func TestSamplersFail(t *testing.T) {
	for name, sample := range odeSamplers(sampling{sigmas: samplingSigmas(9)}) {
		calls := 0
		err := sample(t.Context(), make([]float32, 4), func(x []float32, _, _ float64) ([]float32, error) {
			if calls++; calls == 3 {
				return nil, assert.AnError
			}
			return slices.Clone(x), nil
		}, newNoise(1))
		require.ErrorIs(t, err, assert.AnError, name)
		assert.ErrorContains(t, err, "step 3 of 9", name)
	}
}
