package supir

import (
	"cmp"
	"context"
	"errors"
	"image"
	"image/color"
	"reflect"
	"runtime/debug"

	"golang.org/x/sync/semaphore"

	"supir/internal/ggml"
	"supir/internal/memory"
	"supir/photo"
)

// ErrClosed is returned by the methods of a closed Model.
var ErrClosed = errors.New("supir: the model is closed")

// ErrNumbers says that a network came to what is no finite number, of which no
// picture can be made. As a rule there is such a weight in the files.
var ErrNumbers = errors.New("the networks computed what is no number")

// A Model restores pictures. Any number of goroutines may use it at once: their
// work is done one after another.
type Model struct {
	turn     *semaphore.Weighted // held by who uses what is below
	networks *networks           // nil when closed
	machine  machine
	captions captionMemory
	base     int64 // bytes that the process held when it was made
}

// New opens the weights and checks all of them; files of the file system are
// mapped into memory. They are loaded onto a device when they are needed. The error is a *WeightsError.
func New(files Files) (*Model, error) {
	n, err := openNetworks(files)
	if err != nil {
		return nil, err
	}
	return &Model{turn: semaphore.NewWeighted(1), networks: n, base: cmp.Or(memory.Resident(), unknownBase)}, nil
}

// Close waits for work under way and frees everything. It may be repeated.
func (m *Model) Close() error {
	if err := m.turn.Acquire(context.Background(), 1); err != nil {
		return err
	}
	defer m.turn.Release(1)
	if m.networks == nil {
		return nil
	}
	m.machine.close()
	err := m.networks.close()
	m.networks = nil
	return err
}

// A Result is a restored picture.
type Result struct {
	// Image has the size asked for: an *image.NRGBA, or *image.NRGBA64 where the
	// picture had 16 bits; *image.Gray or *image.Gray16 where it was grey.
	Image image.Image
	// Images are all samples, Image the first of them.
	Images []image.Image
	// Cleaned is the stage-1 picture, D(E_dr(x_LQ)), at the size worked on; nil
	// if nothing needed it.
	Cleaned image.Image
	// Caption is the description that was used; TileCaptions are those of the
	// windows, row by row, where each had its own.
	Caption      string
	TileCaptions []string
	// CaptionError is why the captioner gave none, with Options.CaptionOptional.
	CaptionError error
	// Plan is what was done.
	Plan Plan
}

// Restore restores a picture, which it doesn't change. Transparency is carried
// over. The error is an *OptionError, a *MemoryError, ErrNumbers, ErrClosed, ctx's
// error or the captioner's; after any of them the model can be used again.
//
// This is the pipeline of the paper's Fig. 2, from top to bottom.
func (m *Model) Restore(ctx context.Context, img image.Image, opts Options) (result *Result, err error) {
	if err := m.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer m.turn.Release(1)
	if m.networks == nil {
		return nil, ErrClosed
	}
	n := m.networks
	set, z, err := n.settleFor(img, opts)
	if err != nil {
		return nil, err
	}
	plan, err := m.plan(set, z)
	if err != nil {
		return nil, err
	}
	if err := plan.fits(); err != nil {
		return nil, err
	}
	defer func() {
		if short := (*ggml.MemoryError)(nil); errors.As(err, &short) {
			result, err = nil, &MemoryError{Plan: *plan, Err: short}
		}
	}()
	m.machine.hold(plan.held)
	track := newTracker(set.Progress, set.Trace)
	defer track.leave()
	if set.Trace != nil {
		m.machine.engine.Trace(set.Trace.operator)
		defer m.machine.engine.Trace(nil)
	}
	in := photo.From(img)
	deep := in.Meta.Depth == 16
	work := photo.Resize(in.Image, z.workW, z.workH, photo.Bicubic)
	debug.FreeOSMemory() // of what the caller read the picture with, before weights are loaded

	// The degradation-robust encoder, and what is made of its latent.
	track.enter(StageEncode, 1)
	lq, err := m.machine.encode(ctx, n, &n.vae.Robust, pixelSource{work}, z.workH, z.workW, track.part)
	if err != nil {
		return nil, err
	}
	result = &Result{Plan: *plan, Caption: set.Prompt, TileCaptions: set.TileCaptions}
	var cleaned *raster // the stage-1 picture
	defer func() { cleaned.Close() }()
	if set.wantsStage1() {
		track.enter(StageClean, 1)
		if cleaned, err = m.decode(ctx, lq, z, track); err != nil {
			return nil, err
		}
		if result.Cleaned, err = cleaned.picture(ColorFixNone, 0, nil, deep); err != nil {
			return nil, err
		}
	}
	var centre []float32 // its latent
	if set.guided {
		if centre, err = m.machine.encode(ctx, n, &n.vae.Encoder, cleaned, z.workH, z.workW, track.part); err != nil {
			return nil, err
		}
	}
	if set.ColorFix == ColorFixNone {
		cleaned.Close()
		cleaned = nil
	}
	var seen image.Image // by the captioner
	if set.wantsCaption() {
		if seen, err = m.captionersView(ctx, set, in.Image, work, result.Cleaned, z); err != nil {
			return nil, err
		}
	}
	var preview *previewer
	if set.Progress != nil {
		preview = newPreviewer(work, lq, z.workH/n.vae.Factor(), z.workW/n.vae.Factor())
	}
	work = nil
	debug.FreeOSMemory() // of pictures that are no longer used, before more is taken
	if set.wantsCaption() {
		d, err := m.describe(ctx, set, seen, m.captionParts(set, z), false, track)
		if err != nil {
			return nil, err
		}
		result.Caption, result.TileCaptions, result.CaptionError = d.caption, d.tiles, d.failed
	}

	// The prompts, through both text encoders.
	track.enter(StageText, 1)
	captions := result.TileCaptions
	if len(captions) == 0 {
		captions = []string{result.Caption}
	}
	cond, err := m.machine.conditions(ctx, n, set, captions)
	if err != nil {
		return nil, err
	}

	// Sampling, in windows where the latent is large.
	latents, err := m.sample(ctx, set, z, track, samplingInput{preview, lq, centre, cond, func(i int) noiseSource { return newNoise(set.Seed + uint64(i)) }})
	if err != nil {
		return nil, err
	}

	for _, latent := range latents {
		if err := finite(latent); err != nil {
			return nil, err
		}
	}
	debug.FreeOSMemory()

	// The decoder, and the colours of the cleaned picture.
	track.enter(StageDecode, len(latents))
	for i, latent := range latents {
		out, err := m.decode(ctx, latent, z, track)
		if err != nil {
			return nil, err
		}
		restored, err := out.picture(set.ColorFix, set.ColorFixLevels, cleaned, deep)
		out.Close()
		if err != nil {
			return nil, err
		}
		debug.FreeOSMemory()
		restored = photo.Resize(restored, z.outW, z.outH, photo.Bicubic)
		result.Images = append(result.Images, in.With(restored).Whole())
		track.step(i+1, len(latents), nil)
	}
	result.Image = result.Images[0]
	return result, nil
}

