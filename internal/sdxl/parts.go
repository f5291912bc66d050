package sdxl

import "fmt"

// vaeMultiply are the autoencoder's channels at each halving of the size.
var vaeMultiply = []int{1, 2, 4, 4}

func (w writer) vaeRes(p string, in, out int) {
	w.norm(p+".norm1", in)
	w.conv(p+".conv1", out, in, 3)
	w.norm(p+".norm2", out)
	w.conv(p+".conv2", out, out, 3)
	if in != out {
		w.conv(p+".nin_shortcut", out, in, 1)
	}
}

func (w writer) vaeMiddle(p string, c int) {
	w.vaeRes(p+".mid.block_1", c, c)
	w.norm(p+".mid.attn_1.norm", c)
	for _, name := range []string{"q", "k", "v", "proj_out"} {
		w.conv(p+".mid.attn_1."+name, c, c, 1)
	}
	w.vaeRes(p+".mid.block_2", c, c)
}

func (w writer) vaeEncoder(p string, ch int) {
	w.conv(p+".conv_in", ch, 3, 3)
	c := ch
	for i, m := range vaeMultiply {
		for j := range 2 {
			w.vaeRes(fmt.Sprintf("%s.down.%d.block.%d", p, i, j), c, m*ch)
			c = m * ch
		}
		if i < len(vaeMultiply)-1 {
			w.conv(fmt.Sprintf("%s.down.%d.downsample.conv", p, i), c, c, 3)
		}
	}
	w.vaeMiddle(p, c)
	w.norm(p+".norm_out", c)
	w.conv(p+".conv_out", 2*latent, c, 3)
}

func (w writer) vaeDecoder(p string, ch int) {
	c := vaeMultiply[len(vaeMultiply)-1] * ch
	w.conv(p+".conv_in", c, latent, 3)
	w.vaeMiddle(p, c)
	for i := len(vaeMultiply) - 1; i >= 0; i-- {
		for j := range 3 {
			w.vaeRes(fmt.Sprintf("%s.up.%d.block.%d", p, i, j), c, vaeMultiply[i]*ch)
			c = vaeMultiply[i] * ch
		}
		if i > 0 {
			w.conv(fmt.Sprintf("%s.up.%d.upsample.conv", p, i), c, c, 3)
		}
	}
	w.norm(p+".norm_out", c)
	w.conv(p+".conv_out", 3, c, 3)
}

// vae is both encoders and the decoder.
func (w writer) vae(s Shape) {
	const p = "first_stage_model"
	w.vaeEncoder(p+".encoder", s.VAE)
	w.vaeEncoder(p+".denoise_encoder", s.VAE)
	w.vaeDecoder(p+".decoder", s.VAE)
	w.conv(p+".quant_conv", 2*latent, 2*latent, 1)
	w.conv(p+".post_quant_conv", latent, latent, 1)
}

// text is both text encoders.
func (w writer) text(s Shape) {
	p, c := "conditioner.embedders.0.transformer.text_model", s.ClipL[0]
	w.add(p+".embeddings.token_embedding.weight", small, words, c)
	w.add(p+".embeddings.position_embedding.weight", small, tokens, c)
	for i := range s.ClipL[1] {
		q := fmt.Sprintf("%s.encoder.layers.%d", p, i)
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			w.linear(q+".self_attn."+name, c, c)
		}
		w.norm(q+".layer_norm1", c)
		w.norm(q+".layer_norm2", c)
		w.linear(q+".mlp.fc1", 4*c, c)
		w.linear(q+".mlp.fc2", c, 4*c)
	}
	w.norm(p+".final_layer_norm", c)

	p, c = "conditioner.embedders.1.model", s.BigG[0]
	w.add(p+".token_embedding.weight", small, words, c)
	w.add(p+".positional_embedding", small, tokens, c)
	for i := range s.BigG[1] {
		q := fmt.Sprintf("%s.transformer.resblocks.%d", p, i)
		w.add(q+".attn.in_proj_weight", matrix, 3*c, c)
		w.add(q+".attn.in_proj_bias", small, 3*c)
		w.linear(q+".attn.out_proj", c, c)
		w.norm(q+".ln_1", c)
		w.norm(q+".ln_2", c)
		w.linear(q+".mlp.c_fc", 4*c, c)
		w.linear(q+".mlp.c_proj", c, 4*c)
	}
	w.norm(p+".ln_final", c)
	w.add(p+".text_projection", matrix, c, c)
}
