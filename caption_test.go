package supir

import (
	"context"
	"errors"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
	"supir/photo"
)

// withLLaVA is the golden model with the golden captioner.
func withLLaVA(t testing.TB) *Model {
	t.Helper()
	files := goldenFiles(t)
	files.LLaVA = LLaVAFiles{Text: goldentest.Path(t, "llava/llava-tiny-text.gguf"), Vision: goldentest.Path(t, "llava/llava-tiny-mmproj.gguf")}
	m, err := New(files)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// goldenText is the golden picture, and the words that greedy says of it.
func goldenText(t testing.TB) (picture image.Image, text string, greedy LLaVA) {
	f := goldentest.Open(t, "llava/llava-golden.safetensors")
	shape, data := f.Tensor(t, "image.rgb_u8")
	img := image.NewNRGBA(image.Rect(0, 0, shape[1], shape[0]))
	for i := range shape[0] * shape[1] {
		img.Pix[4*i], img.Pix[4*i+1], img.Pix[4*i+2], img.Pix[4*i+3] = byte(data[3*i]), byte(data[3*i+1]), byte(data[3*i+2]), 255
	}
	shape, _ = f.Tensor(t, "greedy.ids")
	greedy = LLaVA{Temperature: -1, MaxTokens: shape[0]}
	_, data = f.Tensor(t, "greedy.text_utf8")
	for _, b := range data {
		text += string([]byte{byte(b)})
	}
	return img, oneLine(text), greedy
}

// TestGoldenLLaVA describes the golden picture with the golden words.
func TestGoldenLLaVA(t *testing.T) {
	m := withLLaVA(t)
	img, want, greedy := goldenText(t)
	opts := quick()
	opts.Captioner, opts.CaptionRaw = greedy, true
	got, err := m.Caption(t.Context(), img, opts)
	require.NoError(t, err)
	assert.Equal(t, want, got)

	opts.CaptionRaw = false
	cleaned, err := m.Caption(t.Context(), img, opts)
	require.NoError(t, err)
	assert.NotEmpty(t, cleaned)
	assert.NotEqual(t, want, cleaned, "another picture, other words")

	opts.Captioner = LLaVA{Temperature: -1, MaxTokens: 8}
	short, err := m.Caption(t.Context(), img, opts)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(cleaned, short) && short != cleaned)

	opts.Captioner = FirstCaption{FixedCaption(""), greedy}
	through, err := m.Caption(t.Context(), img, opts)
	require.NoError(t, err)
	assert.Equal(t, cleaned, through)
}

// TestCaptionForPrompt wants LLaVA to be the default, to stop where the text
// encoders are full, and to be remembered.
func TestCaptionForPrompt(t *testing.T) {
	m := withLLaVA(t)
	opts := quick()
	opts.Steps, opts.CFGStart, opts.CFGEnd, opts.Restoration = 1, 1, 1, -1
	tokens := 0
	opts.Progress = func(p Progress) {
		if p.Stage == StageCaption {
			tokens = max(tokens, p.Step)
		}
	}
	r, err := m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	ids := m.networks.tokenizer.Encode(r.Caption)
	assert.GreaterOrEqual(t, len(ids), m.networks.clipL.Length()-2)
	assert.Less(t, tokens, 512)
	assert.Positive(t, tokens)
	stage := r.Plan.Stages[2]
	assert.Equal(t, StageCaption, stage.Stage)
	assert.Positive(t, stage.Weights)
	assert.Positive(t, stage.Working)

	tokens = 0
	again, err := m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	assert.Equal(t, r.Caption, again.Caption)
	assert.Zero(t, tokens, "no token was computed")

	opts.Prompt = "mine"
	set, _, err := m.networks.settle(image.Pt(64, 64), opts)
	require.NoError(t, err)
	assert.False(t, set.wantsCaption(), "a prompt goes before")
	opts.Prompt, opts.Captioner = "", FixedCaption("")
	r, err = m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	assert.Empty(t, r.Caption)
}

