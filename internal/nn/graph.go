package nn

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"supir/csrc"
	"supir/internal/ggml"
)

// maxNodes bounds the nodes of one program; the full U-Net with its adaptor has
// about ten thousand.
const maxNodes = 1 << 16

// A Map is a feature map, C×H×W of a batch of N. Its memory layout is the
// lowering's business.
type Map struct {
	t          ggml.Tensor
	C, H, W, N int
}

// Tokens are T vectors of C features, of a batch of N.
type Tokens struct {
	t       ggml.Tensor
	C, T, N int
}

// A Vector is one vector of C features for each of a batch of N.
type Vector struct {
	t    ggml.Tensor
	C, N int
}

// A value is anything that flows along a graph.
type value interface {
	Map | Tokens | Vector
}

func (x Map) String() string    { return fmt.Sprintf("map %d×%d×%d×%d", x.N, x.C, x.H, x.W) }
func (x Tokens) String() string { return fmt.Sprintf("tokens %d×%d×%d", x.N, x.T, x.C) }
func (x Vector) String() string { return fmt.Sprintf("vectors %d×%d", x.N, x.C) }

// A Graph records what a network computes. It exists while a Program is built.
type Graph struct {
	engine *Engine
	params *Params
	low    lowering

	ctx   *ggml.Context // nodes
	state *ggml.Context // inputs, and what Once keeps; they have memory of their own

	body    *ggml.Graph
	onces   map[string]*ggml.Graph // by the input they depend on
	within  string                 // the Once being recorded
	inputs  map[string]ggml.Tensor
	outputs map[string]ggml.Tensor
	tap     func(name string) bool
	masks   map[[3]int]ggml.Tensor
	kernels map[[3]int]ggml.Tensor
	fills   []fill
	ops     []*csrc.Op
	layers  layers
	fusion  fusion
	kept    *kept    // of this program or another; nil without
	reused  []string // parts taken over from there

	workspace *csrc.Workspace // scratch of ops
}

// A fill is a constant of the graph, set once its memory exists.
type fill struct {
	t    ggml.Tensor
	data []float32
}

// A Program is a graph with its memory, ready to run many times.
type Program struct {
	engine  *Engine
	ctx     *ggml.Context
	state   *ggml.Context
	buf     *ggml.Buffer
	body    part
	onces   map[string]part // by input
	stale   map[string]bool // inputs set since their Once ran
	setting sync.Mutex      // held by SetAt to change stale
	inputs  map[string]ggml.Tensor
	outputs map[string]ggml.Tensor
	fills   []fill
	ops     []*csrc.Op // freed with the program
	layers  layers
	kept    *kept // in the memory of this program or of the one it reuses

	workspace *csrc.Workspace // of ops
}

// A part is a graph with the scheduler that holds its memory.
type part struct {
	graph  *ggml.Graph
	sched  *ggml.Sched
	stream *stream // of mapped weights; nil without
}

// Build records a program from the weights of params. Values that f names (Name)
// and that taps accepts become outputs too, for tests and traces; taps may be
// nil. A mistake in f comes back as an error.
func (e *Engine) Build(params *Params, taps func(name string) bool, f func(g *Graph)) (p *Program, err error) {
	p, err = e.record(params, taps, f)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Close()
			p = nil
		}
	}()
	defer recovered(&err)
	if p.buf, err = e.home().Alloc(p.state); err != nil {
		return p, err
	}
	if err := p.workspace.Alloc(); err != nil {
		return p, err
	}
	if err := p.body.sched.Alloc(p.body.graph); err != nil {
		return p, err
	}
	for _, o := range p.onces {
		if err := o.sched.Alloc(o.graph); err != nil {
			return p, err
		}
	}
	for _, c := range p.fills {
		c.t.SetFloat32(c.data)
	}
	p.fills = nil
	return p, nil
}

// Measure is the memory in bytes that Build would take beside the weights.
func (e *Engine) Measure(params *Params, f func(g *Graph)) (int64, error) {
	p, n, err := e.sketch(params, f)
	if err != nil {
		return 0, err
	}
	p.Close()
	return n, nil
}

