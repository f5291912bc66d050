package weights_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// loraBase has a layer of each kind that LoRAs change: 2 ResNet blocks a level.
func loraBase(t *testing.T, dtype weights.DType) *weights.Set {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	tensors := map[string]weightstest.Tensor{}
	add := func(name string, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		x := weightstest.Tensor{DType: dtype, Shape: shape}
		if dtype == weights.F32 {
			values := make([]float32, n)
			for i := range values {
				values[i] = r.Float32() - 0.5
			}
			x = weightstest.F32(shape, values...)
		}
		tensors[name] = x
	}
	const u = "model.diffusion_model."
	for _, n := range []string{"1", "2", "4", "5"} {
		add(u+"input_blocks."+n+".0.in_layers.2.weight", 64, 64, 1, 1)
	}
	add(u+"input_blocks.3.0.op.weight", 64, 64, 3, 3)
	add(u+"input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight", 64, 64)
	add(u+"input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight", 64, 64)
	add(u+"output_blocks.0.1.transformer_blocks.0.attn1.to_q.weight", 64, 64)
	add(u+"output_blocks.2.2.conv.weight", 64, 64, 3, 3)
	add(u+"output_blocks.5.1.conv.weight", 64, 64, 3, 3)
	add("conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight", 64, 64)
	add("conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight", 192, 64)
	add("conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.weight", 128, 64)
	// Kernels of 3×3 have no whole blocks in a row.
	if dtype.Quantised() {
		for name, x := range tensors {
			if len(x.Shape) == 4 {
				x.DType = weights.F16
				tensors[name] = x
			}
		}
		set, err := openGGUF(weightstest.GGUF(tensors, nil))
		require.NoError(t, err)
		return set
	}
	set, err := openBytes(weightstest.Safetensors(tensors, nil))
	require.NoError(t, err)
	return set
}

// loraNames are layers by the name in a LoRA file and in the checkpoint.
var loraNames = []struct{ lora, name string }{
	{"lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"},
	{"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"},
	{"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight"},
	{"lora_unet_up_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q", "model.diffusion_model.output_blocks.0.1.transformer_blocks.0.attn1.to_q.weight"},
	{"lora_unet_down_blocks_0_resnets_1_conv1", "model.diffusion_model.input_blocks.2.0.in_layers.2.weight"},
	{"lora_unet_down_blocks_0_downsamplers_0_conv", "model.diffusion_model.input_blocks.3.0.op.weight"},
	{"lora_unet_up_blocks_0_upsamplers_0_conv", "model.diffusion_model.output_blocks.2.2.conv.weight"},
	{"lora_unet_up_blocks_1_upsamplers_0_conv", "model.diffusion_model.output_blocks.5.1.conv.weight"},
	{"lora_te1_text_model_encoder_layers_0_mlp_fc1", "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight"},
	{"lora_te2_text_model_encoder_layers_0_mlp_fc1", "conditioner.embedders.1.model.transformer.resblocks.0.mlp.c_fc.weight"},
	{"lora_te2_text_model_encoder_layers_0_self_attn_q_proj", "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"},
	{"lora_te2_text_model_encoder_layers_0_self_attn_v_proj", "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"},
	{"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"},
	{"unet.down_blocks.1.resnets.0.conv1", "model.diffusion_model.input_blocks.4.0.in_layers.2.weight"},
	{"down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_out.0.weight"},
	{"base_model.model.up_blocks.0.upsamplers.0.conv", "model.diffusion_model.output_blocks.2.2.conv.weight"},
	{"diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"},
	{"text_encoder.text_model.encoder.layers.0.mlp.fc1", "conditioner.embedders.0.transformer.text_model.encoder.layers.0.mlp.fc1.weight"},
	{"text_encoder_2.text_model.encoder.layers.0.self_attn.k_proj", "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight"},
}

// loraFile changes a layer of that shape by rank 4, with names' endings as given.
func loraFile(layer string, shape []int, upEnding, downEnding string, alpha float32) map[string]weightstest.Tensor {
	r := rand.New(rand.NewPCG(3, 4))
	random := func(shape ...int) weightstest.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = r.Float32() - 0.5
		}
		return weightstest.F32(shape, values...)
	}
	up, down := []int{shape[0], 4}, append([]int{4}, shape[1:]...)
	if len(shape) == 4 {
		up = append(up, 1, 1)
	}
	file := map[string]weightstest.Tensor{layer + upEnding: random(up...), layer + downEnding: random(down...)}
	if alpha != 0 {
		file[layer+".alpha"] = weightstest.F32(nil, alpha)
	}
	return file
}

