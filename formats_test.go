package supir

import (
	"bytes"
	"fmt"
	"image"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// goldenFormats are the golden weights in every format that is read, by name.
func goldenFormats(t testing.TB) map[string]Files {
	t.Helper()
	plain := goldenFiles(t)
	file := func(path string) (map[string]weightstest.Tensor, *weights.Set) {
		set, err := weights.OpenFiles(weights.File{Path: path, FS: plain.FS})
		require.NoError(t, err)
		return weightstest.Tensors(set), set
	}
	sdxl, set := file(plain.SDXL)
	robust, _ := file(plain.SUPIR)
	metadata, texts := map[string]any{}, map[string]string{}
	for _, key := range set.MetadataKeys() {
		metadata[key] = set.Value(key)
		texts[key], _ = set.Metadata(key)
	}
	// What PyTorch's files and folders do not say is said beside the SUPIR tensors.
	rest := weightstest.Safetensors(robust, texts)

	folder := fstest.MapFS{"robust": {Data: rest}}
	for name, tensors := range weightstest.Diffusers(sdxl) {
		folder["sdxl/"+name+"/model.safetensors"] = &fstest.MapFile{Data: weightstest.Safetensors(tensors, nil)}
	}
	shards := fstest.MapFS{"robust": {Data: rest}}
	halves := [2]map[string]weightstest.Tensor{{}, {}}
	index := `{"weight_map":{`
	for i, name := range set.Names() {
		halves[i%2][name] = sdxl[name]
		index += fmt.Sprintf("%q:\"part%d\",", name, i%2)
	}
	shards["sdxl"] = &fstest.MapFile{Data: []byte(index[:len(index)-1] + "}}")}
	shards["part0"] = &fstest.MapFile{Data: weightstest.Safetensors(halves[0], nil)}
	shards["part1"] = &fstest.MapFile{Data: weightstest.Safetensors(halves[1], nil)}

	whole := maps.Clone(sdxl)
	maps.Copy(whole, robust)
	// Trainers leave such things beside the weights.
	trained := maps.Clone(sdxl)
	for _, name := range []string{"model_ema.decay", "model_ema.diffusion_modelinput_blocks00weight", "denoiser.sigmas",
		"first_stage_model.loss.logvar", "first_stage_model.loss.discriminator.main.0.weight", "conditioner.embedders.1.model.logit_scale",
		"conditioner.embedders.0.transformer.text_model.embeddings.position_ids", "cond_stage_model.model.logit_scale", "v_pred", "ztsnr"} {
		trained[name] = weightstest.F32([]int{1, 2})
	}
	of := func(fsys fs.FS) Files { return Files{SDXL: "sdxl", SUPIR: "robust", FS: fsys} }
	return map[string]Files{
		"safetensors":             plain,
		"GGUF":                    of(fstest.MapFS{"sdxl": {Data: weightstest.GGUF(sdxl, metadata)}, "robust": {Data: weightstest.GGUF(robust, nil)}}),
		"PyTorch":                 of(fstest.MapFS{"sdxl": {Data: weightstest.Torch(sdxl, "state_dict")}, "robust": {Data: rest}}),
		"PyTorch, SUPIR's":        of(fstest.MapFS{"sdxl": plain.FS.(fstest.MapFS)[plain.SDXL], "robust": {Data: weightstest.Torch(robust, "state_dict")}}),
		"in several files":        of(shards),
		"Diffusers":               of(folder),
		"all in one file":         {SDXL: "x", SUPIR: "x", FS: fstest.MapFS{"x": {Data: weightstest.GGUF(whole, metadata)}}},
		"with traces of training": of(fstest.MapFS{"sdxl": {Data: weightstest.Safetensors(trained, nil)}, "robust": {Data: rest}}),
	}
}

// TestFormats makes sure that the networks get the same weights whatever the
// format they are in.
func TestFormats(t *testing.T) {
	tensors := func(m *Model) []*weights.Tensor {
		n := m.networks
		return slices.Concat(weights.Collect(&n.vae), weights.Collect(&n.clipL), weights.Collect(&n.bigG), weights.Collect(&n.diffusion))
	}
	plain := goldenModel(t)
	want := tensors(plain)
	for name, files := range goldenFormats(t) {
		t.Run(name, func(t *testing.T) {
			m, err := New(files)
			require.NoError(t, err)
			defer m.Close()
			got := tensors(m)
			require.Len(t, got, len(want))
			for i, x := range got {
				w := want[i]
				require.True(t, x.Name == w.Name && x.DType == w.DType && slices.Equal(x.Shape, w.Shape) && bytes.Equal(x.Bytes(), w.Bytes()), x.Name)
			}
			assert.Equal(t, plain.networks.defaults, m.networks.defaults)
			assert.Equal(t, plain.networks.clipL.Heads, m.networks.clipL.Heads)
		})
	}
}

// restored is a small picture restored in one step.
func restored(t *testing.T, files Files) []byte {
	t.Helper()
	in := image.NewNRGBA(image.Rect(0, 0, 48, 40))
	for i := range in.Pix {
		in.Pix[i] = byte(i*5%251 | 255*(i%4/3))
	}
	m, err := New(files)
	require.NoError(t, err)
	defer m.Close()
	r, err := m.Restore(t.Context(), in, Options{Steps: 1, Device: "cpu", Threads: 1, Prompt: "a cat"})
	require.NoError(t, err)
	return r.Image.(*image.NRGBA).Pix
}

// TestLoRAs makes sure that LoRAs reach the picture, and by their weight. The
// base is one whose weights are made of parts, to test these too.
func TestLoRAs(t *testing.T) {
	files := goldenFormats(t)["Diffusers"]
	plain := restored(t, files)
	assert.Equal(t, restored(t, goldenFiles(t)), plain)

	const layer = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_v"
	set, err := weights.OpenFiles(weights.File{Path: "sdxl", FS: files.FS})
	require.NoError(t, err)
	shape := set.Tensor("model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_v.weight").Shape
	up, down := make([]float32, shape[0]*2), make([]float32, shape[1]*2)
	for i := range up {
		up[i] = float32(i%7-3) / 4
	}
	for i := range down {
		down[i] = float32(i%5-2) / 4
	}
	files.FS.(fstest.MapFS)["lora"] = &fstest.MapFile{Data: weightstest.Safetensors(map[string]weightstest.Tensor{
		layer + ".lora_up.weight":   weightstest.F32([]int{shape[0], 2}, up...),
		layer + ".lora_down.weight": weightstest.F32([]int{2, shape[1]}, down...),
	}, nil)}
	files.LoRAs = []LoRA{{Path: "lora"}} // of weight 1
	whole := restored(t, files)
	assert.NotEqual(t, plain, whole)
	files.LoRAs = []LoRA{{Path: "lora", Weight: 3}, {Path: "lora", Weight: -2}}
	assert.Equal(t, whole, restored(t, files))
}

func TestLoRAsFail(t *testing.T) {
	files := goldenFiles(t)
	files.LoRAs = []LoRA{{Path: "none"}}
	_, err := New(files)
	assert.ErrorIs(t, err, fs.ErrNotExist)
	files.LoRAs = []LoRA{{Path: files.SDXL}}
	_, err = New(files)
	assert.ErrorContains(t, err, "not a LoRA of SDXL")
	files.LoRAs = []LoRA{{Path: files.SDXL, Weight: 11}}
	_, err = New(files)
	assert.ErrorContains(t, err, "weight 11, want one in [-10, 10]")
}
