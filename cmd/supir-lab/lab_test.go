package main

import (
	"bytes"
	"context"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir"
	"supir/internal/degrade"
	"supir/internal/ggml/ggmltest"
	"supir/photo"
)

// TestMain ends with no handle of ggml left open.
func TestMain(m *testing.M) { ggmltest.Main(m) }

// scene is a picture with something to see.
func scene(w, h, seed int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(4*x + seed), uint8(128 + 60*math.Sin(float64(x*y)/90)), uint8(3 * y), 255})
		}
	}
	return m
}

// folder has pictures of 80×72, one too small, one damaged and a text.
func folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for i, name := range []string{"a.png", "b.jpg"} {
		require.NoError(t, write(filepath.Join(dir, name), scene(80, 72, 40*i)))
	}
	require.NoError(t, write(filepath.Join(dir, "c.png"), scene(30, 80, 0)))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "d.png"), []byte("\x89PNG\r\n\x1a\n broken"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "README.md"), []byte("words"), 0o666))
	return dir
}

func command(t *testing.T, args ...string) (code int, log string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String() + err.String()
}

// TestBadInput: every mistake is told by name, before work begins, and nothing
// is written.
func TestBadInput(t *testing.T) {
	photos, out := folder(t), filepath.Join(t.TempDir(), "out")
	empty := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		want string
	}{
		{"fig9", 2, `no experiment "fig9"`},
		{"table1 " + photos, 2, "--photos DIR"},
		{"encoder", 2, "--photos DIR is needed"}, // here are no examples
		{"encoder --photos " + photos + "/none", 1, "no such file"},
		{"encoder --photos " + empty, 1, "no pictures"},
		{"encoder --photos " + photos + " --size 640", 1, "none of its 4 pictures can be used"},
		{"encoder --photos " + photos + " --size 100", 2, "multiple of 64"},
		{"encoder --photos " + photos + " --degraded " + photos, 2, "leave one out"},
		{"encoder --degraded " + photos, 1, "gt"},
		{"fig8a --photos " + photos + " --recipe sr3", 2, "sr4_noise40"},
		{"table2c --photos " + photos, 2, "--model-zero-convolution FILE"},
		{"table2b --photos " + photos + " --model-without-negatives none.safetensors", 1, "none.safetensors"},
		{"table1 --photos " + photos + " --sdxl x.safetensors", 2, "both --sdxl and --supir"},
		{"table1 --photos " + photos + " --size 64 --device abacus", 1, "abacus"},
	} {
		code, log := command(t, append(strings.Fields(c.args), "--out", out)...)
		require.Equal(t, c.code, code, "%s: %s", c.args, log)
		require.Contains(t, log, c.want, c.args)
	}
	require.NoFileExists(t, filepath.Join(out, reportName))
}

// TestEncoderExperiment runs one experiment from the command line to its report.
func TestEncoderExperiment(t *testing.T) {
	out := t.TempDir()
	code, log := command(t, "encoder", "--photos", folder(t), "--size", "64", "--out", out, "--device", "cpu", "--threads", "1")
	require.Zero(t, code, log)
	require.Contains(t, log, "2 pictures, 2 skipped")
	report, err := os.ReadFile(filepath.Join(out, reportName))
	require.NoError(t, err)
	text := string(report)
	for _, want := range []string{
		"mean of 2 photographs", "| plain encoder |", "| robust encoder |", "Does it agree?", "2 of 2 cases",
		"2 were skipped", "- c.png: 30×80 is smaller than --size 64", "- d.png: ",
	} {
		require.Contains(t, text, want)
	}
	require.Equal(t, len(degrade.Recipes), strings.Count(text, "| robust encoder |"))
	_, err = photo.Read(filepath.Join(out, figures, "encoder-sr4.jpg"), photo.ReadOptions{})
	require.NoError(t, err)
}

// TestRestoredOnce: a picture is made once from the same input, options and
// weights, and again when any of them changes.
func TestRestoredOnce(t *testing.T) {
	f := &flags{out: t.TempDir(), steps: 1, seed: 7, device: "cpu", threads: 1}
	var log bytes.Buffer
	l := &lab{flags: f, log: &log, models: newModels(f)}
	defer func() { require.NoError(t, l.models.close()) }()
	var err error
	l.pictures, err = openLedger(f.out)
	require.NoError(t, err)
	low := scene(16, 16, 1)
	o := supir.Fidelity
	o.Upscale, o.MinSize = 4, -1
	restore := func() image.Image {
		img, err := l.restored(t.Context(), mainModel, o, low, "a/sr4", "fidelity")
		require.NoError(t, err)
		return img
	}
	first := restore()
	require.Equal(t, image.Pt(64, 64), first.Bounds().Size())
	require.Equal(t, 1, strings.Count(log.String(), "\n"))
	require.Equal(t, nrgba(first, first.Bounds()).Pix, nrgba(restore(), first.Bounds()).Pix)
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "made a second time")

	require.NoError(t, l.pictures.close())
	l.pictures, err = openLedger(f.out) // as another run does
	require.NoError(t, err)
	restore()
	require.Equal(t, 1, strings.Count(log.String(), "\n"), "made again by another run")
	f.seed = 8
	restore()
	require.Equal(t, 2, strings.Count(log.String(), "\n"), "not made with another seed")
	require.NoError(t, l.pictures.close())
}

