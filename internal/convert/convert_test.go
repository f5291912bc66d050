package convert

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/ggml/ggmltest"
	"supir/internal/weights"
)

// TestMain wants every handle closed at the end.
func TestMain(m *testing.M) { ggmltest.Main(m) }

func TestParseRecipe(t *testing.T) {
	for text, want := range map[string]map[string]weights.DType{
		"f32":                    {"vae": weights.F32, "unet": weights.F32, "connectors": weights.F32},
		"bf16":                   {"vae": weights.BF16, "text": weights.BF16},
		"Q8_0":                   {"vae": weights.F16, "unet": weights.Q8_0, "adaptor": weights.Q8_0},
		"q4_k, text=q8_0":        {"vae": weights.F16, "text": weights.Q8_0, "unet": weights.Q4_K},
		"q4_k,vae=f32,unet=q6_k": {"vae": weights.F32, "unet": weights.Q6_K, "adaptor": weights.Q4_K},
		"q4_0,vae=q8_0":          {"vae": weights.Q8_0},
	} {
		r, err := ParseRecipe(text)
		if assert.NoError(t, err, text) {
			for network, typ := range want {
				assert.Equal(t, typ, r.types[network], "%s: %s", text, network)
			}
		}
	}
	for text, what := range map[string]string{
		"": "no type", "q3_k": "q4_k", "q4_k,": "", "q8_0,clip=f16": "text", "q8_0,unet": "NETWORK=TYPE", "q8_0,unet=": "no type", ",unet=f16": "no type",
	} {
		_, err := ParseRecipe(text)
		if what == "" {
			assert.NoError(t, err, text)
		} else {
			assert.ErrorContains(t, err, what, text)
		}
	}
}

// TestItem has the rules of which tensor gets which type.
func TestItem(t *testing.T) {
	const unet, vae = "model.diffusion_model.", "first_stage_model."
	for _, test := range []struct {
		recipe, name string
		shape        []int
		want         weights.DType
		kept, misfit bool
	}{
		{"q4_k", unet + "output_blocks.0.1.transformer_blocks.0.attn1.to_q.weight", []int{1280, 1280}, weights.Q4_K, false, false},
		{"q4_k", unet + "output_blocks.3.1.transformer_blocks.0.attn1.to_q.weight", []int{640, 640}, weights.Q8_0, false, true},
		{"q4_k", unet + "output_blocks.3.1.transformer_blocks.0.attn1.to_q.bias", []int{640}, weights.F32, false, false},
		{"q4_k", unet + "input_blocks.7.0.in_layers.2.weight", []int{1280, 640, 3, 3}, weights.Q8_0, false, true},
		{"q4_k", unet + "input_blocks.8.0.in_layers.2.weight", []int{1280, 1280, 3, 3}, weights.Q4_K, false, false},
		{"q4_0", unet + "input_blocks.7.0.in_layers.2.weight", []int{1280, 640, 3, 3}, weights.Q4_0, false, false},
		{"q4_0", unet + "input_blocks.7.0.in_layers.2.weight", []int{12, 6, 3, 3}, weights.F16, false, true},
		{"q4_k", unet + "input_blocks.7.0.in_layers.2.weight", []int{12, 6, 3, 3}, weights.F16, false, true},
		{"q8_0", unet + "input_blocks.0.0.weight", []int{320, 4, 3, 3}, weights.F16, true, false},
		{"q8_0", unet + "out.2.weight", []int{4, 320, 3, 3}, weights.F16, true, false},
		{"q8_0", unet + "time_embed.2.weight", []int{1280, 1280}, weights.F16, true, false},
		{"q8_0", unet + "label_emb.0.2.weight", []int{1280, 1280}, weights.F16, true, false},
		{"q8_0", unet + "project_modules.0.zero_conv.weight", []int{320, 320, 1, 1}, weights.F16, true, false},
		{"q8_0", unet + "project_modules.0.zero_mul.weight", []int{640, 128, 3, 3}, weights.Q8_0, false, false},
		{"q8_0", "model.control_model.input_hint_block.0.weight", []int{320, 4, 3, 3}, weights.F16, true, false},
		{"q8_0", vae + "decoder.up.0.block.0.conv1.weight", []int{128, 128, 3, 3}, weights.F16, false, false},
		{"q8_0,vae=q8_0", vae + "decoder.up.0.block.0.conv1.weight", []int{128, 128, 3, 3}, weights.Q8_0, false, false},
		{"q8_0,vae=q8_0", vae + "decoder.conv_out.weight", []int{3, 128, 3, 3}, weights.F16, true, false},
		{"q8_0", "conditioner.embedders.1.model.text_projection", []int{1280, 1280}, weights.F16, true, false},
		{"q8_0", "conditioner.embedders.1.model.positional_embedding", []int{77, 1280}, weights.F16, true, false},
		{"q8_0", "conditioner.embedders.1.model.token_embedding.weight", []int{49408, 1280}, weights.Q8_0, false, false},
		{"bf16", unet + "out.2.weight", []int{4, 320, 3, 3}, weights.BF16, false, false},
		{"f32", unet + "out.2.bias", []int{4}, weights.F32, false, false},
	} {
		r, err := ParseRecipe(test.recipe)
		require.NoError(t, err)
		items := r.Items([]*weights.Tensor{{Name: test.name, Shape: test.shape, DType: weights.F16}})
		require.Len(t, items, 1)
		assert.Equal(t, test.want, items[0].Type, "%s %s %v", test.recipe, test.name, test.shape)
		assert.Equal(t, test.kept, items[0].Kept, "%s %s: kept", test.recipe, test.name)
		assert.Equal(t, test.misfit, items[0].Misfit, "%s %s: misfit", test.recipe, test.name)
	}
}