// Work counts the multiplications and additions in the matrix products of a
// program, without memory for it.
func (e *Engine) Work(params *Params, f func(g *Graph)) (float64, error) {
	p, _, err := e.sketch(params, f)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	run, once := p.FLOP()
	return run + once, nil
}

// sketch records a program without memory, and tells how much it would take.
func (e *Engine) sketch(params *Params, f func(g *Graph)) (p *Program, n int64, err error) {
	if p, err = e.record(params, nil, f); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			p.Close()
			p = nil
		}
	}()
	defer recovered(&err)
	n = e.home().AllocSize(p.state) + p.workspace.Size()
	p.buf = ggml.Pretend(p.state)
	for _, o := range append([]part{p.body}, slices.Collect(maps.Values(p.onces))...) {
		for _, size := range o.sched.ReserveSize(o.graph) {
			n += size
		}
	}
	return p, n, nil
}

// record runs f on a new graph.
func (e *Engine) record(params *Params, taps func(name string) bool, f func(g *Graph)) (p *Program, err error) {
	g := &Graph{engine: e, params: params, low: e.low, tap: taps, fusion: newFusion(), workspace: csrc.NewWorkspace(e.threads),
		ctx: ggml.NewContext(3 * maxNodes), state: ggml.NewContext(1024),
		onces: map[string]*ggml.Graph{}, inputs: map[string]ggml.Tensor{}, outputs: map[string]ggml.Tensor{}, masks: map[[3]int]ggml.Tensor{}, kernels: map[[3]int]ggml.Tensor{}}
	p = &Program{engine: e, ctx: g.ctx, state: g.state, onces: map[string]part{}, stale: map[string]bool{},
		inputs: g.inputs, outputs: g.outputs, workspace: g.workspace}
	defer func() {
		if err != nil {
			p.Close()
			p = nil
		}
	}()
	defer recovered(&err)
	g.body = g.ctx.NewGraph(maxNodes)
	defer func() { // before recovered, so that a failed program frees them too
		if p != nil {
			p.ops = g.ops
		}
	}()
	f(g)
	p.fills, p.layers, p.kept = g.fills, g.layers, g.kept
	if len(g.outputs) == 0 {
		failf("a program without outputs")
	}
	place := make(map[ggml.Tensor]int) // in the order of recording
	for i, t := range g.ctx.Tensors() {
		place[t] = i
	}
	for _, o := range append(slices.Collect(maps.Values(g.onces)), g.body) {
		o.Sort(func(a, b ggml.Tensor) int { return place[a] - place[b] })
	}
	leaves := len(params.tensors) + g.state.Made() + len(g.kept.all())
	if p.body, err = e.part(params, g.body, leaves); err != nil {
		return p, err
	}
	for name, og := range g.onces {
		if p.onces[name], err = e.part(params, og, leaves); err != nil {
			return p, err
		}
	}
	return p, nil
}

// part makes a scheduler for a graph that reads at most so many tensors beside
// its own nodes.
func (e *Engine) part(params *Params, g *ggml.Graph, leaves int) (part, error) {
	const least = 64
	s, err := ggml.NewSched(e.backends, 2*g.Nodes()+leaves+least)
	if err != nil {
		return part{}, err
	}
	if !e.low.onCPU() { // a GPU's backend knows no abort flag
		s.SetAbort(e.abort)
	}
	stream := params.mapped.stream(g)
	if stream != nil {
		s.SetEval(stream.after)
	}
	return part{graph: g, sched: s, stream: stream}, nil
}

// Size is the memory in bytes that the program takes beside the weights.
func (p *Program) Size() int64 {
	n := p.buf.Size() + p.workspace.Size() + p.body.sched.Size()
	for _, o := range p.onces {
		n += o.sched.Size()
	}
	return n
}

