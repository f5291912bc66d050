package supir

import (
	"context"
	"errors"
	"image"
	"image/color"
	"io/fs"
	"math"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// scene is a picture with something in it, of any size.
func scene(w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			m.SetNRGBA(x, y, color.NRGBA{uint8(128 + 100*math.Sin(float64(x)/7)), uint8(255 * y / h), uint8(255 * x / w), 255})
		}
	}
	return m
}

// quick are options that take the golden model a moment.
func quick() Options { return Options{Steps: 2, Device: "cpu", Threads: 2} }

func TestRestore(t *testing.T) {
	m := goldenModel(t)
	var stages []Stage
	last := 0
	opts := quick()
	opts.Upscale = 1.5
	opts.Prompt = "a cat"
	opts.Samples = 2
	opts.Progress = func(p Progress) {
		if len(stages) == 0 || stages[len(stages)-1] != p.Stage {
			stages = append(stages, p.Stage)
		}
		require.LessOrEqual(t, p.Step, p.Of)
		if p.Stage == StageSample && p.Step > 0 {
			last = p.Step
			require.Equal(t, image.Pt(8, 8), p.Preview().Bounds().Size())
		}
	}
	in := scene(50, 37)
	before := append([]byte(nil), in.Pix...)
	r, err := m.Restore(t.Context(), in, opts)
	require.NoError(t, err)
	require.Equal(t, image.Pt(75, 56), r.Image.Bounds().Size(), "50×37 times 1.5, rounded")
	require.Len(t, r.Images, 2)
	require.NotEqual(t, r.Images[0], r.Images[1], "another seed")
	require.Equal(t, image.Pt(64, 64), r.Cleaned.Bounds().Size())
	require.Equal(t, "a cat", r.Caption)
	require.Equal(t, []Stage{StageEncode, StageClean, StageText, StageSample, StageDecode}, stages)
	require.Equal(t, 4, last)
	require.Equal(t, before, in.Pix, "the input is left alone")
}

// TestWeightsThatAreNoNumbers wants an error, not a black picture, whichever
// network has the weight.
func TestWeightsThatAreNoNumbers(t *testing.T) {
	for _, name := range []string{"first_stage_model.denoise_encoder.conv_in.bias", "first_stage_model.decoder.conv_out.bias",
		"model.diffusion_model.out.2.bias", "conditioner.embedders.1.model.ln_final.bias",
		"model.control_model.middle_block.0.in_layers.2.weight", "model.diffusion_model.middle_block.1.transformer_blocks.0.attn1.to_k.weight"} {
		files := goldenFiles(t)
		inMemory := files.FS.(fstest.MapFS)
		set, err := weights.OpenFiles(weights.File{Data: inMemory[files.SDXL].Data}, weights.File{Data: inMemory[files.SUPIR].Data})
		require.NoError(t, err)
		require.Equal(t, weights.F16, set.Tensor(name).DType)
		copy(set.Tensor(name).Data, "\x00\x7e") // NaN, in the file itself
		m, err := New(files)
		require.NoError(t, err)
		for _, c := range []Compute{ComputeAuto, ComputeF32, ComputeBF16, ComputeInt8} {
			opts := quick()
			opts.Compute = c
			_, err = m.Restore(t.Context(), scene(64, 64), opts)
			require.ErrorIs(t, err, ErrNumbers, "%s, %v", name, c)
		}
		require.NoError(t, m.Close())
	}
}

func TestNoPicture(t *testing.T) {
	m := goldenModel(t)
	for _, img := range []image.Image{nil, (*image.NRGBA)(nil)} {
		var option *OptionError
		_, err := m.Restore(t.Context(), img, quick())
		require.ErrorAs(t, err, &option)
		_, err = m.Caption(t.Context(), img, quick())
		require.ErrorAs(t, err, &option)
	}
}

