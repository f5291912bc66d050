package llava

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// A gguf is one of this module's golden files taken apart, to be changed.
type gguf struct {
	tensors  map[string]weightstest.Tensor
	metadata map[string]any
}

func takeApart(t testing.TB, names ...string) gguf {
	f := gguf{map[string]weightstest.Tensor{}, map[string]any{}}
	for _, name := range names {
		set, err := weights.Open(goldentest.Own(t, filepath.Join("llava", name)))
		require.NoError(t, err)
		for tensor := range set.Tensors() {
			f.tensors[tensor.Name] = weightstest.Tensor{DType: tensor.DType, Shape: tensor.Shape, Data: append([]byte(nil), tensor.Bytes()...)}
		}
		for _, key := range set.MetadataKeys() {
			if key != "general.architecture" || f.metadata[key] == nil {
				f.metadata[key] = set.Value(key)
			}
		}
		require.NoError(t, set.Close())
	}
	return f
}

func (f gguf) open(t testing.TB) *weights.Set {
	set, err := weights.OpenFiles(weights.File{Path: "made.gguf", Data: weightstest.GGUF(f.tensors, f.metadata)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return set
}

// TestOneFile takes both halves from one file.
func TestOneFile(t *testing.T) {
	f := takeApart(t, textFile, visionFile)
	m, err := Open(f.open(t), nil)
	require.NoError(t, err)
	assert.Equal(t, defaultPrompt, m.Prompt)
	f.metadata["supir.llava.prompt"] = "<image> is"
	m, err = Open(f.open(t), nil)
	require.NoError(t, err)
	before, after := m.promptIDs("")
	assert.Len(t, before, 1)
	assert.NotEmpty(t, after)
	f.metadata["supir.llava.prompt"] = "what is it?"
	_, err = Open(f.open(t), nil)
	assert.ErrorContains(t, err, "<image>")
}

func TestMisfits(t *testing.T) {
	without := func(name string) func(gguf) { return func(f gguf) { delete(f.tensors, name) } }
	value := func(key string, v any) func(gguf) { return func(f gguf) { f.metadata[key] = v } }
	zeros := func(name string, shape ...int) func(gguf) {
		return func(f gguf) { f.tensors[name] = weightstest.F32(shape) }
	}
	for _, c := range []struct {
		edit func(f gguf)
		want string
	}{
		{value("general.architecture", "qwen2"), `architecture "qwen2": LLaVA-1.5's is llama`},
		{value("clip.projector_type", "ldp"), `projector of kind "ldp"`},
		{without("blk.1.attn_k.weight"), "blk.1.attn_k.weight"},
		{without("v.blk.0.ln1.bias"), "v.blk.0.ln1.bias"},
		{without("mm.2.weight"), "mm.2.weight"},
		{zeros("mm.2.weight", 64, 128), "mm.2.bias"},
		{zeros("blk.0.ffn_gate_inp.weight", 8, 128), "unexpected"},
		{zeros("blk.0.attn_q.weight", 130, 128), "do not divide into 4 heads"},
		{zeros("blk.2.ffn_down.weight", 128, 128), "blk.2.ffn_down.weight: shape [128 128]"},
		{zeros("v.position_embd.weight", 18, 64), "v.position_embd.weight"},
		{zeros("v.patch_embd.weight", 64, 3, 15, 15), "do not tile"},
		{value("llama.attention.head_count", int64(0)), "head_count: 0 is not in"},
		{value("llama.attention.head_count", "four"), "four is not a whole number"},
		{value("llama.attention.head_count_kv", int64(4)), "head_count_kv: 4, but the tensors say 2"},
		{value("llama.embedding_length", int64(64)), "embedding_length: 64, but the tensors say 128"},
		{value("llama.rope.scaling.type", "yarn"), "rope.scaling.type"},
		{value("llama.rope.dimension_count", int64(31)), "is odd"},
		{value("llama.context_length", int64(100)), "do not fit into the language model's 100 positions"},
		{value("clip.vision.block_count", int64(3)), "block_count: 3, but there are tensors of 2"},
		{value("clip.vision.image_size", int64(1<<40)), "image_size"},
		{value("clip.vision.image_std", []float64{0, 1, 1}), "image_std"},
		{value("clip.vision.feature_layer", []int64{1, 2}), "feature_layer"},
		{func(f gguf) {
			zeros("v.patch_embd.weight", 64, 3, 128, 128)(f)
			f.metadata["clip.vision.image_size"] = int64(256)
		}, "patches of 128×128: want 64 at most"},
		{value("supir.llava.prompt", "what is <image>"), "<image> in it once, and text behind it"},
		{value("tokenizer.ggml.model", "gpt2"), `tokenizer of kind "gpt2"`},
		{value("tokenizer.ggml.eos_token_id", int64(9999)), "end-of-text id 9999"},
		{value("tokenizer.ggml.tokens", []string{"a", "b"}), "2 pieces, but 832 scores"},
		{func(f gguf) {
			f.metadata["tokenizer.ggml.tokens"] = f.metadata["tokenizer.ggml.tokens"].([]string)[:800]
			f.metadata["tokenizer.ggml.scores"] = f.metadata["tokenizer.ggml.scores"].([]float64)[:800]
			f.metadata["tokenizer.ggml.token_type"] = f.metadata["tokenizer.ggml.token_type"].([]int64)[:800]
		}, "the tokenizer has 800 pieces, the language model's tables 832 rows"},
	} {
		f := takeApart(t, textFile, visionFile)
		c.edit(f)
		_, err := Open(f.open(t), nil)
		require.Error(t, err, c.want)
		assert.ErrorContains(t, err, c.want)
	}
}

// TestOfTwoModels refuses a projector that does not fit the language model.
func TestOfTwoModels(t *testing.T) {
	vision := takeApart(t, visionFile)
	vision.tensors["mm.2.weight"] = weightstest.F32([]int{256, 128})
	vision.tensors["mm.2.bias"] = weightstest.F32([]int{256})
	_, err := Open(takeApart(t, textFile).open(t), vision.open(t))
	assert.ErrorContains(t, err, "not of one model: the projector gives 256 features, the language model takes 128")
}

// FuzzVocabulary makes tokenizers of whatever metadata a GGUF file may hold.
func FuzzVocabulary(f *testing.F) {
	for _, name := range []string{textFile} {
		data, err := os.ReadFile(goldenPath(f, name))
		require.NoError(f, err)
		f.Add(data[:min(len(data), 30000)], "The image shows a red brick house.")
	}
	small := weightstest.GGUF(nil, map[string]any{"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": []string{"<unk>", "<s>", "</s>", "▁a"},
		"tokenizer.ggml.scores": []float64{0, 0, 0, -1}, "tokenizer.ggml.token_type": []int64{2, 3, 3, 1}})
	f.Add(small, "a a")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		set, err := weights.OpenFiles(weights.File{Path: "fuzz.gguf", Data: append([]byte(nil), file...)})
		if err != nil {
			return
		}
		defer set.Close()
		v, err := readVocabulary(set)
		if err != nil {
			return
		}
		tok, err := NewTokenizer(*v)
		if err != nil {
			return
		}
		ids := tok.Encode(text)
		for _, id := range ids {
			require.True(t, id >= 0 && int(id) < tok.Size())
		}
		_ = strings.ToUpper(tok.Decode(ids))
	})
}

