package llava

import (
	"fmt"
	"math"
	"strings"

	"supir/internal/weights"
)

// A reader takes numbers from a file's metadata and reports what does not fit.
type reader struct {
	set *weights.Set
	r   *weights.Report
}

// integer is a whole number in [least, most]; byDefault < 0 means that it must
// be there.
func (m reader) integer(key string, byDefault, least, most int) int {
	v, ok := weights.Value[int64](m.set, key)
	switch {
	case !ok && m.set.Value(key) != nil:
		m.r.Invalid("metadata %s: %v is not a whole number", key, m.set.Value(key))
	case !ok && byDefault < 0:
		m.r.Missing("metadata " + key)
	case !ok:
		return byDefault
	case v < int64(least) || v > int64(most):
		m.r.Invalid("metadata %s: %d is not in [%d, %d]", key, v, least, most)
	default:
		return int(v)
	}
	return least
}

// number is a real number in [least, most].
func (m reader) number(key string, byDefault, least, most float64) float32 {
	v, ok := weights.Value[float64](m.set, key)
	if !ok {
		return float32(byDefault)
	}
	if !(v >= least && v <= most) {
		m.r.Invalid("metadata %s: %v is not in [%v, %v]", key, v, least, most)
	}
	return float32(v)
}

// colour is three numbers in (0, 1].
func (m reader) colour(key string, byDefault [3]float32) [3]float32 {
	list, ok := weights.Value[[]float64](m.set, key)
	if !ok {
		return byDefault
	}
	if len(list) != 3 {
		m.r.Invalid("metadata %s: %d numbers, want 3", key, len(list))
		return byDefault
	}
	var c [3]float32
	for i, v := range list {
		if !(v > 0 && v <= 1) {
			m.r.Invalid("metadata %s: %v is not in (0, 1]", key, v)
		}
		c[i] = float32(v)
	}
	return c
}

// readVocabulary takes the tokenizer from a file's metadata.
func readVocabulary(set *weights.Set) (*Vocabulary, error) {
	if model, _ := set.Metadata("tokenizer.ggml.model"); model != "llama" {
		return nil, fmt.Errorf("tokenizer of kind %q, want llama (SentencePiece)", model)
	}
	v := &Vocabulary{}
	v.Pieces, _ = weights.Value[[]string](set, "tokenizer.ggml.tokens")
	scores, _ := weights.Value[[]float64](set, "tokenizer.ggml.scores")
	for _, s := range scores {
		v.Scores = append(v.Scores, float32(s))
	}
	types, _ := weights.Value[[]int64](set, "tokenizer.ggml.token_type")
	for _, t := range types {
		v.Types = append(v.Types, PieceType(max(0, min(t, math.MaxInt32))))
	}
	id := func(key string, byDefault int) int {
		if n, ok := weights.Value[int64](set, "tokenizer.ggml."+key); ok {
			return int(max(-1, min(n, math.MaxInt32)))
		}
		return byDefault
	}
	v.BOS, v.EOS, v.Unknown = id("bos_token_id", 1), id("eos_token_id", 2), id("unknown_token_id", 0)
	prefix, ok := weights.Value[bool](set, "tokenizer.ggml.add_space_prefix")
	v.AddSpacePrefix = prefix || !ok
	return v, nil
}

// imageMark stands in a prompt for the picture.
const imageMark = "<image>"

// defaultPrompt is Vicuna's, with the question that the paper's authors ask.
const defaultPrompt = "A chat between a curious human and an artificial intelligence assistant. " +
	"The assistant gives helpful, detailed, and polite answers to the human's questions. " +
	"USER: " + imageMark + "\n" + defaultQuestion + " ASSISTANT:"

const defaultQuestion = "Describe this image and its style in a very detailed manner."

// readPrompt takes the prompt that a model was trained for from the metadata, if
// that has one.
func readPrompt(set *weights.Set) (string, error) {
	prompt, ok := set.Metadata("supir.llava.prompt")
	if !ok {
		return defaultPrompt, nil
	}
	if strings.Count(prompt, imageMark) != 1 || strings.HasSuffix(prompt, imageMark) {
		return "", fmt.Errorf("metadata supir.llava.prompt: want %s in it once, and text behind it", imageMark)
	}
	return prompt, nil
}