// A budget below what the process itself takes is told of the least, not of the whole.
func TestLeastMemory(t *testing.T) {
	m := goldenModel(t)
	plan := func(memory int64) *Plan {
		p, err := m.Plan(image.Pt(1000, 1000), Options{Memory: memory, Device: "cpu", MinSize: -1})
		require.NoError(t, err)
		return p
	}
	least := plan(1 << 20)
	whole := plan(math.MaxInt64)
	require.Less(t, least.Peak-least.Overhead, (whole.Peak-whole.Overhead)*3/4)
	require.LessOrEqual(t, plan(least.Peak).Peak, least.Peak, "what is told to be enough is")
}

func TestSameSeedSamePicture(t *testing.T) {
	m := goldenModel(t)
	first, err := m.Restore(t.Context(), scene(64, 64), quick())
	require.NoError(t, err)
	second, err := m.Restore(t.Context(), scene(64, 64), quick())
	require.NoError(t, err)
	require.Equal(t, first.Image, second.Image)
	other := quick()
	other.Seed = 7
	third, err := m.Restore(t.Context(), scene(64, 64), other)
	require.NoError(t, err)
	require.NotEqual(t, first.Image, third.Image)
}

func TestKindsOfPictures(t *testing.T) {
	m := goldenModel(t)
	opts := quick()
	opts.Steps, opts.Restoration, opts.ColorFix = 1, -1, ColorFixNone
	grey := image.NewGray(image.Rect(3, 3, 40, 30))
	deep := image.NewNRGBA64(image.Rect(0, 0, 32, 32))
	clear := scene(33, 21)
	clear.Pix[3] = 10
	for name, c := range map[string]struct{ in, want image.Image }{
		"grey":        {grey, &image.Gray{}},
		"16 bits":     {deep, &image.NRGBA64{}},
		"transparent": {clear, &image.NRGBA{}},
		"one pixel":   {scene(1, 1), &image.NRGBA{}},
		"strip":       {scene(2, 300), &image.NRGBA{}},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := m.Restore(t.Context(), c.in, opts)
			require.NoError(t, err)
			require.IsType(t, c.want, r.Image)
			require.Equal(t, c.in.Bounds().Size(), r.Image.Bounds().Size())
			require.Nil(t, r.Cleaned, "nothing needed it")
			if name == "transparent" {
				require.Equal(t, uint8(10), r.Image.(*image.NRGBA).Pix[3])
			}
		})
	}
}

// TestTiles restores a picture larger than a window, with captions in turn.
func TestTiles(t *testing.T) {
	m := goldenModel(t)
	opts := quick()
	opts.TileSize, opts.TileStride, opts.TileCaptions = 16, 8, []string{"a cat", "a wall"}
	opts.Steps, opts.SChurn = 1, -1
	r, err := m.Restore(t.Context(), scene(192, 128), opts)
	require.NoError(t, err)
	require.Equal(t, 2, r.Plan.Windows)
	require.Equal(t, image.Pt(192, 128), r.Image.Bounds().Size())
}

type captioner func(context.Context, image.Image) (string, error)

func (c captioner) Caption(ctx context.Context, m image.Image) (string, error) { return c(ctx, m) }

func TestCaptioner(t *testing.T) {
	m := goldenModel(t)
	opts := quick()
	opts.Steps, opts.Restoration, opts.ColorFix = 1, -1, ColorFixNone
	opts.Captioner = captioner(func(_ context.Context, cleaned image.Image) (string, error) {
		require.Equal(t, image.Pt(64, 64), cleaned.Bounds().Size())
		return "waves", nil
	})
	r, err := m.Restore(t.Context(), scene(64, 64), opts)
	require.NoError(t, err)
	require.Equal(t, "waves", r.Caption)

	broken := errors.New("no words")
	opts.Captioner = captioner(func(context.Context, image.Image) (string, error) { return "", broken })
	_, err = m.Restore(t.Context(), scene(64, 64), opts)
	require.ErrorIs(t, err, broken)
}

