package weightstest

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Diffusers takes a single-file SDXL checkpoint of two ResNet blocks a level
// apart into the networks' folders of the Diffusers layout: tensors by folder
// and name there.
func Diffusers(tensors map[string]Tensor) map[string]map[string]Tensor {
	folders := map[string]map[string]Tensor{"unet": {}, "vae": {}, "text_encoder": {}, "text_encoder_2": {}}
	levels := 0 // of the VAE
	for name := range tensors {
		if m := regexp.MustCompile(`^first_stage_model\.decoder\.up\.(\d+)\.`).FindStringSubmatch(name); m != nil {
			levels = max(levels, number(m[1])+1)
		}
	}
	for name, t := range tensors {
		switch {
		case strings.HasPrefix(name, "model.diffusion_model."):
			folders["unet"][diffusersUNet(strings.TrimPrefix(name, "model.diffusion_model."))] = t
		case strings.HasPrefix(name, "first_stage_model."):
			name := diffusersVAE(strings.TrimPrefix(name, "first_stage_model."), levels)
			if strings.Contains(name, ".to_") && len(t.Shape) == 4 {
				t.Shape = t.Shape[:2]
			}
			folders["vae"][name] = t
		case strings.HasPrefix(name, "conditioner.embedders.0.transformer."):
			folders["text_encoder"][strings.TrimPrefix(name, "conditioner.embedders.0.transformer.")] = t
		case strings.HasPrefix(name, "conditioner.embedders.1.model."):
			diffusersBigG(folders["text_encoder_2"], strings.TrimPrefix(name, "conditioner.embedders.1.model."), t)
		}
	}
	return folders
}

func number(digits string) int {
	n, err := strconv.Atoi(digits)
	if err != nil {
		panic(err)
	}
	return n
}

func diffusersUNet(name string) string {
	parts := strings.SplitN(name, ".", 4)
	resNet := strings.NewReplacer("in_layers.0", "norm1", "in_layers.2", "conv1", "emb_layers.1", "time_emb_proj",
		"out_layers.0", "norm2", "out_layers.3", "conv2", "skip_connection", "conv_shortcut")
	switch parts[0] {
	case "time_embed":
		return fmt.Sprintf("time_embedding.linear_%d.%s", 1+number(parts[1])/2, parts[2])
	case "label_emb":
		return fmt.Sprintf("add_embedding.linear_%d.%s", 1+number(parts[2])/2, parts[3])
	case "out":
		return map[string]string{"0": "conv_norm_out.", "2": "conv_out."}[parts[1]] + parts[2]
	case "middle_block":
		return map[string]string{"0": "mid_block.resnets.0.", "1": "mid_block.attentions.0.", "2": "mid_block.resnets.1."}[parts[1]] +
			resNet.Replace(parts[2]+"."+parts[3])
	}
	n := number(parts[1])
	if parts[0] == "input_blocks" && n == 0 {
		return "conv_in." + parts[3]
	}
	side := "up"
	if parts[0] == "input_blocks" {
		side, n = "down", n-1
	}
	level, place := n/3, n%3
	switch rest := parts[3]; {
	case strings.HasPrefix(rest, "conv."):
		return fmt.Sprintf("up_blocks.%d.upsamplers.0.%s", level, rest)
	case strings.HasPrefix(rest, "op."):
		return fmt.Sprintf("down_blocks.%d.downsamplers.0.conv.%s", level, strings.TrimPrefix(rest, "op."))
	case parts[2] == "0":
		return fmt.Sprintf("%s_blocks.%d.resnets.%d.%s", side, level, place, resNet.Replace(rest))
	default:
		return fmt.Sprintf("%s_blocks.%d.attentions.%d.%s", side, level, place, rest)
	}
}

func diffusersVAE(name string, levels int) string {
	name = strings.NewReplacer(".mid.block_1.", ".mid_block.resnets.0.", ".mid.block_2.", ".mid_block.resnets.1.",
		".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm.", ".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0.",
		".mid.attn_1.", ".mid_block.attentions.0.to_", ".norm_out.", ".conv_norm_out.", "nin_shortcut", "conv_shortcut").Replace(name)
	parts := strings.Split(name, ".")
	if len(parts) > 3 && (parts[1] == "down" || parts[1] == "up") {
		level := number(parts[2])
		if parts[1] == "up" {
			level = levels - 1 - level
		}
		parts[1], parts[2] = parts[1]+"_blocks", strconv.Itoa(level)
		switch parts[3] {
		case "block":
			parts[3] = "resnets"
		case "downsample", "upsample":
			parts[3] += "rs.0"
		}
	}
	return strings.Join(parts, ".")
}

func diffusersBigG(folder map[string]Tensor, name string, t Tensor) {
	name = strings.NewReplacer("transformer.resblocks.", "text_model.encoder.layers.", ".ln_1.", ".layer_norm1.", ".ln_2.", ".layer_norm2.",
		".mlp.c_fc.", ".mlp.fc1.", ".mlp.c_proj.", ".mlp.fc2.", ".attn.out_proj.", ".self_attn.out_proj.", "ln_final.", "text_model.final_layer_norm.").Replace(name)
	switch {
	case name == "token_embedding.weight":
		folder["text_model.embeddings.token_embedding.weight"] = t
	case name == "positional_embedding":
		folder["text_model.embeddings.position_embedding.weight"] = t
	case name == "text_projection":
		rows, columns := t.Shape[0], t.Shape[1]
		_, size := t.DType.Block()
		data := make([]byte, 0, len(t.Data))
		for j := range columns {
			for i := range rows {
				data = append(data, t.Data[(i*columns+j)*size:][:size]...)
			}
		}
		folder["text_projection.weight"] = Tensor{DType: t.DType, Shape: []int{columns, rows}, Data: data}
	case strings.Contains(name, ".attn.in_proj_"):
		before, what, _ := strings.Cut(name, ".attn.in_proj_")
		shape := slices.Clone(t.Shape)
		shape[0] /= 3
		n := len(t.Data) / 3
		for i, p := range []string{"q", "k", "v"} {
			folder[before+".self_attn."+p+"_proj."+what] = Tensor{DType: t.DType, Shape: shape, Data: t.Data[i*n : (i+1)*n]}
		}
	case name != "logit_scale":
		folder[name] = t
	}
}