func TestSampler(t *testing.T) {
	logits := []float32{0, 3, 2.5, -1, 2.9}
	assert.Equal(t, int32(1), newSampler(0, 1, 1).next(logits))
	for _, c := range []struct {
		temperature, topP float64
		want              []int32 // that may be drawn
	}{
		{1, 1, []int32{0, 1, 2, 3, 4}},
		{1, 0.6, []int32{1, 4}},
		{1, 1e-9, []int32{1}},
		{0.01, 0.9, []int32{1}},
	} {
		s := newSampler(c.temperature, c.topP, 5)
		drawn := map[int32]int{}
		const n = 4000
		for range n {
			drawn[s.next(logits)]++
		}
		var ids []int32
		for id := range drawn {
			ids = append(ids, id)
		}
		assert.ElementsMatch(t, c.want, ids)
		if len(c.want) == 2 { // e³ : e^2.9
			assert.InDelta(t, 0.525, float64(drawn[1])/n, 0.03)
		}
	}
}

func TestRandomText(t *testing.T) {
	for typ := range RandomTypes {
		m, err := RandomText("tiny", typ)
		require.NoError(t, err)
		assert.Len(t, m.Layers, Shapes["tiny"].Layers)
	}
	m, err := RandomText("7b", "q4_k")
	require.NoError(t, err)
	assert.InDelta(t, 4.0e9, float64(m.textBytes()), 0.1e9, "as large as the published file less a table")
	_, err = RandomText("70b", "q4_k")
	assert.ErrorContains(t, err, "13b")
	_, err = RandomText("7b", "q2_k")
	assert.ErrorContains(t, err, "q8_0")
}