// TestLedger: a torn last line costs one picture, no more.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	l, err := openLedger(dir)
	require.NoError(t, err)
	require.NoError(t, l.add("x/a.png", "k1", scene(8, 8, 0)))
	require.NoError(t, l.add("x/b.png", "k2", scene(8, 8, 0)))
	require.NoError(t, l.close())
	name := filepath.Join(dir, "pictures.jsonl")
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, data[:len(data)-9], 0o666))

	l, err = openLedger(dir)
	require.NoError(t, err)
	require.NotNil(t, l.find("x/a.png", "k1"))
	require.Nil(t, l.find("x/a.png", "other"))
	require.Nil(t, l.find("x/b.png", "k2"))
	require.NoError(t, l.add("x/b.png", "k2", scene(8, 8, 0)))
	require.NoError(t, l.close())
	l, err = openLedger(dir)
	require.NoError(t, err)
	require.NotNil(t, l.find("x/b.png", "k2"))
	require.NoError(t, l.close())
}

// TestDegradedFolder: what degrade.Recipe writes can be given instead.
func TestDegradedFolder(t *testing.T) {
	dir := t.TempDir()
	truth := scene(64, 64, 0)
	require.NoError(t, write(filepath.Join(dir, "gt", "a.png"), truth))
	require.NoError(t, write(filepath.Join(dir, "gt", "b.png"), truth))
	for _, r := range degrade.Recipes {
		low, err := r.Apply(truth, 1, "a")
		require.NoError(t, err)
		require.NoError(t, write(filepath.Join(dir, r.Name, "a.png"), low))
	}
	var skipped []string
	items, err := (&flags{degraded: dir}).load(func(name string, err error) { skipped = append(skipped, name+": "+err.Error()) })
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Len(t, items[0].low, len(degrade.Recipes))
	require.Len(t, skipped, 1)
	require.Contains(t, skipped[0], "b.png")
}

// TestBudget: what a budget cuts off is left out whole, and what was done is
// reported.
func TestBudget(t *testing.T) {
	calls := 0
	g := &grid{id: about{name: "x", title: "X"}, recipes: func() []string { return []string{"sr4", "sr8"} }, methods: func(*lab) []method {
		return []method{bicubic(), {name: "limited", image: func(_ context.Context, _ *lab, it *item, _ degrade.Recipe) (image.Image, error) {
			if calls++; calls > 3 {
				return nil, errBudget
			}
			return it.truth, nil
		}}}
	}}
	l := &lab{flags: &flags{out: t.TempDir()}, log: new(bytes.Buffer)}
	for _, name := range []string{"a", "b", "c"} {
		it := item{name: name, truth: scene(64, 64, 0), low: map[string]*image.NRGBA{}}
		for _, r := range degrade.Recipes {
			low, err := r.Apply(it.truth, 1, name)
			require.NoError(t, err)
			it.low[r.Name] = low
		}
		l.items = append(l.items, it)
	}
	require.NoError(t, l.runAll(t.Context(), []experiment{g}))
	require.Equal(t, 4, calls)
	require.Equal(t, 2, g.result.photographs("sr4"))
	require.Equal(t, 1, g.result.photographs("sr8"))
	require.FileExists(t, filepath.Join(l.out, sections, "x.md"))
}

// TestSameFileSameOptions: two experiments that share a picture's name share
// how it is made.
func TestSameFileSameOptions(t *testing.T) {
	l := &lab{flags: &flags{recipe: "sr4"}}
	made := map[string]string{}
	for _, e := range experiments(l.flags) {
		g, ok := e.(*grid)
		if !ok {
			continue
		}
		names := map[string]bool{}
		for _, m := range g.methods(l) {
			require.False(t, names[m.name], "%s has two methods %q", g.id.name, m.name)
			names[m.name] = true
			if m.file == "" {
				continue
			}
			if other, ok := made[m.file]; ok {
				require.Equal(t, other, m.made, "%s of %s", m.file, g.id.name)
			}
			made[m.file] = m.made
		}
		for _, r := range g.recipes() {
			_, err := degrade.Find(r)
			require.NoError(t, err)
		}
	}
	require.Contains(t, made, "quality")
}

// TestTargets: a texture is nearest to itself, wherever it lies; a shape too.
func TestTargets(t *testing.T) {
	c := figure1b(&flags{}).(*control)
	for _, pair := range c.pairs {
		a, err := pair[0].picture()
		require.NoError(t, err)
		b, err := pair[1].picture()
		require.NoError(t, err)
		require.Zero(t, pair[0].distance(a, a))
		require.Greater(t, pair[0].distance(b, a), 0.5, "%s and %s look alike", pair[0].name, pair[1].name)
		perfect := moved{[2][2]float64{{0, pair[1].distance(a, b)}, {pair[0].distance(b, a), 0}}}
		require.InDelta(t, 1, perfect.pull((pair[0].distance(b, a)+pair[1].distance(a, b))/2), 1e-9)
	}
	require.Len(t, figure1b(&flags{quick: true}).(*control).pairs, 2)
}

// TestRankCorrelation is Spearman's.
func TestRankCorrelation(t *testing.T) {
	require.InDelta(t, 1, rankCorrelation([]float64{1, 2, 5, 9}), 1e-12)
	require.InDelta(t, -1, rankCorrelation([]float64{9, 5, 2, 1}), 1e-12)
	require.InDelta(t, 0.8, rankCorrelation([]float64{1, 3, 2, 4}), 1e-12)
}

// TestPaperTables: as many numbers as columns, a table for each degradation.
func TestPaperTables(t *testing.T) {
	require.Len(t, paperTables1(), len(degrade.Recipes))
	for _, list := range [][]table{paperTables1(), paperTable2b(), paperTable2c()} {
		for _, table := range list {
			for _, row := range table.rows {
				require.Len(t, row, len(table.columns), table.title)
			}
		}
	}
}
