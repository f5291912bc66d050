// Package vae is the autoencoder of latent diffusion: pictures to latents an
// eighth of their size, or whatever the weights make it, and back. SUPIR adds a
// second encoder, robust to degradation (paper Section 3.1).
package vae

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

// Scale is by what the diffusion model's latents are smaller than the
// autoencoder's: the published SDXL weights were trained with it.
const Scale = 0.13025

// colours is the number of channels of a picture.
const colours = 3

// The places of the parts in the files; first_stage_model may hold more, such
// as what only training needs.
const prefix = "first_stage_model"

var parts = []string{
	prefix + ".encoder", prefix + ".denoise_encoder", prefix + ".decoder", prefix + ".quant_conv", prefix + ".post_quant_conv",
}

// A VAE holds both encoders, the decoder, and the 1×1 convolutions between them
// and the latent.
type VAE struct {
	Encoder   Encoder   `key:"encoder"`
	Robust    Encoder   `key:"denoise_encoder"` // for low-quality pictures
	Decoder   Decoder   `key:"decoder"`
	Quant     nn.Conv2D `key:"quant_conv"` // after either encoder
	PostQuant nn.Conv2D `key:"post_quant_conv"`
}

// Load fills the network from a set of files and checks it; whatever does not
// fit goes to the report, and only without that may the network be used.
func (v *VAE) Load(set *weights.Set, r *weights.Report) {
	set.Fill(v, "vae", prefix, r)
	v.Check(r)
	set.Unexpected(r, parts...)
}

// Check follows the channels through the network.
func (v *VAE) Check(r *weights.Report) {
	moments := v.Encoder.Check(r, prefix+".encoder", colours)
	if v.Robust.Check(r, prefix+".denoise_encoder", colours) != moments && moments > 0 {
		r.Want(v.Robust.ConvOut.Weight, moments, -1, -1, -1)
	}
	v.Quant.WantBias(r)
	v.PostQuant.WantBias(r)
	moments = v.Quant.Check(r, moments, 1)
	latent := -1
	if moments > 0 {
		latent = moments / 2
		if moments%2 != 0 {
			r.Invalid("%s: %d channels cannot be halved into mean and variance", v.Quant.Weight.Name, moments)
		}
	}
	z := v.PostQuant.Check(r, latent, 1)
	v.Decoder.Check(r, prefix+".decoder", z, colours)
	if n := len(v.Encoder.Down); n != len(v.Robust.Down) || n != len(v.Decoder.Up) {
		r.Invalid("%s: %d levels in the encoder, %d in denoise_encoder, %d in the decoder", prefix, n, len(v.Robust.Down), len(v.Decoder.Up))
	}
}

// Factor is by how much a latent is smaller than its picture, on each side.
func (v *VAE) Factor() int { return 1 << max(0, len(v.Decoder.Up)-1) }

// LatentChannels is the number of channels of a latent.
func (v *VAE) LatentChannels() int { return v.PostQuant.In() }

// encodeSteps map pictures in [-1, 1], 3×H×W, to the mean and the logarithm of
// the variance of their latents, 2Z×h×w, with one of v's encoders. H and W are
// multiples of Factor. See Mode.
func (v *VAE) encodeSteps(encoder *Encoder) []step {
	name := "encoder"
	if encoder == &v.Robust {
		name = "denoise_encoder"
	}
	return append(encoder.steps(name), convStep(&v.Quant, "%s.moments", name))
}

// decodeSteps map scaled latents, Z×h×w, to pictures, 3×H×W, that may go a
// little beyond [-1, 1].
func (v *VAE) decodeSteps() []step {
	in := step{out: v.PostQuant.Out(), needs: reach(0), forward: func(s *strip, z nn.Map) nn.Map {
		return s.conv(&v.PostQuant, nn.Scale(s.Graph, z, 1/Scale))
	}}
	list := append([]step{in}, v.Decoder.steps("decoder")...)
	last := list[len(list)-1].forward
	list[len(list)-1].forward = func(s *strip, x nn.Map) nn.Map { return nn.Name(s.Graph, last(s, x), "decoder.image") }
	return list
}

// Encode records one of v's encoders for a whole picture.
func (v *VAE) Encode(g *nn.Graph, encoder *Encoder, image nn.Map) nn.Map {
	return forward(g, v.encodeSteps(encoder), image)
}

// Decode records the decoder for a whole latent.
func (v *VAE) Decode(g *nn.Graph, latent nn.Map) nn.Map {
	return forward(g, v.decodeSteps(), latent)
}

// Mode is the most likely latents, scaled: the mean alone of the moments of n
// pictures, N×2Z×h×w.
func Mode(moments []float32, n int) []float32 {
	each := len(moments) / (2 * n)
	latent := make([]float32, n*each)
	for i := range n {
		for j, mean := range moments[2*i*each : (2*i+1)*each] {
			latent[i*each+j] = Scale * mean
		}
	}
	return latent
}