// TestCancel ends a call in the middle of sampling; the model stays usable.
func TestCancel(t *testing.T) {
	m := goldenModel(t)
	ctx, cancel := context.WithCancel(t.Context())
	opts := quick()
	opts.Steps = 1000
	var at time.Time
	opts.Progress = func(p Progress) {
		if p.Stage == StageSample && p.Step == 2 {
			at = time.Now()
			cancel()
		}
	}
	_, err := m.Restore(ctx, scene(64, 64), opts)
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, at.IsZero())
	_, err = m.Restore(ctx, scene(64, 64), quick())
	require.ErrorIs(t, err, context.Canceled)
	_, err = m.Restore(t.Context(), scene(64, 64), quick())
	require.NoError(t, err)
}

func TestManyGoroutines(t *testing.T) {
	m := goldenModel(t)
	want, err := m.Restore(t.Context(), scene(64, 64), quick())
	require.NoError(t, err)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			r, err := m.Restore(t.Context(), scene(64, 64), quick())
			if err != nil || string(r.Image.(*image.NRGBA).Pix) != string(want.Image.(*image.NRGBA).Pix) {
				t.Errorf("another picture, or %v", err)
			}
		})
	}
	wg.Wait()
}

func TestClosed(t *testing.T) {
	m, err := New(goldenFiles(t))
	require.NoError(t, err)
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	_, err = m.Restore(t.Context(), scene(8, 8), Options{})
	require.ErrorIs(t, err, ErrClosed)
	_, err = m.Plan(image.Pt(8, 8), Options{})
	require.ErrorIs(t, err, ErrClosed)
}

func TestPlan(t *testing.T) {
	m := goldenModel(t)
	p, err := m.Plan(image.Pt(100, 70), Options{Upscale: 2, Device: "cpu"})
	require.NoError(t, err)
	require.Equal(t, []int{200, 140, 192, 128}, []int{p.Width, p.Height, p.WorkWidth, p.WorkHeight})
	var stages []Stage
	for _, s := range p.Stages {
		stages = append(stages, s.Stage)
	}
	require.Equal(t, []Stage{StageEncode, StageClean, StageText, StageSample, StageDecode}, stages)
	require.Positive(t, p.Peak)
	require.Positive(t, p.Budget)

	_, err = m.Restore(t.Context(), scene(100, 70), Options{Memory: 1 << 20, Device: "cpu"})
	var memory *MemoryError
	require.ErrorAs(t, err, &memory)
	require.Greater(t, memory.Plan.Peak, int64(1<<20))
}

func TestWrongFiles(t *testing.T) {
	good := goldenFiles(t)
	data := func(name string) []byte {
		b, err := fs.ReadFile(good.FS, name)
		require.NoError(t, err)
		return b
	}
	with := func(sdxl, robust []byte) Files {
		return Files{SDXL: "a", SUPIR: "b", FS: fstest.MapFS{"a": {Data: sdxl}, "b": {Data: robust}}}
	}
	sdxl, robust := data(good.SDXL), data(good.SUPIR)
	for name, c := range map[string]struct {
		files Files
		says  string
	}{
		"swapped":     {with(robust, sdxl), "swapped"},
		"twice SDXL":  {with(sdxl, sdxl), "looks like the SDXL file"},
		"twice SUPIR": {with(robust, robust), "looks like the SUPIR file"},
		"truncated":   {with(sdxl[:len(sdxl)/2], robust), "a"},
		"empty":       {with(nil, robust), "a"},
		"text":        {with([]byte("<!DOCTYPE html>"), robust), "a"},
		"missing":     {Files{SDXL: "nowhere.safetensors", SUPIR: "b.safetensors"}, "nowhere.safetensors"},
		"none":        {Files{}, "needed"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := New(c.files)
			require.Nil(t, m)
			var e *WeightsError
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, c.says)
		})
	}
	_, err := New(with(sdxl[:len(sdxl)/2], robust))
	var corrupt *weights.CorruptError
	require.ErrorAs(t, err, &corrupt)
}
