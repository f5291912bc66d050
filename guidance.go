package supir

// guided fuses the predictions for the negative and the positive prompt by classifier-free guidance,
// D = neg + s·(pos - neg), with the scale s linear in σ.
//
// The paper (Sec. 3.2) writes the same fusion as pos + λ_cfg·(pos - neg): s = λ_cfg + 1. Where s is 1
// the negative prediction has no part in it and isn't asked for, which halves the cost.
func guided(predict predictor, scale linear) denoiser {
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
