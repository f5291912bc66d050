package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// refRotate turns pairs of features of every head by position·base^(-2i/dims).
func refRotate(x array, positions []int32, heads int, r Rotary) array {
	y := zeros(x.shape...)
	copy(y.data, x.data)
	tokens, c := x.shape[1], x.shape[2]
	d := c / heads
	for t := range tokens {
		for h := range heads {
			for i := range r.Features / 2 {
				a, b := h*d+2*i, h*d+2*i+1
				if r.HalfSplit {
					a, b = h*d+i, h*d+i+r.Features/2
				}
				sin, cos := math.Sincos(float64(positions[t]) * math.Pow(float64(r.Base), -2*float64(i)/float64(r.Features)))
				u, v := *x.at(0, t, a), *x.at(0, t, b)
				*y.at(0, t, a), *y.at(0, t, b) = u*cos-v*sin, u*sin+v*cos
			}
		}
	}
	return y
}

func refRMSNorm(x, w array, eps float64) array {
	y := zeros(x.shape...)
	c := len(w.data)
	for t := range len(x.data) / c {
		sum := 0.0
		for _, v := range x.data[t*c : (t+1)*c] {
			sum += v * v
		}
		for i := range c {
			y.data[t*c+i] = x.data[t*c+i] / math.Sqrt(sum/float64(c)+eps) * w.data[i]
		}
	}
	return y
}

// transformers are the table's rows of language models' layers.
func transformers() []opCase {
	rotate := func(name string, positions []int32, heads int, in []int, r Rotary) opCase {
		return opCase{name: "rotate " + name, in: [][]int{in}, ids: positions,
			build: func(g *Graph, in []any, ids func(int, int) IDs, _ []*weights.Tensor) any {
				x := in[0].(Tokens)
				return g.Rotate(x, ids(x.T, 1), heads, r)
			},
			want: func(in []array, ids []int32, _ []array) array { return refRotate(in[0], ids, heads, r) }}
	}
	norm := func(name string, in []int, scale float64) opCase {
		return opCase{name: "rms norm " + name, in: [][]int{in}, weights: [][]int{{in[2]}}, scale: scale,
			build: func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
				l := RMSNorm{Weight: w[0]}
				return l.Forward(g, in[0].(Tokens), 1e-5)
			},
			want: func(in []array, _ []int32, w []array) array { return refRMSNorm(in[0], w[0], 1e-5) }}
	}
	return []opCase{
		norm("one token", []int{1, 1, 7}, 1),
		norm("batch", []int{2, 3, 64}, 1),
		norm("small values", []int{1, 5, 64}, 3e-3),
		rotate("neighbours", []int32{0, 1, 2, 9}, 2, []int{1, 4, 16}, Rotary{Base: 10000, Features: 8}),
		rotate("halves", []int32{0, 1, 2, 9}, 2, []int{1, 4, 16}, Rotary{Base: 10000, Features: 8, HalfSplit: true}),
		rotate("part of a head", []int32{3, 4}, 3, []int{1, 2, 24}, Rotary{Base: 500, Features: 4}),
		rotate("one token", []int32{17}, 1, []int{1, 1, 32}, Rotary{Base: 10000, Features: 32}),
		{name: "swiglu", in: [][]int{{1, 3, 10}, {1, 3, 10}}, scale: 2,
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.SwiGLU(in[0].(Tokens), in[1].(Tokens))
			},
			want: func(in []array, _ []int32, _ []array) array {
				return both(each(in[0], refSiLU), in[1], func(x, y float64) float64 { return x * y })
			}},
		{name: "concat tokens", in: [][]int{{1, 2, 6}, {1, 3, 6}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, _ []*weights.Tensor) any {
				return g.ConcatTokens(in[0].(Tokens), in[1].(Tokens))
			},
			want: func(in []array, _ []int32, _ []array) array { return concat(in[0], in[1], 1) }},
	}
}

// refSharedHeads repeats heads of keys for the heads of queries that share them.
func refSharedHeads(x array, d, times int) array {
	tokens, c := x.shape[1], x.shape[2]
	y := zeros(1, tokens, c*times)
	for t := range tokens {
		for i := range c * times {
			*y.at(0, t, i) = *x.at(0, t, i/d/times*d+i%d)
		}
	}
	return y
}

