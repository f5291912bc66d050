package llava

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"supir/internal/weights"
)

// HuggingFace is LLaVA-1.5 from a folder as Hugging Face's transformers keep it,
// turned into GGUF's names, order of rows and metadata.
type HuggingFace struct {
	Set      *weights.Set // of the files; close it when the tensors are not needed any more
	Tensors  []*weights.Tensor
	Metadata map[string]any
}

// config is config.json, with the defaults that transformers have for what it
// leaves out.
type config struct {
	ModelType    string `json:"model_type"`
	FeatureLayer int    `json:"vision_feature_layer"`
	Strategy     string `json:"vision_feature_select_strategy"`
	ProjectorAct string `json:"projector_hidden_act"`
	ImageToken   int    `json:"image_token_index"`
	PadToken     int    `json:"pad_token_id"`
	Text         struct {
		ModelType string  `json:"model_type"`
		Heads     int     `json:"num_attention_heads"`
		Shared    int     `json:"num_key_value_heads"`
		Context   int     `json:"max_position_embeddings"`
		Epsilon   float64 `json:"rms_norm_eps"`
		Theta     float64 `json:"rope_theta"`
		Scaling   any     `json:"rope_scaling"`
		Rope      struct {
			Theta float64 `json:"rope_theta"`
			Type  string  `json:"rope_type"`
		} `json:"rope_parameters"`
		Act string `json:"hidden_act"`
	} `json:"text_config"`
	Vision struct {
		Size    int     `json:"image_size"`
		Heads   int     `json:"num_attention_heads"`
		Act     string  `json:"hidden_act"`
		Epsilon float64 `json:"layer_norm_eps"`
	} `json:"vision_config"`
}

// preprocessor is preprocessor_config.json.
type preprocessor struct {
	Mean []float64 `json:"image_mean"`
	Std  []float64 `json:"image_std"`
}

// FromHuggingFace reads a folder: config.json, tokenizer.model, and the weights as
// safetensors, in one file or in several with their index.
func FromHuggingFace(folder string) (h *HuggingFace, err error) {
	var c config
	c.FeatureLayer, c.Strategy, c.ProjectorAct = -2, "default", "gelu"
	c.ImageToken, c.PadToken = -1, -1
	c.Text.Heads, c.Text.Context, c.Text.Epsilon, c.Text.Act = 32, 2048, 1e-6, "silu"
	c.Vision.Size, c.Vision.Heads, c.Vision.Act, c.Vision.Epsilon = 224, 12, "quick_gelu", 1e-5
	if err := readJSON(filepath.Join(folder, "config.json"), &c); err != nil {
		return nil, err
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(folder, "config.json"), err)
	}
	set, err := weights.Open(folder)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, set.Close())
		}
	}()
	h = &HuggingFace{Set: set}
	if err := h.rename(&c); err != nil {
		return nil, err
	}
	if err := h.describe(&c, folder); err != nil {
		return nil, err
	}
	_, err = Open(weights.Assemble(folder, h.Tensors, h.Metadata), nil) // as what is made of it will be
	return h, err
}

// maxConfig bounds a JSON file, in bytes.
const maxConfig = 1 << 24

