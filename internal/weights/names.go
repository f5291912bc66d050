package weights

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// What the tensors' names begin with in a single-file checkpoint.
const (
	unetPrefix  = "model.diffusion_model."
	vaePrefix   = "first_stage_model."
	clipLPrefix = "conditioner.embedders.0.transformer."
	bigGPrefix  = "conditioner.embedders.1.model."
)

// renamer gives the names that tensors, or layers, have in a single-file
// checkpoint for those of Diffusers. Instead of dots there may be underscores,
// as in the names of LoRA files: the part of a name that is the same in both
// layouts then keeps them.
type renamer struct {
	layers  int            // ResNet blocks of a level of the U-Net's or the VAE's encoder
	levels  int            // of the VAE
	attends func(int) bool // whether that one of the U-Net's up_blocks has attention
}

// renaming replaces the beginning of a name, in whole parts. In from, # stands
// for a number; to makes the new beginning of those numbers.
type renaming struct {
	from *regexp.Regexp
	to   func(r renamer, n [2]int) string
}

func rename(from string, to func(r renamer, n [2]int) string) renaming {
	pattern := strings.NewReplacer(".", "[._]", "#", `(\d{1,3})`).Replace(from)
	return renaming{regexp.MustCompile("^" + pattern + `(?:[._]|$)`), to}
}

// always is rename where there is nothing to count.
func always(from, to string) renaming {
	return rename(from, func(renamer, [2]int) string { return to })
}

// apply is the name after the first renaming that concerns it, which is cut
// into its new beginning and the rest, with the dot that led it.
func (r renamer) apply(table []renaming, name string) (begin, rest string, ok bool) {
	for _, x := range table {
		m := x.from.FindStringSubmatch(name)
		if m == nil {
			continue
		}
		var n [2]int
		for i, digits := range m[1:] {
			n[i], _ = strconv.Atoi(digits) // the pattern lets only numbers through
		}
		return x.to(r, n), strings.TrimPrefix(name, strings.TrimRight(m[0], "._")), true
	}
	return "", "", false
}

var unetNames = []renaming{
	always("conv_in", "input_blocks.0.0"),
	always("time_embedding.linear_1", "time_embed.0"),
	always("time_embedding.linear_2", "time_embed.2"),
	always("add_embedding.linear_1", "label_emb.0.0"),
	always("add_embedding.linear_2", "label_emb.0.2"),
	rename("down_blocks.#.resnets.#", func(r renamer, n [2]int) string {
		return fmt.Sprintf("input_blocks.%d.0", 1+(r.layers+1)*n[0]+n[1])
	}),
	rename("down_blocks.#.attentions.#", func(r renamer, n [2]int) string {
		return fmt.Sprintf("input_blocks.%d.1", 1+(r.layers+1)*n[0]+n[1])
	}),
	rename("down_blocks.#.downsamplers.0.conv", func(r renamer, n [2]int) string {
		return fmt.Sprintf("input_blocks.%d.0.op", (r.layers+1)*(n[0]+1))
	}),
	always("mid_block.resnets.0", "middle_block.0"),
	always("mid_block.attentions.0", "middle_block.1"),
	always("mid_block.resnets.1", "middle_block.2"),
	rename("up_blocks.#.resnets.#", func(r renamer, n [2]int) string {
		return fmt.Sprintf("output_blocks.%d.0", (r.layers+1)*n[0]+n[1])
	}),
	rename("up_blocks.#.attentions.#", func(r renamer, n [2]int) string {
		return fmt.Sprintf("output_blocks.%d.1", (r.layers+1)*n[0]+n[1])
	}),
	rename("up_blocks.#.upsamplers.0.conv", func(r renamer, n [2]int) string {
		last := 1
		if r.attends(n[0]) {
			last = 2
		}
		return fmt.Sprintf("output_blocks.%d.%d.conv", (r.layers+1)*n[0]+r.layers, last)
	}),
	always("conv_norm_out", "out.0"),
	always("conv_out", "out.2"),
}

// unetResNet are the names within a ResNet block of the U-Net.
var unetResNet = []renaming{
	always("norm1", "in_layers.0"),
	always("conv1", "in_layers.2"),
	always("time_emb_proj", "emb_layers.1"),
	always("norm2", "out_layers.0"),
	always("conv2", "out_layers.3"),
	always("conv_shortcut", "skip_connection"),
}

// unet renames a part of the U-Net; ok is false where the name is not known.
func (r renamer) unet(name string) (to string, ok bool) {
	begin, rest, ok := r.apply(unetNames, name)
	if !ok {
		return "", false
	}
	if strings.Contains(name, "resnets") && rest != "" {
		inner, rest, ok := r.apply(unetResNet, rest[1:])
		return begin + "." + inner + rest, ok
	}
	return begin + rest, true
}