// merge is a set with LoRA files merged into it.
func merge(set *weights.Set, weight float64, files ...map[string]weightstest.Tensor) error {
	var loras []weights.LoRA
	for _, f := range files {
		loras = append(loras, weights.LoRA{File: weights.File{Path: "lora.safetensors", Data: weightstest.Safetensors(f, nil)}, Weight: weight})
	}
	return set.Merge(nil, loras...)
}

func TestLoRA(t *testing.T) {
	endings := [][2]string{
		{".lora_up.weight", ".lora_down.weight"}, {".lora_B.weight", ".lora_A.weight"}, {".lora.up.weight", ".lora.down.weight"},
		{".lora_linear_layer.up.weight", ".lora_linear_layer.down.weight"}, {".lora_B.default.weight", ".lora_A.default.weight"},
	}
	for i, tt := range loraNames {
		t.Run(tt.lora, func(t *testing.T) {
			before, set := loraBase(t, weights.F32), loraBase(t, weights.F32)
			base := before.Tensor(tt.name)
			third := slices.Index([]string{"q", "k", "v"}, strings.TrimSuffix(tt.lora, "_proj")[len(strings.TrimSuffix(tt.lora, "_proj"))-1:])
			shape := slices.Clone(base.Shape)
			joined := strings.HasSuffix(tt.name, "in_proj_weight")
			if joined {
				shape[0] /= 3
			}
			ending := endings[0]
			if strings.Contains(tt.lora, ".") {
				ending = endings[i%len(endings)]
			}
			file := loraFile(tt.lora, shape, ending[0], ending[1], 2)
			require.NoError(t, merge(set, 0.75, file))
			loraSet, err := openBytes(weightstest.Safetensors(file, nil))
			require.NoError(t, err)
			up, down := loraSet.Tensor(tt.lora+ending[0]).Float32(), loraSet.Tensor(tt.lora+ending[1]).Float32()

			want := base.Float32()
			columns := len(down) / 4
			for row := range shape[0] {
				for column := range columns {
					var sum float64
					for k := range 4 {
						sum += float64(up[row*4+k]) * float64(down[k*columns+column])
					}
					at := row*columns + column
					if joined {
						at += third * shape[0] * columns
					}
					want[at] += float32(0.75 * 2 / 4 * sum)
				}
			}
			assert.InDeltaSlice(t, want, set.Tensor(tt.name).Float32(), 1e-6)
			for x := range set.Tensors() {
				if x.Name != tt.name {
					assert.Equal(t, before.Tensor(x.Name).Bytes(), x.Bytes(), x.Name)
					assert.NotNil(t, x.Data, "stays mapped")
				}
			}
		})
	}
}

// TestLoRAMetadata has alphas where Diffusers keeps them.
func TestLoRAMetadata(t *testing.T) {
	const layer, name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q", "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
	merged := func(alpha float32, metadata string) []float32 { // of rank 4
		file := loraFile(layer, []int{64, 64}, ".lora_B.weight", ".lora_A.weight", alpha)
		if alpha == 0 {
			delete(file, layer+".alpha")
		}
		set := loraBase(t, weights.F32)
		data := weightstest.Safetensors(file, map[string]string{"lora_adapter_metadata": metadata})
		require.NoError(t, set.Merge(nil, weights.LoRA{File: weights.File{Path: "l", Data: data}, Weight: 1}))
		return set.Tensor(name).Float32()
	}
	for metadata, alpha := range map[string]float32{
		`{}`: 4, `{"text_encoder.lora_alpha": 8}`: 4, `{"unet.lora_alpha": 8}`: 8,
		`{"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 16, "attn1.to_q": 2, "q": 32}}`:   2,
		`{"unet.lora_alpha": 8, "unet.alpha_pattern": {}, "unet.r": 4, "unet.use_rslora": true}`: 16,
	} {
		assert.Equal(t, merged(alpha, `{}`), merged(0, metadata), metadata)
	}
	assert.Equal(t, merged(4, `{}`), merged(4, `{"unet.lora_alpha": 8}`), "a tensor counts")
}

func TestLoRATwice(t *testing.T) {
	const name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
	file := loraFile("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora", []int{64, 64}, ".up.weight", ".down.weight", 0)
	once, twice, none := loraBase(t, weights.F32), loraBase(t, weights.F32), loraBase(t, weights.F32)
	require.NoError(t, merge(once, 1, file))
	require.NoError(t, merge(twice, 0.5, file, file))
	require.NoError(t, merge(none, 1, file))
	require.NoError(t, merge(none, -1, file))
	base := loraBase(t, weights.F32).Tensor(name).Float32()
	assert.InDeltaSlice(t, once.Tensor(name).Float32(), twice.Tensor(name).Float32(), 1e-6)
	assert.InDeltaSlice(t, base, none.Tensor(name).Float32(), 1e-6)
	assert.Greater(t, math.Abs(float64(base[0]-once.Tensor(name).Float32()[0])), 1e-4)
}

