package nn

import "supir/internal/weights"

// fused are layers in the places that they have in networks, where a lowering
// may compute several at once.
func fused() []opCase {
	same := Padding{1, 1, 1, 1}
	conv := func(w []*weights.Tensor, i int) *Conv2D { return &Conv2D{Weight: w[i], Bias: w[i+1]} }
	silu := func(x array) array { return each(x, refSiLU) }
	add := func(x, y array) array { return both(x, y, func(a, b float64) float64 { return a + b }) }
	mapCase := func(name string, build func(g *Graph, x Map, v Vector, w []*weights.Tensor) any,
		want func(x, v array, w []array) array) opCase {
		const c = 48
		return opCase{name: "fused " + name, in: [][]int{{2, c, 6, 5}, {2, c}}, uses: []use{convUse, otherUse, convUse, otherUse},
			weights: [][]int{{c, c, 3, 3}, {c}, {c, c, 1, 1}, {c}, {c}, {c}},
			build: func(g *Graph, in []any, _ func(int, int) IDs, w []*weights.Tensor) any {
				return build(g, in[0].(Map), in[1].(Vector), w)
			},
			want: func(in []array, _ []int32, w []array) array { return want(in[0], in[1], w) }}
	}
	const groups, eps = 3, 1e-5
	norm := func(w []*weights.Tensor) *GroupNorm { return &GroupNorm{Weight: w[4], Bias: w[5], Groups: groups} }
	refNorm := func(x array, w []array) array { return refGroupNorm(x, w[4], w[5], groups, eps) }
	tokenCase := func(name string, in int, ws [][]int, u use, build func(g *Graph, x Tokens, w []*weights.Tensor) any,
		want func(x array, w []array) array) opCase {
		return opCase{name: "fused " + name, in: [][]int{{2, 21, in}}, uses: []use{u}, weights: ws, stored: weights.F16,
			build: func(g *Graph, inputs []any, _ func(int, int) IDs, w []*weights.Tensor) any {
				return build(g, inputs[0].(Tokens), w)
			},
			want: func(inputs []array, _ []int32, w []array) array { return want(inputs[0], w) }}
	}
	refGate := func(x array) array {
		half := x.shape[2] / 2
		return both(narrow(x, 0, half), each(narrow(x, half, half), refGELU), func(a, b float64) float64 { return a * b })
	}
	gate := func(name string, in, out int) opCase {
		return tokenCase("geglu "+name, in, [][]int{{2 * out, in}, {2 * out}}, gegluUse,
			func(g *Graph, x Tokens, w []*weights.Tensor) any { return (&GEGLU{w[0], w[1]}).Forward(g, x) },
			func(x array, w []array) array { return refGate(refLinear(x, w[0], &w[1])) })
	}
	activated := func(name string, f func(*Graph, Tokens) Tokens, ref func(float64) float64) opCase {
		return tokenCase("linear "+name, 64, [][]int{{80, 64}, {80}}, linearUse,
			func(g *Graph, x Tokens, w []*weights.Tensor) any { return f(g, (&Linear{w[0], w[1]}).Forward(g, x)) },
			func(x array, w []array) array { return each(refLinear(x, w[0], &w[1]), ref) })
	}
	return []opCase{
		mapCase("residual block",
			func(g *Graph, x Map, v Vector, w []*weights.Tensor) any {
				h := g.AddVector(conv(w, 0).Forward(g, SiLU(g, norm(w).Forward(g, x, eps))), v)
				return Add(g, conv(w, 2).Forward(g, x), conv(w, 0).Forward(g, SiLU(g, norm(w).Forward(g, h, eps))))
			},
			func(x, v array, w []array) array {
				h := refAddVector(refConv(silu(refNorm(x, w)), w[0], &w[1], 1, same), v)
				return add(refConv(x, w[2], &w[3], 1, Padding{}), refConv(silu(refNorm(h, w)), w[0], &w[1], 1, same))
			}),
		mapCase("sum that is used twice",
			func(g *Graph, x Map, _ Vector, w []*weights.Tensor) any {
				h := conv(w, 0).Forward(g, x)
				return Add(g, Add(g, x, h), Add(g, SiLU(g, h), h))
			},
			func(x, _ array, w []array) array {
				h := refConv(x, w[0], &w[1], 1, same)
				return add(add(x, h), add(silu(h), h))
			}),
		mapCase("upsampled",
			func(g *Graph, x Map, _ Vector, w []*weights.Tensor) any { return conv(w, 0).Forward(g, g.Upsample2(x)) },
			func(x, _ array, w []array) array { return refConv(refUpsample2(x), w[0], &w[1], 1, same) }),
		mapCase("SiLU behind a convolution",
			func(g *Graph, x Map, v Vector, w []*weights.Tensor) any {
				return SiLU(g, g.AddVector(conv(w, 0).Forward(g, x), v))
			},
			func(x, v array, w []array) array { return silu(refAddVector(refConv(x, w[0], &w[1], 1, same), v)) }),
		mapCase("modulated norm",
			func(g *Graph, x Map, _ Vector, w []*weights.Tensor) any {
				return norm(w).Modulated(g, x, conv(w, 0).Forward(g, x), conv(w, 2).Forward(g, x), eps)
			},
			func(x, _ array, w []array) array {
				n := refNorm(x, w)
				scaled := both(n, refConv(x, w[0], &w[1], 1, same), func(a, b float64) float64 { return a * (1 + b) })
				return add(scaled, refConv(x, w[2], &w[3], 1, Padding{}))
			}),
		mapCase("tokens between",
			func(g *Graph, x Map, _ Vector, w []*weights.Tensor) any {
				y := (&Linear{w[2], w[3]}).Forward(g, g.Tokens(norm(w).Forward(g, x, eps)))
				return Add(g, x, g.Map(y, x.H, x.W))
			},
			func(x, _ array, w []array) array { return add(x, refConv(refNorm(x, w), w[2], &w[3], 1, Padding{})) }),
		tokenCase("layer norm, linear, residual", 64, [][]int{{64, 64}, {64}, {64}, {64}}, linearUse,
			func(g *Graph, x Tokens, w []*weights.Tensor) any {
				return Add(g, x, (&Linear{w[0], w[1]}).Forward(g, (&LayerNorm{w[2], w[3]}).Forward(g, x, eps)))
			},
			func(x array, w []array) array {
				return add(x, refLinear(refLayerNorm(x, w[2], w[3], eps), w[0], &w[1]))
			}),
		gate("", 64, 96), gate("of odd sizes", 49, 35), gate("narrow", 5, 3),
		activated("GELU", GELU[Tokens], refGELU),
		activated("quick GELU", QuickGELU[Tokens], refQuickGELU),
		activated("SiLU", SiLU[Tokens], refSiLU),
	}
}