// tensor is a matrix of the U-Net with normal numbers, several chunks long.
func tensor(n int) *weights.Tensor {
	r := rand.New(rand.NewPCG(3, 4))
	t := &weights.Tensor{Name: "model.diffusion_model.middle_block.1.proj_in.weight", DType: weights.F32, Shape: []int{n / 512, 512}, File: "test"}
	for range n {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(float32(0.02*r.NormFloat64())))
	}
	return t
}

func nothing() {}

// TestWrite takes a matrix of more than one chunk to every type and to F32 again.
func TestWrite(t *testing.T) {
	from := tensor(chunk + 3*512)
	for typ, most := range map[string]float64{
		"f32": 0, "f16": 1e-7, "bf16": 5e-6, "q8_0": 5e-5, "q6_k": 8e-4, "q5_k": 3e-3, "q4_k": 1e-2, "q4_0": 1.2e-2,
	} {
		t.Run(typ, func(t *testing.T) {
			recipe, err := ParseRecipe(typ)
			require.NoError(t, err)
			var file, again bytes.Buffer
			var last int64
			summaries, err := Write(t.Context(), &file, map[string]any{"a": "b"}, recipe.Items([]*weights.Tensor{from}), nothing, func(done, total int64) {
				assert.Greater(t, done, last)
				assert.LessOrEqual(t, done, total)
				last = done
			})
			require.NoError(t, err)
			require.Len(t, summaries, 1)
			s := summaries[0]
			assert.Equal(t, "unet", s.Network)
			assert.EqualValues(t, from.Elements(), s.Parameters)
			assert.Equal(t, last, s.Bytes)
			assert.LessOrEqual(t, s.Error, most)

			set, err := weights.OpenFiles(weights.File{Path: "x.gguf", Data: file.Bytes()})
			require.NoError(t, err)
			defer set.Close()
			back, err := ParseRecipe("f32")
			require.NoError(t, err)
			_, err = Write(t.Context(), &again, nil, back.Items([]*weights.Tensor{set.Tensor(from.Name)}), nothing, nil)
			require.NoError(t, err)
			widened, err := weights.OpenFiles(weights.File{Path: "y.gguf", Data: again.Bytes()})
			require.NoError(t, err)
			defer widened.Close()
			want, got := from.Float32(), widened.Tensor(from.Name).Float32()
			var wrong, norm float64
			for i := range want {
				d := float64(got[i]) - float64(want[i])
				wrong += d * d
				norm += float64(want[i]) * float64(want[i])
			}
			assert.InDelta(t, s.Error, wrong/norm, 1e-9+s.Error/1000, "the error reported is the error there is")
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	for value, what := range map[float32]string{
		float32(math.NaN()): "element 700 is NaN", float32(math.Inf(-1)): "element 700 is -Inf", 1e6: "element 700 is 1e+06, beyond what F16 holds",
	} {
		from := tensor(1024)
		binary.LittleEndian.PutUint32(from.Data[4*700:], math.Float32bits(value))
		for _, typ := range []string{"f16", "f32"} {
			if typ == "f32" && value == 1e6 {
				continue // which is none too many
			}
			recipe, err := ParseRecipe(typ)
			require.NoError(t, err)
			_, err = Write(t.Context(), &bytes.Buffer{}, nil, recipe.Items([]*weights.Tensor{from}), nothing, nil)
			assert.ErrorContains(t, err, what, typ)
			assert.ErrorContains(t, err, from.Name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	recipe, err := ParseRecipe("f16")
	require.NoError(t, err)
	_, err = Write(ctx, &bytes.Buffer{}, nil, recipe.Items([]*weights.Tensor{tensor(1024)}), nothing, nil)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.GGUF")
	left := func() int {
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(entries)
	}
	_, err := Create(filepath.Join(dir, "x.bin"), true, nil)
	assert.ErrorIs(t, err, ErrName)
	_, err = Create(filepath.Join(dir, "none", "x.gguf"), true, nil)
	assert.ErrorIs(t, err, fs.ErrNotExist)

	f, err := Create(path, false, nil)
	require.NoError(t, err)
	require.NoError(t, f.Reserve(1))
	assert.ErrorIs(t, f.Reserve(1<<60), ErrSpace)
	_, err = f.Write([]byte("half"))
	require.NoError(t, err)
	f.Discard()
	assert.Zero(t, left(), "what is not published is gone")

	write := func(text string, overwrite bool, protect ...string) error {
		f, err := Create(path, overwrite, protect)
		if err != nil {
			return err
		}
		defer f.Discard()
		_, err = f.Write([]byte(text))
		require.NoError(t, err)
		size, err := f.Publish()
		assert.EqualValues(t, len(text), size)
		return err
	}
	require.NoError(t, write("first", false))
	assert.ErrorIs(t, write("second", false), fs.ErrExist)
	assert.ErrorContains(t, write("second", true, path), "is one of the files to convert")
	require.NoError(t, write("third", true))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "third", string(data))
	assert.Equal(t, 1, left())
}