// TestMemoryOfSeveral counts the tower beside the language model where further
// pictures are seen.
func TestMemoryOfSeveral(t *testing.T) {
	m, err := Open(takeApart(t, textFile, visionFile).open(t), nil)
	require.NoError(t, err)
	m.Text.Layers = m.Text.Layers[:1] // so that seeing takes more than reading
	e := goldentest.Devices(t)[0].Open(t)
	text, vision := e.WeightBytes(nn.F32, &m.Text), e.WeightBytes(nn.F32, &m.Vision)
	for several, want := range map[bool]int64{false: text, true: text + vision} {
		got, _, err := m.Memory(e, nn.F32, Options{MaxTokens: 1}, several)
		require.NoError(t, err)
		assert.Equal(t, want, got, several)
	}
}

// TestQuantised wants the same of quantised weights as of what they unpack to, of
// a whole prompt and of single tokens, whose products are other ones.
func TestQuantised(t *testing.T) {
	e := goldentest.Devices(t)[0].Open(t)
	for typ := range RandomTypes {
		m, err := RandomText("tiny", typ)
		require.NoError(t, err)
		const tokens, steps = 20, 4
		logits := func(p nn.Precision) (all []float32) {
			params, err := e.Load(t.Context(), p, m)
			require.NoError(t, err)
			defer params.Close()
			cache, err := e.NewCache(p, len(m.Layers), m.cacheHeads(), m.cacheFeatures(), windowStep)
			require.NoError(t, err)
			defer cache.Close()
			program := func(at int, ids []int32, record func(g *nn.Graph)) {
				program, err := e.Build(params, nil, record)
				require.NoError(t, err)
				defer program.Close()
				require.NoError(t, program.SetInts("id", ids))
				require.NoError(t, program.SetPosition(cache, at))
				require.NoError(t, program.Run(t.Context()))
				got, err := program.Get("logits")
				require.NoError(t, err)
				all = append(all, got...)
			}
			ids := make([]int32, tokens+steps)
			for i := range ids {
				ids[i] = int32(37 * i % m.IDs())
			}
			program(0, ids[:tokens], func(g *nn.Graph) {
				x := nn.Rows(g, m.Embedding, g.InputIDs("id", tokens, 1))
				nn.Output(g, "logits", m.Logits(g, m.Forward(g, x, g.Beginning(cache, tokens))))
			})
			for i := tokens; i < len(ids); i++ {
				program(i, ids[i:i+1], func(g *nn.Graph) { m.step(g, cache, windowStep) })
			}
			return all
		}
		want, got := logits(nn.F32), logits(nn.Stored)
		prompt := tokens * m.IDs()
		goldentest.Equal(t, typ+" prompt", got[:prompt], want[:prompt], 1e-3)
		goldentest.Equal(t, typ+" steps", got[prompt:], want[prompt:], 1e-2)
	}
}
