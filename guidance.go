package supir

// cfgScale is the scale s of classifier-free guidance: linear in σ where σ is in
// the interval, 1 outside, where it helps little (Kynkäänniemi et al. 2024).
type cfgScale struct {
	linear
	min, max float64 // max 0 is no limit
}

func (c cfgScale) at(sigma float64) float64 {
	if sigma < c.min || c.max > 0 && sigma > c.max {
		return 1
	}
	return c.linear.at(sigma)
}

// off tells whether guidance is off all through.
func (c cfgScale) off() bool { return c.linear == linear{1, 1} }

// guided fuses the predictions for the negative and the positive prompt by classifier-free guidance,
// D = neg + s·(pos - neg).
//
// The paper (Sec. 3.2) writes the same fusion as pos + λ_cfg·(pos - neg): s = λ_cfg + 1. Where s is 1
// the negative prediction has no part in it and isn't asked for, which halves the cost.
func guided(predict predictor, scale cfgScale) denoiser {
	return func(x []float32, sigma, controlScale float64) ([]float32, error) {
		s := scale.at(sigma)
		neg, pos, err := predict(x, sigma, controlScale, s != 1)
		if err != nil || s == 1 {
			return pos, err
		}
		weight := float32(s)
		for i := range neg {
			neg[i] += float32(weight * (pos[i] - neg[i]))
		}
		return neg, nil
	}
}