// TestCaptionPlan wants the memory of the LLaVA that is asked, wherever it stands.
func TestCaptionPlan(t *testing.T) {
	m := withLLaVA(t)
	working := func(c Captioner) int64 {
		opts := quick()
		opts.Captioner = c
		p, err := m.Plan(image.Pt(64, 64), opts)
		require.NoError(t, err)
		i := slices.IndexFunc(p.Stages, func(s StagePlan) bool { return s.Stage == StageCaption })
		require.GreaterOrEqual(t, i, 0)
		return p.Stages[i].Working
	}
	short := LLaVA{MaxTokens: 8}
	assert.Less(t, working(short), working(LLaVA{}))
	for _, c := range []Captioner{&short, FirstCaption{Sidecar("a.png"), short}, FirstCaption{FirstCaption{}, &short}} {
		assert.Equal(t, working(short), working(c), "%T", c)
	}
	assert.Equal(t, m.networks.sideFor(short), m.networks.sideFor(&short))
	var option *OptionError
	_, err := m.Plan(image.Pt(64, 64), Options{Captioner: FirstCaption{LLaVA{TopP: 2}}})
	assert.ErrorAs(t, err, &option)
}

// TestCaptionOneLine wants nothing of a caption that moves a terminal's cursor,
// and an end of one that has none.
func TestCaptionOneLine(t *testing.T) {
	set, err := weights.Open(goldentest.Own(t, "llava/llava-tiny-text.gguf"))
	require.NoError(t, err)
	tensors, metadata := weightstest.Tensors(set), map[string]any{}
	for _, key := range set.MetadataKeys() {
		metadata[key] = set.Value(key)
	}
	pieces := metadata["tokenizer.ggml.tokens"].([]string)
	often := make([]float32, len(pieces)) // ESC, a letter, and never the end
	for _, piece := range []string{"<0x1B>", "m"} {
		often[slices.Index(pieces, piece)] = 1000
	}
	tensors["output.bias"] = weightstest.F32([]int{len(pieces)}, often...)
	text := filepath.Join(t.TempDir(), "text.gguf")
	require.NoError(t, os.WriteFile(text, weightstest.GGUF(tensors, metadata), 0o666))
	require.NoError(t, set.Close())

	files := goldenFiles(t)
	files.LLaVA = LLaVAFiles{Text: text, Vision: goldentest.Own(t, "llava/llava-tiny-mmproj.gguf")}
	m, err := New(files)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	opts := quick()
	opts.Captioner, opts.CaptionRaw = LLaVA{Temperature: 2, TopP: 1, MaxTokens: 40}, true
	got, err := m.Caption(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	assert.Regexp(t, "^[m ]+$", got)
}

// TestCaptionRaw shows a picture as it is, but for its transparency.
func TestCaptionRaw(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 40, 30))
	for i := range img.Pix {
		img.Pix[i] = []byte{200, 100, 50, 0}[i%4]
	}
	opts := quick()
	opts.CaptionRaw = true
	opts.Captioner = captioner(func(_ context.Context, seen image.Image) (string, error) {
		assert.Equal(t, img.Rect.Size(), seen.Bounds().Size())
		assert.Equal(t, color.NRGBA{200, 100, 50, 255}, color.NRGBAModel.Convert(seen.At(3, 3)))
		return "a wall", nil
	})
	got, err := goldenModel(t).Caption(t.Context(), img, opts)
	require.NoError(t, err)
	assert.Equal(t, "a wall", got)
}

