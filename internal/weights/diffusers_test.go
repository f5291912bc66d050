package weights_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// goldenSDXL are the small SDXL checkpoint's tensors, and the set that has them.
func goldenSDXL(t *testing.T) (map[string]weightstest.Tensor, *weights.Set) {
	t.Helper()
	set, err := weights.Open(golden("sdxl.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, set.Close()) })
	return weightstest.Tensors(set), set
}

// goldenFolder is the small SDXL checkpoint as a folder in the Diffusers layout.
func goldenFolder(t *testing.T) fstest.MapFS {
	t.Helper()
	tensors, _ := goldenSDXL(t)
	folders := weightstest.Diffusers(tensors)
	unet := map[string]weightstest.Tensor{}
	rest := map[string]weightstest.Tensor{}
	index := map[string]string{}
	for name, x := range folders["unet"] {
		if strings.HasPrefix(name, "up_blocks") {
			unet[name], index[name] = x, "diffusion_pytorch_model-00001-of-00002.safetensors"
		} else {
			rest[name], index[name] = x, "diffusion_pytorch_model-00002-of-00002.safetensors"
		}
	}
	return fstest.MapFS{
		"m/model_index.json": {Data: []byte("{}")},
		"m/unet/config.json": {Data: []byte(`{"norm_num_groups": 32, "attention_head_dim": [5, 10]}`)},
		"m/vae/config.json":  {Data: []byte(`{"norm_num_groups": 32}`)},
		"m/unet/diffusion_pytorch_model.safetensors.index.json":     {Data: indexOf(index)},
		"m/unet/diffusion_pytorch_model-00001-of-00002.safetensors": {Data: weightstest.Safetensors(unet, nil)},
		"m/unet/diffusion_pytorch_model-00002-of-00002.safetensors": {Data: weightstest.Safetensors(rest, nil)},
		"m/vae/diffusion_pytorch_model.fp16.safetensors":            {Data: weightstest.Safetensors(folders["vae"], nil)},
		"m/text_encoder/model.safetensors":                          {Data: weightstest.Safetensors(folders["text_encoder"], nil)},
		"m/text_encoder/config.json":                                {Data: []byte(`{"num_attention_heads": 2}`)},
		"m/text_encoder_2/model.safetensors":                        {Data: weightstest.Safetensors(folders["text_encoder_2"], nil)},
		"m/text_encoder_2/config.json":                              {Data: []byte(`{"num_attention_heads": 2, "hidden_act": "gelu"}`)},
	}
}

func TestDiffusersFolder(t *testing.T) {
	testFolder(t, goldenFolder(t))
}

func TestDiffusersFolderByItsIndex(t *testing.T) {
	folder := goldenFolder(t)
	byFolder, err := weights.OpenFiles(weights.File{Path: "m", FS: folder})
	require.NoError(t, err)
	byIndex, err := weights.OpenFiles(weights.File{Path: "m/model_index.json", FS: folder})
	require.NoError(t, err)
	require.Equal(t, weightstest.Tensors(byFolder), weightstest.Tensors(byIndex))
}

// Newer versions of the Transformers library leave a part of the names out.
func TestDiffusersFolderNewer(t *testing.T) {
	folder := goldenFolder(t)
	for _, file := range []string{"m/text_encoder/model.safetensors", "m/text_encoder_2/model.safetensors"} {
		set, err := weights.OpenFiles(weights.File{Path: file, FS: folder})
		require.NoError(t, err)
		tensors := map[string]weightstest.Tensor{}
		for name, x := range weightstest.Tensors(set) {
			tensors[strings.TrimPrefix(name, "text_model.")] = x
		}
		folder[file] = &fstest.MapFile{Data: weightstest.Safetensors(tensors, nil)}
	}
	testFolder(t, folder)
}

// testFolder makes sure that a folder holds the small SDXL checkpoint.
func testFolder(t *testing.T, folder fstest.MapFS) {
	t.Helper()
	_, want := goldenSDXL(t)
	set, err := weights.OpenFiles(weights.File{Path: "m", FS: folder})
	require.NoError(t, err)
	require.NoError(t, set.CheckRoles(weights.SDXL))
	names := slices.DeleteFunc(want.Names(), func(name string) bool { return strings.HasSuffix(name, "logit_scale") })
	require.Equal(t, names, set.Names())
	for _, name := range names {
		w, g := want.Tensor(name), set.Tensor(name)
		require.Equal(t, w.DType, g.DType, name)
		require.Equal(t, w.Shape, g.Shape, name)
		require.Equal(t, w.Bytes(), g.Bytes(), name)
	}
	heads, _ := set.Metadata("supir.clip_g.heads")
	assert.Equal(t, "2", heads)
}

func TestDiffusersFolderFails(t *testing.T) {
	open := func(change func(fstest.MapFS)) error {
		folder := goldenFolder(t)
		change(folder)
		_, err := weights.OpenFiles(weights.File{Path: "m", FS: folder})
		return err
	}
	err := open(func(f fstest.MapFS) {
		delete(f, "m/vae/config.json")
		delete(f, "m/vae/diffusion_pytorch_model.fp16.safetensors")
	})
	assert.ErrorContains(t, err, "but without vae")
	err = open(func(f fstest.MapFS) { delete(f, "m/vae/diffusion_pytorch_model.fp16.safetensors") })
	assert.ErrorContains(t, err, "m/vae: a folder with neither")
	err = open(func(f fstest.MapFS) { f["m/vae/config.json"].Data = []byte("{") })
	assert.ErrorContains(t, err, "m/vae/config.json: bad JSON")
	for _, groups := range []string{"0", "-1", "4.5", `"4"`, "1e30", "true", "[4]"} {
		err = open(func(f fstest.MapFS) { f["m/unet/config.json"].Data = []byte(`{"norm_num_groups": ` + groups + `}`) })
		assert.ErrorContains(t, err, "m/unet/config.json: norm_num_groups: "+groups+", want")
	}
	for _, groups := range []string{"4.0", "null"} {
		assert.NoError(t, open(func(f fstest.MapFS) { f["m/unet/config.json"].Data = []byte(`{"norm_num_groups": ` + groups + `}`) }))
	}
	err = open(func(f fstest.MapFS) {
		f["m/text_encoder_2/model.safetensors"].Data = weightstest.Safetensors(map[string]weightstest.Tensor{
			"text_model.encoder.layers.0.self_attn.q_proj.weight": weightstest.F32([]int{2, 2}),
			"text_model.encoder.layers.0.self_attn.k_proj.weight": weightstest.F32([]int{2, 3}),
			"text_model.encoder.layers.0.self_attn.v_proj.weight": weightstest.F32([]int{2, 2}),
		}, nil)
	})
	assert.ErrorContains(t, err, "cannot be joined")
	assert.NotErrorIs(t, err, os.ErrNotExist)
}
