package supir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"supir/internal/clip"
	"supir/internal/memory"
	"supir/internal/nn"
	"supir/internal/sdxl"
	"supir/internal/vae"
	"supir/internal/weights"
)

// A Benchmark is a part of the model to be timed, with random weights of the
// full size made in memory: no file is needed.
type Benchmark struct {
	// Part is "step" (U-Net, adaptor and connectors, once), "encode", "decode"
	// (VAE), "text" (both text encoders), or one block of the U-Net at the size of
	// its map in a picture of 1024×1024: "transformer1280", "transformer640",
	// "resblock640", "resblock320". Default step.
	Part string
	// Shape is "sdxl", the published model's, or "small". Default sdxl.
	Shape string
	// Size is the side of the picture in pixels, a multiple of 64. Default 512.
	Size int
	// Weights is the type of the weights: f32, f16, bf16, q8_0, q4_k. Default f16.
	Weights string
	// Compute is the type of the products. Default ComputeAuto; the VAE takes BF16 for
	// int8, and F32 where that is no faster, text encoders F32 in any case.
	Compute Compute
	// Stored keeps the weights in memory as they are stored, and unpacks them at
	// every use; else they are packed as they are computed with.
	Stored bool
	// Prompts is how many prompts a step is for. Default 2: guidance.
	Prompts int
	// Reuse are parts of a step that are taken over from an earlier one: "text",
	// "deep", "adaptor". Default: none. See GateStep, DeepInterval and
	// AdaptorInterval of Options.
	Reuse []string
	// Memory bounds what the VAE takes, weights and all, in bytes: maps are computed in
	// strips, as they are in a restoration where memory is short, and some of the work
	// twice. Default 0: whole maps.
	Memory int64
	// Runs are timed after a first one. Default 3.
	Runs int
	// Device and Threads are those of Options.
	Device  string
	Threads int
	// Trace, if set, gets one more run, operator by operator.
	Trace *Trace
}

// A BenchmarkResult is what a Benchmark has measured.
type BenchmarkResult struct {
	Benchmark Benchmark // as it was run, with defaults filled in
	Seconds   []float64 // of each run
	First     float64   // seconds of the first run, with what is done once
	Load      float64   // seconds to load the weights
	FLOP      float64   // multiplications and additions of a run, in strips too those of whole maps
	Once      float64   // those that are computed only when a prompt or picture changes
	Weights   int64     // bytes
	Working   int64     // bytes of intermediate results
	Strips    int       // that the VAE's maps were computed in, at most
	Peak      int64     // bytes the process has held at most, 0 if unknown
	// Product is the machine's rate, in FLOP/s, of one large matrix product
	// in the same type, the best of several in the same process.
	Product   float64
	Device    string
	Kernels   string         // instruction set of supir's own kernels; "" where ggml's compute
	Operators []OperatorTime // by time, of one traced run
}

// An OperatorTime is all operators of a kind in a run.
type OperatorTime struct {
	Kind    string
	Count   int
	Seconds float64
	FLOP    float64
}

// Minimum and Median of the runs, in seconds.
func (r *BenchmarkResult) Minimum() float64 { return slices.Min(r.Seconds) }