func TestCaptionTiles(t *testing.T) {
	m := goldenModel(t)
	opts := quick()
	opts.TileSize, opts.TileStride, opts.CaptionTiles = 16, 8, true
	opts.Steps, opts.CFGStart, opts.CFGEnd, opts.Restoration, opts.ColorFix = 1, 1, 1, -1, ColorFixNone
	for _, raw := range []bool{false, true} {
		var sizes []image.Rectangle
		opts.CaptionRaw = raw
		opts.Captioner = captioner(func(_ context.Context, img image.Image) (string, error) {
			sizes = append(sizes, img.Bounds())
			return []string{"", "a wall", "a roof"}[len(sizes)], nil
		})
		r, err := m.Restore(t.Context(), scene(192, 128), opts)
		require.NoError(t, err)
		assert.Equal(t, []image.Rectangle{image.Rect(0, 0, 128, 128), image.Rect(64, 0, 192, 128)}, sizes)
		assert.Equal(t, []string{"a wall", "a roof"}, r.TileCaptions)
		assert.Empty(t, r.Caption)
	}
}

func TestCaptionOptional(t *testing.T) {
	m := goldenModel(t)
	opts := quick()
	opts.Steps, opts.CFGStart, opts.CFGEnd, opts.Restoration, opts.CaptionOptional = 1, 1, 1, -1, true
	broken := errors.New("no words")
	opts.Captioner = captioner(func(context.Context, image.Image) (string, error) { return "", broken })
	r, err := m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	assert.ErrorIs(t, r.CaptionError, broken)
	assert.Empty(t, r.Caption)

	opts.CaptionOptional, opts.Captioner = false, LLaVA{}
	_, err = m.Restore(t.Context(), scene(64, 64), opts)
	assert.ErrorIs(t, err, ErrNoLLaVA)
	_, err = LLaVA{}.Caption(t.Context(), scene(64, 64))
	assert.ErrorContains(t, err, "within Restore")
	for _, bad := range []LLaVA{{Temperature: 3}, {TopP: 2}, {MaxTokens: -1}} {
		var option *OptionError
		_, err = bad.Caption(t.Context(), scene(64, 64))
		assert.ErrorAs(t, err, &option)
	}

	ctx, cancel := context.WithCancel(t.Context())
	opts.CaptionOptional = true
	opts.Captioner = captioner(func(ctx context.Context, _ image.Image) (string, error) { cancel(); return "", ctx.Err() })
	_, err = m.Restore(ctx, scene(64, 64), opts)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestLLaVAMisfits(t *testing.T) {
	text, vision := goldentest.Path(t, "llava/llava-tiny-text.gguf"), goldentest.Path(t, "llava/llava-tiny-mmproj.gguf")
	for _, c := range []struct {
		files LLaVAFiles
		want  string
	}{
		{LLaVAFiles{Text: text}, "the vision tower is missing"},
		{LLaVAFiles{Vision: vision}, "the language model is missing"},
		{LLaVAFiles{Text: vision}, "the language model is missing"},
		{LLaVAFiles{Text: text, Vision: text}, "has no vision tower"},
		{LLaVAFiles{Text: goldentest.Path(t, "sdxl.safetensors"), Vision: vision}, "no language model in LLaVA's layout"},
		{LLaVAFiles{Text: text, Vision: "missing.gguf"}, "missing.gguf"},
	} {
		files := goldenFiles(t)
		files.LLaVA = c.files
		_, err := New(files)
		var weights *WeightsError
		require.ErrorAs(t, err, &weights)
		assert.ErrorContains(t, err, c.want)
		assert.ErrorContains(t, err, "weights of LLaVA")
	}
}

func TestFirstCaption(t *testing.T) {
	broken := errors.New("no words")
	fails := captioner(func(context.Context, image.Image) (string, error) { return "", broken })
	for _, c := range []struct {
		list FirstCaption
		want string
		err  error
	}{
		{nil, "", nil},
		{FirstCaption{FixedCaption(""), FixedCaption("a"), FixedCaption("b")}, "a", nil},
		{FirstCaption{fails, FixedCaption("a")}, "a", nil},
		{FirstCaption{fails, FixedCaption("")}, "", broken},
	} {
		got, err := c.list.Caption(t.Context(), nil)
		assert.Equal(t, c.want, got)
		assert.ErrorIs(t, err, c.err)
	}
}

func TestSidecar(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "old.png")
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(name, []byte(text), 0o666))
	}
	caption := func() string {
		t.Helper()
		text, err := Sidecar(name).Caption(t.Context(), nil)
		require.NoError(t, err)
		return text
	}
	_, err := Sidecar(name).Caption(t.Context(), nil)
	assert.ErrorIs(t, err, os.ErrNotExist)

	p := photo.From(scene(8, 8))
	require.NoError(t, photo.Write(name, p, photo.WriteOptions{}))
	assert.Empty(t, caption())
	p.Meta.XMP = []byte(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">` +
		`<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>` +
		`<rdf:li xml:lang="de">ein Hund</rdf:li><rdf:li xml:lang="x-default">a dog &amp; a cat</rdf:li>` +
		`</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>`)
	require.NoError(t, photo.Write(name, p, photo.WriteOptions{Overwrite: true}))
	assert.Equal(t, "a dog & a cat", caption(), "in the picture")
	write(filepath.Join(dir, "old.xmp"), `<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:d="http://purl.org/dc/elements/1.1/"><rdf:Description d:description="beside it"/></rdf:RDF>`)
	assert.Equal(t, "beside it", caption())
	write(filepath.Join(dir, "old.txt"), "\uFEFF a text\n of two lines ")
	assert.Equal(t, "a text of two lines", caption())
	write(name+".txt", "its own")
	assert.Equal(t, "its own", caption())
	write(name+".txt", "Gro\xdfmutter\x1b[31m\u202e")
	assert.Equal(t, "Großmutter [31mâ€®", caption(), "Windows-1252, nothing for a terminal")
	write(name+".txt", "Großmutter \u202e\x1bhere")
	assert.Equal(t, "Großmutter here", caption())
	write(name+".txt", "a\x00b\xff")
	_, err = Sidecar(name).Caption(t.Context(), nil)
	assert.ErrorContains(t, err, "not a text")
	write(name+".txt", strings.Repeat("x", maxSidecar+1))
	_, err = Sidecar(name).Caption(t.Context(), nil)
	assert.ErrorContains(t, err, "not a caption")
}

