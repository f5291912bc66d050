package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"supir"
	"supir/internal/convert"
)

// convertOptions are what `supir convert` is asked to do.
type convertOptions struct {
	streams
	weights weightFlags
	llava   string
	output  string
	options supir.ConvertOptions
	json    bool
	quiet   bool
}

func newConvert(io streams) *cobra.Command {
	o := &convertOptions{streams: io}
	cmd := &cobra.Command{
		Use:   "convert -o OUT.gguf",
		Short: "Make one smaller file of a model",
		Long: `Makes one GGUF file, for --model, of a model's files: all that supir takes from
them, with weights of another type.

The types, from the largest to the smallest: ` + strings.Join(convert.Types(), ", ") + `.
See docs/quantization.md for what each costs. Some weights stay larger than
asked for: norms and biases (f32); with a quantised type the VAE, first and last
convolutions, and embeddings of time and sizes (f16); and rows that are not
whole blocks, which fall back from blocks of 256 (q6_k, q5_k, q4_k) to q8_0, and
from blocks of 32 (q8_0, q4_0) to f16. Networks may have types of their own:
` + strings.Join(convert.Networks(), ", ") + `.

With --llava it makes one of LLaVA-1.5 instead, from a folder as Hugging Face
has it (config.json, tokenizer.model, *.safetensors), to be given as --llava to
the other commands. Its vision tower and projector stay f16.

The file appears whole or not at all.

` + convertExitCodes,
		Example: `  supir convert --sdxl SDXL.safetensors --supir SUPIR.safetensors --type q8_0 -o supir-q8_0.gguf
  supir convert --sdxl SDXL.safetensors --supir SUPIR.safetensors --type q4_k,text=q8_0 -o supir.gguf
  supir restore old.jpg -o restored.png --model supir.gguf
  supir convert --llava llava-1.5-7b-hf/ --type q4_k -o llava.gguf`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runConvert(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.VarP(text(&o.output, "OUT.gguf"), "output", "o", "the file to write")
	f.Var(text(&o.llava, "FOLDER"), "llava", "LLaVA-1.5 in Hugging Face's layout")
	f.StringVar(&o.options.Type, "type", "q8_0", "`TYPE` of the weights, then those of single networks: TYPE[,NETWORK=TYPE...]")
	f.BoolVar(&o.options.Overwrite, "overwrite", false, "replace an existing file")
	f.BoolVar(&o.json, "json", false, "print what was written as a JSON object")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	f.SortFlags = false
	_ = cmd.RegisterFlagCompletionFunc("type", cobra.FixedCompletions(convert.Types(), cobra.ShellCompDirectiveNoFileComp))
	o.weights.add(cmd)
	return cmd
}

// convertExitCodes is the part of help on exit codes.
const convertExitCodes = `Exit codes: 0 all is well; 1 the file could not be written; 2 the command line
cannot be carried out; 3 the weights cannot be used; 130 interrupted.`

func runConvert(ctx context.Context, o *convertOptions) error {
	if o.output == "" {
		return usagef("supir convert -o OUT"+convert.Suffix, "-o is missing")
	}
	files, _, err := o.weights.files()
	if err != nil {
		return err
	}
	if o.llava != "" {
		if w := o.weights; w.sdxl != "" || w.supir != "" || w.model != "" || len(w.loras) > 0 {
			return usagef("leave one of them out", "--llava and the weights of a model: they become files of their own")
		}
	}
	began := time.Now()
	end := func() {}
	if !o.quiet {
		o.options.Progress, end = conversionProgress(o.streams, o.output)
	}
	var c *supir.Conversion
	if o.llava != "" {
		c, err = supir.ConvertLLaVA(ctx, o.llava, o.output, o.options)
	} else {
		c, err = supir.Convert(ctx, files, o.output, o.options)
	}
	end()
	option, misfit := (*supir.OptionError)(nil), (*supir.WeightsError)(nil)
	switch {
	case errors.As(err, &misfit) && o.llava != "":
		return &failure{err: err, code: exitWeights, hint: "--llava takes a folder as transformers keep LLaVA-1.5: config.json, tokenizer.model and the weights as safetensors"}
	case errors.As(err, &option):
		return usagef("", "--type %s: %s", o.options.Type, option.Reason)
	case errors.Is(err, convert.ErrName), errors.Is(err, convert.ErrIsInput):
		return usagef("", "-o %v", err)
	case errors.Is(err, syscall.EISDIR):
		return usagef("name a file in it", "-o %v", err)
	case errors.Is(err, fs.ErrExist):
		return usagef("--overwrite replaces it", "-o %v", err)
	case errors.Is(err, convert.ErrFolder):
		return usagef("", "-o %v", err)
	case errors.Is(err, convert.ErrSpace):
		return &failure{err: err, code: exitFailed, hint: "write to another disk, or take a smaller --type"}
	case err != nil:
		return err
	}
	if o.json {
		return conversionJSON(o.out, o.output, c)
	}
	if o.quiet {
		return nil
	}
	fmt.Fprintf(o.err, "%s: %s in %s\n", show(o.output), size(c.Size), span(time.Since(began)))
	return conversionTable(o.out, c)
}

// conversionProgress shows how far a conversion is: a bar on a terminal, else a
// line for every tenth.
func conversionProgress(io streams, name string) (progress func(done, total int64), end func()) {
	if !io.terminal {
		tenth := int64(0)
		return func(done, total int64) {
			if now := 10 * done / total; now != tenth {
				tenth = now
				fmt.Fprintf(io.err, "%s: %d%%\n", show(name), 10*tenth)
			}
		}, func() {}
	}
	container := mpb.New(mpb.WithOutput(io.err))
	b := container.New(0, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(decor.Name(show(name)+" "), decor.CountersKibiByte("% .1f of % .1f ")),
		mpb.AppendDecorators(decor.Percentage(), decor.Name(" "), decor.AverageETA(decor.ET_STYLE_GO)))
	return func(done, total int64) {
			b.SetTotal(total+1, false) // a full bar would end itself
			b.SetCurrent(done)
		}, func() {
			b.Abort(true)
			container.Wait()
		}
}

func conversionTable(w io.Writer, c *supir.Conversion) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "network\tparameters\tsize\terror\ttensors")
	for _, n := range c.Networks {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2g\t%s\n", n.Name, millions(n.Parameters), size(n.Size), n.Error, tensorTypes(&n))
	}
	return t.Flush()
}

