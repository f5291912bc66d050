package weights_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

func TestCheckRoles(t *testing.T) {
	sdxl := []string{"model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight",
		"conditioner.embedders.0.transformer.text_model.final_layer_norm.weight", "conditioner.embedders.1.model.ln_final.weight"}
	supir := []string{"model.control_model.input_blocks.0.0.weight", "model.diffusion_model.project_modules.0.zero_conv.weight",
		"first_stage_model.denoise_encoder.conv_in.weight"}
	both := append(append([]string{}, sdxl...), supir...)
	for _, tt := range []struct {
		name          string
		first, second []string
		want          string // empty: all is well
	}{
		{"as they should be", sdxl, supir, ""},
		{"all in both", both, both, ""},
		{"swapped", supir, sdxl, "1: given as the SDXL file, but without the U-Net; it looks like the SUPIR file: the files are swapped"},
		{"the same twice", sdxl, sdxl, "2: given as the SUPIR file, but without the adaptor; it looks like the SDXL file"},
		{"a LoRA", []string{"lora_unet_down_blocks_0.alpha"}, supir, "1: given as the SDXL file, but without the U-Net; it looks like a LoRA, not a whole model"},
		{"a LoRA in PEFT's layout", []string{"unet.mid_block.attentions.0.proj_in.lora_A.weight"}, supir, "1: given as the SDXL file, but without the U-Net; it looks like a LoRA, not a whole model"},
		{"an old LoRA of Diffusers", []string{"unet.mid_block.attentions.0.processor.to_q_lora.up.weight"}, supir, "1: given as the SDXL file, but without the U-Net; it looks like a LoRA, not a whole model"},
		{"Diffusers", []string{"down_blocks.0.resnets.0.conv1.weight"}, supir, "1: given as the SDXL file, but without the U-Net; it looks like a U-Net alone in the Diffusers layout, of which the folder above is needed"},
		{"a VAE", sdxl[1:2], supir, "1: given as the SDXL file, but without the U-Net; it looks like a VAE alone"},
		{"no VAE", sdxl[:1], supir, "1: given as the SDXL file, but without the VAE"},
		{"no text encoder", sdxl[:2], supir, "1: given as the SDXL file, but without the text encoder CLIP ViT-L"},
		{"one text encoder", sdxl[:3], supir, "1: given as the SDXL file, but without the text encoder OpenCLIP ViT-bigG"},
		{"no robust encoder", sdxl, supir[:2], "2: given as the SUPIR file, but without the degradation-robust encoder"},
		{"Stable Diffusion 1", append([]string{"cond_stage_model.transformer.weight"}, sdxl[:2]...), supir, "1: given as the SDXL file, but without the text encoder CLIP ViT-L; it looks like Stable Diffusion 1 or 2, where SDXL is needed"},
		{"something else", sdxl, []string{"x"}, "2: given as the SUPIR file, but without the adaptor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := weights.OpenFiles(fileOf("1", tt.first), fileOf("2", tt.second))
			require.NoError(t, err)
			err = set.CheckRoles(weights.SDXL, weights.SUPIR)
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			var role *weights.RoleError
			require.ErrorAs(t, err, &role)
			assert.Equal(t, tt.want, err.Error())
			assert.Equal(t, tt.name == "swapped", role.Swapped)
		})
	}
	t.Run("one file alone", func(t *testing.T) {
		assert.NoError(t, setOf(t, nil, both...).CheckRoles(weights.SDXL, weights.SUPIR))
	})
}

func fileOf(path string, names []string) weights.File {
	tensors := map[string]weightstest.Tensor{}
	for _, name := range names {
		tensors[name] = weightstest.F32([]int{1})
	}
	return weights.File{Path: path, Data: weightstest.Safetensors(tensors, nil)}
}