// TestLoCon puts a kernel between the two matrices.
func TestLoCon(t *testing.T) {
	const name = "model.diffusion_model.input_blocks.3.0.op.weight"
	plain := loraFile("lora_unet_input_blocks_3_0_op", []int{64, 64, 3, 3}, ".lora_up.weight", ".lora_down.weight", 0)
	parts := loraFile("lora_unet_input_blocks_3_0_op", []int{64, 64, 1, 1}, ".lora_up.weight", ".lora_down.weight", 0)
	// mid[a, b] is a kernel that picks its corner (1, 2) where a is b.
	mid := make([]float32, 4*4*9)
	for a := range 4 {
		mid[(a*4+a)*9+5] = 2
	}
	parts["lora_unet_input_blocks_3_0_op.lora_mid.weight"] = weightstest.F32([]int{4, 4, 3, 3}, mid...)
	set := loraBase(t, weights.F32)
	require.NoError(t, merge(set, 1, parts))
	file, err := openBytes(weightstest.Safetensors(parts, nil))
	require.NoError(t, err)
	up, down := file.Tensor("lora_unet_input_blocks_3_0_op.lora_up.weight").Float32(), file.Tensor("lora_unet_input_blocks_3_0_op.lora_down.weight").Float32()
	want := loraBase(t, weights.F32).Tensor(name).Float32()
	for o := range 64 {
		for i := range 64 {
			for k := range 4 {
				want[(o*64+i)*9+5] += 2 * up[o*4+k] * down[k*64+i]
			}
		}
	}
	assert.InDeltaSlice(t, want, set.Tensor(name).Float32(), 1e-6)
	require.NoError(t, merge(set, 1, plain))
}

func TestLoRATypes(t *testing.T) {
	const name = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight"
	file := loraFile("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", []int{64, 64}, ".lora_up.weight", ".lora_down.weight", 0)
	zero := loraBase(t, weights.F32)
	require.NoError(t, merge(zero, 1, file))
	exact, base := zero.Tensor(name).Float32(), loraBase(t, weights.F32).Tensor(name).Float32()
	for i := range exact {
		exact[i] -= base[i] // the change alone: the bases below are zeros
	}
	for dtype, tolerance := range map[weights.DType]float64{weights.F16: 1e-3, weights.BF16: 4e-3} {
		set := loraBase(t, dtype)
		require.NoError(t, merge(set, 1, file))
		assert.Equal(t, dtype, set.Tensor(name).DType)
		assert.InDeltaSlice(t, exact, set.Tensor(name).Float32(), tolerance)
	}
	set := loraBase(t, weights.Q8_0)
	err := merge(set, 1, file)
	var unsupported *weights.UnsupportedError
	require.ErrorAs(t, err, &unsupported)
	assert.Contains(t, err.Error(), "Q8_0")
	zeros := func(x *weights.Tensor) []float32 { return make([]float32, x.Elements()) }
	require.NoError(t, set.Merge(zeros, weights.LoRA{File: weights.File{Path: "l", Data: weightstest.Safetensors(file, nil)}, Weight: 1}))
	assert.Equal(t, weights.F16, set.Tensor(name).DType)
	assert.InDeltaSlice(t, exact, set.Tensor(name).Float32(), 1e-3)
}