// tensorTypes tells how many tensors have which type, and why not the one asked
// for: "312 q4_k, 40 q8_0 (no whole blocks), 8 f16 (kept)".
func tensorTypes(n *supir.ConvertedNetwork) string {
	var parts []string
	for _, typ := range slices.SortedFunc(maps.Keys(n.Tensors), func(a, b string) int { return n.Tensors[b] - n.Tensors[a] }) {
		text := fmt.Sprintf("%d %s", n.Tensors[typ], typ)
		var why []string
		if k := n.Kept[typ]; k > 0 {
			why = append(why, fmt.Sprintf("%d kept", k))
		}
		if k := n.Misfits[typ]; k > 0 {
			why = append(why, fmt.Sprintf("%d without whole blocks", k))
		}
		if len(why) > 0 {
			text += " (" + strings.Join(why, ", ") + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// millions is a number of parameters for people.
func millions(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.2f billion", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f million", float64(n)/1e6)
	}
	return fmt.Sprint(n)
}

func conversionJSON(w io.Writer, name string, c *supir.Conversion) error {
	type network struct {
		Name       string         `json:"name"`
		Parameters int64          `json:"parameters"`
		Size       int64          `json:"size"`    // bytes
		Tensors    map[string]int `json:"tensors"` // by type
		Kept       map[string]int `json:"kept"`    // of them, for what they are
		Misfits    map[string]int `json:"misfits"` // of them, for their rows
		Error      float64        `json:"error"`   // normalised squared, of the matrices rounded
	}
	networks := []network{}
	for _, n := range c.Networks {
		networks = append(networks, network(n))
	}
	return printJSON(w, struct {
		Output   string    `json:"output"`
		Size     int64     `json:"size"`
		Networks []network `json:"networks"`
	}{name, c.Size, networks})
}
