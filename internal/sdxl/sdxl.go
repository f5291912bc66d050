// Package sdxl knows the names and shapes of the tensors in the public files,
// and makes such tensors of random numbers: what a benchmark of the full size
// computes with where the files are not at hand.
package sdxl

import "fmt"

// A Shape is the sizes of a model with SDXL's layout.
type Shape struct {
	Channels int   // of the U-Net at the full size of the latent
	Multiply []int // the channels at each halving of the size
	Depth    []int // transformer blocks at each halving
	Context  int   // width of the text
	Vector   int   // features of the vector y
	VAE      int   // channels of the autoencoder at the full size of the picture
	ClipL    [2]int
	BigG     [2]int // width and layers of the text encoders
}

// Shapes are the models by name: the published one, and one of the same layout
// a few hundredths of its size.
var Shapes = map[string]Shape{
	"sdxl": {Channels: 320, Multiply: []int{1, 2, 4}, Depth: []int{0, 2, 10}, Context: 2048, Vector: 2816, VAE: 128,
		ClipL: [2]int{768, 12}, BigG: [2]int{1280, 32}},
	"small": {Channels: 64, Multiply: []int{1, 2, 4}, Depth: []int{0, 1, 2}, Context: 256, Vector: 128 + 12*32, VAE: 32,
		ClipL: [2]int{128, 2}, BigG: [2]int{128, 2}},
}

const (
	latent = 4   // channels of a latent
	hidden = 128 // channels inside a ZeroSFT
	tokens = 77
	words  = 49408
)

// A writer gathers tensors.
type writer struct {
	add func(name string, kind kind, shape ...int)
}

// kind is what a tensor is, which tells how large its numbers are.
type kind int

const (
	matrix kind = iota // around 0, so that a product keeps its factors' size
	ones               // around 1
	small              // around 0, small
)

func (w writer) norm(p string, c int) {
	w.add(p+".weight", ones, c)
	w.add(p+".bias", small, c)
}

func (w writer) linear(p string, out, in int) {
	w.add(p+".weight", matrix, out, in)
	w.add(p+".bias", small, out)
}

func (w writer) conv(p string, out, in, side int) {
	w.add(p+".weight", matrix, out, in, side, side)
	w.add(p+".bias", small, out)
}

func (w writer) resBlock(p string, in, out, emb int) {
	w.norm(p+".in_layers.0", in)
	w.conv(p+".in_layers.2", out, in, 3)
	w.linear(p+".emb_layers.1", out, emb)
	w.norm(p+".out_layers.0", out)
	w.conv(p+".out_layers.3", out, out, 3)
	if in != out {
		w.conv(p+".skip_connection", out, in, 1)
	}
}

func (w writer) attention(p string, c, context int) {
	w.add(p+".to_q.weight", matrix, c, c)
	w.add(p+".to_k.weight", matrix, c, context)
	w.add(p+".to_v.weight", matrix, c, context)
	w.linear(p+".to_out.0", c, c)
}

func (w writer) transformer(p string, c, depth, context int) {
	w.norm(p+".norm", c)
	w.linear(p+".proj_in", c, c)
	for i := range depth {
		w.transformerBlock(fmt.Sprintf("%s.transformer_blocks.%d", p, i), c, context)
	}
	w.linear(p+".proj_out", c, c)
}

func (w writer) transformerBlock(p string, c, context int) {
	w.norm(p+".norm1", c)
	w.attention(p+".attn1", c, c)
	w.norm(p+".norm2", c)
	w.attention(p+".attn2", c, context)
	w.norm(p+".norm3", c)
	w.linear(p+".ff.net.0.proj", 8*c, c)
	w.linear(p+".ff.net.2", c, 4*c)
}

// encoder is the first half of the U-Net with its middle; it returns the
// channels after each block.
func (w writer) encoder(p string, s Shape) (skips []int) {
	c, emb := s.Channels, 4*s.Channels
	w.linear(p+".time_embed.0", emb, c)
	w.linear(p+".time_embed.2", emb, emb)
	w.linear(p+".label_emb.0.0", emb, s.Vector)
	w.linear(p+".label_emb.0.2", emb, emb)
	w.conv(p+".input_blocks.0.0", c, latent, 3)
	skips = append(skips, c)
	block := func() string { return fmt.Sprintf("%s.input_blocks.%d", p, len(skips)) }
	for level, m := range s.Multiply {
		for range 2 {
			w.resBlock(block()+".0", c, m*s.Channels, emb)
			c = m * s.Channels
			if s.Depth[level] > 0 {
				w.transformer(block()+".1", c, s.Depth[level], s.Context)
			}
			skips = append(skips, c)
		}
		if level < len(s.Multiply)-1 {
			w.conv(block()+".0.op", c, c, 3)
			skips = append(skips, c)
		}
	}
	w.resBlock(p+".middle_block.0", c, c, emb)
	w.transformer(p+".middle_block.1", c, s.Depth[len(s.Depth)-1], s.Context)
	w.resBlock(p+".middle_block.2", c, c, emb)
	return skips
}

// A join is where the decoder's map of so many channels meets a skip.
type join struct{ decoder, inner int }

// unet is the whole U-Net; for each skip it returns the channels of the
// decoder's map there, and of that before a doubling of the size (0 without).
func (w writer) unet(p string, s Shape) (skips []int, joins []join) {
	skips = w.encoder(p, s)
	joins = make([]join, len(skips))
	c := skips[len(skips)-1]
	n := 0
	for level := len(s.Multiply) - 1; level >= 0; level-- {
		for i := range 3 {
			skip := len(skips) - 1 - n
			joins[skip].decoder = c
			block := fmt.Sprintf("%s.output_blocks.%d", p, n)
			w.resBlock(block+".0", c+skips[skip], s.Multiply[level]*s.Channels, 4*s.Channels)
			c = s.Multiply[level] * s.Channels
			up := block + ".1.conv"
			if s.Depth[level] > 0 {
				w.transformer(block+".1", c, s.Depth[level], s.Context)
				up = block + ".2.conv"
			}
			if level > 0 && i == 2 {
				joins[skip].inner = c
				w.conv(up, c, c, 3)
			}
			n++
		}
	}
	w.norm(p+".out.0", c)
	w.conv(p+".out.2", latent, c, 3)
	return skips, joins
}

// connectors join the adaptor's features with the decoder.
func (w writer) connectors(p string, skips []int, joins []join) {
	n := 0
	next := func() string { n++; return fmt.Sprintf("%s.project_modules.%d", p, n-1) }
	sft := func(feature, skip, decoder int) {
		q := next()
		w.norm(q+".param_free_norm", skip+decoder)
		w.conv(q+".mlp_shared.0", hidden, feature, 3)
		w.conv(q+".zero_mul", skip+decoder, hidden, 3)
		w.conv(q+".zero_add", skip+decoder, hidden, 3)
		w.conv(q+".zero_conv", skip, feature, 1)
	}
	for i, c := range skips {
		if inner := joins[i].inner; inner > 0 {
			q := next()
			w.norm(q+".norm1", inner)
			w.norm(q+".norm2", c)
			w.attention(q+".attn", inner, c)
		}
		sft(c, c, joins[i].decoder)
	}
	middle := skips[len(skips)-1]
	sft(middle, middle, 0)
}

// diffusion is the U-Net, the adaptor and the connectors.
func (w writer) diffusion(s Shape) {
	skips, joins := w.unet("model.diffusion_model", s)
	w.encoder("model.control_model", s)
	w.conv("model.control_model.input_hint_block.0", s.Channels, latent, 3)
	w.connectors("model.diffusion_model", skips, joins)
}
