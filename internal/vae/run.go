package vae

import (
	"context"
	"runtime"
	"runtime/debug"

	"supir/internal/memory"
	"supir/internal/nn"
)

// A Layout says how much of a picture is computed at once.
type Layout struct {
	// Map bounds the largest feature map of a strip, in bytes; 0: whole pictures.
	Map int64
	// Short keeps the maps between strips' passes in half precision, and with the
	// memory saved also those between a doubling and the block after it, so that the
	// doubling is not computed again in each of the block's passes.
	Short bool
	// OnDisk keeps the maps between strips' passes in temporary files, not in memory.
	OnDisk bool
}

// A Cost is what a network takes for a picture beside its weights, in bytes.
type Cost struct {
	Working int64 // of a strip's program
	Between int64 // of what is kept in memory between strips and passes at the same time
	Disk    int64 // of the maps that are kept in files instead, at most
	Strips  int   // most strips that a map is cut into
}

// A Source gives numbers of a picture's planes, C×H×W, from place at on, to
// several goroutines at once.
type Source interface {
	Read(dst []float32, at int) error
}

// A Sink takes such numbers, from several goroutines at once.
type Sink interface {
	Write(src []float32, at int) error
}

// Slice is a Source and a Sink in Go's memory.
type Slice []float32

// Read copies from place at on.
func (s Slice) Read(dst []float32, at int) error { copy(dst, s[at:]); return nil }

// Write copies to place at.
func (s Slice) Write(src []float32, at int) error { copy(s[at:], src); return nil }

// A Network is one of the three that a VAE holds, for pictures of one size.
type Network struct {
	steps   []step
	c, h, w int // of what goes in
	out     int // channels of what comes out
}

// EncoderFor is one of v's encoders, for pictures of h×w in [-1, 1]: what comes
// out is 2Z×h'×w', see Mode.
func (v *VAE) EncoderFor(e *Encoder, h, w int) *Network {
	return newNetwork(v.encodeSteps(e), colours, h, w)
}

// DecoderFor is the decoder, for pictures of h×w.
func (v *VAE) DecoderFor(h, w int) *Network {
	f := v.Factor()
	return newNetwork(v.decodeSteps(), v.LatentChannels(), h/f, w/f)
}

func newNetwork(steps []step, c, h, w int) *Network {
	return &Network{steps: steps, c: c, h: h, w: w, out: steps[len(steps)-1].out}
}

// Size is the channels, rows and columns of what comes out.
func (n *Network) Size() (c, h, w int) {
	h, w = n.h, n.w
	for i := range n.steps {
		h, w = resized(h, n.steps[i].up), resized(w, n.steps[i].up)
	}
	return n.out, h, w
}

// InputSize is how many numbers go in.
func (n *Network) InputSize() int { return n.c * n.h * n.w }

// Work counts the multiplications and additions in the matrix products of the
// whole picture, without those that strips repeat.
func (n *Network) Work(e *nn.Engine, params *nn.Params) (float64, error) {
	st := n.stages(Layout{})[0]
	return e.Work(params, func(g *nn.Graph) { st.record(g, st.part(0), newKnowledge()) })
}

// resized is a side after a step.
func resized(n, up int) int {
	switch up {
	case 1:
		return 2 * n
	case -1:
		return n / 2
	}
	return n
}

// A stage is a number of steps without anything stored in between.
type stage struct {
	steps      []step
	c, h, w    int // what goes in
	co, ho, wo int // what comes out
	strips     int
}

// stages cuts the network where maps may be stored. Steps before and after a cut
// that are small enough to be computed whole stay together.
func (n *Network) stages(layout Layout) []stage {
	var list []stage
	at := stage{c: n.c, h: n.h, w: n.w}
	close := func() {
		at.finish(layout)
		if last := len(list) - 1; last >= 0 && list[last].strips == 1 && at.strips == 1 {
			list[last].steps = append(list[last].steps, at.steps...)
			list[last].co, list[last].ho, list[last].wo = at.co, at.ho, at.wo
		} else {
			list = append(list, at)
		}
		at = stage{c: at.co, h: at.ho, w: at.wo}
	}
	for i := range n.steps {
		at.steps = append(at.steps, n.steps[i])
		if s := &n.steps[i]; layout.Map > 0 && (s.cut || layout.Short && s.up > 0) {
			close()
		}
	}
	if len(at.steps) > 0 {
		close()
	}
	return list
}

// finish finds the size of what comes out, and into how many strips it is cut.
func (st *stage) finish(layout Layout) {
	st.co, st.ho, st.wo = st.c, st.h, st.w
	most := int64(4) * int64(st.c) * int64(st.h) * int64(st.w) // bytes of the largest map
	for i := range st.steps {
		s := &st.steps[i]
		h, w := st.ho, st.wo
		if st.ho, st.wo = resized(h, s.up), resized(w, s.up); s.up > 0 { // doubled before the convolution
			most = max(most, int64(4)*int64(st.co)*int64(st.ho)*int64(st.wo))
		}
		st.co = s.out
		most = max(most, int64(4)*int64(st.co)*int64(st.ho)*int64(st.wo))
	}
	st.strips = 1
	if layout.Map > 0 {
		st.strips = int(min((most+layout.Map-1)/layout.Map, int64(max(1, st.ho/minRows))))
	}
}

// minRows is how thin strips get: thinner ones would mostly compute their
// neighbours' rows.
const minRows = 8

