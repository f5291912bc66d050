package main

import (
	"io"
	"time"

	"github.com/spf13/cobra"

	"supir/internal/degrade"
)

// flags are what a user chooses.
type flags struct {
	photos, degraded, out string
	pictures, size        int
	quick, fresh          bool
	budget                time.Duration
	recipe                string

	sdxl, supir          string
	withoutNegatives     string
	withZeroConvolution  string
	steps, threads, seed int
	device               string
}

func newRoot(stdout, stderr io.Writer) *cobra.Command {
	f := &flags{}
	root := &cobra.Command{
		Use:   "supir-lab EXPERIMENT --photos DIR",
		Short: "Repeat the paper's experiments",
		Long: `Repeats the paper's experiments on your own photographs: DIR's pictures are cut to
squares, degraded, restored and measured. OUT then holds report.md, with tables,
plots and pictures side by side, and every single picture under OUT/pictures.

Without --photos the two photographs of examples/photos are taken, if the
command runs where the repository lies: enough to see that all works, too few
to say anything. The embedded model is used unless --sdxl and --supir name
another. Two experiments compare with a second model, which train/ makes:
--model-without-negatives (table2b, fig4), --model-zero-convolution (table2c).`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("no experiment %q: see supir-lab --help", args[0])
			}
			return cmd.Help()
		},
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.CompletionOptions.HiddenDefaultCmd = true

	p := root.PersistentFlags()
	p.StringVar(&f.photos, "photos", "", "`folder` of photographs")
	p.StringVar(&f.degraded, "degraded", "", "`folder` of degraded pictures instead: gt/NAME.png and RECIPE/NAME.png")
	p.StringVar(&f.out, "out", "paper", "`folder` for the report")
	p.IntVar(&f.pictures, "pictures", 0, "how many photographs to take, the first by name (0: all)")
	p.IntVar(&f.size, "size", 512, "side of the true pictures, in pixels, a multiple of 64")
	p.BoolVar(&f.quick, "quick", false, "a first look: two pictures of 256 pixels, few settings")
	p.DurationVar(&f.budget, "budget", 0, "begin no restoration after so much `time`, such as 30m; what is complete is reported")
	p.BoolVar(&f.fresh, "fresh", false, "make all pictures anew")
	p.StringVar(&f.recipe, "recipe", degrade.Recipes[len(degrade.Recipes)-1].Name, "degradation of fig8a, table2b, table2c and fig4")
	p.StringVar(&f.sdxl, "sdxl", "", "SDXL `file`")
	p.StringVar(&f.supir, "supir", "", "SUPIR `file`")
	p.StringVar(&f.withoutNegatives, "model-without-negatives", "", "SUPIR `file` trained without negative samples")
	p.StringVar(&f.withZeroConvolution, "model-zero-convolution", "", "SUPIR `file` trained with zero convolutions")
	p.IntVar(&f.steps, "steps", 0, "sampling steps (0: the model's)")
	p.IntVar(&f.threads, "threads", 0, "threads on the CPU (0: all)")
	p.IntVar(&f.seed, "seed", 1234, "of degradations and of sampling")
	p.StringVar(&f.device, "device", "auto", "device to compute on; supir doctor lists them")
	p.SortFlags = false

	for _, e := range experiments(f) {
		about := e.about()
		root.AddCommand(&cobra.Command{
			Use: about.name, Short: about.title, Args: noArguments,
			RunE: func(cmd *cobra.Command, _ []string) error { return runLab(cmd.Context(), f, stderr, about.name) },
		})
	}
	root.AddCommand(&cobra.Command{
		Use: "all", Short: "All of them, picture by picture, so that a --budget is shared", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return runLab(cmd.Context(), f, stderr, "") },
	})
	return root
}

// noArguments allows flags only.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no %q: pictures are given by --photos DIR", cmd.CommandPath(), args[0])
	}
	return nil
}

// check looks at all that can be known before work begins.
func (f *flags) check() error {
	switch {
	case f.photos != "" && f.degraded != "":
		return usagef("--photos and --degraded both say what the pictures are: leave one out")
	case f.size < 64 || f.size > 4096 || f.size%64 != 0:
		return usagef("--size %d: must be a multiple of 64 up to 4096", f.size)
	case f.pictures < 0:
		return usagef("--pictures %d: must not be negative", f.pictures)
	case f.steps < 0 || f.steps > 1000:
		return usagef("--steps %d: must be in 1 to 1000", f.steps)
	case f.seed < 0:
		return usagef("--seed %d: must not be negative", f.seed)
	case f.budget < 0:
		return usagef("--budget %v: must not be negative", f.budget)
	case f.out == "":
		return usagef("--out must not be empty")
	case (f.sdxl == "") != (f.supir == ""):
		return usagef("a model is two files: give both --sdxl and --supir, or none for the embedded model")
	}
	if _, err := degrade.Find(f.recipe); err != nil {
		return usageError{err}
	}
	return nil
}
