package nn

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReuse has a program that keeps 2x as a part and 3x as another, and programs
// that take over either, both, or none.
func TestReuse(t *testing.T) {
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		params := load(t, e)
		computed := map[string]int{}
		network := func(g *Graph) {
			x := g.InputMap("x", 2, 1, 2, 1)
			times := func(part string, s float32) Map {
				return Keep(g, part, part+" of x", func() Map {
					computed[part]++
					return Scale(g, x, s)
				})
			}
			Output(g, "y", Add(g, x, Add(g, times("two", 2), times("three", 3))))
		}
		first := build(t, e, params, nil, func(g *Graph) {
			g.Keeping("two", "three")
			network(g)
		})
		reusing := func(parts ...string) *Program {
			return build(t, e, params, nil, func(g *Graph) {
				g.Reusing(first, parts...)
				network(g)
			})
		}
		two, both := reusing("two"), reusing("two", "three")
		assert.Equal(t, map[string]int{"two": 1, "three": 2}, computed, "what is taken over isn't even recorded")
		assert.Equal(t, int64(2*4*4), first.KeptSize())
		assert.Equal(t, first.KeptSize(), two.KeptSize())

		run := func(p *Program, x float32) float32 {
			require.NoError(t, p.Set("x", []float32{x, 2 * x, 3 * x, 4 * x}))
			require.NoError(t, p.Run(t.Context()))
			y := get(t, p, "y")
			assert.Equal(t, []float32{y[0], 2 * y[0], 3 * y[0], 4 * y[0]}, y)
			return y[0]
		}
		assert.EqualValues(t, 6, run(first, 1))
		assert.EqualValues(t, 10+5, run(both, 10), "2 and 3 from x = 1")
		assert.EqualValues(t, 10+30+2, run(two, 10), "2 from x = 1, and 30 is left for others")
		assert.EqualValues(t, 100+30+2, run(both, 100))
		kept := first.Kept(nil)
		assert.EqualValues(t, 6000, run(first, 1000))
		assert.EqualValues(t, 5000+1, run(both, 1))
		first.SetKept(kept)
		assert.EqualValues(t, 1+30+2, run(both, 1))
		assert.Equal(t, kept, first.Kept(make([]float32, len(kept))))

		size, keeps, err := e.MeasureReusing(params, []string{"two", "three"}, [][]string{{"two"}, {"two", "three"}}, network)
		require.NoError(t, err)
		assert.Equal(t, first.KeptSize(), keeps)
		assert.GreaterOrEqual(t, size, first.Size()+two.Size()+both.Size())

		_, err = e.Build(params, nil, func(g *Graph) {
			g.Reusing(first, "two")
			Output(g, "y", Keep(g, "two", "another", func() Map { return g.InputMap("x", 1, 1, 1, 1) }))
		})
		require.ErrorContains(t, err, "another has not been kept")
	})
}
