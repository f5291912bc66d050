package nn

import (
	"fmt"
	"math"

	"supir/internal/ggml"
)

// A Cache keeps the keys and values of a sequence's tokens on the device between
// the runs of programs, so that a further token attends to all before it without
// their being computed again. Close it after the programs that use it.
type Cache struct {
	ctx      *ggml.Context
	buf      *ggml.Buffer
	keys     []ggml.Tensor // of each layer, [features-of-a-head capacity·heads], a head's tokens together
	values   []ggml.Tensor // [capacity features], as the product with weights over tokens wants them
	heads    int
	features int // of all heads
	capacity int
}

// NewCache makes room for so many tokens in each layer. heads are those of keys,
// features those of all heads. The numbers are F32, or F16 with Stored.
func (e *Engine) NewCache(p Precision, layers, heads, features, capacity int) (c *Cache, err error) {
	c, err = describeCache(p, layers, heads, features, capacity)
	if err != nil {
		return nil, err
	}
	if c.buf, err = e.home().Alloc(c.ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.buf.Clear() // what is not yet written counts nothing, but must be numbers
	return c, nil
}

// DescribeCache is NewCache without memory, for programs that are measured.
func (e *Engine) DescribeCache(p Precision, layers, heads, features, capacity int) (*Cache, error) {
	c, err := describeCache(p, layers, heads, features, capacity)
	if err != nil {
		return nil, err
	}
	c.buf = ggml.Pretend(c.ctx)
	return c, nil
}

func describeCache(p Precision, layers, heads, features, capacity int) (c *Cache, err error) {
	defer recovered(&err)
	if layers <= 0 || heads <= 0 || features <= 0 || features%heads != 0 || capacity <= 0 {
		failf("a cache of %d layers, %d features in %d heads, %d tokens", layers, features, heads, capacity)
	}
	typ := ggml.F32
	if p == Stored {
		typ = ggml.F16
	}
	c = &Cache{ctx: ggml.NewContext(2*layers + 1), heads: heads, features: features, capacity: capacity}
	for range layers {
		c.keys = append(c.keys, c.ctx.New(typ, int64(features/heads), int64(capacity*heads)))
		c.values = append(c.values, c.ctx.New(typ, int64(capacity), int64(features)))
	}
	return c, nil
}

// Capacity is how many tokens there is room for.
func (c *Cache) Capacity() int { return c.capacity }

// Size is the memory in bytes that the cache takes.
func (c *Cache) Size() int64 { return c.buf.Size() }

// Close frees the cache's memory. It may be repeated.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	c.buf.Close()
	c.ctx.Close()
}

// A Place is where in a cache a program's tokens go, and what they see.
type Place struct {
	cache     *Cache
	tokens    int
	window    int         // how many of the cache's tokens are looked at; 0 at the beginning
	Positions IDs         // of the tokens
	keyRows   ggml.Tensor // where a step's keys go: [heads]
	rows      ggml.Tensor // and its values: [features]
	mask      ggml.Tensor // [window], hides what has not been written
}

// The inputs that a Place declares.
const (
	positionInput = "position"
	keyRowsInput  = "rows of keys"
	rowsInput     = "rows of values"
	maskInput     = "window"
)

// Beginning places tokens at the beginning of a cache. Set their positions with
// Program.SetPosition(cache, 0).
func (g *Graph) Beginning(c *Cache, tokens int) *Place {
	if tokens > c.capacity {
		failf("%d tokens into a cache of %d", tokens, c.capacity)
	}
	return &Place{cache: c, tokens: tokens, Positions: g.InputIDs(positionInput, tokens, 1)}
}

// Next places one token behind others, of which, with itself, it sees no more
// than window: its position is below that, and set with Program.SetPosition.
func (g *Graph) Next(c *Cache, window int) *Place {
	if window <= 0 || window > c.capacity {
		failf("a window of %d in a cache of %d", window, c.capacity)
	}
	return &Place{cache: c, tokens: 1, window: window,
		Positions: g.InputIDs(positionInput, 1, 1),
		keyRows:   g.input(keyRowsInput, g.state.New(ggml.I32, int64(c.heads))),
		rows:      g.input(rowsInput, g.state.New(ggml.I32, int64(c.features))),
		mask:      g.input(maskInput, g.state.New(ggml.F32, int64(window)))}
}

// SetPosition sets where the program's tokens stand: 0 for one made with
// Beginning, a place within the window for one made with Next.
func (p *Program) SetPosition(c *Cache, position int) error {
	at, ok := p.inputs[positionInput]
	if !ok {
		return fmt.Errorf("nn: a program without a place in a cache")
	}
	tokens := int(at.Elements())
	positions := make([]int32, tokens)
	for i := range positions {
		positions[i] = int32(position + i)
	}
	if err := p.SetInts(positionInput, positions); err != nil {
		return err
	}
	mask, next := p.inputs[maskInput]
	window := tokens
	if next {
		window = int(mask.Elements())
	}
	if position < 0 || position+tokens > window {
		return fmt.Errorf("nn: tokens %d to %d in a window of %d", position, position+tokens-1, window)
	}
	if !next {
		return nil
	}
	hide := make([]float32, window)
	for i := position + 1; i < window; i++ {
		hide[i] = float32(math.Inf(-1))
	}
	if err := p.Set(maskInput, hide); err != nil {
		return err
	}
	rows := make([]int32, c.features)
	for i := range rows {
		rows[i] = int32(i*c.capacity + position)
	}
	if err := p.SetInts(keyRowsInput, rows[:c.heads]); err != nil {
		return err
	}
	return p.SetInts(rowsInput, rows)
}