// Median is the median of the runs, in seconds.
func (r *BenchmarkResult) Median() float64 {
	s := slices.Sorted(slices.Values(r.Seconds))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Rate is the FLOP/s of the fastest run.
func (r *BenchmarkResult) Rate() float64 { return r.FLOP / r.Minimum() }

// A timedPart is what can be timed.
type timedPart struct {
	random   func(s sdxl.Shape, typ weights.DType) *weights.Set
	load     func(n *networks, r *weights.Report)
	stage    func(m *machine) *stage
	networks func(n *networks) []any
	program  func(n *networks, b *Benchmark) func(g *nn.Graph)
	network  func(n *networks, b *Benchmark) *vae.Network // in program's place: one that is computed in strips
	compute  func(c Compute, e *nn.Engine) Compute        // what it computes in where sampling does so in c; nil: the same
}

func randomly(part sdxl.Part) func(s sdxl.Shape, typ weights.DType) *weights.Set {
	return func(s sdxl.Shape, typ weights.DType) *weights.Set { return sdxl.Random(part, s, typ) }
}

var timedParts = map[string]timedPart{
	"step": {
		random:   randomly(sdxl.Diffusion),
		load:     func(n *networks, r *weights.Report) { n.diffusion.fill(n.set, r) },
		stage:    func(m *machine) *stage { return &m.diffusion },
		networks: func(n *networks) []any { return n.diffusion.networks() },
		program: func(n *networks, b *Benchmark) func(g *nn.Graph) {
			const factor = 8
			return func(g *nn.Graph) {
				nn.Output(g, noiseOutput, n.diffusion.forward(g, b.Size/factor, b.Size/factor, b.Prompts, textTokens, false))
			}
		},
	},
	"encode": {
		random:   randomly(sdxl.VAE),
		load:     func(n *networks, r *weights.Report) { n.vae.Load(n.set, r) },
		stage:    func(m *machine) *stage { return &m.robust },
		networks: func(n *networks) []any { return n.encoderNetworks(&n.vae.Robust) },
		network:  func(n *networks, b *Benchmark) *vae.Network { return n.vae.EncoderFor(&n.vae.Robust, b.Size, b.Size) },
		compute:  vaeCompute,
	},
	"decode": {
		random:   randomly(sdxl.VAE),
		load:     func(n *networks, r *weights.Report) { n.vae.Load(n.set, r) },
		stage:    func(m *machine) *stage { return &m.decoder },
		networks: func(n *networks) []any { return n.decoderNetworks() },
		network:  func(n *networks, b *Benchmark) *vae.Network { return n.vae.DecoderFor(b.Size, b.Size) },
		compute:  vaeCompute,
	},
	"text": {
		random:   randomly(sdxl.Text),
		load:     func(n *networks, r *weights.Report) { n.clipL.Load(n.set, r); n.bigG.Load(n.set, r) },
		stage:    func(m *machine) *stage { return &m.text },
		networks: func(n *networks) []any { return []any{&n.clipL, &n.bigG} },
		program:  func(n *networks, b *Benchmark) func(g *nn.Graph) { return n.textProgram(b.Prompts) },
		compute:  func(Compute, *nn.Engine) Compute { return ComputeF32 },
	},
}

func vaeCompute(c Compute, e *nn.Engine) Compute { return computeOf(vaeIn(c, e)) }

// textTokens is the length of every prompt.
const textTokens = 77

// resolve fills in the defaults and checks the rest.
func (b Benchmark) resolve() (Benchmark, weights.DType, error) {
	b.Part, b.Shape = cmp.Or(b.Part, "step"), cmp.Or(b.Shape, "sdxl")
	b.Size, b.Weights = cmp.Or(b.Size, 512), cmp.Or(b.Weights, "f16")
	b.Prompts, b.Runs = cmp.Or(b.Prompts, 2), cmp.Or(b.Runs, 3)
	types := map[string]weights.DType{"f32": weights.F32, "f16": weights.F16, "bf16": weights.BF16, "q8_0": weights.Q8_0, "q4_k": weights.Q4_K}
	typ, known := types[b.Weights]
	switch {
	case sdxl.Shapes[b.Shape].Channels == 0:
		return b, typ, &OptionError{"Shape", fmt.Sprintf("%q is none of %v", b.Shape, slices.Sorted(maps.Keys(sdxl.Shapes)))}
	case b.Size < 64 || b.Size > 8192 || b.Size%64 != 0:
		return b, typ, &OptionError{"Size", fmt.Sprintf("%d is not a multiple of 64 in [64, 8192]", b.Size)}
	case !known:
		return b, typ, &OptionError{"Weights", fmt.Sprintf("%q is none of %v", b.Weights, slices.Sorted(maps.Keys(types)))}
	case b.Compute < 0 || int(b.Compute) >= len(computeNames):
		return b, typ, &OptionError{"Compute", fmt.Sprintf("%d is no Compute", b.Compute)}
	case b.Prompts < 1 || b.Prompts > 16:
		return b, typ, &OptionError{"Prompts", fmt.Sprintf("%d is not in [1, 16]", b.Prompts)}
	case len(b.Reuse) > 0 && b.Part != "step":
		return b, typ, &OptionError{"Reuse", "only a step takes over anything"}
	case slices.ContainsFunc(b.Reuse, func(part string) bool { return !slices.Contains(reusable, part) }):
		return b, typ, &OptionError{"Reuse", fmt.Sprintf("%q: there are %q", b.Reuse, reusable)}
	case b.Memory < 0 || b.Memory > 0 && b.Part != "encode" && b.Part != "decode":
		return b, typ, &OptionError{"Memory", fmt.Sprintf("%d: only the VAE works within less memory, and none below 0", b.Memory)}
	case b.Runs < 1 || b.Runs > 1000:
		return b, typ, &OptionError{"Runs", fmt.Sprintf("%d is not in [1, 1000]", b.Runs)}
	}
	return b, typ, nil
}

// Run times the part. It takes the memory of that part of the model.
func (b Benchmark) Run(ctx context.Context) (result *BenchmarkResult, err error) {
	b, typ, err := b.resolve()
	if err != nil {
		return nil, err
	}
	part, err := partOf(b.Part)
	if err != nil {
		return nil, err
	}
	n := &networks{set: part.random(sdxl.Shapes[b.Shape], typ)}
	var report weights.Report
	part.load(n, &report)
	if err := report.Err(); err != nil {
		return nil, err
	}

	m := &machine{}
	defer m.close()
	if err := m.open(b.Device, b.Threads); err != nil {
		return nil, err
	}
	if b.Compute, err = b.Compute.on(m.engine); err != nil {
		return nil, err
	}
	if part.compute != nil {
		b.Compute = part.compute(b.Compute, m.engine)
	}
	precision := b.Compute.precision(b.Stored)
	r := &BenchmarkResult{Benchmark: b, Device: m.engine.DeviceName(), Kernels: m.engine.Kernels()}
	m.hold(held{precision: precision, vae: vaeIn(b.Compute, m.engine), keep: true})
	timed := b.program
	if part.network != nil {
		timed = b.strips
	}
	run, done, err := timed(ctx, m, n, part, r)
	defer done()
	if err != nil {
		return nil, err
	}
	for i := range b.Runs + 1 {
		began := time.Now()
		if err := run(ctx); err != nil {
			return nil, err
		}
		if took := time.Since(began).Seconds(); i == 0 {
			r.First = took
		} else {
			r.Seconds = append(r.Seconds, took)
		}
	}
	if err := r.byOperator(ctx, m.engine, run, b.Trace); err != nil {
		return nil, err
	}
	r.Product, err = m.engine.ProductRate(ctx, precision)
	r.Peak = memory.Peak()
	return r, err
}

// program loads a part and records its program, to be run; done frees it.
func (b *Benchmark) program(ctx context.Context, m *machine, n *networks, part timedPart, r *BenchmarkResult) (run func(context.Context) error, done func(), err error) {
	began := time.Now()
	st := part.stage(m)
	var programs []*nn.Program
	done = func() {
		for _, p := range programs {
			p.Close()
		}
	}
	build := func(state func(g *nn.Graph)) (*nn.Program, error) {
		record := part.program(n, b)
		p, err := m.build(ctx, st, part.networks(n), func(g *nn.Graph) {
			state(g)
			record(g)
		})
		if err != nil {
			return nil, err
		}
		programs = append(programs, p)
		r.Working += p.Size()
		return p, randomInputs(p, b.Prompts)
	}
	p, err := build(func(g *nn.Graph) { g.Keeping(b.Reuse...) })
	if err != nil {
		return nil, done, err
	}
	r.Load, r.Weights = time.Since(began).Seconds(), st.params.Size()
	if len(b.Reuse) > 0 {
		before := p
		if err := before.Run(ctx); err != nil {
			return nil, done, err
		}
		if p, err = build(func(g *nn.Graph) { g.Reusing(before, b.Reuse...) }); err != nil {
			return nil, done, err
		}
	}
	r.FLOP, r.Once = p.FLOP()
	return p.Run, done, nil
}

// strips loads a half of the VAE, to be run as a restoration does within
// b.Memory.
func (b *Benchmark) strips(ctx context.Context, m *machine, n *networks, part timedPart, r *BenchmarkResult) (run func(context.Context) error, done func(), err error) {
	began := time.Now()
	st, network := part.stage(m), part.network(n, b)
	done = func() {}
	if err := m.load(ctx, st, part.networks(n)); err != nil {
		return nil, done, err
	}
	r.Load, r.Weights = time.Since(began).Seconds(), st.params.Size()
	fits := func() bool { return b.Memory == 0 || r.Weights+r.Working <= b.Memory }
	var layout vae.Layout
	for _, layout = range vaeLayouts(m.vae) {
		cost, err := network.Measure(m.engine, st.params, layout)
		if err != nil {
			return nil, done, err
		}
		r.Working, r.Strips = cost.Working+cost.Between, cost.Strips
		if fits() {
			break
		}
	}
	if !fits() {
		return nil, done, &OptionError{"Memory", fmt.Sprintf("%d: %s takes %d bytes in strips", b.Memory, b.Part, r.Weights+r.Working)}
	}
	if r.FLOP, err = network.Work(m.engine, st.params); err != nil {
		return nil, done, err
	}
	c, h, w := network.Size()
	in, out := make(vae.Slice, network.InputSize()), make(vae.Slice, c*h*w)
	newNoise(benchmarkSeed)(in)
	return func(ctx context.Context) error {
		return network.Run(ctx, m.engine, st.params, layout, in, out, nil)
	}, done, nil
}

// benchmarkSeed is that of all random inputs.
const benchmarkSeed = 3

// randomInputs sets every input of a program.
func randomInputs(p *nn.Program, prompts int) error {
	if p.InputSize("ends") > 0 { // the text encoders'
		rng := rand.New(rand.NewPCG(benchmarkSeed, 0))
		ids := make([]int32, textTokens*prompts)
		for i := range ids {
			ids[i] = int32(rng.IntN(1000))
		}
		return errors.Join(p.SetInts("ids L", ids), p.SetInts("ids G", ids), p.SetInts("ends", clip.Ends(ids, prompts)))
	}
	noise := newNoise(benchmarkSeed)
	for _, name := range p.Inputs() {
		data := make([]float32, p.InputSize(name))
		noise(data)
		if err := p.Set(name, data); err != nil {
			return err
		}
	}
	return nil
}

// byOperator runs it once more, operator by operator.
func (r *BenchmarkResult) byOperator(ctx context.Context, e *nn.Engine, run func(context.Context) error, trace *Trace) error {
	kinds := map[string]*OperatorTime{}
	e.Trace(func(s nn.Span) {
		k := kinds[s.Kind]
		if k == nil {
			k = &OperatorTime{Kind: s.Kind}
			kinds[s.Kind] = k
		}
		k.Count++
		k.Seconds += s.Took.Seconds()
		k.FLOP += s.FLOP
		if trace != nil {
			trace.operator(s)
		}
	})
	defer e.Trace(nil)
	if err := run(ctx); err != nil {
		return err
	}
	for _, k := range kinds {
		r.Operators = append(r.Operators, *k)
	}
	slices.SortFunc(r.Operators, func(a, b OperatorTime) int { return cmp.Compare(b.Seconds, a.Seconds) })
	return nil
}
