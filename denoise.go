package supir

import (
	"context"
	"slices"

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
	programs [2]*loaded // for the positive prompt alone, and for both
}

// loaded is a program that remembers what its constant inputs are set to.
type loaded struct {
	*nn.Program
	window, caption int
}

// close frees the programs; the machine keeps the weights or not.
func (s *steered) close() {
	for _, p := range s.programs {
		if p != nil {
			p.Close()
		}
	}
	s.m.done(&s.m.diffusion)
}

// program builds the program for one or both prompts when it is first needed;
// the other one goes, since schedules seldom change between them.
func (s *steered) program(both bool) (*loaded, error) {
	i, prompts := 0, 1
	if both {
		i, prompts = 1, 2
	}
	if s.programs[i] == nil {
		if other := s.programs[1-i]; other != nil {
			other.Close()
			s.programs[1-i] = nil
		}
		d := &s.n.diffusion
		p, err := s.m.build(s.ctx, &s.m.diffusion, d.networks(), func(g *nn.Graph) {
			nn.Output(g, noiseOutput, d.forward(g, s.h, s.w, prompts, s.n.clipL.Length(), s.scaled))
		})
		if err != nil {
			return nil, err
		}
		s.programs[i] = &loaded{Program: p, window: -1, caption: -1}
	}
	return s.programs[i], nil
}

// network is the network in one window, with its crop of the low-quality latent
// and its caption.
func (s *steered) network(window int, lq []float32, caption int) network {
	return func(x []float32, t int, controlScale float64, both bool) (neg, pos []float32, err error) {
		p, err := s.program(both)
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
			inputs[lqInput] = lq
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
	scale := linear{set.CFGStart, set.CFGEnd}
	if !needsTiles(h, w, set.TileSize) {
		return guided(discrete(s.network(0, lq, 0)), scale)
	}
	wins := windows(h, w, set.TileSize, set.TileStride)
	captions := s.cond.prompts - 1
	inner := make([]denoiser, len(wins))
	for i, win := range wins {
		inner[i] = guided(discrete(s.network(i, crop(lq, h, w, win), i%captions)), scale)
	}
	return tiled(h, w, wins, func(i int) denoiser { return inner[i] })
}
