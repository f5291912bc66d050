package llava

import (
	"context"
	"errors"
	"fmt"
	"image"
	"math"
	"strings"

	"supir/internal/nn"
)

// Options say how to describe a picture.
type Options struct {
	Question    string  // instead of the model's own; "" for that
	Fit         Fit     // of pictures that are not square
	Temperature float64 // 0: always the most probable word
	TopP        float64 // share of probability that words are drawn from, (0, 1]
	Seed        uint64
	MaxTokens   int // of the answer

	// Enough, if set, ends the answer early when it says so of its text so far.
	Enough func(text string) bool
	// Progress, if set, is told how many tokens of how many at most are written.
	Progress func(done, most int)
}

// windowStep is by how many tokens the part of the cache grows that a step looks
// at; for each growth a program is built anew.
const windowStep = 128

// A Session is a model at work on a device. Close it before the engine.
type Session struct {
	m         *Model
	e         *nn.Engine
	precision nn.Precision
	text      *nn.Params // once it is needed; the tower is loaded for each picture
}

// NewSession makes a session; weights are loaded when they are needed.
func (m *Model) NewSession(e *nn.Engine, p nn.Precision) *Session {
	return &Session{m: m, e: e, precision: p}
}

// Close frees the weights. It may be repeated.
func (s *Session) Close() {
	s.text.Close()
	s.text = nil
}

// Caption describes a picture. The tower is loaded, used and released, then the
// language model is loaded, which stays for the next picture.
func (s *Session) Caption(ctx context.Context, img image.Image, o Options) (string, error) {
	features, err := s.see(ctx, img, o.Fit)
	if err != nil {
		return "", err
	}
	w, err := s.newWriter(ctx, o)
	if err != nil {
		return "", err
	}
	defer w.close()
	return w.write(ctx, features)
}

// see turns a picture into tokens of the language model.
func (s *Session) see(ctx context.Context, img image.Image, fit Fit) ([]float32, error) {
	params, err := s.e.Load(ctx, s.precision, &s.m.Vision)
	if err != nil {
		return nil, err
	}
	defer params.Close()
	program, err := s.e.Build(params, nil, s.m.visionProgram)
	if err != nil {
		return nil, err
	}
	defer program.Close()
	if err := program.Set("picture", s.m.Vision.pixels(img, fit)); err != nil {
		return nil, err
	}
	if err := program.Run(ctx); err != nil {
		return nil, err
	}
	return program.Get("tokens")
}

func (m *Model) visionProgram(g *nn.Graph) {
	nn.Output(g, "tokens", m.Vision.Forward(g, g.InputMap("picture", 3, m.Vision.Size, m.Vision.Size, 1)))
}

// promptIDs are the ids before and after the picture. Each part is encoded by
// itself, as LLaVA's own code does.
func (m *Model) promptIDs(question string) (before, after []int32) {
	prompt := m.Prompt
	if question != "" {
		prompt = strings.Replace(defaultPrompt, defaultQuestion, question, 1)
	}
	head, tail, _ := strings.Cut(prompt, imageMark)
	return append([]int32{m.Tokenizer.BOS()}, m.Tokenizer.Encode(head)...), m.Tokenizer.Encode(tail)
}

// A writer answers one prompt.
type writer struct {
	*Session
	o             Options
	cache         *nn.Cache
	before, after []int32
	most          int // tokens of an answer
}

func (s *Session) newWriter(ctx context.Context, o Options) (w *writer, err error) {
	w = &writer{Session: s, o: o}
	w.before, w.after = s.m.promptIDs(o.Question)
	if w.most, err = s.m.room(len(w.before)+len(w.after), o.MaxTokens); err != nil {
		return nil, err
	}
	if s.text == nil {
		if s.text, err = s.e.Load(ctx, s.precision, &s.m.Text); err != nil {
			return nil, err
		}
	}
	w.cache, err = s.e.NewCache(s.precision, len(s.m.Text.Layers), s.m.Text.cacheHeads(), s.m.Text.cacheFeatures(), capacity(w.prompt()+w.most))
	return w, err
}

func (w *writer) close() { w.cache.Close() }

// room is how many tokens an answer to a prompt of so many ids may have.
func (m *Model) room(prompt, most int) (int, error) {
	left := m.Text.Context - m.Vision.Tokens() - prompt
	if left < 1 {
		return 0, fmt.Errorf("a prompt of %d tokens and a picture of %d exceed the language model's %d positions", prompt, m.Vision.Tokens(), m.Text.Context)
	}
	return max(1, min(most, left)), nil
}

// capacity rounds a number of tokens up to whole windows.
func capacity(tokens int) int { return (tokens + windowStep - 1) / windowStep * windowStep }

