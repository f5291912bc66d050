package nn

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// bound is the normalised squared error that an engine stays within.
//
// Sums of products in F32, in whatever order, are within 1e-12 of the exact
// ones for these sizes. Graphics processors round the factors of a product to
// F16 (relative error 2⁻¹¹, squared 2e-7, over 3 for a uniform one) and add up
// in F32; the software driver is kept from that. Weights kept in F16 or BF16 are exact here, but products with them round
// the activations to the same type: 2⁻⁹ for BF16. Products with quantised
// weights round the activations to eight bits, in blocks that share a scale:
// 1/127 of the block's largest, which is some three times the usual value, over
// 12 for a uniform error: 5e-5.
//
// Products in BF16 by our own kernels round both factors. In int8 rows have a
// scale of their own: 3e-4 for linear layers and 5e-4 for convolutions and all
// that has several layers, channels that are much larger than others included.
func bound(te testEngine, c opCase, precision Precision) float64 {
	switch {
	case precision == Int8 || precision == StoredInt8:
		if len(c.uses) > 0 && c.uses[0] == linearUse {
			return 3e-4
		}
		return 5e-4
	case precision == BF16 || precision == StoredBF16:
		return 1e-4 // few rows meet quantised weights by ggml
	case precision == Stored && c.stored.Quantised():
		return 1e-4
	case precision == Stored && c.stored == weights.BF16:
		return 2e-5
	case precision == Stored && c.stored == weights.F16, te.kind == realGPU:
		return 1e-6
	}
	return 1e-12
}

// TestOperators compares every row of the table with its reference on every
// engine, and makes sure that inputs, and memory between them, stay as they were.
func TestOperators(t *testing.T) {
	eachEngine(t, func(t *testing.T, te testEngine, e *Engine) {
		for _, c := range operators() {
			for precision, name := range []string{F32: "", Stored: "/stored", BF16: "/bf16", Int8: "/int8", StoredBF16: "/stored bf16", StoredInt8: "/stored int8"} {
				precision := Precision(precision)
				switch {
				case c.flops != 0: // whose naive reference would take long
					continue
				case precision == Stored && c.stored == weights.F32 && (len(c.uses) == 0 || e.Kernels() == ""):
					continue
				case precision > Stored && (e.Kernels() == "" || len(c.uses) == 0 && !c.products):
					continue
				case te.kind == softGPU && precision == Stored && c.stored.Quantised() && c.stored != weights.Q8_0:
					continue // the driver compiles ten seconds for each type
				}
				t.Run(c.name+name, func(t *testing.T) {
					p := c.prepare(t, e, precision, true)
					got := p.run(t)
					require.Len(t, got, len(p.want.data))
					err := nmse(got, p.want.data)
					if most := bound(te, c, precision); !(err <= most) { // so that NaN fails
						t.Errorf("error %.2g, want at most %.2g", err, most)
					}
					t.Logf("error %.2g", err)
					assert.Equal(t, got, p.run(t), "a second run")
					for name, data := range p.inputs {
						now := make([]float32, len(data))
						p.program.inputs[name].GetFloat32(now)
						assert.Equal(t, data, now, "input %s has changed", name)
					}
				})
			}
		}
	})
}

