package supir

import (
	"context"
	"errors"
	"fmt"
	"image"

	"supir/internal/vae"
	"supir/photo"
)

// A Captioner describes pictures in words that steer the restoration (paper
// Sec. 3.2). Caption is given the picture after the degradation-robust encoder
// and the decoder have cleaned it, and a context that [LLaVA] knows the model by.
// An empty text without an error means that there is nothing to say.
//
// Kinds: [LLaVA], [FixedCaption], [Sidecar], [Endpoint], several in turn
// ([FirstCaption]), or one of your own.
type Captioner interface {
	Caption(ctx context.Context, cleaned image.Image) (string, error)
}

// FixedCaption describes every picture by the same text; an empty one leaves
// the description out even if the model has a captioner of its own.
type FixedCaption string

// Caption returns the text.
func (c FixedCaption) Caption(context.Context, image.Image) (string, error) { return string(c), nil }

// FirstCaption asks captioners in turn until one has something to say. The error
// joins those of all that failed, and is nil if one said something.
type FirstCaption []Captioner

// Caption returns the first caption there is.
func (c FirstCaption) Caption(ctx context.Context, cleaned image.Image) (string, error) {
	var errs []error
	for _, one := range c {
		text, err := one.Caption(ctx, cleaned)
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if err == nil && text != "" {
			return text, nil
		}
		errs = append(errs, err)
	}
	return "", errors.Join(errs...)
}

// wantsCaption tells whether the captioner is asked.
func (s *settings) wantsCaption() bool {
	return s.Captioner != nil && s.Prompt == "" && len(s.TileCaptions) == 0
}

// A description is what a captioner made of a picture.
type description struct {
	caption string
	tiles   []string // of windows instead, row by row
	failed  error    // why there is none, where that may be
}

// describe asks the captioner about the picture, or about each of its windows.
func (m *Model) describe(ctx context.Context, set *settings, seen image.Image, parts []image.Rectangle, whole bool, track *tracker) (d description, err error) {
	track.enter(StageCaption, 1)
	asked := &asked{model: m, whole: whole, folder: set.CaptionCache, progress: func(done, of int) { track.step(done, of, nil) }}
	defer asked.close()
	ctx = context.WithValue(ctx, askedKey{}, asked)
	ask := func(img image.Image) string {
		if err != nil || d.failed != nil {
			return ""
		}
		var text string
		text, err = set.Captioner.Caption(ctx, img)
		if err != nil {
			err = fmt.Errorf("captioner: %w", err)
		}
		if set.CaptionOptional && ctx.Err() == nil {
			d.failed, err = err, nil
		}
		return text
	}
	if len(parts) == 0 {
		d.caption = ask(seen)
	}
	for _, part := range parts {
		d.tiles = append(d.tiles, ask(cut(seen, part)))
	}
	if d.failed != nil {
		d.tiles = nil
	}
	return d, err
}

// Caption describes a picture as Restore would for its prompt, but to the end,
// and without restoring anything. Of the options, those about captions, machine
// and progress count. Unless CaptionRaw says otherwise the picture is cleaned
// first, no larger than the captioner needs it. The text is empty where there is
// no captioner. The error is that of Restore.
func (m *Model) Caption(ctx context.Context, img image.Image, opts Options) (string, error) {
	opts.Prompt, opts.TileCaptions = "", nil
	if err := m.turn.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer m.turn.Release(1)
	if m.networks == nil {
		return "", ErrClosed
	}
	n := m.networks
	set, z, err := n.settleFor(img, opts)
	if err != nil || !set.wantsCaption() {
		return "", err
	}
	if err := m.machine.open(set.Device, set.Threads); err != nil {
		return "", err
	}
	if err := m.fitsCaption(set); err != nil {
		return "", err
	}
	track := newTracker(set.Progress, set.Trace)
	seen := photo.From(img).Image // without its transparency, as Restore has it
	if !set.CaptionRaw {
		track.enter(StageClean, 1)
		if seen, err = m.cleanForCaption(ctx, set, img, z); err != nil {
			return "", err
		}
	}
	d, err := m.describe(ctx, set, seen, nil, true, track)
	return d.caption, err
}

// captionSide is the short side of the picture that captioners see where nothing
// else needs a cleaned one, in pixels; LLaVA says itself what it needs.
const captionSide = 512

// sideFor is the short side of the picture that a captioner needs.
func (n *networks) sideFor(c Captioner) int {
	switch c := c.(type) {
	case LLaVA, *LLaVA:
		if n.llava != nil {
			return n.llava.Vision.Size
		}
	case FixedCaption, Sidecar:
		return 1 // they don't look
	case FirstCaption:
		side := 1
		for _, one := range c {
			side = max(side, n.sideFor(one))
		}
		return side
	}
	return captionSide
}

// cleanForCaption makes a stage-1 picture for the captioner alone, no larger than
// the one that would be worked on.
func (m *Model) cleanForCaption(ctx context.Context, set *settings, img image.Image, worked sizes) (image.Image, error) {
	n := m.networks
	side := n.sideFor(set.Captioner)
	side = min(side, worked.workW, worked.workH)
	b := img.Bounds().Size()
	z, err := sizesFor(b.X, b.Y, &settings{Options: Options{MinSize: side, Upscale: float64(side) / float64(max(b.X, b.Y))}}, n.align())
	if err != nil {
		return nil, err
	}
	work := photo.Resize(photo.From(img).Image, z.workW, z.workH, photo.Bicubic)
	lq, err := m.machine.encode(ctx, n, &n.vae.Robust, pixelSource{work}, z.workH, z.workW, nil)
	if err != nil {
		return nil, err
	}
	cleaned := make(vae.Slice, 3*z.workH*z.workW)
	if err := m.machine.decode(ctx, n, lq, z.workH, z.workW, cleaned, nil); err != nil {
		return nil, err
	}
	return picture(cleaned, z.workH, z.workW), nil
}

// captionersView is the picture that a captioner is shown: the stage-1 picture, if
// need be made for it alone, or the picture as it is.
func (m *Model) captionersView(ctx context.Context, set *settings, img, work, cleaned image.Image, z sizes) (image.Image, error) {
	switch {
	case set.CaptionRaw && set.CaptionTiles:
		return work, nil
	case set.CaptionRaw:
		return img, nil
	case cleaned != nil:
		return cleaned, nil
	}
	return m.cleanForCaption(ctx, set, img, z)
}

// captionParts are the windows to describe, in pixels of the picture worked on;
// none where it is described as a whole.
func (m *Model) captionParts(set *settings, z sizes) []image.Rectangle {
	f := m.networks.vae.Factor()
	h, w := z.workH/f, z.workW/f
	if !set.CaptionTiles || !needsTiles(h, w, set.TileSize) {
		return nil
	}
	var parts []image.Rectangle
	for _, win := range windows(h, w, set.TileSize, set.TileStride) {
		parts = append(parts, image.Rect(win.x0*f, win.y0*f, win.x1*f, win.y1*f))
	}
	return parts
}