// prompt is the number of the prompt's tokens.
func (w *writer) prompt() int { return len(w.before) + w.m.Vision.Tokens() + len(w.after) }

// write answers the prompt about a picture.
func (w *writer) write(ctx context.Context, picture []float32) (string, error) {
	logits, err := w.read(ctx, picture)
	if err != nil {
		return "", err
	}
	s := newSampler(w.o.Temperature, w.o.TopP, w.o.Seed)
	steps := &stepper{w: w}
	defer steps.close()
	var answer []int32
	for {
		if err := finite(logits); err != nil {
			return "", err
		}
		id := s.next(logits)
		if id == w.m.Tokenizer.EOS() {
			break
		}
		answer = append(answer, id)
		if w.o.Progress != nil {
			w.o.Progress(len(answer), w.most)
		}
		if len(answer) == w.most || w.o.Enough != nil && w.o.Enough(w.line(answer)) {
			break
		}
		if logits, err = steps.next(ctx, id, w.prompt()+len(answer)-1); err != nil {
			return "", err
		}
	}
	return w.line(answer), nil
}

// finite makes sure that a broken model says so instead of writing nonsense.
func finite(logits []float32) error {
	for _, v := range logits {
		if v != v || math.IsInf(float64(v), 0) {
			return errors.New("the language model's output is not a number: the weights are damaged")
		}
	}
	return nil
}

// line is an answer on one line.
func (w *writer) line(ids []int32) string {
	return strings.Join(strings.Fields(w.m.Tokenizer.Decode(ids)), " ")
}

// read computes the whole prompt as one batch, and gives the logits of what
// follows it.
func (w *writer) read(ctx context.Context, picture []float32) ([]float32, error) {
	program, err := w.e.Build(w.text, nil, func(g *nn.Graph) {
		w.m.Text.prompt(g, w.cache, len(w.before), w.m.Vision.Tokens(), len(w.after))
	})
	if err != nil {
		return nil, err
	}
	defer program.Close()
	if err := errors.Join(program.SetInts("before", w.before), program.Set("picture", picture),
		program.SetInts("after", w.after), program.SetPosition(w.cache, 0)); err != nil {
		return nil, err
	}
	if err := program.Run(ctx); err != nil {
		return nil, err
	}
	return program.Get("logits")
}

// A stepper computes one further token at a time.
type stepper struct {
	w       *writer
	program *nn.Program
	window  int
}

func (s *stepper) close() { s.program.Close() }

// next gives the logits of what follows id at that position.
func (s *stepper) next(ctx context.Context, id int32, position int) ([]float32, error) {
	if position >= s.window {
		s.close()
		s.window = capacity(position + 1)
		var err error
		if s.program, err = s.w.e.Build(s.w.text, nil, func(g *nn.Graph) {
			s.w.m.Text.step(g, s.w.cache, s.window)
		}); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(s.program.SetInts("id", []int32{id}), s.program.SetPosition(s.w.cache, position)); err != nil {
		return nil, err
	}
	if err := s.program.Run(ctx); err != nil {
		return nil, err
	}
	return s.program.Get("logits")
}

// Memory is what describing a picture takes beside its pixels, in bytes: the
// weights of the larger part, and what is worked with. If a session describes
// several, the tower joins the language model, which stays.
func (m *Model) Memory(e *nn.Engine, p nn.Precision, o Options, several bool) (weights, working int64, err error) {
	vision, err := e.Describe(p, &m.Vision)
	if err != nil {
		return 0, 0, err
	}
	defer vision.Close()
	text, err := e.Describe(p, &m.Text)
	if err != nil {
		return 0, 0, err
	}
	defer text.Close()
	see, err := e.Measure(vision, m.visionProgram)
	if err != nil {
		return 0, 0, err
	}
	before, after := m.promptIDs(o.Question)
	most, err := m.room(len(before)+len(after), o.MaxTokens)
	if err != nil {
		return 0, 0, err
	}
	tokens := len(before) + m.Vision.Tokens() + len(after)
	cache, err := e.DescribeCache(p, len(m.Text.Layers), m.Text.cacheHeads(), m.Text.cacheFeatures(), capacity(tokens+most))
	if err != nil {
		return 0, 0, err
	}
	defer cache.Close()
	read, err := e.Measure(text, func(g *nn.Graph) { m.Text.prompt(g, cache, len(before), m.Vision.Tokens(), len(after)) })
	if err != nil {
		return 0, 0, err
	}
	read += cache.Size()
	seeing, reading := e.WeightBytes(p, &m.Vision), e.WeightBytes(p, &m.Text)
	if several {
		seeing += reading
	}
	if seeing+see > reading+read {
		return seeing, see, nil
	}
	return reading, read, nil
}
