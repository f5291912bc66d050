package nn

import (
	"context"
	"fmt"
	"math"

	"supir/csrc"
	"supir/internal/ggml"
	"supir/internal/weights"
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
	fills   []fill
	ops     []*csrc.Op
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
	inputs  map[string]ggml.Tensor
	outputs map[string]ggml.Tensor
	fills   []fill
	ops     []*csrc.Op // freed with the program
}

// A part is a graph with the scheduler that holds its memory.
type part struct {
	graph *ggml.Graph
	sched *ggml.Sched
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
func (e *Engine) Measure(params *Params, f func(g *Graph)) (n int64, err error) {
	p, err := e.record(params, nil, f)
	if err != nil {
		return 0, err
	}
	defer p.Close()
	defer recovered(&err)
	n = e.home().AllocSize(p.state)
	p.buf = ggml.Pretend(p.state)
	for _, o := range append([]part{p.body}, values(p.onces)...) {
		for _, size := range o.sched.ReserveSize(o.graph) {
			n += size
		}
	}
	return n, nil
}

func values[K comparable, V any](m map[K]V) []V {
	var list []V
	for _, v := range m {
		list = append(list, v)
	}
	return list
}

// record runs f on a new graph.
func (e *Engine) record(params *Params, taps func(name string) bool, f func(g *Graph)) (p *Program, err error) {
	g := &Graph{engine: e, params: params, low: e.low, tap: taps,
		ctx: ggml.NewContext(3 * maxNodes), state: ggml.NewContext(1024),
		onces: map[string]*ggml.Graph{}, inputs: map[string]ggml.Tensor{}, outputs: map[string]ggml.Tensor{}, masks: map[[3]int]ggml.Tensor{}}
	p = &Program{engine: e, ctx: g.ctx, state: g.state, onces: map[string]part{}, stale: map[string]bool{},
		inputs: g.inputs, outputs: g.outputs}
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
	p.fills = g.fills
	if len(g.outputs) == 0 {
		failf("a program without outputs")
	}
	if p.body, err = e.part(g.body); err != nil {
		return p, err
	}
	for name, og := range g.onces {
		if p.onces[name], err = e.part(og); err != nil {
			return p, err
		}
	}
	return p, nil
}

func (e *Engine) part(g *ggml.Graph) (part, error) {
	s, err := ggml.NewSched(e.backends, max(2*g.Nodes(), 64))
	if err != nil {
		return part{}, err
	}
	if !e.low.onCPU() { // a GPU's backend knows no abort flag
		s.SetAbort(e.abort)
	}
	return part{graph: g, sched: s}, nil
}

// Size is the memory in bytes that the program takes beside the weights.
func (p *Program) Size() int64 {
	n := p.buf.Size() + p.body.sched.Size()
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

func (p *Program) compute(ctx context.Context, o part) error {
	err := o.sched.Compute(o.graph)
	if ctxErr := ctx.Err(); ctxErr != nil {
		return ctxErr
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

// Outputs are the names of all outputs.
func (p *Program) Outputs() []string {
	var names []string
	for name := range p.outputs {
		names = append(names, name)
	}
	return names
}

// ---- recording

func (g *Graph) input(name string, t ggml.Tensor) ggml.Tensor {
	if _, twice := g.inputs[name]; twice {
		failf("two inputs %q", name)
	}
	g.inputs[name] = t.SetName(name).SetInput()
	return t
}

// InputMap declares a feature map to be set before Run.
func (g *Graph) InputMap(name string, c, h, w, n int) Map {
	t := g.input(name, g.state.New(ggml.F32, int64(w), int64(h), int64(c), int64(n)))
	return g.low.fromPlanar(g, t, Map{C: c, H: h, W: w, N: n})
}

// InputTokens declares tokens to be set before Run.
func (g *Graph) InputTokens(name string, c, tokens, n int) Tokens {
	return Tokens{t: g.input(name, g.state.New(ggml.F32, int64(c), int64(tokens), int64(n))), C: c, T: tokens, N: n}
}

// InputVector declares vectors to be set before Run.
func (g *Graph) InputVector(name string, c, n int) Vector {
	return Vector{t: g.input(name, g.state.New(ggml.F32, int64(c), int64(n))), C: c, N: n}
}

// IDs are indices of rows, T for each of a batch of N.
type IDs struct {
	t    ggml.Tensor
	T, N int
}

// InputIDs declares indices to be set before Run.
func (g *Graph) InputIDs(name string, tokens, n int) IDs {
	return IDs{t: g.input(name, g.state.New(ggml.I32, int64(tokens)*int64(n))), T: tokens, N: n}
}

// Output makes x an output of the program under that name.
func Output[V value](g *Graph, name string, x V) {
	t := g.plain(x)
	if t.View() { // whose memory another node owns, and may give away
		t = g.ctx.Cont(t)
	}
	g.outputs[name] = t.SetOutput()
	g.body.Expand(t)
}

// Name gives x the dotted name of its place in the network, for messages and
// traces, and makes it an output if the program is built with a tap for it.
func Name[V value](g *Graph, x V, format string, args ...any) V {
	name := fmt.Sprintf(format, args...)
	if g.tap != nil && g.tap(name) && g.within == "" {
		Output(g, name, x)
	}
	tensor(x).SetName(name)
	return x
}

// plain is x's tensor in the order that Get and Set use.
func (g *Graph) plain(x any) ggml.Tensor {
	if m, ok := x.(Map); ok {
		return g.low.toPlanar(g, m)
	}
	return tensor(x)
}

func tensor(x any) ggml.Tensor {
	switch x := x.(type) {
	case Map:
		return x.t
	case Tokens:
		return x.t
	case Vector:
		return x.t
	}
	panic("nn: not a value")
}

// Once records f's result as depending on one input alone: it is computed again
// only when that input is set, and kept between runs. An input of another name
// must not be used in f.
func Once[V value](g *Graph, input string, f func() V) V {
	if g.within != "" {
		return f()
	}
	if _, ok := g.inputs[input]; !ok {
		failf("Once of unknown input %q", input)
	}
	g.within = input
	x := f()
	g.within = ""
	t := tensor(x)
	if !t.Contiguous() {
		t = g.ctx.Cont(t)
	}
	kept := g.state.New(ggml.F32, t.NE(0), t.NE(1), t.NE(2), t.NE(3)).SetName("once " + input)
	og := g.onces[input]
	if og == nil {
		og = g.ctx.NewGraph(maxNodes / 4)
		g.onces[input] = og
	}
	og.Expand(g.ctx.Cpy(t, kept))
	return with(x, kept)
}

// weight is a weight's tensor on the device.
func (g *Graph) weight(w *weights.Tensor) ggml.Tensor {
	t, ok := g.params.tensors[w]
	if !ok {
		failf("weight %q is not on the device", w.Name)
	}
	return t
}

// ---- arithmetic that needs no weights

// Add is x + y of equal shapes.
func Add[V value](g *Graph, x, y V) V { return with(x, g.ctx.Add(tensor(x), tensor(y))) }

// Sub is x - y of equal shapes.
func Sub[V value](g *Graph, x, y V) V { return with(x, g.ctx.Sub(tensor(x), tensor(y))) }

// Mul is x·y of equal shapes, element by element.
func Mul[V value](g *Graph, x, y V) V { return with(x, g.ctx.Mul(tensor(x), tensor(y))) }

// Scale is s·x.
func Scale[V value](g *Graph, x V, s float32) V { return with(x, g.ctx.Scale(tensor(x), s)) }

// ScaleBy is s·x for an s that is a program's input: one vector of one feature.
func ScaleBy[V value](g *Graph, x V, s Vector) V { return with(x, g.ctx.Mul(tensor(x), s.t)) }

// SiLU is x·sigmoid(x).
func SiLU[V value](g *Graph, x V) V { return with(x, g.ctx.Silu(tensor(x))) }

// GELU is the exact x·Φ(x).
func GELU[V value](g *Graph, x V) V { return with(x, g.ctx.GeluErf(tensor(x))) }

// QuickGELU is x·sigmoid(1.702x), from operations that are exact in F32.
func QuickGELU[V value](g *Graph, x V) V {
	return with(x, g.ctx.Mul(tensor(x), g.ctx.Sigmoid(g.ctx.Scale(tensor(x), 1.702))))
}

// with is a value of x's shape in another tensor.
func with[V value](x V, t ggml.Tensor) V {
	switch x := any(x).(type) {
	case Map:
		x.t = t
		return any(x).(V)
	case Tokens:
		x.t = t
		return any(x).(V)
	case Vector:
		x.t = t
		return any(x).(V)
	}
	panic("nn: not a value")
}

// Concat puts y's channels behind x's.
func (g *Graph) Concat(x, y Map) Map { return g.low.concat(g, x, y) }

// ConcatFeatures puts y's features behind x's, token by token.
func (g *Graph) ConcatFeatures(x, y Tokens) Tokens {
	return Tokens{t: g.ctx.Concat(x.t, y.t, 0), C: x.C + y.C, T: x.T, N: x.N}
}

// Upsample2 repeats every pixel twice in both directions.
func (g *Graph) Upsample2(x Map) Map { return g.low.upsample2(g, x) }

// Tokens is x's pixels as tokens, row by row.
func (g *Graph) Tokens(x Map) Tokens { return g.low.tokens(g, x) }

// Map is tokens back on an h×w grid.
func (g *Graph) Map(x Tokens, h, w int) Map {
	if h*w != x.T {
		failf("%v on a grid of %d×%d", x, h, w)
	}
	return g.low.grid(g, x, h, w)
}

// AddVector adds v's features to all pixels of x.
func (g *Graph) AddVector(x Map, v Vector) Map {
	if v.C != x.C || v.N != x.N && v.N != 1 {
		failf("%v on %v", v, x)
	}
	return g.low.addVector(g, x, v)
}

// Row is token i of every batch.
func (g *Graph) Row(x Tokens, i int) Vector {
	t := g.ctx.View(x.t, [4]int64{int64(x.C), 1, int64(x.N), 1}, int64(i)*x.t.NB(1))
	return Vector{t: g.ctx.Reshape(g.ctx.Cont(t), int64(x.C), int64(x.N), 1, 1), C: x.C, N: x.N}
}

// Pick is, of each of the batch, the token at the place that i gives: N×1
// indices, of which the caller has made sure that all are below x.T.
func (g *Graph) Pick(x Tokens, i IDs) Vector {
	if i.T != 1 || i.N != x.N {
		failf("one of %v by %d×%d indices", x, i.N, i.T)
	}
	t := g.ctx.GetRows(x.t, g.ctx.Reshape(i.t, 1, int64(i.N), 1, 1))
	return Vector{t: g.ctx.Reshape(t, int64(x.C), int64(x.N), 1, 1), C: x.C, N: x.N}
}

// Features is features from…from+n-1 of every token.
func (g *Graph) Features(x Tokens, from, n int) Tokens {
	t := g.ctx.View(x.t, [4]int64{int64(n), int64(x.T), int64(x.N), 1}, int64(from)*x.t.NB(0))
	return Tokens{t: g.ctx.Cont(t), C: n, T: x.T, N: x.N}
}

// GEGLU is a·GELU(b) of the first and second half of the features.
func (g *Graph) GEGLU(x Tokens) Tokens {
	return Tokens{t: g.ctx.GegluErfSwapped(x.t), C: x.C / 2, T: x.T, N: x.N}
}

// Attention is softmax(q·kᵀ/√d)·v of heads of d features each, d = C/heads, over
// a batch; causal hides later tokens. One k and v may serve a whole batch of q.
func (g *Graph) Attention(q, k, v Tokens, heads int, causal bool) Tokens {
	if heads <= 0 || q.C%heads != 0 || k.C != q.C || v.C != q.C || k.T != v.T || k.N != v.N || q.N != k.N && (k.N != 1 || causal) {
		failf("attention of %v, %v, %v in %d heads", q, k, v, heads)
	}
	scale := float32(1 / math.Sqrt(float64(q.C/heads)))
	if q.N != k.N { // queries of several batches on the same tokens are but more queries
		tokens, n := q.T, q.N
		q.t, q.T, q.N = g.ctx.Reshape(q.t, int64(q.C), int64(tokens*n), 1, 1), tokens*n, 1
		y := g.low.attention(g, q, k, v, heads, false, scale)
		return Tokens{t: g.ctx.Reshape(y.t, int64(y.C), int64(tokens), int64(n), 1), C: y.C, T: tokens, N: n}
	}
	return g.low.attention(g, q, k, v, heads, causal, scale)
}
