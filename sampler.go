package supir

import (
	"context"
	"fmt"
	"math"
)

// denoiser predicts the clean latent from the latent x at noise level sigma, with the adaptor's
// control weighed by controlScale. x is only borrowed; the result is the caller's to change.
type denoiser func(x []float32, sigma, controlScale float64) (denoised []float32, err error)

// The samplers below know no network, and draw no randomness but from their noise source. Scalars are
// float64 and rounded once to float32, where they meet a latent; on latents each operation is rounded,
// never fused with the next, so that a run doesn't depend on the processor.

// sampling is what both samplers need.
type sampling struct {
	sigmas   []float64 // descending; the last is 0
	control  linear    // control scale w(σ)
	guidance restoration

	// step, if set, is called after each step with its number from 0, the new latent, and the
	// prediction that led there. Both are only lent.
	step func(step int, x, denoised []float32)
}

// restoration pulls predictions toward the low-quality image: strongly while σ is large and
// structure is decided, hardly any more when details appear (Sec. 3.3, Fig. 5b).
type restoration struct {
	tau    float64   // τ_r: the larger, the freer the generation; off at 0 and below
	centre []float32 // z_LQ; unused while off
}

// restoreSigmaMin ends the guidance: no step that arrives at or below this σ has it.
const restoreSigmaMin = 0.05

// apply is z ← z + k_t·(z_LQ - z), k_t = (σ_t/σ_T)^τ_r, for the step from sigma to next (Algorithm 1,
// lines 5 and 7).
func (r restoration) apply(z []float32, sigma, next float64) {
	if r.tau <= 0 || next <= restoreSigmaMin {
		return
	}
	k := float32(math.Pow(sigma/sigmaMax, r.tau))
	for i, lq := range r.centre[:len(z)] {
		z[i] -= float32(k * (z[i] - lq))
	}
}

// start fills x with the noise that sampling begins from.
func (s *sampling) start(x []float32, noise noiseSource) {
	noise(x)
	scale := float32(math.Sqrt(1 + float64(s.sigmas[0]*s.sigmas[0])))
	for i := range x {
		x[i] *= scale
	}
}

// predict asks for step k's denoised latent, unless ctx is done, and guides it.
func (s *sampling) predict(ctx context.Context, denoise denoiser, x []float32, sigmaHat float64, k int) ([]float32, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	sigma, next := s.sigmas[k], s.sigmas[k+1]
	denoised, err := denoise(x, sigmaHat, s.control.at(sigma))
	if err != nil {
		return nil, fmt.Errorf("sampling step %d of %d: %w", k+1, len(s.sigmas)-1, err)
	}
	s.guidance.apply(denoised, sigma, next)
	return denoised, nil
}

func (s *sampling) report(k int, x, denoised []float32) {
	if s.step != nil {
		s.step(k, x, denoised)
	}
}

// edm holds the hyper-parameters of sampleEDM.
type edm struct {
	sampling
	churn      float64 // S_churn, for all steps together
	noise      float64 // S_noise
	churnMin   float64 // S_min: the range of σ that is churned
	churnMax   float64 // S_max; 0 is no limit
	alwaysDraw bool    // draw a step's noise though γ is 0, as tiled runs do
}

// gamma is γ_t, the share by which step σ's noise is raised first (Algorithm 1, line 4).
func (p *edm) gamma(sigma float64) float64 {
	if sigma < p.churnMin || p.churnMax > 0 && sigma > p.churnMax {
		return 0
	}
	return min(p.churn/float64(len(p.sigmas)-1), math.Sqrt2-1)
}

// sampleEDM is restoration-guided EDM sampling (Sec. 3.3, Algorithm 1). x receives the result; what
// it holds before doesn't matter.
func sampleEDM(ctx context.Context, x []float32, denoise denoiser, noise noiseSource, p edm) error {
	p.start(x, noise)
	eps := make([]float32, len(x))
	for k, next := range p.sigmas[1:] {
		sigma, gamma := p.sigmas[k], p.gamma(p.sigmas[k])
		if gamma > 0 || p.alwaysDraw {
			noise(eps)
		}
		sigmaHat := sigma
		if gamma > 0 {
			sigmaHat = float64(sigma * (1 + gamma))
			rise := math.Sqrt(float64(sigmaHat*sigmaHat) - float64(sigma*sigma))
			addScaled(x, float32(p.noise*rise), eps)
		}
		denoised, err := p.predict(ctx, denoise, x, sigmaHat, k)
		if err != nil {
			return err
		}
		pace := float32((next - sigmaHat) / sigmaHat)
		for i, d := range denoised {
			x[i] += float32(pace * (x[i] - d))
		}
		p.report(k, x, denoised)
	}
	return nil
}

// dpmpp holds the hyper-parameters of sampleDPMPP2M.
type dpmpp struct {
	sampling
	eta   float64 // η: 1 is the stochastic sampler, 0 the ordinary differential equation's
	noise float64 // S_noise
}

// sampleDPMPP2M is the second-order multistep SDE variant of DPM-Solver++ (Lu et al. 2022), with
// the guidance of Sec. 3.3 where it is on; for distilled weights and few steps. x receives the
// result; what it holds before doesn't matter.
func sampleDPMPP2M(ctx context.Context, x []float32, denoise denoiser, noise noiseSource, p dpmpp) error {
	p.start(x, noise)
	eps := make([]float32, len(x))
	var previous []float32 // the last step's prediction
	var hPrevious float64
	for k, next := range p.sigmas[1:] {
		sigma := p.sigmas[k]
		denoised, err := p.predict(ctx, denoise, x, sigma, k)
		if err != nil {
			return err
		}
		if next == 0 {
			copy(x, denoised) // the limit of the formula, which is 0·∞ here
			p.report(k, x, denoised)
			continue
		}
		h := math.Log(sigma / next)
		keep := float32(next / sigma * math.Exp(-p.eta*h))
		gain := float32(-math.Expm1(-h - float64(p.eta*h)))
		if k == 0 {
			previous, hPrevious = denoised, math.Inf(1) // no line yet to follow
		}
		ahead := float32(h / (2 * hPrevious)) // 1/(2r): along the line through the last two predictions
		for i, d := range denoised {
			d += float32(ahead * (d - previous[i]))
			x[i] = float32(keep*x[i]) + float32(gain*d)
		}
		if k > 0 {
			noise(eps)
			if p.eta > 0 {
				addScaled(x, float32(p.noise*next*math.Sqrt(-math.Expm1(-2*p.eta*h))), eps)
			}
		}
		p.report(k, x, denoised)
		previous, hPrevious = denoised, h
	}
	return nil
}

// addScaled is x += scale·eps.
func addScaled(x []float32, scale float32, eps []float32) {
	for i, e := range eps {
		x[i] += float32(scale * e)
	}
}