func readJSON(path string, to any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() > maxConfig {
		return fmt.Errorf("%s: too long for what it should be", path)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// check refuses what is not LLaVA-1.5.
func (c *config) check() error {
	if c.Text.Shared == 0 {
		c.Text.Shared = c.Text.Heads
	}
	if c.Text.Theta == 0 {
		c.Text.Theta = c.Text.Rope.Theta
	}
	if c.Text.Theta == 0 {
		c.Text.Theta = 10000
	}
	switch {
	case c.ModelType != "llava":
		return fmt.Errorf("a model of type %q, want llava: the layout of the llava-hf folders", c.ModelType)
	case c.Text.ModelType != "llama":
		return fmt.Errorf("a language model of type %q, want llama", c.Text.ModelType)
	case c.Text.Act != "silu" || c.ProjectorAct != "gelu" || c.Vision.Act != "quick_gelu":
		return fmt.Errorf("activations %s, %s and %s, want silu, gelu and quick_gelu", c.Text.Act, c.ProjectorAct, c.Vision.Act)
	case c.Strategy != "default":
		return fmt.Errorf("features by strategy %q, want default", c.Strategy)
	case c.Text.Scaling != nil || c.Text.Rope.Type != "" && c.Text.Rope.Type != "default":
		return errors.New("positions are scaled, which LLaVA-1.5's are not")
	case c.Text.Heads < 1 || c.Text.Shared < 1 || c.Text.Heads%c.Text.Shared != 0:
		return fmt.Errorf("%d heads that share %d of keys", c.Text.Heads, c.Text.Shared)
	case c.Vision.Heads < 1 || c.Vision.Size < 1:
		return fmt.Errorf("pictures of %d pixels, %d heads", c.Vision.Size, c.Vision.Heads)
	}
	return nil
}

// parts are the beginnings of names, which differ between versions of
// transformers, and what they become.
var parts = []struct{ from, to string }{
	{"language_model.model.", "text."}, {"model.language_model.", "text."},
	{"language_model.lm_head.", "output."}, {"lm_head.", "output."},
	{"multi_modal_projector.", "mm."}, {"model.multi_modal_projector.", "mm."},
	{"vision_tower.vision_model.", "v."}, {"model.vision_tower.vision_model.", "v."}, {"model.vision_tower.", "v."},
}

// names are what follows, in GGUF files.
var names = map[string]string{
	"text.embed_tokens.weight": "token_embd.weight", "text.norm.weight": "output_norm.weight", "output.weight": "output.weight",
	"mm.linear_1.weight": "mm.0.weight", "mm.linear_1.bias": "mm.0.bias", "mm.linear_2.weight": "mm.2.weight", "mm.linear_2.bias": "mm.2.bias",
	"v.embeddings.class_embedding": "v.class_embd", "v.embeddings.patch_embedding.weight": "v.patch_embd.weight",
	"v.embeddings.position_embedding.weight": "v.position_embd.weight",
	"v.pre_layrnorm.weight":                  "v.pre_ln.weight", "v.pre_layrnorm.bias": "v.pre_ln.bias",
}

// textLayer and visionLayer are the names within a layer.
var textLayer = map[string]string{
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
	"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}

var visionLayer = map[string]string{
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out",
	"mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "layer_norm1": "ln1", "layer_norm2": "ln2",
}

// rename gives the tensors that are used their names in GGUF files.
func (h *HuggingFace) rename(c *config) error {
	var unknown []string
	layers := 0 // of the tower
	for t := range h.Set.Tensors() {
		if i, rest, ok := layerOf(unify(t.Name), "v.encoder.layers."); ok && rest != "" {
			layers = max(layers, i+1)
		}
	}
	used := c.FeatureLayer // hidden states are numbered from the embeddings' on
	if used < 0 {
		used += layers + 1
	}
	if used < 1 || used > layers {
		return fmt.Errorf("vision_feature_layer %d of a tower with %d layers", c.FeatureLayer, layers)
	}
	from := map[string]string{}
	for t := range h.Set.Tensors() {
		name := unify(t.Name)
		to, heads, ok := target(name, used, c)
		if ok && to != "" {
			if other, twice := from[to]; twice {
				return fmt.Errorf("%s and %s are both %s", other, t.Name, to)
			}
			from[to] = t.Name
		}
		switch {
		case !ok:
			unknown = append(unknown, t.Name)
		case to == "": // not used
		case heads > 0:
			if len(t.Shape) != 2 || t.Shape[0]%(2*heads) != 0 {
				return fmt.Errorf("%s: shape %v does not divide into %d heads of pairs", t.Name, t.Shape, heads)
			}
			h.Tensors = append(h.Tensors, t.Interleaved(to, heads))
		default:
			h.Tensors = append(h.Tensors, t.Renamed(to))
		}
	}
	if len(unknown) > 0 {
		const most = 3
		return fmt.Errorf("%d tensors that LLaVA-1.5 in the layout of llava-hf does not have, such as %s", len(unknown), strings.Join(unknown[:min(most, len(unknown))], ", "))
	}
	return nil
}

// unify replaces the beginning of a name.
func unify(name string) string {
	for _, p := range parts {
		if rest, ok := strings.CutPrefix(name, p.from); ok {
			return p.to + rest
		}
	}
	return name
}

// layerOf takes a layer's number off a name.
func layerOf(name, prefix string) (layer int, rest string, ok bool) {
	after, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, "", false
	}
	digits, rest, ok := strings.Cut(after, ".")
	layer, err := strconv.Atoi(digits)
	return layer, rest, ok && err == nil && layer >= 0
}

// target is a tensor's name in a GGUF file, empty where it is not used, and the
// heads whose rows change places.
func target(name string, used int, c *config) (to string, heads int, ok bool) {
	if to, ok := names[name]; ok {
		return to, 0, true
	}
	if strings.HasPrefix(name, "v.post_layernorm.") || strings.HasSuffix(name, "embeddings.position_ids") || strings.HasSuffix(name, "rotary_emb.inv_freq") {
		return "", 0, true
	}
	if i, rest, ok := layerOf(name, "text.layers."); ok {
		module, kind := cutLast(rest)
		if to, ok := textLayer[module]; ok {
			switch to {
			case "attn_q":
				heads = c.Text.Heads
			case "attn_k":
				heads = c.Text.Shared
			}
			return fmt.Sprintf("blk.%d.%s.%s", i, to, kind), heads, kind == "weight"
		}
	}
	if i, rest, ok := layerOf(name, "v.encoder.layers."); ok {
		module, kind := cutLast(rest)
		if to, ok := visionLayer[module]; ok && (kind == "weight" || kind == "bias") {
			if i >= used {
				return "", 0, true
			}
			return fmt.Sprintf("v.blk.%d.%s.%s", i, to, kind), 0, true
		}
	}
	return "", 0, false
}

func cutLast(name string) (before, last string) {
	i := strings.LastIndexByte(name, '.')
	return name[:max(i, 0)], name[i+1:]
}

// describe makes the metadata.
func (h *HuggingFace) describe(c *config, folder string) error {
	byName := map[string]*weights.Tensor{}
	layers, blocks := 0, 0
	for _, t := range h.Tensors {
		byName[t.Name] = t
		if i, _, ok := layerOf(t.Name, "blk."); ok {
			layers = max(layers, i+1)
		}
		if i, _, ok := layerOf(t.Name, "v.blk."); ok {
			blocks = max(blocks, i+1)
		}
	}
	embedding, class := byName["token_embd.weight"], byName["v.class_embd"]
	if embedding == nil || len(embedding.Shape) != 2 || class == nil || len(class.Shape) != 1 {
		return errors.New("the language model's or the vision tower's embeddings are missing")
	}
	var p preprocessor
	if err := readJSON(filepath.Join(folder, "preprocessor_config.json"), &p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(p.Mean) != 3 || len(p.Std) != 3 {
		p = preprocessor{}
		for i := range 3 {
			p.Mean, p.Std = append(p.Mean, float64(clipMean[i])), append(p.Std, float64(clipStd[i]))
		}
	}
	v, err := vocabulary(folder, embedding.Shape[0], c)
	if err != nil {
		return err
	}
	scores, types := make([]float64, len(v.Scores)), make([]int64, len(v.Types))
	for i := range scores {
		scores[i], types[i] = float64(v.Scores[i]), int64(v.Types[i])
	}
	h.Metadata = map[string]any{
		"general.architecture":                     "llama",
		"general.name":                             "LLaVA-1.5",
		"general.description":                      "language model, vision tower and projector in one file, for supir",
		"general.quantization_version":             int64(2),
		"llama.context_length":                     int64(c.Text.Context),
		"llama.embedding_length":                   int64(embedding.Shape[1]),
		"llama.block_count":                        int64(layers),
		"llama.attention.head_count":               int64(c.Text.Heads),
		"llama.attention.head_count_kv":            int64(c.Text.Shared),
		"llama.attention.layer_norm_rms_epsilon":   c.Text.Epsilon,
		"llama.rope.freq_base":                     c.Text.Theta,
		"llama.vocab_size":                         int64(embedding.Shape[0]),
		"clip.has_vision_encoder":                  true,
		"clip.has_llava_projector":                 true,
		"clip.projector_type":                      "mlp",
		"clip.use_gelu":                            false,
		"clip.vision.image_size":                   int64(c.Vision.Size),
		"clip.vision.embedding_length":             int64(class.Shape[0]),
		"clip.vision.block_count":                  int64(blocks),
		"clip.vision.attention.head_count":         int64(c.Vision.Heads),
		"clip.vision.attention.layer_norm_epsilon": c.Vision.Epsilon,
		"clip.vision.image_mean":                   p.Mean,
		"clip.vision.image_std":                    p.Std,
		"tokenizer.ggml.model":                     "llama",
		"tokenizer.ggml.tokens":                    v.Pieces,
		"tokenizer.ggml.scores":                    scores,
		"tokenizer.ggml.token_type":                types,
		"tokenizer.ggml.bos_token_id":              int64(v.BOS),
		"tokenizer.ggml.eos_token_id":              int64(v.EOS),
		"tokenizer.ggml.unknown_token_id":          int64(v.Unknown),
		"tokenizer.ggml.add_space_prefix":          v.AddSpacePrefix,
	}
	return nil
}

// vocabulary is tokenizer.model with pieces for the rows of the tables beyond it.
func vocabulary(folder string, rows int, c *config) (*Vocabulary, error) {
	path := filepath.Join(folder, "tokenizer.model")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the tokenizer as a SentencePiece model: %w", err)
	}
	v, err := ReadSentencePiece(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(v.Pieces) > rows {
		return nil, fmt.Errorf("%s: %d pieces, but the language model's tables have only %d rows", path, len(v.Pieces), rows)
	}
	added := map[string]int{}
	if err := readJSON(filepath.Join(folder, "added_tokens.json"), &added); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	special := map[int]string{c.ImageToken: imageMark, c.PadToken: "<pad>"}
	for name, id := range added {
		special[id] = name
	}
	for id := len(v.Pieces); id < rows; id++ {
		piece, score, typ := fmt.Sprintf("[PAD%d]", id), float32(-10000), Unused
		if name, ok := special[id]; ok {
			piece, score, typ = name, -1000, Control
		}
		v.Pieces, v.Scores, v.Types = append(v.Pieces, piece), append(v.Scores, score), append(v.Types, typ)
	}
	return v, nil
}
