package nn

import (
	"slices"

	"supir/internal/ggml"
)

// A network that runs many times in a row may compute some of its parts only in
// some runs, and otherwise take over what they gave last. Each way to run is a
// program of its own: one that computes and keeps everything (Graph.Keeping), and
// others that take some parts over from its memory (Graph.Reusing).

// kept are values that outlive a run.
type kept struct {
	parts  []string
	values map[string]any // by name
	list   []ggml.Tensor  // in the order they were recorded
}

// Keeping makes the program keep what Keep records as the given parts.
func (g *Graph) Keeping(parts ...string) {
	g.kept = &kept{parts: parts, values: map[string]any{}}
}

// Reusing makes the program take over the given parts of what p keeps, instead of
// computing them; the other parts it computes, and leaves to p anew. Close it
// before p.
func (g *Graph) Reusing(p *Program, parts ...string) { g.kept, g.reused = p.kept, parts }

// Keep records f's result as belonging to a part, under a name of its own. Where
// the part is taken over, f is not called: then nothing that only f needs is
// computed.
func Keep[V value](g *Graph, part, name string, f func() V) V {
	if g.kept == nil || !slices.Contains(g.kept.parts, part) || g.within != "" {
		return f()
	}
	before, known := g.kept.values[name].(V)
	if slices.Contains(g.reused, part) {
		if !known {
			failf("%s has not been kept", name)
		}
		return before
	}
	x := f()
	t := tensor(x)
	if !t.Contiguous() || t.View() {
		t = g.ctx.Cont(t)
	}
	delete(g.fusion.products, t) // it is needed as it is, whatever follows
	if !known {
		to := g.state.New(ggml.F32, t.NE(0), t.NE(1), t.NE(2), t.NE(3)).SetName(name)
		before = with(x, to)
		g.kept.values[name] = before
		g.kept.list = append(g.kept.list, to)
	}
	g.body.Expand(g.ctx.Cpy(t, tensor(before)))
	return with(x, t)
}

// KeptSize is the memory in bytes of all values that the program keeps.
func (p *Program) KeptSize() (n int64) {
	for _, t := range p.kept.all() {
		n += 4 * t.Elements()
	}
	return n
}

func (k *kept) all() []ggml.Tensor {
	if k == nil {
		return nil
	}
	return k.list
}

// Kept copies the values that the program keeps, to dst if that has their size.
func (p *Program) Kept(dst []float32) []float32 {
	n := int(p.KeptSize() / 4)
	if len(dst) != n {
		dst = make([]float32, n)
	}
	at := 0
	for _, t := range p.kept.all() {
		n := int(t.Elements())
		t.GetFloat32(dst[at:][:n])
		at += n
	}
	return dst
}

// SetKept puts back what Kept has copied.
func (p *Program) SetKept(values []float32) {
	for _, t := range p.kept.all() {
		n := int(t.Elements())
		t.SetFloat32(values[:n])
		values = values[n:]
	}
}

// MeasureReusing is Measure for a program that keeps parts, and for one more for
// every set of them that is taken over, all in memory at once; kept is what the
// first one keeps.
func (e *Engine) MeasureReusing(params *Params, parts []string, reused [][]string, f func(g *Graph)) (all, kept int64, err error) {
	first, all, err := e.sketch(params, func(g *Graph) {
		g.Keeping(parts...)
		f(g)
	})
	if err != nil {
		return 0, 0, err
	}
	defer first.Close()
	for _, parts := range reused {
		p, n, err := e.sketch(params, func(g *Graph) {
			g.Reusing(first, parts...)
			f(g)
		})
		if err != nil {
			return 0, 0, err
		}
		p.Close()
		all += n
	}
	return all, first.KeptSize(), nil
}
