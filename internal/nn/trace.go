package nn

import (
	"slices"
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

// layers are what a graph was recorded by: each made the nodes from its first
// up to its end.
type layers struct {
	list  []layer
	depth int
}

type layer struct {
	kind, name string
	flop       float64
	once       bool // part of an Once
	first, end int  // of the context's tensors, in the order they were made
}

// layer begins a layer of a kind; the function returned ends it. Layers inside
// it are part of it.
func (g *Graph) layer(kind, name string, flop float64) (end func()) {
	l := &g.layers
	l.depth++
	if l.depth > 1 {
		return func() { l.depth-- }
	}
	i := len(l.list)
	l.list = append(l.list, layer{kind: kind, name: name, flop: flop, once: g.within != "", first: g.ctx.Made()})
	return func() {
		l.list[i].end = g.ctx.Made()
		l.depth--
	}
}

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
	of := p.layerOf()
	var last *layer
	var span Span
	for _, t := range times {
		l := of[t.Node]
		if l == nil || l != last {
			p.tell(span)
			span = Span{Kind: strings.ToLower(t.Node.Op()), Start: now.Add(time.Duration(t.From-clock) * time.Microsecond)}
			if last = l; l != nil {
				span.Kind, span.Name, span.FLOP = l.kind, l.name, l.flop
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
		j, _ := slices.BinarySearchFunc(p.layers.list, i, func(l layer, i int) int {
			if i < l.first {
				return 1
			}
			if i >= l.end {
				return -1
			}
			return 0
		})
		if j < len(p.layers.list) && p.layers.list[j].first <= i && i < p.layers.list[j].end {
			of[t] = &p.layers.list[j]
		}
	}
	return of
}
