package supir

import (
	"context"
	"fmt"
	"image"

	"supir/internal/memory"
	"supir/internal/nn"
)

// A Plan says beforehand what restoring a picture takes.
type Plan struct {
	Width, Height         int // of the result, in pixels
	WorkWidth, WorkHeight int // of the picture while it is worked on
	Steps                 int // of sampling, for each sample
	Windows               int // of each step; 1 where the latent is not cut
	Stages                []StagePlan
	Keep                  bool  // the weights of all stages stay loaded between calls
	Peak                  int64 // estimate of the most memory in use at once, in bytes
	Budget                int64 // what may be used

	precision nn.Precision
}

// A StagePlan is one stage's part of a Plan, in bytes.
type StagePlan struct {
	Stage   Stage
	Weights int64 // of its networks
	Working int64 // of its intermediate results
}

// A MemoryError says that a picture does not fit into memory.
type MemoryError struct {
	Plan Plan
	Err  error // what a device refused though it was planned for; nil if the plan says so
}

// Unwrap returns Err.
func (e *MemoryError) Unwrap() error { return e.Err }

func (e *MemoryError) Error() string {
	p := &e.Plan
	if e.Err != nil {
		return fmt.Sprintf("working at %d×%d: %v: ask for a smaller Upscale or MinSize", p.WorkWidth, p.WorkHeight, e.Err)
	}
	return fmt.Sprintf("working at %d×%d needs about %d MiB of memory, %d MiB may be used: ask for a smaller Upscale or MinSize, or give more Memory",
		p.WorkWidth, p.WorkHeight, p.Peak>>20, p.Budget>>20)
}

func (p *Plan) fits() error {
	if p.Budget > 0 && p.Peak > p.Budget {
		return &MemoryError{Plan: *p}
	}
	return nil
}

// Plan tells what Restore would do with a picture of the given size, and what
// memory that takes, without loading weights. It waits for work under way, so it
// must not be called from Progress or a Captioner. The error is an *OptionError
// or ErrClosed; a plan that exceeds its budget is no error here.
func (m *Model) Plan(size image.Point, opts Options) (*Plan, error) {
	if err := m.turn.Acquire(context.Background(), 1); err != nil {
		return nil, err
	}
	defer m.turn.Release(1)
	if m.networks == nil {
		return nil, ErrClosed
	}
	set, z, err := m.networks.settle(size, opts)
	if err != nil {
		return nil, err
	}
	return m.plan(set, z)
}

// keepShare is the part of the budget that weights may take and still stay
// loaded between calls, or be widened to F32.
const keepShare = 8

// plan records every program the picture needs, on weights without memory, and
// adds up what each would take.
func (m *Model) plan(set *settings, z sizes) (*Plan, error) {
	n := m.networks
	p := &Plan{Width: z.outW, Height: z.outH, WorkWidth: z.workW, WorkHeight: z.workH, Steps: set.Steps, Windows: 1, Budget: set.Memory}
	if err := m.machine.open(set.Device, set.Threads); err != nil {
		return nil, err
	}
	engine := m.machine.engine
	if p.Budget == 0 {
		if p.Budget = engine.FreeMemory(); p.Budget == 0 { // the CPU's
			p.Budget = memory.Available()
		}
	}
	p.Keep = engine.WeightBytes(nn.F32, n.all()...) <= p.Budget/keepShare
	p.precision = nn.Stored
	if set.Precision == PrecisionF32 || set.Precision == PrecisionAuto && p.Keep {
		p.precision = nn.F32
	}

	measure := func(stage Stage, precision nn.Precision, networks []any, programs ...func(g *nn.Graph)) error {
		s := StagePlan{Stage: stage, Weights: engine.WeightBytes(precision, networks...)}
		params, err := engine.Describe(precision, networks...)
		if err != nil {
			return err
		}
		defer params.Close()
		for _, f := range programs {
			working, err := engine.Measure(params, f)
			if err != nil {
				return err
			}
			s.Working = max(s.Working, working)
		}
		p.Stages = append(p.Stages, s)
		return nil
	}

	encode, decode := n.encodeProgram(&n.vae.Robust, z.workH, z.workW), n.decodeProgram(z.workH, z.workW)
	f := n.vae.Factor()
	h, w := z.workH/f, z.workW/f
	if needsTiles(h, w, set.TileSize) {
		p.Windows = len(windows(h, w, set.TileSize, set.TileStride))
	}
	prompts := 1 + max(1, len(set.TileCaptions))
	if set.wantsCaption() && set.CaptionTiles {
		prompts = 1 + p.Windows
	}
	both := 2
	if set.CFGStart == 1 && set.CFGEnd == 1 {
		both = 1
	}
	sample := func(g *nn.Graph) {
		nn.Output(g, noiseOutput, n.diffusion.forward(g, min(h, set.TileSize), min(w, set.TileSize), both, n.clipL.Length(), true))
	}
	if err := measure(StageEncode, vaePrecision, []any{&n.vae}, encode, decode); err != nil {
		return nil, err
	}
	caption, err := m.planCaption(set)
	if err != nil {
		return nil, err
	}
	if caption != nil {
		p.Stages = append(p.Stages, *caption)
	}
	if err := measure(StageText, p.precision, []any{&n.clipL, &n.bigG}, n.textProgram(prompts)); err != nil {
		return nil, err
	}
	if err := measure(StageSample, p.precision, n.diffusion.networks(), sample); err != nil {
		return nil, err
	}

	var weights int64
	for _, s := range p.Stages {
		if s.Stage != StageCaption { // whose weights never stay
			weights += s.Weights
		}
		p.Peak = max(p.Peak, s.Weights+s.Working)
	}
	if p.Keep {
		p.Peak = 0
		for _, s := range p.Stages {
			all := weights + s.Working
			if s.Stage == StageCaption {
				all += s.Weights
			}
			p.Peak = max(p.Peak, all)
		}
	}
	const picturesAsFloats = 4 // input, cleaned picture, result, and a copy for its colours
	p.Peak += picturesAsFloats * 3 * 4 * int64(z.workW) * int64(z.workH)
	return p, nil
}
