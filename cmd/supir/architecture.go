package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"supir/internal/weights"
)

// architecture tells a network's sizes, read off its tensors; "" where there is
// nothing to tell.
func architecture(set *weights.Set, network string) string {
	switch network {
	case "vae":
		return vaeSizes(set)
	case "text":
		return textSizes(set)
	case "unet":
		return unetSizes(set, "model.diffusion_model")
	case "adaptor":
		return unetSizes(set, "model.control_model")
	case "connectors":
		return connectorCounts(set)
	}
	return ""
}

// side is a tensor's size along a dimension, 0 where there is none.
func side(set *weights.Set, name string, dim int) int {
	if t := set.Tensor(name); t != nil && dim < len(t.Shape) {
		return t.Shape[dim]
	}
	return 0
}

// children counts the numbers 0, 1, 2… that stand behind a prefix.
func children(set *weights.Set, prefix string) int {
	last := -1
	for _, name := range set.Names() {
		rest, ok := strings.CutPrefix(name, prefix+".")
		if !ok {
			continue
		}
		digits, _, _ := strings.Cut(rest, ".")
		if n, err := strconv.Atoi(digits); err == nil {
			last = max(last, n)
		}
	}
	return last + 1
}

func vaeSizes(set *weights.Set) string {
	const prefix = "first_stage_model."
	var parts []string
	for _, part := range []struct{ name, blocks string }{{"encoder", "down"}, {"decoder", "up"}, {"denoise_encoder", "down"}} {
		if set.Has(prefix + part.name + ".conv_in.weight") {
			levels := children(set, prefix+part.name+"."+part.blocks)
			parts = append(parts, fmt.Sprintf("%s /%d", part.name, 1<<max(0, levels-1)))
		}
	}
	if c := side(set, prefix+"decoder.conv_in.weight", 1); c > 0 {
		parts = append(parts, fmt.Sprintf("latent of %d channels", c))
	}
	return strings.Join(parts, ", ")
}

func textSizes(set *weights.Set) string {
	var parts []string
	for _, e := range []struct{ name, table, layers string }{
		{"CLIP-L", "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight", "conditioner.embedders.0.transformer.text_model.encoder.layers"},
		{"bigG", "conditioner.embedders.1.model.token_embedding.weight", "conditioner.embedders.1.model.transformer.resblocks"},
	} {
		if width := side(set, e.table, 1); width > 0 {
			parts = append(parts, fmt.Sprintf("%s %d wide, %d layers", e.name, width, children(set, e.layers)))
		}
	}
	return strings.Join(parts, "; ")
}

// unetSizes tells the channels of the levels and the transformer blocks in each
// stack, from the encoder's first block to the middle.
func unetSizes(set *weights.Set, prefix string) string {
	var channels, depths []string
	context := 0
	stack := func(block string) {
		n := children(set, block+".transformer_blocks")
		if n == 0 {
			return
		}
		depths = append(depths, strconv.Itoa(n))
		context = max(context, side(set, block+".transformer_blocks.0.attn2.to_k.weight", 1))
	}
	for i := range children(set, prefix+".input_blocks") {
		block := fmt.Sprintf("%s.input_blocks.%d", prefix, i)
		if c := side(set, block+".0.in_layers.2.weight", 0); c > 0 {
			channels = append(channels, strconv.Itoa(c))
		}
		stack(block + ".1")
	}
	stack(prefix + ".middle_block.1")
	if len(channels) == 0 {
		return ""
	}
	text := strings.Join(slices.Compact(channels), "-") + " channels"
	if len(depths) > 0 {
		text += fmt.Sprintf(", transformers of %s blocks, text of %d", strings.Join(depths, " "), context)
	}
	return text
}

func connectorCounts(set *weights.Set) string {
	const prefix = "model.diffusion_model.project_modules"
	sft, cross := 0, 0
	for i := range children(set, prefix) {
		switch at := fmt.Sprintf("%s.%d.", prefix, i); {
		case set.Has(at + "zero_mul.weight"):
			sft++
		case set.Has(at + "norm1.weight"):
			cross++
		}
	}
	return fmt.Sprintf("%d ZeroSFT, %d ZeroCrossAttn", sft, cross)
}
