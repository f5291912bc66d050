package llava

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"supir/internal/nn"
)

// A Benchmark times the language model with random weights.
type Benchmark struct {
	Shape  string // one of Shapes
	Type   string // one of RandomTypes
	Tokens int    // to write, each timed
	Layers int    // of the prompt that are timed; 0: all
	Prompt int    // tokens of the prompt
}

// A BenchmarkResult is what a Benchmark has measured.
type BenchmarkResult struct {
	Bytes     int64     // of weights that are read for a token
	Cache     int64     // bytes of the cache of keys and values
	Load      float64   // seconds
	Seconds   []float64 // of each token
	Bandwidth float64   // bytes/s that all threads read from memory, the best of several
	Prompt    float64   // FLOP/s of the prompt's layers
	Product   float64   // FLOP/s of one matrix product of the prompt's size and weights' type, the best of several
	Layers    int       // of the prompt that were timed
}

// Median is the median time of a token in seconds.
func (r *BenchmarkResult) Median() float64 {
	s := slices.Sorted(slices.Values(r.Seconds))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Ratio compares the fastest token with reading the weights once at the memory's
// bandwidth.
func (r *BenchmarkResult) Ratio() float64 {
	return float64(r.Bytes) / r.Bandwidth / slices.Min(r.Seconds)
}

// Run times the model on an engine, of so many threads.
func (b Benchmark) Run(ctx context.Context, e *nn.Engine, threads int) (*BenchmarkResult, error) {
	m, err := RandomText(b.Shape, b.Type)
	if err != nil {
		return nil, err
	}
	layers := min(cmp.Or(b.Layers, len(m.Layers)), len(m.Layers))
	r := &BenchmarkResult{Bytes: m.textBytes(), Layers: layers}
	memory := newBandwidth(threads)
	r.Bandwidth = memory.measure()

	began := time.Now()
	params, err := e.Load(ctx, nn.Stored, m)
	if err != nil {
		return nil, err
	}
	defer params.Close()
	r.Load = time.Since(began).Seconds()
	if err := r.product(ctx, e, m, b.Prompt); err != nil {
		return nil, err
	}
	cache, err := e.NewCache(nn.Stored, len(m.Layers), m.cacheHeads(), m.cacheFeatures(), capacity(b.Prompt+b.Tokens+1))
	if err != nil {
		return nil, err
	}
	defer cache.Close()
	r.Cache = cache.Size()
	if err := r.prompt(ctx, e, m, params, cache, b.Prompt); err != nil {
		return nil, err
	}
	if err := r.product(ctx, e, m, b.Prompt); err != nil { // before and after: the machine may not be idle
		return nil, err
	}
	if err := r.tokens(ctx, e, m, params, cache, b); err != nil {
		return nil, err
	}
	r.Bandwidth = max(r.Bandwidth, memory.measure())
	return r, nil
}

// prompt times the first layers on a whole prompt.
func (r *BenchmarkResult) prompt(ctx context.Context, e *nn.Engine, m *Text, params *nn.Params, cache *nn.Cache, tokens int) error {
	part := *m
	part.Layers = m.Layers[:r.Layers]
	p, err := e.Build(params, nil, func(g *nn.Graph) {
		x := g.InputTokens("x", m.Width(), tokens, 1)
		nn.Output(g, "y", part.Forward(g, x, g.Beginning(cache, tokens)))
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := errors.Join(p.Set("x", normals(tokens*m.Width())), p.SetPosition(cache, 0)); err != nil {
		return err
	}
	began := time.Now()
	if err := p.Run(ctx); err != nil {
		return err
	}
	r.Prompt = m.flop(tokens, r.Layers) / time.Since(began).Seconds()
	return nil
}

// tokens times tokens behind the prompt.
func (r *BenchmarkResult) tokens(ctx context.Context, e *nn.Engine, m *Text, params *nn.Params, cache *nn.Cache, b Benchmark) error {
	w := &writer{Session: &Session{m: &Model{Text: *m}, e: e, precision: nn.Stored, text: params}, cache: cache}
	steps := &stepper{w: w}
	defer steps.close()
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b.Tokens + 1 { // the first one builds the program
		began := time.Now()
		if _, err := steps.next(ctx, rng.Int32N(int32(m.IDs())), b.Prompt+i); err != nil {
			return err
		}
		if took := time.Since(began).Seconds(); i > 0 {
			r.Seconds = append(r.Seconds, took)
		}
	}
	return nil
}

// product times one product of a matrix of the model with a prompt.
func (r *BenchmarkResult) product(ctx context.Context, e *nn.Engine, m *Text, tokens int) error {
	net := struct {
		Up nn.Linear `key:"up"`
	}{m.Layers[0].Up}
	params, err := e.Load(ctx, nn.Stored, &net)
	if err != nil {
		return err
	}
	defer params.Close()
	p, err := e.Build(params, nil, func(g *nn.Graph) {
		nn.Output(g, "y", net.Up.Forward(g, g.InputTokens("x", net.Up.In(), tokens, 1)))
	})
	if err != nil {
		return err
	}
	defer p.Close()
	if err := p.Set("x", normals(tokens*net.Up.In())); err != nil {
		return err
	}
	const runs = 4
	for range runs {
		began := time.Now()
		if err := p.Run(ctx); err != nil {
			return err
		}
		flop := 2 * float64(net.Up.In()) * float64(net.Up.Out()) * float64(tokens)
		r.Product = max(r.Product, flop/time.Since(began).Seconds())
	}
	return nil
}

func normals(n int) []float32 {
	rng := rand.New(rand.NewPCG(3, 4))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// A bandwidth reads memory with several threads.
type bandwidth struct {
	parts [][]uint64
	sum   uint64
}

// bandwidthBytes are far more than any cache holds.
const bandwidthBytes = 256 << 20

func newBandwidth(threads int) *bandwidth {
	m := &bandwidth{}
	for range threads {
		part := make([]uint64, bandwidthBytes/8/threads)
		for i := range part {
			part[i] = uint64(i)
		}
		m.parts = append(m.parts, part)
	}
	return m
}

// measure is the most bytes/s of several readings.
func (m *bandwidth) measure() float64 {
	best := 0.0
	const times = 6
	for range times {
		sums := make([]uint64, len(m.parts))
		var wait sync.WaitGroup
		began := time.Now()
		for i, part := range m.parts {
			wait.Go(func() { sums[i] = total(part) })
		}
		wait.Wait()
		took := time.Since(began).Seconds()
		for _, s := range sums {
			m.sum += s // so that nothing is left out
		}
		best = max(best, float64(bandwidthBytes)/took)
	}
	return best
}

// total adds numbers up, eight sums at a time, as fast as they come from memory.
func total(x []uint64) uint64 {
	var s [8]uint64
	for ; len(x) >= 8; x = x[8:] {
		y := x[:8:8]
		s[0] += y[0]
		s[1] += y[1]
		s[2] += y[2]
		s[3] += y[3]
		s[4] += y[4]
		s[5] += y[5]
		s[6] += y[6]
		s[7] += y[7]
	}
	for _, v := range x {
		s[0] += v
	}
	return s[0] + s[1] + s[2] + s[3] + s[4] + s[5] + s[6] + s[7]
}