// decode makes a picture of a latent; the caller closes it.
func (m *Model) decode(ctx context.Context, latent []float32, z sizes, track *tracker) (*raster, error) {
	r, err := newRaster(z.workH, z.workW, m.machine.layout.OnDisk)
	if err != nil {
		return nil, err
	}
	if err := m.machine.decode(ctx, m.networks, latent, z.workH, z.workW, r, track.part); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// settleFor is settle for a picture, which must not be nil.
func (n *networks) settleFor(img image.Image, opts Options) (*settings, sizes, error) {
	if v := reflect.ValueOf(img); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil, sizes{}, &OptionError{"img", "there is no picture"}
	}
	set, z, err := n.settle(img.Bounds().Size(), opts)
	model := img.ColorModel()
	z.deep = model == color.NRGBA64Model || model == color.RGBA64Model || model == color.Gray16Model
	return set, z, err
}

// settle fills in and checks all that depends on options and the picture's size.
func (n *networks) settle(size image.Point, opts Options) (*settings, sizes, error) {
	set, err := opts.resolve(n.defaults)
	if err != nil {
		return nil, sizes{}, err
	}
	if size.X <= 0 || size.Y <= 0 {
		return nil, sizes{}, &OptionError{"img", "the picture is empty"}
	}
	if set.Captioner == nil && n.llava != nil {
		set.Captioner = LLaVA{}
	}
	z, err := sizesFor(size.X, size.Y, &set, n.align())
	return &set, z, err
}

// conditions encodes the negative prompt and every caption.
func (m *machine) conditions(ctx context.Context, n *networks, set *settings, captions []string) (*conditions, error) {
	prompts := []string{set.NegativeWords}
	for _, c := range captions {
		prompts = append(prompts, positivePrompt(c, set.PositiveWords))
	}
	hidden, pooled, err := m.encodeText(ctx, n, prompts)
	if err != nil {
		return nil, err
	}
	c := &conditions{prompts: len(prompts), context: hidden}
	each := len(pooled) / len(prompts)
	for i := range prompts {
		c.y = append(c.y, vector(pooled[i*each:(i+1)*each], n.diffusion.UNet.VectorFeatures())...)
	}
	return c, nil
}

// samplingInput is what sampling starts from.
type samplingInput struct {
	preview    *previewer // nil without Progress
	lq, centre []float32  // the picture's robust latent, and that of the cleaned picture
	cond       *conditions
	noise      func(sample int) noiseSource
}

// sample draws the latents of all samples.
func (m *Model) sample(ctx context.Context, set *settings, z sizes, track *tracker, in samplingInput) ([][]float32, error) {
	n := m.networks
	f := n.vae.Factor()
	h, w := z.workH/f, z.workW/f
	net := m.machine.newSteered(ctx, n, set, min(h, set.TileSize), min(w, set.TileSize), in.cond)
	defer net.close()
	denoise := net.denoiser(in.lq, h, w, set)

	track.enter(StageSample, set.Steps*set.Samples)
	var latents [][]float32
	for i := range set.Samples {
		common := sampling{
			sigmas:   set.sigmas(),
			control:  linear{set.ControlStart, set.ControlEnd},
			guidance: restoration{centre: in.centre},
			step: func(step int, _, denoised []float32) {
				track.step(i*set.Steps+step+1, set.Steps*set.Samples, func() image.Image { return in.preview.picture(denoised) })
			},
		}
		if set.guided {
			common.guidance.tau = set.Restoration
		}
		x := make([]float32, len(in.lq))
		noise := in.noise(i)
		net.begin()
		var err error
		switch set.Sampler {
		case EDM:
			err = sampleEDM(ctx, x, denoise, noise, edm{sampling: common, churn: set.SChurn, noise: set.SNoise,
				alwaysDraw: needsTiles(h, w, set.TileSize)})
		case DPMPP2M:
			err = sampleDPMPP2M(ctx, x, denoise, noise, dpmpp{sampling: common, eta: set.Eta, noise: set.SNoise})
		}
		if err != nil {
			return nil, err
		}
		latents = append(latents, x)
	}
	return latents, nil
}
