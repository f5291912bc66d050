package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"supir"
)

// benchOptions are what `supir bench` is asked to time.
type benchOptions struct {
	streams
	supir.Benchmark
	engine    string
	trace     string
	overwrite bool
	json      bool
}

// blockParts are the single blocks that can be timed.
var blockParts = []string{"transformer1280", "transformer640", "resblock640", "resblock320"}

// engineVariable is how the library is told to compute with ggml alone.
const engineVariable = "SUPIR_ENGINE"

func newBench(io streams) *cobra.Command {
	o := &benchOptions{streams: io}
	cmd := &cobra.Command{
		Use:   "bench step|blocks|vae|text|caption|restore",
		Short: "Time what this machine computes with",
		Long: `Times a part of the model: one step of sampling (U-Net, adaptor and connectors,
both prompts), single blocks of the U-Net at the size they have at 1024×1024,
the VAE (encoder and decoder), both text encoders, LLaVA's language model (token
by token, and on a prompt with a picture), or a whole
restoration by the embedded model. But for the last, the weights are random
numbers of the published model's full size, made in memory, so no file is
needed; the memory of that part of the model is.

The rate of a large matrix product of the same type, measured in the same run,
says what the machine could do at best.

` + exitCodesHelp,
		Example: `  supir bench step --size 512
  supir bench step --shape small --json
  supir bench vae --size 1024 --trace vae.json`,
		ValidArgs: append([]string{"step", "blocks", "vae", "text", "caption", "restore", "encode", "decode"}, blockParts...),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
				return usagef("see `supir bench --help`", "bench takes one of %s, encode or decode alone, or a block's name", list(cmd.ValidArgs[:6]))
			}
			return runBench(cmd.Context(), o, args[0])
		},
	}
	f := cmd.Flags()
	f.Var(text(&o.Shape, "sdxl|small", "sdxl", "small", "7b", "13b", "tiny"), "shape", "sizes of the model: the published one's, or small ones (sdxl); of captions 7b, 13b or tiny (7b)")
	f.Var(&multipleValue{&o.Size, 64, 8192}, "size", "side of the picture in pixels, a multiple of 64 (512)")
	f.Var(text(&o.Weights, "f32|f16|bf16|q8_0|q4_k", "f32", "f16", "bf16", "q8_0", "q4_k"), "weights", "type the weights are stored in (f16); of captions q4_k, q8_0 or f16 (q4_k)")
	f.Var(&computeValue{&o.Compute}, "type", "type that matrices are multiplied in (auto)")
	f.BoolVar(&o.Stored, "stored", false, "keep weights as they are stored and unpack them at every use")
	f.Var(&sizeValue{&o.Memory}, "memory", "bound of the VAE, which then computes its maps in strips, such as 1.5GiB (none)")
	f.Var(&intValue{&o.Prompts, 1, 16}, "prompts", "prompts in a step, 1 where guidance is off (2)")
	f.StringSliceVar(&o.Reuse, "reuse", nil, "time a step that takes over `PARTS` from the one before: text, deep, adaptor")
	f.Var(&intValue{&o.Runs, 1, 1000}, "runs", "timed runs after a first one (3)")
	f.Var(text(&o.engine, "auto|onednn|ggml", "auto", "onednn", "ggml"), "engine", "onednn: supir's own kernels (with oneDNN's on AMX) or none; ggml: without them (auto)")
	f.Var(text(&o.Device, "NAME"), "device", "auto, cpu, gpu, or a device that supir doctor lists (auto)")
	f.Var(&intValue{&o.Threads, 1, 1024}, "threads", "threads that compute on the CPU (one a processor)")
	f.Var(text(&o.trace, "FILE"), "trace", "write when each operator ran, as JSON for Perfetto or chrome://tracing")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace an existing trace")
	f.BoolVar(&o.json, "json", false, "print one JSON object")
	f.SortFlags = false
	return cmd
}

// A benchReport is what `supir bench --json` prints.
type benchReport struct {
	CPU     string       `json:"cpu"`
	Device  string       `json:"device"`
	Kernels string       `json:"kernels"` // instruction set of supir's own; "" where ggml's compute
	Parts   []partReport `json:"parts"`
}

// A partReport is one timed part. Rates are in GFLOP/s.
type partReport struct {
	Part      string           `json:"part"`
	Shape     string           `json:"shape,omitempty"`
	Size      int              `json:"size,omitempty"`
	Weights   string           `json:"weights,omitempty"`
	Type      string           `json:"type"` // of the products
	Stored    bool             `json:"stored"`
	Prompts   int              `json:"prompts,omitempty"`
	Strips    int              `json:"strips,omitempty"` // of the VAE's maps
	Reuse     []string         `json:"reuse,omitempty"`  // parts that were taken over from a step before
	Runs      int              `json:"runs"`
	Minimum   float64          `json:"seconds_minimum"`
	Median    float64          `json:"seconds_median"`
	First     float64          `json:"seconds_first"`
	Load      float64          `json:"seconds_load"`
	TFLOP     float64          `json:"tflop"`
	Once      float64          `json:"tflop_once"` // computed when a prompt or picture changes
	Rate      float64          `json:"gflops"`
	Product   float64          `json:"product_gflops"` // of one large matrix product
	Ratio     float64          `json:"ratio"`          // of Rate to Product
	Held      int64            `json:"weights_bytes"`
	Working   int64            `json:"working_bytes"`
	Peak      int64            `json:"peak_bytes"` // of the process
	Operators []operatorReport `json:"operators"`  // or stages, of a restoration

	device string
}