// Attention keeps the tokens' keys and values in a layer of the cache and is
// softmax(q·kᵀ/√d)·v of heads of d features over all tokens up to each. Where
// keys have fewer heads than queries, neighbouring heads of queries share one.
func (p *Place) Attention(g *Graph, layer int, q, k, v Tokens, heads int) Tokens {
	if heads <= 0 || q.C%heads != 0 || k.C != p.cache.features || k.C/p.cache.heads != q.C/heads || v.C != k.C || k.C%(q.C/heads) != 0 || heads%(k.C/(q.C/heads)) != 0 ||
		q.T != p.tokens || k.T != q.T || v.T != q.T || q.N != 1 || layer >= len(p.cache.keys) {
		failf("attention of %v, %v, %v in %d heads", q, k, v, heads)
	}
	d := int64(q.C / heads)
	shared := int64(k.C) / d // heads of keys
	t := int64(q.T)
	qh := g.ctx.Permute(g.ctx.Reshape(q.t, d, int64(heads), t, 1), 0, 2, 1, 3) // [D T H]
	var kh, vh ggml.Tensor                                                     // [D S H'], [S D H']
	if p.window > 0 {
		kh, vh = p.step(g, layer, k, v)
		kh = g.ctx.Reshape(kh, d, int64(p.cache.capacity), shared, 1)
		kh = g.ctx.View(kh, [4]int64{d, int64(p.window), shared, 1}, 0)
		vh = g.ctx.Reshape(vh, int64(p.cache.capacity), d, shared, 1)
		vh = g.ctx.View(vh, [4]int64{int64(p.window), d, shared, 1}, 0)
	} else {
		p.keep(g, layer, k, v)
		kh = g.ctx.Cont(g.ctx.Permute(g.ctx.Reshape(k.t, d, shared, t, 1), 0, 2, 1, 3))
		vh = g.ctx.Cont(g.ctx.Permute(g.ctx.Reshape(v.t, d, shared, t, 1), 1, 2, 0, 3))
	}
	scale := float32(1 / math.Sqrt(float64(d)))
	rows := min(q.T, max(1, scratchBytes/(4*int(kh.NE(1))*heads)))
	var parts []ggml.Tensor
	for i := 0; i < q.T; i += rows {
		n := min(rows, q.T-i)
		part := g.ctx.Cont(g.ctx.View(qh, [4]int64{d, int64(n), int64(heads), 1}, int64(i)*qh.NB(1)))
		mask := p.mask
		if p.window == 0 {
			mask = g.causalMask(q.T, i, n)
		}
		scores := g.ctx.SoftMaxExt(g.ctx.MulMat(kh, part), mask, scale) // [S n H]
		parts = append(parts, g.ctx.MulMat(vh, scores))                 // [D n H]
	}
	y := g.ctx.Cont(g.ctx.Permute(join(g, parts, 1), 0, 2, 1, 3)) // [D H T]
	return Tokens{t: g.ctx.Reshape(y, int64(q.C), t, 1, 1), C: q.C, T: q.T, N: 1}
}

// keep copies keys and values to the beginning of a layer.
func (p *Place) keep(g *Graph, layer int, k, v Tokens) {
	t, c, heads := int64(k.T), int64(k.C), int64(p.cache.heads)
	keys, values := p.cache.keys[layer], p.cache.values[layer]
	keys = g.ctx.Reshape(keys, c/heads, int64(p.cache.capacity), heads, 1)
	from := g.ctx.Permute(g.ctx.Reshape(k.t, c/heads, heads, t, 1), 0, 2, 1, 3)
	g.body.Expand(g.ctx.Cpy(from, g.ctx.View(keys, [4]int64{c / heads, t, heads, 1}, 0)))
	g.body.Expand(g.ctx.Cpy(g.ctx.Permute(v.t, 1, 0, 2, 3), g.ctx.View(values, [4]int64{t, c, 1, 1}, 0)))
}

// step puts one token's key and value to their place, and gives the layer as it
// then is.
func (p *Place) step(g *Graph, layer int, k, v Tokens) (keys, values ggml.Tensor) {
	keys, values = p.cache.keys[layer], p.cache.values[layer]
	heads := int64(p.cache.heads)
	keys = g.ctx.SetRows(keys, g.ctx.Reshape(k.t, int64(k.C)/heads, heads, 1, 1), p.keyRows)
	flat := g.ctx.Reshape(values, 1, values.Elements(), 1, 1)
	flat = g.ctx.SetRows(flat, g.ctx.Reshape(v.t, 1, int64(v.C), 1, 1), p.rows)
	return keys, g.ctx.Reshape(flat, values.NE(0), values.NE(1), 1, 1)
}
