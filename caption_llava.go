package supir

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"slices"
	"sync"

	"supir/internal/llava"
	"supir/internal/memory"
	"supir/internal/nn"
	"supir/internal/weights"
)

// LLaVAFiles name the captioner's weights: LLaVA-1.5, 7B or 13B, as GGUF files in
// llama.cpp's layout, of any quantisation.
type LLaVAFiles struct {
	// Text is the language model, or one file that holds everything.
	Text string
	// Vision is its mmproj: vision tower and projector. Empty if Text holds both.
	Vision string
	// FS is where the names are looked up; nil is the file system.
	FS fs.FS
}

// LLaVA is the paper's captioner, with the weights in [Files].LLaVA. It is the
// default where there are such. It works within Restore and Model.Caption, with
// the context given to a Captioner. The zero value asks as SUPIR does.
//
// A caption is remembered by the picture and these settings until the model is
// closed, and beyond in [Options].CaptionCache. For a prompt it ends where the
// text encoders can take no more.
type LLaVA struct {
	// Question asks for the description. Default: the model's.
	Question string
	// Temperature makes words random. Default 0.2, range (0, 2]; negative: always
	// the most probable word.
	Temperature float64
	// TopP is the share of probability that words are drawn from. Default 0.7,
	// range (0, 1].
	TopP float64
	// Seed fixes the words. Default 1234.
	Seed uint64
	// MaxTokens bounds the answer. Default 512, range [1, 4096].
	MaxTokens int
	// Pad shows pictures that are not square whole, with borders, as llama.cpp
	// does. By default the middle is seen, as in SUPIR.
	Pad bool
}

// ErrNoLLaVA is returned where LLaVA is to describe a picture, but the model has
// no weights of it.
var ErrNoLLaVA = errors.New("supir: there are no weights of LLaVA: name them in Files.LLaVA")

// Caption describes the picture.
func (c LLaVA) Caption(ctx context.Context, cleaned image.Image) (string, error) {
	o, err := c.options()
	if err != nil {
		return "", err
	}
	a, ok := ctx.Value(askedKey{}).(*asked)
	switch {
	case !ok:
		return "", errors.New("supir: LLaVA describes pictures within Restore and Model.Caption alone")
	case a.model.networks.llava == nil:
		return "", ErrNoLLaVA
	}
	return a.caption(ctx, cleaned, o)
}

// options fills in and checks the settings.
func (c LLaVA) options() (llava.Options, error) {
	o := llava.Options{Question: c.Question, Temperature: c.Temperature, TopP: c.TopP, Seed: c.Seed, MaxTokens: c.MaxTokens}
	if c.Pad {
		o.Fit = llava.Pad
	}
	switch {
	case o.Temperature == 0:
		o.Temperature = 0.2
	case o.Temperature < 0:
		o.Temperature = 0
	}
	if o.TopP == 0 {
		o.TopP = 0.7
	}
	if o.Seed == 0 {
		o.Seed = 1234
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 512
	}
	switch {
	case !(o.Temperature <= 2):
		return o, &OptionError{"LLaVA.Temperature", fmt.Sprintf("%v is not in [0, 2]", o.Temperature)}
	case !(o.TopP > 0 && o.TopP <= 1):
		return o, &OptionError{"LLaVA.TopP", fmt.Sprintf("%v is not in (0, 1]", o.TopP)}
	case o.MaxTokens < 1 || o.MaxTokens > 4096:
		return o, &OptionError{"LLaVA.MaxTokens", fmt.Sprintf("%d is not in [1, 4096]", o.MaxTokens)}
	}
	return o, nil
}

// asked is what LLaVA finds in its context: the model, and how it is asked.
type asked struct {
	model    *Model
	whole    bool   // the caption itself is wanted, not a prompt
	folder   string // Options.CaptionCache
	progress func(done, of int)
	session  *llava.Session
}

type askedKey struct{}

func (a *asked) close() {
	if a.session != nil {
		a.session.Close()
	}
}