// An operatorReport is one kind of operator, of one run in which each was timed.
type operatorReport struct {
	Kind    string  `json:"kind"`
	Count   int     `json:"count"`
	Seconds float64 `json:"seconds"`
	TFLOP   float64 `json:"tflop"`
	Rate    float64 `json:"gflops"`
}

func runBench(ctx context.Context, o *benchOptions, what string) (err error) {
	if o.engine == "ggml" {
		if err := os.Setenv(engineVariable, o.engine); err != nil {
			return err
		}
	}
	if o.trace != "" {
		trace, end, err := startTrace(o.trace, o.overwrite)
		if err != nil {
			return err
		}
		defer func() {
			if ended := end(); err == nil {
				err = ended
			}
		}()
		o.Trace = trace
	}
	report := benchReport{CPU: strings.TrimSpace(cpuid.CPU.BrandName)}
	if what == "caption" {
		return benchCaption(ctx, o)
	}
	if what == "restore" {
		p, err := benchRestore(ctx, o)
		if err != nil {
			return err
		}
		report.Device, report.Parts = p.device, append(report.Parts, *p)
		return report.print(o.streams, o.json)
	}
	parts := []string{what}
	switch what {
	case "vae":
		parts = []string{"encode", "decode"}
	case "blocks":
		parts = blockParts
	}
	for _, part := range parts {
		o.Part = part
		r, err := o.Run(ctx)
		if err != nil {
			return err
		}
		if o.engine == "onednn" && r.Kernels == "" {
			return usagef("leave --engine out", "--engine onednn: there are no kernels of supir's own for device %s", r.Device)
		}
		report.Device, report.Kernels = r.Device, r.Kernels
		report.Parts = append(report.Parts, partReportOf(r))
	}
	return report.print(o.streams, o.json)
}

func partReportOf(r *supir.BenchmarkResult) partReport {
	const giga, tera = 1e9, 1e12
	b := &r.Benchmark
	p := partReport{Part: b.Part, Shape: b.Shape, Size: b.Size, Weights: b.Weights, Type: b.Compute.String(), Stored: b.Stored, Prompts: b.Prompts, Strips: r.Strips, Reuse: b.Reuse, Runs: len(r.Seconds),
		Minimum: r.Minimum(), Median: r.Median(), First: r.First, Load: r.Load,
		TFLOP: r.FLOP / tera, Once: r.Once / tera, Rate: r.Rate() / giga, Product: r.Product / giga, Ratio: r.Rate() / r.Product,
		Held: r.Weights, Working: r.Working, Peak: r.Peak}
	for _, op := range r.Operators {
		p.Operators = append(p.Operators, operatorReport{op.Kind, op.Count, op.Seconds, op.FLOP / tera, op.FLOP / giga / max(op.Seconds, 1e-9)})
	}
	return p
}

func (r *benchReport) print(streams streams, asJSON bool) error {
	if asJSON {
		enc := json.NewEncoder(streams.out)
		enc.SetIndent("", "  ")
		return enc.Encode(r)
	}
	fmt.Fprintf(streams.out, "%s, device %s", r.CPU, r.Device)
	switch {
	case r.Kernels != "":
		fmt.Fprintf(streams.out, ", supir's kernels for %s", r.Kernels)
	case r.Parts[0].TFLOP > 0:
		fmt.Fprintf(streams.out, ", ggml's operators")
	}
	fmt.Fprintln(streams.out)
	for i := range r.Parts {
		if err := r.Parts[i].print(streams.out); err != nil {
			return err
		}
	}
	return nil
}

func (p *partReport) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	kept := fmt.Sprintf(", weights %s, ", p.Weights)
	switch {
	case p.Weights == "": // the embedded model's
		kept = ""
	case p.Stored:
		kept += "unpacked at every use"
	default:
		kept += "packed"
	}
	if p.Strips > 1 {
		kept += fmt.Sprintf(", in up to %d strips", p.Strips)
	}
	if len(p.Reuse) > 0 {
		kept += ", without " + strings.Join(p.Reuse, ", ")
	}
	fmt.Fprintf(w, "\n%s, %s, %d×%d, products in %s%s\n", p.Part, p.Shape, p.Size, p.Size, p.Type, kept)
	fmt.Fprintf(t, "  time\t%.3f s at least, %.3f s in the median of %d runs; the first %.3f s, loading %.1f s\n", p.Minimum, p.Median, p.Runs, p.First, p.Load)
	if p.TFLOP > 0 {
		fmt.Fprintf(t, "  work\t%.3f TFLOP, and %.3f once for a prompt or picture\n", p.TFLOP, p.Once)
		fmt.Fprintf(t, "  rate\t%.0f GFLOP/s, %.0f %% of a matrix product's %.0f\n", p.Rate, 100*p.Ratio, p.Product)
		fmt.Fprintf(t, "  memory\t%s weights, %s working, ", size(p.Held), size(p.Working))
	} else {
		fmt.Fprintf(t, "  memory\t")
	}
	fmt.Fprintf(t, "%s the process at most\n", size(p.Peak))
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(t, "\n  operator\tcount\tms\tTFLOP\tGFLOP/s\n")
	for _, op := range p.Operators {
		flop, rate := "", ""
		if op.TFLOP > 0 {
			flop, rate = fmt.Sprintf("%.4f", op.TFLOP), fmt.Sprintf("%.0f", op.Rate)
		}
		fmt.Fprintf(t, "  %s\t%d\t%.1f\t%s\t%s\n", op.Kind, op.Count, 1e3*op.Seconds, flop, rate)
	}
	return t.Flush()
}
