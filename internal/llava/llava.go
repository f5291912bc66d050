// Package llava is LLaVA-1.5: it describes a picture in words. A vision tower
// (CLIP's ViT-L/14) turns the picture into features, a projector turns these
// into what stands for words, and a language model (LLaMA, tuned to Vicuna) goes
// on writing from there. Files are GGUF in llama.cpp's layout: a text model and
// an "mmproj", or one file that holds both. All sizes come from them.
package llava

import (
	"errors"
	"fmt"

	"supir/internal/weights"
)

// Model is LLaVA as the files hold it. It does not change.
type Model struct {
	Text      Text
	Vision    Vision
	Tokenizer *Tokenizer
	Prompt    string // with <image> in it
}

// Open takes the model from the file of the language model and that of the
// vision tower with the projector, in either order; one set holds both where
// vision is nil. The sets stay open while the model is used.
func Open(text, vision *weights.Set) (*Model, error) {
	if vision == nil {
		vision = text
	} else if isVision(text) && isText(vision) {
		text, vision = vision, text
	}
	if err := checkKinds(text, vision); err != nil {
		return nil, err
	}
	m := &Model{}
	var r weights.Report
	m.Text.load(text, &r)
	m.Vision.load(vision, &r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	if out, in := m.Vision.Projector.Second.Out(), m.Text.Width(); out != in {
		return nil, fmt.Errorf("the two files are not of one model: the projector gives %d features, the language model takes %d", out, in)
	}
	v, err := readVocabulary(text)
	if err != nil {
		return nil, err
	}
	if m.Tokenizer, err = NewTokenizer(*v); err != nil {
		return nil, err
	}
	if m.Tokenizer.Size() != m.Text.IDs() {
		return nil, fmt.Errorf("the tokenizer has %d pieces, the language model's tables %d rows", m.Tokenizer.Size(), m.Text.IDs())
	}
	if m.Prompt, err = readPrompt(text); err != nil {
		return nil, err
	}
	return m, m.checkContext()
}

func isText(s *weights.Set) bool   { return s.Has("token_embd.weight") }
func isVision(s *weights.Set) bool { return s.Has("mm.0.weight") || s.Has("v.class_embd") }

// checkKinds tells in words what the files are, where they are not what they
// must be.
func checkKinds(text, vision *weights.Set) error {
	arch, _ := text.Metadata("general.architecture")
	switch {
	case !isText(text) && isVision(text):
		return errors.New("the language model is missing: there is a vision tower (mmproj) alone")
	case !isText(text):
		return errors.New("no language model in LLaVA's layout: want a GGUF file of LLaVA-1.5, or one made by supir convert")
	case !isVision(vision) && text == vision:
		return errors.New("the vision tower is missing: give the text model's mmproj file too")
	case !isVision(vision):
		return errors.New("the second file has no vision tower: want the mmproj file that belongs to the text model")
	case arch != "llama":
		return fmt.Errorf("a language model of architecture %q: LLaVA-1.5's is llama", arch)
	}
	if kind, ok := vision.Metadata("clip.projector_type"); ok && kind != "mlp" {
		return fmt.Errorf("a projector of kind %q: LLaVA-1.5's is mlp", kind)
	}
	return nil
}

// Networks are the parts that are loaded together: first the tower with the
// projector, then the language model.
func (m *Model) Networks() (vision, text []any) { return []any{&m.Vision}, []any{&m.Text} }
