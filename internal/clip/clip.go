// Package clip holds the two text encoders of SDXL and their tokenizer. What
// they make of a prompt, side by side, is the diffusion model's context.
package clip

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

// normEps is the epsilon of all norms, which no file holds.
const normEps = 1e-5

// headSize is the number of features of a head where the metadata does not say
// how many heads there are.
const headSize = 64

// checkEmbedding checks an encoder's tables and the number of heads, which it sets
// where it is 0, and returns the number of features.
func checkEmbedding(r *weights.Report, encoder string, token, position *weights.Tensor, heads *int) (c int) {
	c = -1
	if r.Want(token, -1, -1) {
		c = token.Shape[1]
	}
	r.Want(position, -1, c)
	if c < 0 {
		return c
	}
	if *heads == 0 {
		*heads = max(1, c/headSize)
		if c%headSize != 0 {
			r.Invalid("%s: %d features are not whole heads of %d (metadata supir.%s.heads)", token.Name, c, headSize, encoder)
		}
	}
	if c%*heads != 0 {
		r.Invalid("%s: %d features do not divide into %d heads (metadata supir.%s.heads)", token.Name, c, *heads, encoder)
	}
	return c
}

// checkLinear checks a layer whose two sizes are known; a negative one means any.
func checkLinear(r *weights.Report, l *nn.Linear, in, out int) {
	r.Want(l.Weight, out, in)
	r.Want(l.Bias, l.Out())
	l.WantBias(r)
}
