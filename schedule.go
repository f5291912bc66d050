package supir

import (
	"math"
	"slices"
)

const (
	trainingSteps = 1000

	// sigmaMax is the paper's σ_T wherever a schedule divides by it. The released model rounds it so:
	// the grid's own last σ is 14.614641….
	sigmaMax = 14.6146
)

// trainingSigmas is the noise level of every step the diffusion model was trained on, ascending:
// σ = √((1-ᾱ)/ᾱ) with β linear in sqrt space.
var trainingSigmas = newTrainingSigmas()

func newTrainingSigmas() (sigmas [trainingSteps]float64) {
	first, last := math.Sqrt(0.00085), math.Sqrt(0.0120)
	kept := 1.0 // ᾱ, the part of the signal's variance that is left
	for i := range sigmas {
		root := first + float64((last-first)*float64(i)/(trainingSteps-1))
		kept = float64(kept * (1 - float64(root*root)))
		sigmas[i] = math.Sqrt((1 - kept) / kept)
	}
	return sigmas
}

// samplingSigmas returns the n noise levels of an evenly spaced walk down the training grid, and 0.
// n lies in [1, trainingSteps].
func samplingSigmas(n int) []float64 {
	sigmas := make([]float64, n+1)
	for k := range n {
		sigmas[k] = trainingSigmas[(trainingSteps-1)*(n-k)/n]
	}
	return sigmas
}

// karrasSigmas returns n noise levels from the training grid's last σ down to least, evenly spaced in
// σ^⅐, and 0 (Karras et al. 2022, Eq. 5 with ρ = 7).
func karrasSigmas(n int, least float64) []float64 {
	const rho = 7
	most := trainingSigmas[trainingSteps-1]
	first, last := math.Pow(most, 1./rho), math.Pow(least, 1./rho)
	sigmas := make([]float64, n+1)
	sigmas[0] = most
	for k := 1; k < n; k++ {
		root := first + float64((last-first)*float64(k)/float64(n-1))
		sigmas[k] = math.Pow(root, rho)
	}
	return sigmas
}

// sigmas are the noise levels of the settings' schedule. Karras's go down to the training grid's
// least σ, or with DPMPP2M, as released, to the last that ScheduleEven has.
func (s *settings) sigmas() []float64 {
	switch even := samplingSigmas(s.Steps); {
	case s.Schedule != ScheduleKarras:
		return even
	case s.Sampler == DPMPP2M:
		return karrasSigmas(s.Steps, even[s.Steps-1])
	default:
		return karrasSigmas(s.Steps, trainingSigmas[0])
	}
}

// snap returns the step of the training grid whose σ is nearest, the lower one of two, and that σ.
func snap(sigma float64) (t int, snapped float64) {
	t, _ = slices.BinarySearch(trainingSigmas[:], sigma)
	if t == trainingSteps || t > 0 && sigma-trainingSigmas[t-1] <= trainingSigmas[t]-sigma {
		t--
	}
	return t, trainingSigmas[t]
}

// linear is a value that follows σ in a straight line: start at σ_T, end at 0. It goes on beyond
// start where churn lifts σ above σ_T.
type linear struct{ start, end float64 }

func (l linear) at(sigma float64) float64 {
	return float64((l.start-l.end)*sigma/sigmaMax) + l.end
}

// network is the U-Net with its adaptor: the noise ε that it sees in the scaled latent x at integer
// time t, for the negative and the positive prompt. Unless both are asked for, neg is nil and left
// uncomputed. controlScale weighs what the adaptor adds. x is only borrowed; the results are the
// caller's to change.
type network func(x []float32, t int, controlScale float64, both bool) (neg, pos []float32, err error)

// predictor is a network seen from the samplers' side: the denoised latents z_{t-1} (Sec. 3.2) that
// it predicts from the latent x at noise level sigma. The rules of network hold.
type predictor func(x []float32, sigma, controlScale float64, both bool) (neg, pos []float32, err error)

// discrete makes a predictor of a network that was trained on the discrete grid to predict noise:
// D(x) = x - σ·ε(x/√(σ²+1), t), where t and σ are those of the nearest training step.
func discrete(predictNoise network) predictor {
	return func(x []float32, sigma, controlScale float64, both bool) (neg, pos []float32, err error) {
		t, sigma := snap(sigma)
		in, out := float32(1/math.Sqrt(float64(sigma*sigma)+1)), float32(sigma)
		scaled := make([]float32, len(x))
		for i := range x {
			scaled[i] = in * x[i]
		}
		neg, pos, err = predictNoise(scaled, t, controlScale, both)
		for _, d := range [][]float32{neg, pos} {
			for i := range d {
				d[i] = x[i] - float32(out*d[i])
			}
		}
		return neg, pos, err
	}
}
