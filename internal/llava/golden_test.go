package llava

import (
	"context"
	"errors"
	"image"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
)

// openGolden opens the small model from files of its golden set.
func openGolden(t testing.TB, text, vision string) *Model {
	t.Helper()
	sets := []*weights.Set{nil, nil}
	for i, name := range []string{text, vision} {
		var err error
		sets[i], err = weights.Open(goldenPath(t, name))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, sets[i].Close()) })
	}
	m, err := Open(sets[0], sets[1])
	require.NoError(t, err)
	return m
}

const (
	textFile   = "llava-tiny-text.gguf"
	q8File     = "llava-tiny-text-q8_0.gguf"
	visionFile = "llava-tiny-mmproj.gguf"
	altFile    = "llava-tiny-mmproj-alt.gguf"
)

func golden(t testing.TB) *goldentest.File {
	return goldentest.Open(t, "llava/llava-golden.safetensors")
}

func ints(t testing.TB, f *goldentest.File, name string) []int32 {
	_, data := f.Tensor(t, name)
	list := make([]int32, len(data))
	for i, v := range data {
		list[i] = int32(v)
	}
	return list
}

func text(t testing.TB, f *goldentest.File, name string) string {
	_, data := f.Tensor(t, name)
	var b strings.Builder
	for _, v := range data {
		b.WriteByte(byte(v))
	}
	return b.String()
}

// picture is a tensor of H×W×3 bytes as an image.
func picture(t testing.TB, f *goldentest.File, name string) *image.NRGBA {
	shape, data := f.Tensor(t, name)
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		for c := range 3 {
			img.Pix[4*i+c] = byte(data[3*i+c])
		}
		img.Pix[4*i+3] = 255
	}
	return img
}

func TestGoldenPreprocessing(t *testing.T) {
	f := golden(t)
	m := openGolden(t, textFile, visionFile)
	img := picture(t, f, "image.rgb_u8")
	_, want := f.Tensor(t, "image.pixel_values")
	assert.InDeltaSlice(t, want, m.Vision.pixels(img, Crop), 2e-6)
	_, want = f.Tensor(t, "image.pixel_values_pad")
	assert.InDeltaSlice(t, want, m.Vision.pixels(img, Pad), 2e-6)
}

func TestGoldenPrompt(t *testing.T) {
	f := golden(t)
	m := openGolden(t, visionFile, textFile) // in either order
	assert.Equal(t, text(t, f, "prompt.text_utf8"), m.Prompt)
	before, after := m.promptIDs("")
	assert.Equal(t, ints(t, f, "prompt.ids_before_image"), before)
	assert.Equal(t, ints(t, f, "prompt.ids_after_image"), after)
	assert.Equal(t, text(t, f, "greedy.text_utf8"), m.Tokenizer.Decode(ints(t, f, "greedy.ids")))
	assert.NotEqual(t, after, second(m.promptIDs("What is this?")))
}

func second(_, b []int32) []int32 { return b }

func TestGoldenTokenizerOfGGUF(t *testing.T) {
	checkTokenizer(t, openGolden(t, textFile, visionFile).Tokenizer.vocabulary)
}

// bounds are normalised squared errors; see testdata/golden/README.md of the set
// for what other arithmetic makes: F32 throughout 1e-5 (not squared), factors
// rounded to F16 2e-3 for the tower and 7e-3 for the language model, to Q8_0 8e-2.
type bounds struct{ vision, text float64 }

// a way to compute the golden values.
type arithmetic struct {
	name      string
	text      string // the text model's file
	prefix    string // of the golden tensors' names
	precision nn.Precision
	bounds    bounds
}

func arithmetics(d goldentest.Device) []arithmetic {
	squared := func(v, t float64) bounds { return bounds{v * v, t * t} }
	exact, half, bytes := squared(1e-5, 1e-5), squared(2e-3, 7e-3), squared(2e-3, 8e-2)
	if d.Tolerance > 1 { // a GPU, whose products round factors to F16
		exact = half
	}
	return []arithmetic{
		{"F32", textFile, "", nn.F32, exact},
		{"F16", textFile, "", nn.Stored, half},
		{"Q8_0", q8File, "q8_0.", nn.Stored, bytes},
	}
}

func TestGoldenNetworks(t *testing.T) {
	f := golden(t)
	for _, d := range goldentest.Devices(t) {
		for _, a := range arithmetics(d) {
			t.Run(d.Name+"/"+a.name, func(t *testing.T) {
				e := d.Open(t)
				m := openGolden(t, a.text, visionFile)
				_, pixels := f.Tensor(t, "image.pixel_values")
				got := runVision(t, e, m, a.precision, pixels)
				for name, data := range got {
					_, want := f.Tensor(t, name)
					goldentest.Equal(t, name, data, want, a.bounds.vision)
				}
				_, features := f.Tensor(t, "projector.output")
				session := m.NewSession(e, a.precision)
				defer session.Close()
				w, err := session.newWriter(t.Context(), Options{MaxTokens: len(ints(t, f, a.prefix+"greedy.ids"))})
				require.NoError(t, err)
				defer w.close()
				for name, data := range runText(t, w, features) {
					if !slices.Contains(f.Names(), a.prefix+name) {
						continue // of which there is none of the quantised file
					}
					_, want := f.Tensor(t, a.prefix+name)
					goldentest.Equal(t, a.prefix+name, data, want, a.bounds.text)
				}
				checkGreedy(t, f, w, a, features)
			})
		}
	}
}

