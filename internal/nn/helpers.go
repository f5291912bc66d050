package nn

import (
	"sync"
	"time"

	"supir/internal/ggml"
)

// helpers are the devices, such as BLAS, that multiply matrices well faster than
// ggml's own CPU kernels do. A BLAS may be the slow reference one, so the two are
// timed against each other once in a process. Good ones are several times faster
// and bad ones several times slower: asking for a clear lead makes the choice,
// and with it the last bits of results, the same every time.
var helpers = sync.OnceValue(func() []ggml.Device {
	const lead = 1.5
	cpu, err := pick("cpu")
	if err != nil {
		return nil
	}
	alone, err := newProduct(cpu)
	if err != nil {
		return nil
	}
	defer alone.close()
	var out []ggml.Device
	for _, d := range ggml.Devices() {
		if d.Type() != ggml.Accel {
			continue
		}
		helped, err := newProduct(d, cpu)
		if err != nil {
			continue
		}
		var with, without time.Duration = 1 << 62, 1 << 62
		for range 6 { // in turn, so that both meet the same interruptions
			with, without = min(with, helped.time()), min(without, alone.time())
		}
		if lead*with.Seconds() < without.Seconds() {
			out = append(out, d)
		}
		helped.close()
	}
	return out
})

// A product is a matrix product of 256×256×256 on one thread, to be timed.
type product struct {
	backends      []*ggml.Backend
	leaves, nodes *ggml.Context
	buf           *ggml.Buffer
	graph         *ggml.Graph
	sched         *ggml.Sched
}

func newProduct(devices ...ggml.Device) (p *product, err error) {
	const n = 256
	p = &product{leaves: ggml.NewContext(4), nodes: ggml.NewContext(16)}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for _, d := range devices {
		b, err := d.Open()
		if err != nil {
			return p, err
		}
		b.SetThreads(1)
		p.backends = append(p.backends, b)
	}
	a, b := p.leaves.New(ggml.F32, n, n), p.leaves.New(ggml.F32, n, n)
	if p.buf, err = p.backends[len(p.backends)-1].Alloc(p.leaves); err != nil {
		return p, err
	}
	data := make([]float32, n*n)
	for i := range data {
		data[i] = float32(i%31) / 31
	}
	a.SetFloat32(data)
	b.SetFloat32(data)
	p.graph = p.nodes.NewGraph(16)
	p.graph.Expand(p.nodes.MulMat(a, b))
	if p.sched, err = ggml.NewSched(p.backends, 16); err != nil {
		return p, err
	}
	return p, p.sched.Alloc(p.graph)
}

// time is how long one product takes; a failing one takes for ever.
func (p *product) time() time.Duration {
	start := time.Now()
	if p.sched.Compute(p.graph) != nil {
		return 1 << 62
	}
	return time.Since(start)
}

func (p *product) close() {
	p.sched.Close()
	p.buf.Close()
	p.nodes.Close()
	p.leaves.Close()
	for _, b := range p.backends {
		b.Close()
	}
}
