package main

import (
	"encoding/json"
	"fmt"
	"image"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"supir"
	"supir/photo"
)

// planOptions are what `supir plan` is asked to do.
type planOptions struct {
	streams
	inputs []string
	modelFlags
	json bool
}

func newPlan(io streams) *cobra.Command {
	o := &planOptions{streams: io}
	cmd := &cobra.Command{
		Use:   "plan PICTURE...",
		Short: "Tell what restoring a picture would take",
		Long: `Tells at what size pictures would be worked on, in how many steps, and how much
memory that takes, stage by stage, without restoring anything. It takes the
flags of "supir restore" that matter for that.

` + exitCodesHelp + ` Here 4 means that a
picture would not fit.`,
		Example: `  supir plan old.jpg --upscale 4
  supir plan old.jpg --memory 6GiB --json`,
		Args: pictures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exclude(cmd, "prompt", "tile-captions"); err != nil {
				return err
			}
			o.inputs = args
			return runPlan(o)
		},
	}
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object a picture")
	cmd.Flags().SortFlags = false
	o.add(cmd)
	return cmd
}

func runPlan(o *planOptions) error {
	opts, files, _, err := o.read()
	if err != nil {
		return err
	}
	var sizes []image.Point
	for _, input := range o.inputs {
		meta, err := photo.ReadMeta(input, photo.ReadOptions{})
		if err != nil {
			return err
		}
		sizes = append(sizes, image.Pt(meta.Width, meta.Height))
	}
	m, err := supir.New(files)
	if err != nil {
		return err
	}
	defer m.Close()
	tooLarge, hint := 0, ""
	for i, input := range o.inputs {
		o.captions.apply(&opts, files, input)
		p, err := m.Plan(sizes[i], opts)
		if err != nil {
			f := classify(err)
			f.err = fmt.Errorf("%s: %w", show(input), f.err)
			return f
		}
		if !fits(p) {
			tooLarge++
			hint = fittingHint(m, sizes[i], opts, *p)
		}
		if o.json {
			err = planJSON(o.out, input, p)
		} else {
			err = planTable(o.out, input, sizes[i], p)
		}
		if err != nil {
			return err
		}
	}
	if tooLarge > 0 {
		if tooLarge > 1 || hint == "" {
			hint = smaller + ", or give more with --memory"
		}
		return &failure{err: fmt.Errorf("%d of %d pictures would not fit", tooLarge, len(o.inputs)), code: exitMemory, hint: hint}
	}
	return nil
}

func fits(p *supir.Plan) bool {
	return (p.Budget <= 0 || p.Peak <= p.Budget) && (p.DiskFree <= 0 || p.Disk <= p.DiskFree)
}

func planJSON(w io.Writer, input string, p *supir.Plan) error {
	type stage struct { // bytes
		Stage    supir.Stage `json:"stage"`
		Weights  int64       `json:"weights"`
		Streamed bool        `json:"streamed"`
		Working  int64       `json:"working"`
		Scratch  int64       `json:"scratch"`
		Pictures int64       `json:"pictures"`
	}
	stages := []stage{}
	for _, s := range p.Stages {
		stages = append(stages, stage(s))
	}
	return json.NewEncoder(w).Encode(struct {
		Input      string  `json:"input"`
		Width      int     `json:"width"`
		Height     int     `json:"height"`
		WorkWidth  int     `json:"work_width"`
		WorkHeight int     `json:"work_height"`
		Steps      int     `json:"steps"`
		TileSize   int     `json:"tile_size"`
		Windows    int     `json:"windows"`
		Strips     int     `json:"strips"`
		Compute    string  `json:"compute"` // type of sampling's products
		Stages     []stage `json:"stages"`
		Keep       bool    `json:"keep"`
		Overhead   int64   `json:"overhead"` // bytes, as all below
		Peak       int64   `json:"peak"`
		Disk       int64   `json:"disk"`
		DiskFree   int64   `json:"disk_free"`
		Budget     int64   `json:"budget"`
		Fits       bool    `json:"fits"`
	}{input, p.Width, p.Height, p.WorkWidth, p.WorkHeight, p.Steps, p.TileSize, p.Windows, p.Strips, p.Compute.String(), stages, p.Keep,
		p.Overhead, p.Peak, p.Disk, p.DiskFree, p.Budget, fits(p)})
}

func planTable(w io.Writer, input string, from image.Point, p *supir.Plan) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s\n", show(input))
	fmt.Fprintf(t, "  picture\t%d×%d\n", from.X, from.Y)
	fmt.Fprintf(t, "  worked on at\t%d×%d\n", p.WorkWidth, p.WorkHeight)
	fmt.Fprintf(t, "  result\t%d×%d\n", p.Width, p.Height)
	fmt.Fprintf(t, "  sampling\t%d steps of %d windows, products in %v\n", p.Steps, p.Windows, p.Compute)
	if p.Strips > 1 {
		fmt.Fprintf(t, "  VAE\tin up to %d strips\n", p.Strips)
	}
	for _, s := range p.Stages {
		weights := size(s.Weights) + " weights"
		if s.Streamed {
			weights = size(s.Weights) + " weights at a time, from their files"
		}
		fmt.Fprintf(t, "  memory, %s\t%s: %s, %s working", s.Stage, size(s.Sum()), weights, size(s.Working))
		if s.Scratch > 0 {
			fmt.Fprintf(t, ", %s between strips", size(s.Scratch))
		}
		fmt.Fprintf(t, ", %s pictures\n", size(s.Pictures))
	}
	if p.Keep {
		fmt.Fprintf(t, "  weights\tof all stages stay loaded\n")
	}
	if p.Disk > 0 {
		fmt.Fprintf(t, "  temporary files\t%s of %s\n", size(p.Disk), size(p.DiskFree))
	}
	verdict := "fits"
	switch {
	case p.DiskFree > 0 && p.Disk > p.DiskFree:
		verdict = "the disk for temporary files does not suffice ($TMPDIR names another)"
	case !fits(p):
		verdict = "does not fit"
	}
	fmt.Fprintf(t, "  memory at most\t%s of %s: %s\n", size(p.Peak), size(p.Budget), verdict)
	return t.Flush()
}