// runVision computes the tower's golden tensors.
func runVision(t *testing.T, e *nn.Engine, m *Model, p nn.Precision, pixels []float32) map[string][]float32 {
	params, err := e.Load(t.Context(), p, &m.Vision)
	require.NoError(t, err)
	defer params.Close()
	program, err := e.Build(params, everything, m.visionProgram)
	require.NoError(t, err)
	defer program.Close()
	require.NoError(t, program.Set("picture", pixels))
	got := run(t, program)
	got["projector.output"] = got["tokens"]
	delete(got, "tokens")
	return got
}

func everything(string) bool { return true }

func run(t *testing.T, p *nn.Program) map[string][]float32 {
	require.NoError(t, p.Run(context.Background()))
	got := map[string][]float32{}
	for _, name := range p.Outputs() {
		data, err := p.Get(name)
		require.NoError(t, err)
		got[name] = data
	}
	return got
}

// runText computes the language model's golden tensors of the whole prompt.
func runText(t *testing.T, w *writer, features []float32) map[string][]float32 {
	n := w.m.Vision.Tokens()
	program, err := w.e.Build(w.text, everything, func(g *nn.Graph) {
		at := g.Beginning(w.cache, w.prompt())
		x := nn.Name(g, w.m.Text.embed(g, len(w.before), n, len(w.after)), "lm.inputs_embeds")
		nn.Output(g, "lm.logits", w.m.Text.Logits(g, w.m.Text.Forward(g, x, at)))
	})
	require.NoError(t, err)
	defer program.Close()
	require.NoError(t, errors.Join(program.SetInts("before", w.before), program.Set("picture", features),
		program.SetInts("after", w.after), program.SetPosition(w.cache, 0)))
	return run(t, program)
}

// checkGreedy continues the prompt as write does, and compares ids and logits.
func checkGreedy(t *testing.T, f *goldentest.File, w *writer, a arithmetic, features []float32) {
	want := ints(t, f, a.prefix+"greedy.ids")
	_, wantLogits := f.Tensor(t, a.prefix+"greedy.logits")
	logits, err := w.read(t.Context(), features)
	require.NoError(t, err)
	steps := &stepper{w: w}
	defer steps.close()
	s := newSampler(0, 1, 1)
	var ids []int32
	var all []float32
	for i := range want {
		all = append(all, logits...)
		ids = append(ids, s.next(logits))
		logits, err = steps.next(t.Context(), ids[i], w.prompt()+i)
		require.NoError(t, err)
	}
	assert.Equal(t, want, ids)
	goldentest.Equal(t, a.prefix+"greedy.logits", all, wantLogits, a.bounds.text)
}

// TestGoldenAlternative wants the same of a file that has the MLP's names the other way round.
func TestGoldenAlternative(t *testing.T) {
	f := golden(t)
	e := goldentest.Devices(t)[0].Open(t)
	m := openGolden(t, textFile, altFile)
	_, pixels := f.Tensor(t, "image.pixel_values")
	got := runVision(t, e, m, nn.F32, pixels)
	_, want := f.Tensor(t, "projector.output")
	goldentest.Equal(t, "projector.output", got["projector.output"], want, 1e-10)
}

// TestGoldenCaption goes the whole way from the picture to the text.
func TestGoldenCaption(t *testing.T) {
	f := golden(t)
	e := goldentest.Devices(t)[0].Open(t)
	m := openGolden(t, textFile, visionFile)
	img := picture(t, f, "image.rgb_u8")
	want := len(ints(t, f, "greedy.ids"))
	session := m.NewSession(e, nn.F32)
	defer session.Close()
	caption := func(o Options) string {
		t.Helper()
		got, err := session.Caption(t.Context(), img, o)
		require.NoError(t, err)
		return got
	}
	line := strings.Join(strings.Fields(text(t, f, "greedy.text_utf8")), " ")
	var told []int
	progress := func(done, most int) { told = append(told, done, most) }
	assert.Equal(t, line, caption(Options{MaxTokens: want, Progress: progress}))
	assert.Equal(t, []int{1, want}, told[:2])
	assert.Equal(t, []int{want, want}, told[len(told)-2:])

	short := caption(Options{MaxTokens: 1 << 30, Enough: func(text string) bool { return len(text) > 20 }})
	assert.True(t, strings.HasPrefix(line, short) && len(short) < 40, "%q", short)

	o := Options{MaxTokens: 20, Temperature: 2, TopP: 0.9, Seed: 1}
	first := caption(o)
	assert.Equal(t, first, caption(o), "a seed fixes the text")
	o.Seed = 2
	assert.NotEqual(t, first, caption(o), "and another makes another")

	ctx, cancel := context.WithCancel(t.Context())
	_, err := session.Caption(ctx, img, Options{MaxTokens: 1 << 30, Progress: func(done, _ int) {
		if done == 3 {
			cancel()
		}
	}})
	assert.ErrorIs(t, err, context.Canceled)

	// A model that never ends its answer ends with the positions it knows.
	m.Text.Context = len(ints(t, f, "prompt.input_ids")) + 40
	told = nil
	caption(Options{MaxTokens: 1 << 30, Progress: progress})
	assert.Equal(t, []int{40, 40}, told[len(told)-2:])

	_, err = session.Caption(t.Context(), img, Options{MaxTokens: 8, Question: strings.Repeat("why ", 5000)})
	assert.ErrorContains(t, err, "exceed the language model's")

	weights, working, err := m.Memory(e, nn.F32, Options{MaxTokens: 512}, false)
	require.NoError(t, err)
	assert.Equal(t, e.WeightBytes(nn.F32, &m.Text), weights)
	assert.Positive(t, working)
}
