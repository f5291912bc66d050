package supir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

// huggingFace lays the golden captioner out as Hugging Face has it; path says
// where its files lie.
func huggingFace(t testing.TB, path func(t testing.TB, name string) string) string {
	dir := t.TempDir()
	for to, from := range map[string]string{"config.json": "config.json", "preprocessor_config.json": "preprocessor_config.json",
		"tokenizer.model": "tokenizer.model", "model.safetensors": "llava-tiny-hf.safetensors"} {
		data, err := os.ReadFile(path(t, "llava/"+from))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, to), data, 0o666))
	}
	return dir
}

// TestGoldenConvertLLaVA makes one file of the folder, which describes the golden
// picture by the golden words.
func TestGoldenConvertLLaVA(t *testing.T) {
	folder := huggingFace(t, goldentest.Path)
	path := filepath.Join(t.TempDir(), "llava.gguf")
	img, want, greedy := goldenText(t)
	_, ids := goldentest.Open(t, "llava/llava-golden.safetensors").Tensor(t, "q8_0.greedy.ids")
	for _, typ := range []string{"f16", "q8_0", "q4_0"} {
		c, err := ConvertLLaVA(t.Context(), folder, path, ConvertOptions{Type: typ, Overwrite: true})
		require.NoError(t, err)
		require.Len(t, c.Networks, 3)
		files := goldenFiles(t)
		files.LLaVA = LLaVAFiles{Text: filepath.Base(path), FS: os.DirFS(filepath.Dir(path))}
		m, err := New(files)
		require.NoError(t, err)
		opts := quick()
		opts.Captioner, opts.CaptionRaw = greedy, true
		got, err := m.Caption(t.Context(), img, opts)
		require.NoError(t, err)
		switch typ {
		case "f16":
			assert.Equal(t, want, got)
		case "q8_0":
			var list []int32
			for _, id := range ids {
				list = append(list, int32(id))
			}
			assert.Equal(t, oneLine(m.networks.llava.Tokenizer.Decode(list)), got)
		default:
			assert.NotEmpty(t, got)
		}
		require.NoError(t, m.Close())
	}
	_, err := ConvertLLaVA(t.Context(), folder, path, ConvertOptions{})
	assert.ErrorIs(t, err, os.ErrExist)
}

func TestConvertLLaVAMisfits(t *testing.T) {
	edit := func(name string, change func(string) string) func(dir string) {
		return func(dir string) {
			data, err := os.ReadFile(filepath.Join(dir, name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(change(string(data))), 0o666))
		}
	}
	replace := func(name, from, to string) func(dir string) {
		return edit(name, func(s string) string {
			require.Contains(t, s, from)
			return strings.Replace(s, from, to, 1)
		})
	}
	remove := func(name string) func(dir string) {
		return func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, name))) }
	}
	for _, c := range []struct {
		edit func(dir string)
		want string
	}{
		{remove("config.json"), "config.json"},
		{remove("tokenizer.model"), "tokenizer.model"},
		{remove("model.safetensors"), ""},
		{replace("config.json", `"model_type": "llava"`, `"model_type": "qwen2_vl"`), `a model of type "qwen2_vl"`},
		{replace("config.json", `"vision_feature_layer": -2`, `"vision_feature_layer": 9`), "vision_feature_layer 9"},
		{replace("config.json", `"num_attention_heads": 4`, `"num_attention_heads": 3`), "share"},
		{edit("config.json", func(string) string { return "{" }), "config.json"},
		{edit("tokenizer.model", func(s string) string { return s[:len(s)-3] }), "tokenizer"},
		{edit("tokenizer.model", func(string) string { return "" }), "the tokenizer has no pieces"},
		{replace("model.safetensors", "mlp.up_proj", "mlp.up_what"), "1 tensors that LLaVA-1.5"},
		{replace("model.safetensors", "language_model.model.layers.0.mlp.up_proj", "model.language_model.layers.1.mlp.up_proj"), "are both blk.1.ffn_up.weight"},
		{replace("model.safetensors", "model.layers.0.mlp.up_proj", "model.layers.9.mlp.up_proj"), "blk.0.ffn_up.weight"},
		{replace("model.safetensors", "language_model.model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F16\"", "language_model.model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"I16\""), "blk.0.ffn_up.weight"},
		{replace("model.safetensors", "language_model.model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F16\",\"shape\":[192,128]", "language_model.model.layers.0.mlp.up_proj.weight\":{\"dtype\":\"F16\",\"shape\":[128,192]"), "blk.0.ffn_up.weight: shape [128 192]"},
		{replace("config.json", `"rms_norm_eps": 1e-05`, `"rms_norm_eps": 0`), "layer_norm_rms_epsilon"},
		{replace("config.json", `"image_size": 56`, `"image_size": 57`), "do not tile a picture of 57"},
	} {
		dir := huggingFace(t, goldentest.Own)
		c.edit(dir)
		out := filepath.Join(t.TempDir(), "out.gguf")
		_, err := ConvertLLaVA(t.Context(), dir, out, ConvertOptions{})
		var weights *WeightsError
		require.ErrorAs(t, err, &weights)
		assert.ErrorContains(t, err, c.want)
		assert.NoFileExists(t, out)
	}
	_, err := ConvertLLaVA(t.Context(), huggingFace(t, goldentest.Own), filepath.Join(t.TempDir(), "out.gguf"), ConvertOptions{Type: "q3_k"})
	var option *OptionError
	assert.ErrorAs(t, err, &option)
}
