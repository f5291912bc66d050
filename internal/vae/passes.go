package vae

import (
	"context"
	"math"

	"golang.org/x/sync/errgroup"

	"supir/internal/nn"
)

// knowledge is what passes over a stage have gathered of the whole picture.
type knowledge struct {
	has          map[*nn.GroupNorm]bool
	scale, shift map[*nn.GroupNorm][]float32
	grid         grid      // of the attention's keys
	k, v         []float32 // tokens×C
}

func newKnowledge() *knowledge {
	return &knowledge{has: map[*nn.GroupNorm]bool{}, scale: map[*nn.GroupNorm][]float32{}, shift: map[*nn.GroupNorm][]float32{}}
}

// pretend takes what is wanted for known.
func (k *knowledge) pretend(wanted any, st *stage) {
	switch w := wanted.(type) {
	case *nn.GroupNorm:
		k.has[w] = true
	case *Attention:
		k.grid = thinned(st.h, st.w)
	}
}

// learn makes a norm's factors and summands of the moments of the channels that
// it is to normalise.
func (k *knowledge) learn(n *nn.GroupNorm, channels []moments) {
	weight, bias := n.Weight.Float32(), n.Bias.Float32()
	scale, shift := make([]float32, len(channels)), make([]float32, len(channels))
	each := len(channels) / n.Groups
	for first := 0; first < len(channels); first += each {
		var m moments
		for _, c := range channels[first : first+each] {
			m.n, m.sum, m.squares = m.n+c.n, m.sum+c.sum, m.squares+c.squares
		}
		mean := m.sum / m.n
		inverse := 1 / math.Sqrt(max(m.squares/m.n-mean*mean, 0)+normEps)
		for c := first; c < first+each; c++ {
			factor := inverse * float64(weight[c])
			scale[c], shift[c] = float32(factor), float32(float64(bias[c])-mean*factor)
		}
	}
	k.has[n], k.scale[n], k.shift[n] = true, scale, shift
}

// moments are sums over the values of a channel.
type moments struct{ n, sum, squares float64 }

func (m *moments) add(values []float32) {
	m.n += float64(len(values))
	var sum, squares [4]float64
	for ; len(values) >= 4; values = values[4:] {
		for i, v := range values[:4] {
			v := float64(v)
			sum[i] += v
			squares[i] += v * v
		}
	}
	for _, v := range values {
		sum[0] += float64(v)
		squares[0] += float64(v) * float64(v)
	}
	m.sum += sum[0] + sum[1] + sum[2] + sum[3]
	m.squares += squares[0] + squares[1] + squares[2] + squares[3]
}

// A runner goes through a network's stages.
type runner struct {
	ctx      context.Context
	engine   *nn.Engine
	params   *nn.Params
	progress func(done, of int)
	done, of int
	rows     [][]float32 // each processor's room for numbers on their way
}

// stage computes one stage, pass by pass: each pass but the last gathers the
// statistics of one more norm, or the attention's keys and values. sums are the
// moments of src's channels, nil if unknown; those of dst's are returned.
func (r *runner) stage(st *stage, src Source, sums []moments, dst Sink) ([]moments, error) {
	known := newKnowledge()
	if n := st.steps[0].first; n != nil && sums != nil && st.strips > 1 {
		known.learn(n, sums)
	}
	for {
		pass := &pass{runner: r, st: st, known: known, src: src, dst: dst}
		err := pass.run()
		pass.close()
		if err != nil {
			return nil, err
		}
		switch w := pass.wanted.(type) {
		case nil:
			return pass.sums, nil
		case *nn.GroupNorm:
			known.learn(w, pass.sums)
		case *Attention:
			known.grid = pass.grid
			known.k, known.v = pass.grid.mean(pass.k), pass.grid.mean(pass.v)
		}
	}
}

// A pass goes once over a stage's strips.
type pass struct {
	*runner
	st    *stage
	known *knowledge
	src   Source
	dst   Sink

	program *nn.Program
	shape   part // of the strip that the program is for, from 0
	strip   *strip

	wanted any       // what the pass gathers; nil in the last
	sums   []moments // of its output's channels
	grid   grid
	k, v   []float32 // sums of the tokens of each of the grid's cells
}

func (p *pass) close() { p.program.Close() }

func (p *pass) run() error {
	for i := range p.st.strips {
		part := p.st.part(i)
		if err := p.build(part); err != nil {
			return err
		}
		p.wanted = p.strip.wanted
		if err := p.feed(part); err != nil {
			return err
		}
		if err := p.program.Run(p.ctx); err != nil {
			return err
		}
		var err error
		if _, ok := p.wanted.(*Attention); ok {
			err = p.gatherKeys(part)
		} else {
			err = p.take(part)
		}
		if err != nil {
			return err
		}
		if p.done++; p.progress != nil {
			p.progress(p.done, p.of)
		}
	}
	return nil
}