// BenchmarkOperators times the rows of the table that are large enough.
func BenchmarkOperators(b *testing.B) {
	for _, te := range engines(b) {
		e := te.open(b)
		for _, c := range operators() {
			if c.flops == 0 {
				continue
			}
			b.Run(c.name+"/"+te.name, func(b *testing.B) {
				p := c.prepare(b, e, F32, false)
				p.run(b)
				for b.Loop() {
					p.run(b)
				}
				b.ReportMetric(c.flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

// operators is the table.
func operators() []opCase {
	var list []opCase
	for _, part := range [][]opCase{linears(), convolutions(), fused(), norms(), attentions(), elementwise(), moves(), lookups(), transformers()} {
		list = append(list, part...)
	}
	return list
}

// optional is the i-th array, nil where there is none.
func optional(w []array, i int) *array {
	if i < len(w) {
		return &w[i]
	}
	return nil
}

func layerBias(w []*weights.Tensor, i int) *weights.Tensor {
	if i < len(w) {
		return w[i]
	}
	return nil
}

// quantised are the types that files of weights are made in.
var quantised = []weights.DType{weights.Q8_0, weights.Q6_K, weights.Q5_K, weights.Q4_K, weights.Q4_0}

func linears() []opCase {
	row := func(name string, in []int, ws [][]int, stored weights.DType) opCase {
		c := opCase{name: "linear " + name, in: [][]int{in}, weights: ws, uses: []use{linearUse}, stored: stored}
		c.build = func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
			l := Linear{Weight: w[0], Bias: layerBias(w, 1)}
			if v, ok := in[0].(Vector); ok {
				return l.Vector(g, v)
			}
			return l.Forward(g, in[0].(Tokens))
		}
		c.want = func(in []array, _ []int32, w []array) array { return refLinear(in[0], w[0], optional(w, 1)) }
		return c
	}
	list := []opCase{
		row("one token", []int{1, 1, 5}, [][]int{{7, 5}, {7}}, weights.F32),
		row("no bias", []int{1, 3, 5}, [][]int{{7, 5}}, weights.F32),
		row("batch", []int{2, 3, 5}, [][]int{{7, 5}, {7}}, weights.F32),
		row("1×1 convolution", []int{2, 3, 5}, [][]int{{7, 5, 1, 1}, {7}}, weights.F32),
		row("vector", []int{2, 5}, [][]int{{7, 5}, {7}}, weights.F32),
		row("77 tokens", []int{2, 77, 96}, [][]int{{130, 96}, {130}}, weights.F32),
		row("F16", []int{2, 77, 96}, [][]int{{130, 96}, {130}}, weights.F16),
		row("F16 odd", []int{1, 3, 5}, [][]int{{7, 5}, {7}}, weights.F16),
		row("BF16", []int{2, 77, 96}, [][]int{{130, 96}, {130}}, weights.BF16),
		row("wide", []int{1, 100, 320}, [][]int{{320, 320}, {320}}, weights.F16),
		row("odd sizes", []int{1, 67, 49}, [][]int{{131, 49}, {131}}, weights.F16),
		outliers(row("outliers", []int{2, 40, 320}, [][]int{{96, 320}, {96}}, weights.F16)),
	}
	for _, typ := range quantised {
		list = append(list,
			row(typ.String(), []int{2, 77, 256}, [][]int{{130, 256}, {130}}, typ),
			row(typ.String()+" one token", []int{1, 1, 512}, [][]int{{33, 512}, {33}}, typ),
			row(typ.String()+" vector", []int{2, 256}, [][]int{{33, 256}, {33}}, typ),
			row(typ.String()+" 1×1 convolution", []int{2, 3, 256}, [][]int{{7, 256, 1, 1}, {7}}, typ))
	}
	timed := row("timed", []int{1, 1024, 1280}, [][]int{{1280, 1280}, {1280}}, weights.F16)
	timed.flops = 2 * 1024 * 1280 * 1280
	return append(list, timed)
}

func convolutions() []opCase {
	row := func(name string, in []int, kernel []int, bias bool, stride int, pad Padding) opCase {
		c := opCase{name: "conv " + name, in: [][]int{in}, weights: [][]int{kernel}, uses: []use{convUse}}
		if bias {
			c.weights = append(c.weights, kernel[:1])
		}
		c.build = func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
			l := Conv2D{Weight: w[0], Bias: layerBias(w, 1)}
			return l.Strided(g, in[0].(Map), stride, pad)
		}
		c.want = func(in []array, _ []int32, w []array) array {
			return refConv(in[0], w[0], optional(w, 1), stride, pad)
		}
		return c
	}
	same := Padding{1, 1, 1, 1}
	corner := Padding{Right: 1, Bottom: 1}
	var list []opCase
	for _, n := range []int{1, 2} {
		named := func(name string) string { return fmt.Sprintf("%s batch %d", name, n) }
		list = append(list,
			row(named("1×1 of one pixel"), []int{n, 3, 1, 1}, []int{5, 3, 1, 1}, true, 1, Padding{}),
			row(named("1×1"), []int{n, 3, 3, 5}, []int{4, 3, 1, 1}, false, 1, Padding{}),
			row(named("3×3 of one pixel"), []int{n, 3, 1, 1}, []int{5, 3, 3, 3}, true, 1, same),
			row(named("3×3"), []int{n, 4, 3, 5}, []int{6, 4, 3, 3}, true, 1, same),
			row(named("stride 2"), []int{n, 4, 7, 5}, []int{6, 4, 3, 3}, true, 2, same),
			row(named("stride 2 corner"), []int{n, 4, 6, 10}, []int{6, 4, 3, 3}, true, 2, corner),
			row(named("stride 2 corner odd"), []int{n, 4, 7, 5}, []int{6, 4, 3, 3}, false, 2, corner),
			row(named("patches"), []int{n, 1, 40, 60}, []int{6, 1, 20, 20}, false, 20, Padding{}),
			row(named("32 channels"), []int{n, 32, 24, 17}, []int{33, 32, 3, 3}, true, 1, same),
		)
	}
	// In strips of one to three rows the same results must come out.
	for _, c := range list {
		c.name += " strips"
		c.scratch = 1 // one row at a time
		list = append(list, c)
		if c.in[0][2] > 6 {
			c.name += " of three"
			w := c.want([]array{zeros(c.in[0]...)}, nil, []array{zeros(c.weights[0]...)}).shape[3]
			k := c.weights[0]
			c.scratch = 3 * 4 * k[1] * k[2] * k[3] * w * c.in[0][0]
			list = append(list, c)
		}
	}
	for _, typ := range []weights.DType{weights.F16, weights.BF16} {
		c := row(typ.String(), []int{2, 32, 9, 7}, []int{33, 32, 3, 3}, true, 1, same)
		c.stored = typ
		list = append(list, c)
		c.name, c.scratch = c.name+" strips", 1
		list = append(list, c)
	}
	for _, typ := range quantised {
		for _, k := range []int{1, 3} {
			c := row(fmt.Sprintf("%v %d×%d", typ, k, k), []int{2, 256, 5, 4}, []int{33, 256, k, k}, true, 1, Padding{k / 2, k / 2, k / 2, k / 2})
			c.stored = typ
			list = append(list, c)
			c.name, c.scratch = c.name+" strips", 1
			list = append(list, c)
		}
		down := row(typ.String()+" stride 2 corner", []int{2, 256, 6, 4}, []int{33, 256, 3, 3}, false, 2, corner)
		down.stored = typ
		across := row(typ.String()+" blocks across rows", []int{1, 12, 5, 4}, []int{64, 12, 3, 3}, true, 1, same)
		across.stored = typ
		list = append(list, down, across)
	}
	large := row("of values beyond F16", []int{1, 32, 9, 7}, []int{33, 32, 3, 3}, true, 1, same)
	large.scale = 1e5
	list = append(list, outliers(row("outliers", []int{1, 320, 8, 6}, []int{64, 320, 3, 3}, true, 1, same)),
		row("odd sizes", []int{2, 50, 9, 7}, []int{67, 50, 3, 3}, true, 1, same),
		row("1×1 of many", []int{2, 48, 9, 7}, []int{80, 48, 1, 1}, true, 1, Padding{}))
	timed := row("timed", []int{1, 320, 64, 64}, []int{320, 320, 3, 3}, true, 1, same)
	timed.flops = 2 * 64 * 64 * 9 * 320 * 320
	return append(list, large, timed)
}

// outliers makes every 64th channel 20 times larger.
func outliers(c opCase) opCase {
	c.outlier = 20
	return c
}

func norms() []opCase {
	group := func(name string, in []int, groups int, eps float32) opCase {
		c := opCase{name: "group norm " + name, in: [][]int{in}, weights: [][]int{{in[1]}, {in[1]}}}
		c.build = func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
			l := GroupNorm{Weight: w[0], Bias: w[1], Groups: groups}
			return l.Forward(g, in[0].(Map), eps)
		}
		c.want = func(in []array, _ []int32, w []array) array {
			return refGroupNorm(in[0], w[0], w[1], groups, float64(eps))
		}
		return c
	}
	layer := func(name string, in []int) opCase {
		c := opCase{name: "layer norm " + name, in: [][]int{in}, weights: [][]int{{in[2]}, {in[2]}}}
		c.build = func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
			l := LayerNorm{Weight: w[0], Bias: w[1]}
			return l.Forward(g, in[0].(Tokens), 1e-5)
		}
		c.want = func(in []array, _ []int32, w []array) array { return refLayerNorm(in[0], w[0], w[1], 1e-5) }
		return c
	}
	list := []opCase{
		group("one pixel", []int{1, 8, 1, 1}, 2, 1e-6),
		group("batch", []int{2, 6, 3, 5}, 2, 1e-5),
		group("one group", []int{2, 6, 3, 5}, 1, 1e-5),
		group("single channels", []int{2, 32, 3, 5}, 32, 1e-6),
		group("64 channels", []int{2, 64, 17, 24}, 32, 1e-6),
		layer("one token", []int{1, 1, 7}),
		layer("batch", []int{2, 3, 7}),
		layer("320 features", []int{2, 77, 320}),
	}
	small := group("of small values", []int{2, 32, 9, 7}, 8, 1e-5) // as large as √eps
	small.scale = 3e-3
	timed := group("timed", []int{1, 320, 64, 64}, 32, 1e-5)
	timed.flops = 8 * 320 * 64 * 64 // sum, squares, scale and shift
	return append(list, small, timed)
}

func attentions() []opCase {
	row := func(name string, q, k []int, heads int, causal bool) opCase {
		c := opCase{name: "attention " + name, products: true, in: [][]int{q, k, k}}
		c.build = func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
			return g.Attention(in[0].(Tokens), in[1].(Tokens), in[2].(Tokens), heads, causal)
		}
		c.want = func(in []array, _ []int32, _ []array) array { return refAttention(in[0], in[1], in[2], heads, causal) }
		return c
	}
	list := []opCase{
		row("one token", []int{1, 1, 6}, []int{1, 1, 6}, 2, false),
		row("batch", []int{2, 5, 6}, []int{2, 5, 6}, 2, false),
		row("one head", []int{1, 35, 64}, []int{1, 35, 64}, 1, false),
		row("causal", []int{2, 5, 6}, []int{2, 5, 6}, 2, true),
		row("causal text", []int{3, 77, 32}, []int{3, 77, 32}, 2, true),
		row("cross", []int{2, 5, 6}, []int{2, 7, 6}, 2, false),
		row("cross one text", []int{2, 5, 6}, []int{1, 7, 6}, 2, false),
		row("heads of 64", []int{2, 96, 128}, []int{2, 77, 128}, 2, false),
		row("heads of 16", []int{2, 40, 32}, []int{2, 77, 32}, 2, false),
	}
	for _, c := range list {
		c.name += " chunks"
		c.scratch = 1 // one query at a time
		list = append(list, c)
		if q, k := c.in[0], c.in[1]; q[1] > 3 {
			c.name += " of three"
			c.scratch = 3 * 4 * k[1] * 2 * q[0]
			list = append(list, c)
		}
	}
	sharp := row("sharp", []int{2, 9, 64}, []int{2, 9, 64}, 1, false) // one score far above the others
	sharp.scale = 4
	timed := row("timed", []int{1, 1024, 640}, []int{1, 1024, 640}, 10, false)
	timed.flops = 4 * 1024 * 1024 * 640
	return append(list, sharp, timed)
}

func elementwise() []opCase {
	unary := func(name string, build func(*Graph, Map) Map, f func(float64) float64) opCase {
		return opCase{name: name, in: [][]int{{2, 3, 5, 7}}, scale: 3,
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any { return build(g, in[0].(Map)) },
			want:  func(in []array, _ []int32, _ []array) array { return each(in[0], f) }}
	}
	binary := func(name string, build func(g *Graph, x, y Map) Map, f func(x, y float64) float64) opCase {
		return opCase{name: name, in: [][]int{{2, 3, 5, 7}, {2, 3, 5, 7}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return build(g, in[0].(Map), in[1].(Map))
			},
			want: func(in []array, _ []int32, _ []array) array { return both(in[0], in[1], f) }}
	}
	return []opCase{
		unary("silu", SiLU[Map], refSiLU),
		unary("gelu", GELU[Map], refGELU),
		unary("quick gelu", QuickGELU[Map], refQuickGELU),
		unary("scale", func(g *Graph, x Map) Map { return Scale(g, x, -0.375) }, func(x float64) float64 { return -0.375 * x }),
		binary("add", Add[Map], func(x, y float64) float64 { return x + y }),
		binary("sub", Sub[Map], func(x, y float64) float64 { return x - y }),
		binary("mul", Mul[Map], func(x, y float64) float64 { return x * y }),
		{name: "scale by an input", in: [][]int{{2, 3, 5}, {1, 1}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return ScaleBy(g, in[0].(Tokens), in[1].(Vector))
			},
			want: func(in []array, _ []int32, _ []array) array {
				return both(in[0], in[1], func(x, y float64) float64 { return x * y })
			}},
	}
}

func moves() []opCase {
	list := []opCase{
		{name: "concat", in: [][]int{{2, 3, 5, 7}, {2, 4, 5, 7}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Concat(in[0].(Map), in[1].(Map))
			},
			want: func(in []array, _ []int32, _ []array) array { return concat(in[0], in[1], 1) }},
		{name: "concat features", in: [][]int{{2, 3, 5}, {2, 3, 4}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.ConcatFeatures(in[0].(Tokens), in[1].(Tokens))
			},
			want: func(in []array, _ []int32, _ []array) array { return concat(in[0], in[1], 2) }},
		{name: "upsample", in: [][]int{{2, 3, 3, 5}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Upsample2(in[0].(Map))
			},
			want: func(in []array, _ []int32, _ []array) array { return refUpsample2(in[0]) }},
		{name: "tokens", in: [][]int{{2, 4, 3, 5}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any { return g.Tokens(in[0].(Map)) },
			want:  func(in []array, _ []int32, _ []array) array { return refTokens(in[0]) }},
		{name: "map", in: [][]int{{2, 15, 4}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Map(in[0].(Tokens), 3, 5)
			},
			want: func(in []array, _ []int32, _ []array) array { return refMap(in[0], 3, 5) }},
		{name: "row", in: [][]int{{2, 5, 3}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Row(in[0].(Tokens), 3)
			},
			want: func(in []array, _ []int32, _ []array) array {
				x := in[0].data
				return array{shape: []int{2, 3}, data: append(append([]float64{}, x[9:12]...), x[24:27]...)}
			}},
		{name: "features", in: [][]int{{2, 5, 7}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Features(in[0].(Tokens), 3, 2)
			},
			want: func(in []array, _ []int32, _ []array) array { return narrow(in[0], 3, 2) }},
	}
	for _, edge := range []Padding{{Left: 1, Right: 2, Top: 3}, {Bottom: 4}, {2, 2, 1, 1}} {
		list = append(list, opCase{name: fmt.Sprintf("crop %v", edge), in: [][]int{{2, 3, 5, 7}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Crop(in[0].(Map), edge)
			},
			want: func(in []array, _ []int32, _ []array) array { return refCrop(in[0], edge) }})
	}
	for _, n := range []int{1, 2} {
		list = append(list, opCase{name: fmt.Sprintf("affine %d", n), in: [][]int{{2, 4, 3, 5}, {n, 4}, {n, 4}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.Affine(in[0].(Map), in[1].(Vector), in[2].(Vector))
			},
			want: func(in []array, _ []int32, _ []array) array { return refAffine(in[0], in[1], in[2]) }})
		list = append(list, opCase{name: fmt.Sprintf("add vector %d", n), in: [][]int{{2, 4, 3, 5}, {n, 4}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.AddVector(in[0].(Map), in[1].(Vector))
			},
			want: func(in []array, _ []int32, _ []array) array { return refAddVector(in[0], in[1]) }})
	}
	return list
}

func lookups() []opCase {
	var list []opCase
	for _, typ := range append([]weights.DType{weights.F32, weights.F16, weights.BF16}, quantised...) {
		n, out := 6, 9
		if typ.Quantised() {
			n, out = 256, 256
		}
		list = append(list,
			opCase{name: "rows " + typ.String(), weights: [][]int{{9, n}}, stored: typ, ids: []int32{0, 8, 8, 3, 1, 2},
				build: func(g *Graph, _ []any, ids func(int, int) IDs, w []*weights.Tensor) any {
					return Rows(g, w[0], ids(3, 2))
				},
				want: func(_ []array, ids []int32, w []array) array { return refRows(w[0], ids, 3) }},
			opCase{name: "add table " + typ.String(), in: [][]int{{2, 5, n}}, weights: [][]int{{5, n}}, stored: typ,
				build: func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
					return AddTable(g, in[0].(Tokens), w[0])
				},
				want: func(in []array, _ []int32, w []array) array {
					return both(in[0], w[0], func(x, y float64) float64 { return x + y })
				}},
			opCase{name: "project " + typ.String(), in: [][]int{{2, 6}}, weights: [][]int{{6, out}}, stored: typ,
				build: func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
					return Project(g, in[0].(Vector), w[0])
				},
				want: func(in []array, _ []int32, w []array) array {
					return refLinear(in[0], transpose(w[0]), nil)
				}},
		)
	}
	return append(list, opCase{name: "pick", in: [][]int{{2, 5, 6}}, ids: []int32{4, 1},
		build: func(g *Graph, in []any, ids func(int, int) IDs, _ []*weights.Tensor) any {
			return g.Pick(in[0].(Tokens), ids(1, 2))
		},
		want: func(in []array, ids []int32, _ []array) array {
			x := in[0].data
			return array{shape: []int{2, 6}, data: append(append([]float64{}, x[24:30]...), x[36:42]...)}
		}})
}

func transpose(x array) array {
	y := zeros(x.shape[1], x.shape[0])
	for i := range x.shape[0] {
		for j := range x.shape[1] {
			*y.at(j, i) = *x.at(i, j)
		}
	}
	return y
}