// TestCaptionCache wants captions kept beyond a model, by picture, settings and
// weights, and no failure where they cannot be.
func TestCaptionCache(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "supir", "captions")
	ask := func(llava LLaVA, folder string) (text string, tokens int) {
		m := withLLaVA(t)
		opts := quick()
		opts.Captioner, opts.CaptionRaw, opts.CaptionCache = llava, true, folder
		opts.Progress = func(p Progress) { tokens = max(tokens, p.Step) }
		text, err := m.Caption(t.Context(), scene(64, 64), opts)
		require.NoError(t, err)
		return text, tokens
	}
	short := LLaVA{Temperature: -1, MaxTokens: 4}
	want, tokens := ask(short, folder)
	require.NotEmpty(t, want)
	require.Positive(t, tokens)
	got, tokens := ask(short, folder)
	require.Equal(t, want, got)
	require.Zero(t, tokens, "no token was computed")
	_, tokens = ask(LLaVA{Temperature: -1, MaxTokens: 5}, folder)
	require.Positive(t, tokens, "other settings")

	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	for _, damaged := range []string{"\xff\n", "", "\x00\x00\x00\n", want[:len(want)-1], "two\nlines\n", "\x1b[31mred\n"} {
		for _, e := range entries {
			require.NoError(t, os.WriteFile(filepath.Join(folder, e.Name()), []byte(damaged), 0o600))
		}
		got, tokens = ask(short, folder)
		require.Equal(t, want, got)
		require.Positive(t, tokens, "%q is not taken", damaged)
	}

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	got, _ = ask(short, filepath.Join(file, "below"))
	require.Equal(t, want, got)

	other := filepath.Join(t.TempDir(), "other.gguf")
	require.NoError(t, os.WriteFile(other, []byte("other weights"), 0o600))
	require.NotEqual(t, LLaVAFiles{Text: file}.identity(), LLaVAFiles{Text: other}.identity())
	require.Nil(t, LLaVAFiles{Text: "embedded", FS: os.DirFS(".")}.identity())
}