// build records a strip's program, unless the last strip's is the same.
func (p *pass) build(at part) (err error) {
	own := p.st.own(at)
	shape := part{hi: at.hi - at.lo, from: own[0] - at.lo, to: own[1] - at.lo}
	if at.lo == 0 {
		shape.lo |= 1
	}
	if at.hi == p.st.h {
		shape.lo |= 2
	}
	if p.program != nil && shape == p.shape {
		return nil
	}
	p.program.Close()
	p.program, p.shape = nil, shape
	p.program, err = p.engine.Build(p.params, nil, func(g *nn.Graph) { p.strip = p.st.record(g, at, p.known) })
	if err != nil {
		return err
	}
	for i, n := range p.strip.used {
		if err := p.program.Set(scaleInput(i), p.known.scale[n]); err != nil {
			return err
		}
		if err := p.program.Set(shiftInput(i), p.known.shift[n]); err != nil {
			return err
		}
	}
	if p.strip.attends {
		if err := p.program.Set(keysInput, p.known.k); err != nil {
			return err
		}
		return p.program.Set(valuesInput, p.known.v)
	}
	return nil
}

// feed copies a strip's rows to the program.
func (p *pass) feed(at part) error {
	return p.eachChannel(p.st.c, (at.hi-at.lo)*p.st.w, func(c int, rows []float32) error {
		if err := p.src.Read(rows, (c*p.st.h+at.lo)*p.st.w); err != nil {
			return err
		}
		return p.program.SetAt(mapInput, c*len(rows), rows)
	})
}

// take adds up a strip's output, which the last pass stores too.
func (p *pass) take(at part) error {
	out := p.strip.out
	if p.sums == nil {
		p.sums = make([]moments, out.C)
	}
	return p.eachChannel(out.C, out.H*out.W, func(c int, rows []float32) error {
		if err := p.program.GetAt(mapOutput, c*len(rows), rows); err != nil {
			return err
		}
		p.sums[c].add(rows)
		if p.wanted != nil {
			return nil
		}
		return p.dst.Write(rows, (c*p.st.ho+at.from)*p.st.wo)
	})
}

// eachChannel calls f for every channel, on all processors, with room for n of
// its numbers.
func (r *runner) eachChannel(channels, n int, f func(c int, rows []float32) error) error {
	var all errgroup.Group
	workers := min(len(r.rows), channels)
	for i := range workers {
		rows := r.room(i, n)
		all.Go(func() error {
			for c := i; c < channels; c += workers {
				if err := f(c, rows); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return all.Wait()
}

// room gives the place for n numbers that processor i uses again and again.
func (r *runner) room(i, n int) []float32 {
	if cap(r.rows[i]) < n {
		r.rows[i] = make([]float32, n)
	}
	return r.rows[i][:n]
}

// gatherKeys adds a strip's keys and values to the grid's cells.
func (p *pass) gatherKeys(at part) error {
	c := p.st.co
	if p.grid.step == 0 {
		p.grid = thinned(p.st.h, p.st.w)
		p.k, p.v = make([]float32, p.grid.tokens()*c), make([]float32, p.grid.tokens()*c)
	}
	row := p.room(0, p.st.w*c)
	for y := at.from; y < at.to; y++ {
		for name, sums := range map[string][]float32{keysInput: p.k, valuesInput: p.v} {
			if err := p.program.GetAt(name, (y-at.from)*len(row), row); err != nil {
				return err
			}
			for x := range p.st.w {
				cell := sums[p.grid.cell(y, x)*c:][:c]
				for i, v := range row[x*c:][:c] {
					cell[i] += v
				}
			}
		}
	}
	return nil
}

// maxKeys bounds the pixels that the middle's attention looks at. What attention
// costs grows with their number times that of all pixels: up to 2048×2048 all
// are looked at (an eighth of that on each side), from there on means of squares
// of them. (A variable for tests.)
var maxKeys = 1 << 16

// A grid is the squares of step×step pixels of a map of h×w.
type grid struct{ h, w, step int }

// thinned is the finest grid of no more than maxKeys squares.
func thinned(h, w int) grid {
	g := grid{h, w, 1}
	for g.tokens() > maxKeys {
		g.step++
	}
	return g
}

func (g grid) columns() int { return (g.w + g.step - 1) / g.step }

// tokens is the number of squares, 0 for no grid.
func (g grid) tokens() int {
	if g.step == 0 {
		return 0
	}
	return (g.h + g.step - 1) / g.step * g.columns()
}

func (g grid) cell(y, x int) int { return y/g.step*g.columns() + x/g.step }

// mean divides sums over the squares' pixels by their number, in place.
func (g grid) mean(sums []float32) []float32 {
	if g.step == 1 {
		return sums
	}
	c := len(sums) / g.tokens()
	for y := 0; y < g.h; y += g.step {
		for x := 0; x < g.w; x += g.step {
			n := min(g.step, g.h-y) * min(g.step, g.w-x)
			cell := sums[g.cell(y, x)*c:][:c]
			for i := range cell {
				cell[i] /= float32(n)
			}
		}
	}
	return sums
}