// maps is the bytes of the maps kept while stage i runs.
func maps(stages []stage, i int, layout Layout) int64 {
	var n int64
	st := &stages[i]
	if i > 0 {
		n += int64(st.c) * int64(st.h) * int64(st.w)
	}
	if i < len(stages)-1 {
		n += int64(st.co) * int64(st.ho) * int64(st.wo)
	}
	if layout.Short {
		return 2 * n
	}
	return 4 * n
}

// keys is the bytes of the attention's keys and values, which are kept in memory
// in any layout.
func (st *stage) keys() int64 {
	var n int64
	for i := range st.steps {
		if st.strips > 1 && st.steps[i].keys {
			n += 2 * 4 * int64(st.co) * int64(thinned(st.h, st.w).tokens())
		}
	}
	return n
}

// A part is one strip of a stage: rows lo…hi-1 go in for rows from…to-1 that come
// out.
type part struct{ lo, hi, from, to int }

// part is strip i.
func (st *stage) part(i int) part {
	even := func(i int) int { return i * (st.ho / 2) / st.strips * 2 } // for the doubling
	p := part{from: even(i), to: even(i + 1)}
	if i == st.strips-1 {
		p.to = st.ho
	}
	p.lo, p.hi = p.from, p.to
	for j := len(st.steps) - 1; j >= 0; j-- {
		p.lo, p.hi = st.steps[j].needs(p.lo, p.hi)
	}
	p.lo, p.hi = max(p.lo, 0), min(p.hi, st.h)
	return p
}

// own is the rows of the input that belong to the rows that come out.
func (st *stage) own(p part) [2]int {
	return [2]int{p.from * st.h / st.ho, p.to * st.h / st.ho}
}

// record records a strip, with what is known so far, on g.
func (st *stage) record(g *nn.Graph, p part, known *knowledge) *strip {
	s := &strip{Graph: g, whole: st.strips == 1, top: p.lo == 0, bottom: p.hi == st.h, y0: p.lo, own: st.own(p),
		norms: known.has, keys: known.grid.step > 0, keyed: known.grid.tokens()}
	x := g.InputMap(mapInput, st.c, p.hi-p.lo, st.w, 1)
	for i := range st.steps {
		x = st.steps[i].forward(s, x)
	}
	if s.wanted == nil {
		s.output(x)
	}
	return s
}

// passes is how often a stage's strips are gone through; kept tells that the
// moments of what goes in are known.
func (st *stage) passes(kept bool) int {
	n := 1
	if st.strips > 1 {
		for i := range st.steps {
			n += st.steps[i].gathers
		}
		if kept && st.steps[0].first != nil {
			n--
		}
	}
	return n
}

// Between is what Run keeps in memory between passes in a layout, in bytes.
func (n *Network) Between(layout Layout) (most int64) {
	stages := n.stages(layout)
	for i := range stages {
		most = max(most, between(stages, i, layout))
	}
	return most
}

// between is the bytes kept in memory while stage i runs.
func between(stages []stage, i int, layout Layout) int64 {
	n := stages[i].keys()
	if !layout.OnDisk {
		n += maps(stages, i, layout)
	}
	return n
}

// Measure tells what Run would take, on weights of which no value is read.
func (n *Network) Measure(e *nn.Engine, params *nn.Params, layout Layout) (Cost, error) {
	var cost Cost
	stages := n.stages(layout)
	for i := range stages {
		st := &stages[i]
		cost.Strips = max(cost.Strips, st.strips)
		if layout.OnDisk {
			cost.Disk = max(cost.Disk, maps(stages, i, layout))
		}
		kept := between(stages, i, layout)
		known := newKnowledge()
		if first := st.steps[0].first; first != nil && i > 0 {
			known.has[first] = true
		}
		for {
			var s *strip
			working, err := e.Measure(params, func(g *nn.Graph) { s = st.record(g, st.part(st.strips/2), known) })
			if err != nil {
				return cost, err
			}
			if working+kept > cost.Working+cost.Between {
				cost.Working, cost.Between = working, kept
			}
			if s.wanted == nil {
				break
			}
			known.pretend(s.wanted, st)
		}
	}
	return cost, nil
}

// Run computes the network from src to dst. progress, which may be nil, is
// called after every strip with the number of strips done, of how many.
func (n *Network) Run(ctx context.Context, e *nn.Engine, params *nn.Params, layout Layout, src Source, dst Sink, progress func(done, of int)) error {
	stages := n.stages(layout)
	r := runner{ctx: ctx, engine: e, params: params, progress: progress, rows: make([][]float32, runtime.GOMAXPROCS(0))}
	for i := range stages {
		r.of += stages[i].strips * stages[i].passes(i > 0)
	}
	var kept *memory.Floats
	defer func() { kept.Close() }()
	var sums []moments // of src's channels, once they are known
	for i := range stages {
		st := &stages[i]
		to := dst
		var next *memory.Floats
		if i < len(stages)-1 {
			var err error
			if next, err = memory.NewFloats(st.co*st.ho*st.wo, layout.Short, layout.OnDisk); err != nil {
				return err
			}
			to = next
		}
		var err error
		sums, err = r.stage(st, src, sums, to)
		kept.Close()
		kept = next
		if err != nil {
			return err
		}
		if st.strips > 1 {
			debug.FreeOSMemory() // of litter, and of the attention's keys, before the next stage takes its own
		}
		src = next
	}
	return nil
}
