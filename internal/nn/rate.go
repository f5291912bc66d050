package nn

import (
	"context"
	"math"
	"math/rand/v2"
	"time"

	"supir/internal/weights"
)

// ProductRate is the best rate, in FLOP/s, at which the engine multiplies large
// matrices of random numbers, the second factor kept in a precision, from F16:
// what the speed of whole networks is compared with.
func (e *Engine) ProductRate(ctx context.Context, precision Precision) (float64, error) {
	const tokens, features = 2048, 1280
	const least, most, enough = 3, 20, time.Second // runs, runs, together
	r := rand.New(rand.NewPCG(5, 6))
	numbers := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(scale * r.NormFloat64())
		}
		return x
	}
	w := weights.FromFloat32("product", weights.F16, []int{features, features}, numbers(features*features, 1/math.Sqrt(features)))
	net := struct {
		Product Linear `key:"product"`
	}{Linear{Weight: w}}
	params, err := e.Load(ctx, precision, &net)
	if err != nil {
		return 0, err
	}
	defer params.Close()
	p, err := e.Build(params, nil, func(g *Graph) {
		Output(g, "y", net.Product.Forward(g, g.InputTokens("x", features, tokens, 1)))
	})
	if err != nil {
		return 0, err
	}
	defer p.Close()
	if err := p.Set("x", numbers(tokens*features, 1)); err != nil {
		return 0, err
	}
	flop, _ := p.FLOP()
	best := 0.0
	start := time.Now()
	for i := 0; i < least || i < most && time.Since(start) < enough; i++ {
		began := time.Now()
		if err := p.Run(ctx); err != nil {
			return 0, err
		}
		best = max(best, flop/time.Since(began).Seconds())
	}
	return best, nil
}