// captionPrecision is LLaVA's: as the files hold it.
const captionPrecision = nn.Stored

func (a *asked) caption(ctx context.Context, img image.Image, o llava.Options) (string, error) {
	n := a.model.networks
	key := captionKey(img, o, a.whole)
	kept := keptCaption(a.folder, n.llavaIdentity, key)
	text, ok := a.model.captions.get(key)
	if !ok {
		text, ok = kept.read()
	}
	if ok {
		a.model.captions.put(key, text)
		return text, nil
	}
	if a.session == nil {
		a.session = n.llava.NewSession(a.model.machine.engine, captionPrecision)
	}
	o.Progress = a.progress
	if !a.whole {
		room := n.clipL.Length() - 2 // without start and end
		o.Enough = func(text string) bool { return len(n.tokenizer.Encode(text)) >= room }
	}
	text, err := a.session.Caption(ctx, img, o)
	text = oneLine(text)
	if err == nil {
		a.model.captions.put(key, text)
		kept.write(text)
	}
	return text, err
}

// String names the files, for messages.
func (f LLaVAFiles) String() string {
	if f.Vision == "" {
		return f.Text
	}
	return f.Text + " and " + f.Vision
}

// openLLaVA opens the captioner's files, if there are any.
func (n *networks) openLLaVA(files LLaVAFiles) (err error) {
	if files.Text == "" && files.Vision == "" {
		return nil
	}
	defer func() {
		if err != nil {
			err = &WeightsError{Files{LLaVA: files}, err}
		}
	}()
	if files.Text == "" {
		return errors.New("the language model is missing")
	}
	sets := make([]*weights.Set, 2)
	for i, name := range []string{files.Text, files.Vision} {
		if name == "" {
			continue
		}
		if sets[i], err = weights.OpenFiles(weights.File{Path: name, FS: files.FS}); err != nil {
			return err
		}
		n.more = append(n.more, sets[i])
	}
	n.llavaIdentity = sync.OnceValue(files.identity)
	n.llava, err = llava.Open(sets[0], sets[1])
	return err
}

// usesLLaVA tells whether the captioner is LLaVA, or may be.
func (n *networks) usesLLaVA(c Captioner) bool {
	switch c := c.(type) {
	case FixedCaption, Sidecar, *Endpoint:
		return false
	case FirstCaption:
		return slices.ContainsFunc(c, n.usesLLaVA)
	}
	return n.llava != nil
}

// llavaIn is the LLaVA that a captioner asks, as far as that can be told.
func llavaIn(c Captioner) LLaVA {
	switch c := c.(type) {
	case LLaVA:
		return c
	case *LLaVA:
		return *c
	case FirstCaption:
		for _, one := range c {
			if asks := llavaIn(one); asks != (LLaVA{}) {
				return asks
			}
		}
	}
	return LLaVA{}
}

// planCaption is what describing a picture takes; nil if that is not LLaVA's task.
func (m *Model) planCaption(set *settings) (*StagePlan, error) {
	if !set.wantsCaption() || !m.networks.usesLLaVA(set.Captioner) {
		return nil, nil
	}
	o, err := llavaIn(set.Captioner).options()
	if err != nil {
		return nil, err
	}
	weights, working, err := m.networks.llava.Memory(m.machine.engine, captionPrecision, o, set.CaptionTiles)
	return &StagePlan{Stage: StageCaption, Weights: weights, Working: working}, err
}

// fitsCaption makes sure that describing a picture fits into memory.
func (m *Model) fitsCaption(set *settings) error {
	s, err := m.planCaption(set)
	if err != nil || s == nil {
		return err
	}
	p := &Plan{Budget: set.Memory, Stages: []StagePlan{*s}, Peak: s.Weights + s.Working}
	if p.Budget == 0 {
		if p.Budget = m.machine.engine.FreeMemory(); p.Budget == 0 {
			p.Budget = memory.Available()
		}
	}
	return p.fits()
}