// TestCache computes a sequence's attention as a beginning and then token by
// token, and compares it with the naive one over all of it.
func TestCache(t *testing.T) {
	eachEngine(t, func(t *testing.T, te testEngine, e *Engine) {
		for _, c := range []struct {
			heads, shared, d, begin, tokens, layers int
			precision                               Precision
		}{
			{4, 4, 8, 5, 9, 1, F32},
			{4, 2, 8, 5, 40, 2, F32}, // beyond the first window
			{6, 1, 16, 33, 35, 1, F32},
			{4, 2, 32, 7, 9, 2, Stored},
		} {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				const step = 32
				qc, kc := c.heads*c.d, c.shared*c.d
				r := rand.New(rand.NewPCG(5, 6))
				q, k, v := random(r, 1, []int{c.tokens, qc}), random(r, 1, []int{c.tokens, kc}), random(r, 1, []int{c.tokens, kc})
				want := refAttention(arrayOf([]int{1, c.tokens, qc}, q),
					refSharedHeads(arrayOf([]int{1, c.tokens, kc}, k), c.d, c.heads/c.shared),
					refSharedHeads(arrayOf([]int{1, c.tokens, kc}, v), c.d, c.heads/c.shared), c.heads, true)

				cache, err := e.NewCache(c.precision, c.layers, c.shared, kc, 64)
				require.NoError(t, err)
				defer cache.Close()
				params, err := e.Load(t.Context(), F32)
				require.NoError(t, err)
				defer params.Close()
				build := func(place func(g *Graph) *Place, tokens int) *Program {
					p, err := e.Build(params, nil, func(g *Graph) {
						at := place(g)
						q, k, v := g.InputTokens("q", qc, tokens, 1), g.InputTokens("k", kc, tokens, 1), g.InputTokens("v", kc, tokens, 1)
						for layer := range c.layers {
							y := at.Attention(g, layer, q, k, v, c.heads)
							Output(g, fmt.Sprint(layer), y)
							k, v = Scale(g, k, -1), Scale(g, v, 2) // so that layers differ
						}
					})
					require.NoError(t, err)
					return p
				}
				run := func(p *Program, from, n int) {
					t.Helper()
					require.NoError(t, p.SetPosition(cache, from))
					require.NoError(t, p.Set("q", q[from*qc:(from+n)*qc]))
					require.NoError(t, p.Set("k", k[from*kc:(from+n)*kc]))
					require.NoError(t, p.Set("v", v[from*kc:(from+n)*kc]))
					require.NoError(t, p.Run(t.Context()))
					got, err := p.Get("0")
					require.NoError(t, err)
					most := bound(te, opCase{}, F32)
					if c.precision == Stored {
						most = 1e-6
					}
					assert.LessOrEqual(t, nmse(got, want.data[from*qc:(from+n)*qc]), most, "tokens from %d", from)
				}
				p := build(func(g *Graph) *Place { return g.Beginning(cache, c.begin) }, c.begin)
				run(p, 0, c.begin)
				p.Close()
				window := 0
				for i := c.begin; i < c.tokens; i++ {
					if i >= window {
						if window > 0 {
							p.Close()
						}
						window = i/step*step + step
						p = build(func(g *Graph) *Place { return g.Next(cache, window) }, 1)
					}
					run(p, i, 1)
				}
				assert.ErrorContains(t, p.SetPosition(cache, window), "in a window of")
				p.Close()
			})
		}
	})
}

func TestCacheMisuse(t *testing.T) {
	e, err := Open("cpu", 0)
	require.NoError(t, err)
	defer e.Close()
	_, err = e.NewCache(F32, 1, 3, 8, 5)
	assert.Error(t, err)
	cache, err := e.NewCache(F32, 1, 1, 8, 5)
	require.NoError(t, err)
	defer cache.Close()
	params, err := e.Load(t.Context(), F32)
	require.NoError(t, err)
	defer params.Close()
	for _, f := range []func(g *Graph){
		func(g *Graph) { g.Beginning(cache, 6) },
		func(g *Graph) { g.Next(cache, 6) },
		func(g *Graph) {
			q := g.InputTokens("q", 6, 2, 1)
			g.Beginning(cache, 2).Attention(g, 0, q, q, q, 1)
		},
	} {
		_, err := e.Build(params, nil, f)
		assert.ErrorContains(t, err, "nn: ")
	}
}