var vaeNames = []renaming{
	always("encoder.conv_in", "encoder.conv_in"),
	rename("encoder.down_blocks.#.resnets.#", func(_ renamer, n [2]int) string {
		return fmt.Sprintf("encoder.down.%d.block.%d", n[0], n[1])
	}),
	rename("encoder.down_blocks.#.downsamplers.0.conv", func(_ renamer, n [2]int) string {
		return fmt.Sprintf("encoder.down.%d.downsample.conv", n[0])
	}),
	always("encoder.mid_block.resnets.0", "encoder.mid.block_1"),
	always("encoder.mid_block.attentions.0", "encoder.mid.attn_1"),
	always("encoder.mid_block.resnets.1", "encoder.mid.block_2"),
	always("encoder.conv_norm_out", "encoder.norm_out"),
	always("encoder.conv_out", "encoder.conv_out"),
	always("quant_conv", "quant_conv"),
	always("post_quant_conv", "post_quant_conv"),
	always("decoder.conv_in", "decoder.conv_in"),
	always("decoder.mid_block.resnets.0", "decoder.mid.block_1"),
	always("decoder.mid_block.attentions.0", "decoder.mid.attn_1"),
	always("decoder.mid_block.resnets.1", "decoder.mid.block_2"),
	rename("decoder.up_blocks.#.resnets.#", func(r renamer, n [2]int) string {
		return fmt.Sprintf("decoder.up.%d.block.%d", r.levels-1-n[0], n[1])
	}),
	rename("decoder.up_blocks.#.upsamplers.0.conv", func(r renamer, n [2]int) string {
		return fmt.Sprintf("decoder.up.%d.upsample.conv", r.levels-1-n[0])
	}),
	always("decoder.conv_norm_out", "decoder.norm_out"),
	always("decoder.conv_out", "decoder.conv_out"),
}

var vaeResNet = []renaming{
	always("norm1", "norm1"),
	always("conv1", "conv1"),
	always("norm2", "norm2"),
	always("conv2", "conv2"),
	always("conv_shortcut", "nin_shortcut"),
}

// vaeAttention are the names within the middle attention, new and old.
var vaeAttention = []renaming{
	always("group_norm", "norm"),
	always("to_q", "q"), always("query", "q"),
	always("to_k", "k"), always("key", "k"),
	always("to_v", "v"), always("value", "v"),
	always("to_out.0", "proj_out"), always("proj_attn", "proj_out"),
}

// vae renames a part of the VAE.
func (r renamer) vae(name string) (to string, ok bool) {
	begin, rest, ok := r.apply(vaeNames, name)
	if !ok {
		return "", false
	}
	table := vaeResNet
	switch {
	case rest == "":
		return begin, true
	case strings.Contains(name, "attentions"):
		table = vaeAttention
	case !strings.Contains(name, "resnets"):
		return begin + rest, true
	}
	inner, rest, ok := r.apply(table, rest[1:])
	return begin + "." + inner + rest, ok
}

var bigGNames = []renaming{
	always("text_model.embeddings.token_embedding", "token_embedding"),
	always("text_model.embeddings.position_embedding.weight", "positional_embedding"),
	rename("text_model.encoder.layers.#", func(_ renamer, n [2]int) string {
		return fmt.Sprintf("transformer.resblocks.%d", n[0])
	}),
	always("text_model.final_layer_norm", "ln_final"),
}

var bigGLayer = []renaming{
	always("layer_norm1", "ln_1"),
	always("layer_norm2", "ln_2"),
	always("mlp.fc1", "mlp.c_fc"),
	always("mlp.fc2", "mlp.c_proj"),
	always("self_attn.out_proj", "attn.out_proj"),
}

// bigG renames a part of the second text encoder, but for the queries', keys'
// and values' projections: part is their place, 0 to 2, in the one tensor that
// holds all three, "weight" or "bias" whatever follows; -1 for other tensors.
func (r renamer) bigG(name string) (to string, part int, ok bool) {
	begin, rest, ok := r.apply(bigGNames, name)
	if !ok || !strings.HasPrefix(begin, "transformer.") || rest == "" {
		return begin + rest, -1, ok
	}
	rest = rest[1:]
	for i, projection := range []string{"q", "k", "v"} {
		joined := always("self_attn."+projection+"_proj", "attn.in_proj")
		if _, rest, ok := r.apply([]renaming{joined}, rest); ok {
			return begin + ".attn.in_proj" + strings.Replace(rest, ".", "_", 1), i, true
		}
	}
	inner, rest, ok := r.apply(bigGLayer, rest)
	return begin + "." + inner + rest, -1, ok
}
