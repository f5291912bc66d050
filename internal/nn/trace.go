package nn

import (
	"strings"
	"time"

	"supir/internal/ggml"
)

// A Span is a layer's part of a run, or that of an operator outside any layer.
type Span struct {
	Kind  string // "linear", "convolution", "attention"…, or ggml's name of the operator
	Name  string // of the layer's weights, where it has any
	Shape string // of the result, features or width first
	Start time.Time
	Took  time.Duration
	FLOP  float64 // multiplications and additions of matrix products, 0 of all else
}

// Trace calls f for every layer of every run from now on, when the run is over;
// nil ends that. Layers are then computed one by one, which takes a little
// longer than together.
func (e *Engine) Trace(f func(Span)) { e.tracer = f }

// layers are what a graph was recorded by, and which of them made each of its
// nodes, in the order they were made; -1 for none.
type layers struct {
	list  []layer
	of    []int
	depth int
}

type layer struct {
	kind, name string
	flop       float64
	once       bool // part of an Once
}

// layer begins a layer of a kind; the function returned ends it. Layers inside
// it are part of it.
func (g *Graph) layer(kind, name string, flop float64) (end func()) {
	l := &g.layers
	l.depth++
	if l.depth > 1 {
		return func() { l.depth-- }
	}
	l.list = append(l.list, layer{kind: kind, name: name, flop: flop, once: g.within != ""})
	i, first := len(l.list)-1, g.ctx.Made()
	return func() {
		l.depth--
		l.own(i, first, g.ctx.Made())
	}
}

// own says that a layer made the nodes from…to-1, but those that others own.
func (l *layers) own(layer, from, to int) {
	for len(l.of) < to {
		l.of = append(l.of, -1)
	}
	for i := from; i < to; i++ {
		if l.of[i] < 0 {
			l.of[i] = layer
		}
	}
}

// last is the layer begun last, for what is recorded of it later.
func (g *Graph) lastLayer() int { return len(g.layers.list) - 1 }

// belongs says that the node made last is a layer's.
func (g *Graph) belongs(layer int) { g.layers.own(layer, g.ctx.Made()-1, g.ctx.Made()) }

// FLOP is the number of multiplications and additions in the matrix products
// (linear layers, convolutions, attention) of a run, and of what is computed
// only when its input was set (see Once).
func (p *Program) FLOP() (run, once float64) {
	for _, l := range p.layers.list {
		if l.once {
			once += l.flop
		} else {
			run += l.flop
		}
	}
	return run, once
}

// trace computes a part of the program and tells the engine's tracer about it.
func (p *Program) trace(o part) error {
	now, clock := time.Now(), ggml.Clock()
	times, err := o.sched.ComputeTimed(o.graph, p.engine.abort)
	of, counted := p.layerOf(), map[*layer]bool{}
	var last *layer
	var span Span
	for _, t := range times {
		l := of[t.Node]
		if l == nil || l != last {
			p.tell(span)
			span = Span{Kind: strings.ToLower(t.Node.Op()), Start: now.Add(time.Duration(t.From-clock) * time.Microsecond)}
			if last = l; l != nil {
				span.Kind, span.Name = l.kind, l.name
				if !counted[l] {
					span.FLOP, counted[l] = l.flop, true
				}
			}
		}
		span.Took += time.Duration(t.To-t.From) * time.Microsecond
		span.Shape = strings.Trim(t.Node.String()[strings.IndexByte(t.Node.String(), '['):], "[]")
	}
	p.tell(span)
	return err
}

func (p *Program) tell(s Span) {
	if s.Kind != "" {
		p.engine.tracer(s)
	}
}

// layerOf finds the layer that made a tensor.
func (p *Program) layerOf() map[ggml.Tensor]*layer {
	of := map[ggml.Tensor]*layer{}
	for i, t := range p.ctx.Tensors() {
		if i < len(p.layers.of) && p.layers.of[i] >= 0 {
			of[t] = &p.layers.list[p.layers.of[i]]
		}
	}
	return of
}