func TestLoRAFails(t *testing.T) {
	const layer = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q"
	sound := func() map[string]weightstest.Tensor {
		return loraFile(layer, []int{64, 64}, ".lora_up.weight", ".lora_down.weight", 4)
	}
	for _, tt := range []struct {
		name   string
		change func(f map[string]weightstest.Tensor)
		reason string
	}{
		{"unknown layer", func(f map[string]weightstest.Tensor) {
			f["lora_unet_nowhere.lora_up.weight"] = weightstest.F32([]int{1, 1})
		}, "lora_unet_nowhere.lora_up.weight"},
		{"unknown ending", func(f map[string]weightstest.Tensor) { f[layer+".lora_x"] = weightstest.F32([]int{1, 1}) }, layer + ".lora_x"},
		{"no up", func(f map[string]weightstest.Tensor) { delete(f, layer+".lora_up.weight") }, "missing"},
		{"another width", func(f map[string]weightstest.Tensor) {
			f[layer+".lora_down.weight"] = weightstest.F32([]int{4, 32})
		}, "lora_down.weight: shape [4 32] does not change model.diffusion_model.input_blocks.4.1"},
		{"another height", func(f map[string]weightstest.Tensor) { f[layer+".lora_up.weight"] = weightstest.F32([]int{32, 4}) }, "lora_up.weight: shape [32 4]"},
		{"another rank", func(f map[string]weightstest.Tensor) { f[layer+".lora_up.weight"] = weightstest.F32([]int{64, 8}) }, "lora_up.weight: shape [64 8]"},
		{"nothing in it", func(f map[string]weightstest.Tensor) {
			f[layer+".lora_up.weight"], f[layer+".lora_down.weight"] = weightstest.F32([]int{64, 0}), weightstest.F32([]int{0, 64})
		}, "shape [0 64]"},
		{"a rank that wraps", func(f map[string]weightstest.Tensor) {
			f[layer+".lora_up.weight"], f[layer+".lora_down.weight"] = weightstest.F32([]int{64, 0}), weightstest.F32([]int{1 << 58, 0})
		}, "does not change"},
		{"two alphas", func(f map[string]weightstest.Tensor) { f[layer+".alpha"] = weightstest.F32([]int{2}) }, "alpha: shape [2]"},
		{"a kernel of another size", func(f map[string]weightstest.Tensor) {
			f[layer+".lora_mid.weight"] = weightstest.F32([]int{4, 4, 3, 3})
		}, "lora_mid.weight: shape [4 4 3 3]"},
		{"LoHa", func(f map[string]weightstest.Tensor) { f[layer+".hada_w1_a"] = weightstest.F32([]int{1}) }, "LoHa"},
		{"DoRA", func(f map[string]weightstest.Tensor) { f[layer+".dora_scale"] = weightstest.F32([]int{1}) }, "DoRA"},
		{"of another model", func(f map[string]weightstest.Tensor) {
			clear(f)
			f["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = weightstest.F32([]int{1, 1})
		}, "not a LoRA of SDXL"},
		{"empty", func(f map[string]weightstest.Tensor) { clear(f) }, "not a LoRA of SDXL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := sound()
			tt.change(file)
			set := loraBase(t, weights.F32)
			err := merge(set, 1, sound(), file)
			require.Error(t, err)
			assert.Contains(t, err.Error(), tt.reason)
			assert.Contains(t, err.Error(), "lora.safetensors")
			for x := range set.Tensors() {
				assert.NotNil(t, x.Data, "the set is as before")
			}
		})
	}
}

// FuzzLoRA merges any file; only names and shapes matter.
func FuzzLoRA(f *testing.F) {
	for _, tt := range loraNames[:6] {
		f.Add(weightstest.Safetensors(loraFile(tt.lora, []int{4, 4}, ".lora_up.weight", ".lora_down.weight", 2), nil))
	}
	f.Add(weightstest.Safetensors(map[string]weightstest.Tensor{
		"lora_unet_out_2.lora_up.weight": weightstest.F32([]int{4, 2, 1, 1}), "lora_unet_out_2.lora_down.weight": weightstest.F32([]int{2, 2, 1, 1}),
		"lora_unet_out_2.lora_mid.weight": weightstest.F32([]int{2, 2, 3, 3}), "lora_unet_out_2.alpha": weightstest.F32(nil, 1),
	}, nil))
	f.Add(weightstest.Safetensors(loraFile(loraNames[0].lora, []int{4, 4}, ".lora_up.weight", ".lora_down.weight", 2),
		map[string]string{"lora_adapter_metadata": `{"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_q": 1}}`}))
	base := weightstest.Safetensors(map[string]weightstest.Tensor{
		"model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q.weight": weightstest.F32([]int{4, 4}),
		"model.diffusion_model.input_blocks.1.0.in_layers.2.weight":                     weightstest.F32([]int{4, 4, 1, 1}),
		"model.diffusion_model.input_blocks.2.0.in_layers.2.weight":                     weightstest.F32([]int{4, 4, 1, 1}),
		"model.diffusion_model.out.2.weight":                                            weightstest.F32([]int{4, 2, 3, 3}),
		"conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight":     weightstest.F32([]int{12, 4}),
	}, nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := openBytes(base)
		require.NoError(t, err)
		if set.Merge(nil, weights.LoRA{File: weights.File{Path: "lora", Data: data}, Weight: 1}) == nil {
			for x := range set.Tensors() {
				assert.Len(t, x.Float32(), x.Elements())
			}
		}
	})
}