// Close frees the program's memory. It may be repeated.
func (p *Program) Close() {
	if p == nil {
		return
	}
	p.body.sched.Close()
	for _, o := range p.onces {
		o.sched.Close()
	}
	p.buf.Close()
	p.state.Close()
	p.ctx.Close()
	for _, o := range p.ops {
		o.Close()
	}
	p.workspace.Close()
	ggml.Trim()
}

// Set copies values to an input: a map's in the order N×C×H×W, tokens' N×T×C,
// vectors' N×C.
func (p *Program) Set(name string, data []float32) error {
	t, err := p.input(name, ggml.F32, len(data))
	if err != nil {
		return err
	}
	t.SetFloat32(data)
	p.stale[name] = true
	return nil
}

// SetInts copies indices to an input made by InputIDs.
func (p *Program) SetInts(name string, data []int32) error {
	t, err := p.input(name, ggml.I32, len(data))
	if err != nil {
		return err
	}
	t.SetInt32(data)
	p.stale[name] = true
	return nil
}

// input is the memory of an input, of which type and size must be as given.
func (p *Program) input(name string, typ ggml.Type, n int) (ggml.Tensor, error) {
	t, ok := p.inputs[name]
	switch {
	case !ok:
		return t, fmt.Errorf("nn: no input %q", name)
	case t.Type() != typ || t.Elements() != int64(n):
		return t, fmt.Errorf("nn: input %q: %d values of %v given, the program wants %v", name, n, typ, t)
	}
	return t, nil
}

// Run computes the outputs from the inputs set; what Once recorded is computed
// again only when its input was set since. It ends early with ctx's error when
// ctx ends, and the program stays usable.
func (p *Program) Run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	defer p.engine.stopWith(ctx)()
	for name, o := range p.onces {
		if p.stale[name] {
			if err := p.compute(ctx, o); err != nil {
				return err
			}
			p.stale[name] = false
		}
	}
	return p.compute(ctx, p.body)
}

func (p *Program) compute(ctx context.Context, o part) (err error) {
	o.stream.begin()
	if p.engine.tracer != nil {
		err = p.trace(o)
	} else {
		err = o.sched.Compute(o.graph)
	}
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	for _, op := range p.ops {
		err = cmp.Or(err, op.Err())
	}
	return err
}

// Get copies an output, in the order that Set takes.
func (p *Program) Get(name string) ([]float32, error) {
	t, ok := p.outputs[name]
	if !ok {
		return nil, fmt.Errorf("nn: no output %q", name)
	}
	data := make([]float32, t.Elements())
	t.GetFloat32(data)
	return data, nil
}

// SetAt copies values to a part of an input, from place at of the order that Set
// takes. Several goroutines may set different parts at once.
func (p *Program) SetAt(name string, at int, data []float32) error {
	t, ok := p.inputs[name]
	if !ok || t.Type() != ggml.F32 || at < 0 || int64(at+len(data)) > t.Elements() {
		return fmt.Errorf("nn: input %q: %d values at %d do not fit", name, len(data), at)
	}
	t.SetFloat32At(at, data)
	p.setting.Lock()
	p.stale[name] = true
	p.setting.Unlock()
	return nil
}

// GetAt copies a part of an output to dst, from place at of the order that Get
// gives.
func (p *Program) GetAt(name string, at int, dst []float32) error {
	t, ok := p.outputs[name]
	if !ok || at < 0 || int64(at+len(dst)) > t.Elements() {
		return fmt.Errorf("nn: output %q: no %d values at %d", name, len(dst), at)
	}
	t.GetFloat32At(at, dst)
	return nil
}

// Inputs are the names of all inputs, sorted.
func (p *Program) Inputs() []string { return slices.Sorted(maps.Keys(p.inputs)) }

// InputSize is the number of values that an input takes, 0 if there is none of
// that name.
func (p *Program) InputSize(name string) int {
	t, ok := p.inputs[name]
	if !ok {
		return 0
	}
	return int(t.Elements())
}

// Outputs are the names of all outputs.
func (p *Program) Outputs() []string {
	var names []string
	for name := range p.outputs {
		names = append(names, name)
	}
	return names
}
