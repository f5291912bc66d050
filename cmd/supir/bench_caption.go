package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"

	"github.com/klauspost/cpuid/v2"

	"supir/internal/llava"
	"supir/internal/memory"
	"supir/internal/nn"
)

// A captionReport is what `supir bench caption --json` prints. Rates of products
// are in GFLOP/s, of memory in GB/s.
type captionReport struct {
	CPU     string `json:"cpu"`
	Device  string `json:"device"`
	Shape   string `json:"shape"`
	Weights string `json:"weights"`

	Tokens       int     `json:"tokens"`
	Minimum      float64 `json:"seconds_minimum"` // of a token
	Median       float64 `json:"seconds_median"`
	PerSecond    float64 `json:"tokens_per_second"` // by the minimum
	Read         int64   `json:"read_bytes"`        // of weights for a token
	Bandwidth    float64 `json:"memory_gbs"`
	Ratio        float64 `json:"ratio"` // of PerSecond to reading the weights once a token
	Prompt       int     `json:"prompt_tokens"`
	PromptLayers int     `json:"prompt_layers"` // that were timed
	PromptRate   float64 `json:"prompt_gflops"`
	Product      float64 `json:"product_gflops"`
	PromptRatio  float64 `json:"prompt_ratio"`
	Load         float64 `json:"seconds_load"`
	Cache        int64   `json:"cache_bytes"`
	Peak         int64   `json:"peak_bytes"`
}

// benchCaption times LLaVA's language model: a prompt with a picture, then word
// by word.
func benchCaption(ctx context.Context, o *benchOptions) error {
	const (
		promptTokens = 576 + 86 // a picture's and the question's
		promptLayers = 8
	)
	shape, typ := cmp.Or(o.Shape, "7b"), cmp.Or(o.Weights, "q4_k")
	if _, ok := llava.Shapes[shape]; !ok {
		return usagef("", "--shape %s: for captions it must be one of %s", shape, list(slices.Sorted(maps.Keys(llava.Shapes))))
	}
	if _, ok := llava.RandomTypes[typ]; !ok {
		return usagef("", "--weights %s: for captions it must be one of %s", typ, list(slices.Sorted(maps.Keys(llava.RandomTypes))))
	}
	threads := cmp.Or(o.Threads, runtime.GOMAXPROCS(0))
	e, err := nn.Open(o.Device, threads)
	if err != nil {
		return err
	}
	defer e.Close()
	b := llava.Benchmark{Shape: shape, Type: typ, Tokens: cmp.Or(o.Runs, 16), Prompt: promptTokens, Layers: promptLayers}
	r, err := b.Run(ctx, e, threads)
	if err != nil {
		return err
	}
	const giga = 1e9
	least := slices.Min(r.Seconds)
	report := captionReport{CPU: strings.TrimSpace(cpuid.CPU.BrandName), Device: e.DeviceName(), Shape: shape, Weights: typ,
		Tokens: len(r.Seconds), Minimum: least, Median: r.Median(), PerSecond: 1 / least, Read: r.Bytes,
		Bandwidth: r.Bandwidth / giga, Ratio: r.Ratio(), Prompt: promptTokens, PromptLayers: r.Layers, PromptRate: r.Prompt / giga,
		Product: r.Product / giga, PromptRatio: r.Prompt / r.Product, Load: r.Load, Cache: r.Cache, Peak: memory.Peak()}
	if o.json {
		enc := json.NewEncoder(o.out)
		enc.SetIndent("", "  ")
		return enc.Encode(report)
	}
	fmt.Fprintf(o.out, `%s, %s

caption, LLaVA's language model %s, weights %s
  a token  %.3f s at least, %.3f s in the median of %d: %.2f tokens/s
  reading  %s of weights a token, at %.1f GB/s of memory: %.0f %% of that rate
  prompt   %d tokens: %.0f GFLOP/s (%d layers), %.0f %% of a matrix product's %.0f
  memory   %s keys and values, %s the process at most; loading took %.1f s
`, report.CPU, report.Device, shape, typ, report.Minimum, report.Median, report.Tokens, report.PerSecond,
		size(report.Read), report.Bandwidth, 100*report.Ratio,
		report.Prompt, report.PromptRate, report.PromptLayers, 100*report.PromptRatio, report.Product,
		size(report.Cache), size(report.Peak), report.Load)
	return nil
}
