package llava

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// A sampler chooses the next id by its logits.
type sampler struct {
	temperature float64 // 0: the best one always
	topP        float64 // of the ids in order, those that make up this probability
	uniform     func() float64
}

// newSampler makes a sampler of which a seed fixes all choices: uniforms come
// from PCG-DXSM, the same numbers on every platform.
func newSampler(temperature, topP float64, seed uint64) *sampler {
	pcg := rand.NewPCG(seed, 0)
	return &sampler{temperature, topP, func() float64 { return float64(pcg.Uint64()>>11) / (1 << 53) }}
}

// next chooses an id: softmax(logits/temperature), cut to the most probable ids.
func (s *sampler) next(logits []float32) int32 {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	if s.temperature <= 0 {
		return int32(best)
	}
	type choice struct {
		id int32
		p  float64
	}
	var choices []choice
	total := 0.0
	const least = 1e-12 // of the best one's probability: what is below is never in a share that counts
	for i, v := range logits {
		p := math.Exp((float64(v) - float64(logits[best])) / s.temperature)
		if p >= least {
			choices = append(choices, choice{int32(i), p})
			total += p
		}
	}
	slices.SortStableFunc(choices, func(a, b choice) int { return cmp.Compare(b.p, a.p) })
	kept, sum := 0, 0.0
	for kept < len(choices) && (kept == 0 || sum < s.topP*total) {
		sum += choices[kept].p
		kept++
	}
	u := s.uniform() * sum
	for _, c := range choices[:kept] {
		if u -= c.p; u < 0 {
			return c.id
		}
	}
	if kept == 0 { // logits that are no numbers
		return int32(best)
	}
	return choices[kept-1].id
}
