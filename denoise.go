package supir

import (
	"context"
	"slices"
	"strings"

	"supir/internal/nn"
	"supir/internal/unet"
)

// conditions are what the U-Net is told, beside the latents: for the negative
// prompt, which comes first, and for every caption.
type conditions struct {
	prompts int
	context []float32 // prompts×tokens×C
	y       []float32 // prompts×features
}

// of is one caption's condition, behind the negative prompt's if both are wanted.
func (c *conditions) of(caption int, both bool) (context, y []float32) {
	one := func(all []float32, i int) []float32 {
		each := len(all) / c.prompts
		return all[i*each : (i+1)*each]
	}
	context, y = one(c.context, 1+caption), one(c.y, 1+caption)
	if both {
		context, y = slices.Concat(one(c.context, 0), context), slices.Concat(one(c.y, 0), y)
	}
	return context, y
}

// A steered network predicts noise in windows of one size, with U-Net, adaptor
// and connectors as one graph for both prompts.
type steered struct {
	ctx      context.Context
	m        *machine
	n        *networks
	h, w     int  // of a window, in the latent
	scaled   bool // the control scale is not 1 all through
	cond     *conditions
	time     []float32
	reuse    reuse
	keeping  []string  // parts that some step takes over
	programs *programs // those for one prompt or for both
	windows  []*progressed
}

// A progressed window is how far a window is in a run of the sampler, and what
// its last steps have kept for the next ones.
type progressed struct {
	steps int
	kept  []float32 // used where there is more than one window
}

// programs are the ways to compute a step for one prompt or for both: all of it,
// or without the parts that are taken over.
type programs struct {
	both    bool
	full    *loaded
	partly  map[string]*loaded
	keepsOf int          // the window whose values full keeps
	has     map[int]bool // windows that have left values of these programs
}

func (p *programs) close() {
	if p == nil {
		return
	}
	for _, partly := range p.partly {
		partly.Close()
	}
	p.full.Close()
}

// loaded is a program that remembers what its constant inputs are set to.
type loaded struct {
	*nn.Program
	window, caption int
}

// newSteered makes a network that is loaded when it is first asked; the caller
// closes it.
func (m *machine) newSteered(ctx context.Context, n *networks, set *settings, h, w int, cond *conditions) *steered {
	s := &steered{ctx: ctx, m: m, n: n, h: h, w: w, scaled: set.ControlStart != 1 || set.ControlEnd != 1, cond: cond,
		time: make([]float32, n.diffusion.UNet.ModelChannels()), reuse: set.reuse()}
	_, s.keeping = s.reuse.ways(set.Steps)
	return s
}

// begin starts a new run of the sampler.
func (s *steered) begin() {
	for _, w := range s.windows {
		w.steps = 0
	}
}

// close frees the programs; the machine keeps the weights or not.
func (s *steered) close() {
	s.programs.close()
	s.m.done(&s.m.diffusion)
}

// build makes a program for one prompt or both.
func (s *steered) build(both bool, reuse func(g *nn.Graph)) (*loaded, error) {
	d, prompts := &s.n.diffusion, 1
	if both {
		prompts = 2
	}
	p, err := s.m.build(s.ctx, &s.m.diffusion, d.networks(), func(g *nn.Graph) {
		reuse(g)
		nn.Output(g, noiseOutput, d.forward(g, s.h, s.w, prompts, s.n.clipL.Length(), s.scaled))
	})
	if err != nil {
		return nil, err
	}
	return &loaded{Program: p, window: -1, caption: -1}, nil
}

// program is the one for a window's next step. Programs for one prompt or both are
// built when they are first needed, and the others go, since schedules seldom
// change between them; what a window has left in them goes too.
func (s *steered) program(window int, both bool) (p *loaded, err error) {
	if s.programs != nil && s.programs.both != both {
		s.programs.close()
		s.programs = nil
	}
	if s.programs == nil {
		full, err := s.build(both, func(g *nn.Graph) { g.Keeping(s.keeping...) })
		if err != nil {
			return nil, err
		}
		s.programs = &programs{both: both, full: full, partly: map[string]*loaded{}, has: map[int]bool{}}
	}
	ps, w := s.programs, s.windows[window]
	parts := s.reuse.at(w.steps)
	if len(parts) == 0 || !ps.has[window] {
		return ps.full, nil
	}
	if ps.keepsOf != window {
		ps.full.SetKept(w.kept)
		ps.keepsOf = window
	}
	name := strings.Join(parts, " ")
	if ps.partly[name] == nil {
		if ps.partly[name], err = s.build(both, func(g *nn.Graph) { g.Reusing(ps.full.Program, parts...) }); err != nil {
			delete(ps.partly, name)
			return nil, err
		}
	}
	return ps.partly[name], nil
}

// done ends a window's step.
func (s *steered) done(window int) {
	w := s.windows[window]
	w.steps++
	if len(s.keeping) == 0 {
		return
	}
	s.programs.keepsOf, s.programs.has[window] = window, true
	if len(s.windows) > 1 {
		w.kept = s.programs.full.Kept(w.kept)
	}
}

// network is the network in one window, with its caption. lq cuts its part out of
// the low-quality latent.
func (s *steered) network(window int, lq func() []float32, caption int) network {
	s.windows = append(s.windows, &progressed{})
	return func(x []float32, t int, controlScale float64, both bool) (neg, pos []float32, err error) {
		p, err := s.program(window, both)
		if err != nil {
			return nil, nil, err
		}
		unet.Timestep(s.time, float64(t))
		inputs := map[string][]float32{latentInput: x, unet.TimeInput: s.time}
		if both {
			inputs[latentInput] = slices.Concat(x, x)
		}
		if s.scaled {
			inputs[controlInput] = []float32{float32(controlScale)}
		}
		if p.window != window {
			inputs[lqInput] = lq()
		}
		if p.caption != caption {
			inputs[unet.ContextInput], inputs[unet.VectorInput] = s.cond.of(caption, both)
		}
		for name, data := range inputs {
			if err := p.Set(name, data); err != nil {
				return nil, nil, err
			}
		}
		p.window, p.caption = window, caption
		if err := p.Run(s.ctx); err != nil {
			return nil, nil, err
		}
		s.done(window)
		noise, err := p.Get(noiseOutput)
		if err != nil || !both {
			return nil, noise, err
		}
		return noise[:len(x)], noise[len(x):], nil
	}
}

// denoiser puts the windows of a latent of h×w together: one, or as many as its
// size needs. lq is the whole low-quality latent.
func (s *steered) denoiser(lq []float32, h, w int, set *settings) denoiser {
	scale := set.cfg()
	if !needsTiles(h, w, set.TileSize) {
		return guided(discrete(s.network(0, func() []float32 { return lq }, 0)), scale)
	}
	wins := windows(h, w, set.TileSize, set.TileStride)
	captions := s.cond.prompts - 1
	inner := make([]denoiser, len(wins))
	for i, win := range wins {
		inner[i] = guided(discrete(s.network(i, func() []float32 { return crop(lq, h, w, win) }, i%captions)), scale)
	}
	return tiled(h, w, wins, func(i int) denoiser { return inner[i] })
}
