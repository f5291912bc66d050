package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"supir"
	"supir/photo"
)

// restoreOptions are what `supir restore` is asked to do.
type restoreOptions struct {
	streams
	jobRequest
	modelFlags
	quality     int
	keepGPS     bool
	keepProfile bool
	json, quiet bool
	trace       string // file for a trace, or ""
}

func newRestore(io streams) *cobra.Command { return newRestoreInto(&restoreOptions{streams: io}) }

// newRestoreInto makes the command whose flags fill o.
func newRestoreInto(o *restoreOptions) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore PICTURE... [-o OUT]",
		Short: "Restore pictures",
		Long: `Restores pictures, or all pictures of folders (not of folders within them).

The result of NAME.EXT is OUT, whose extension tells the format (.jpg, .png or
.tif); with several pictures, or where OUT is a folder or ends in /, it is
OUT/NAME.EXT; without -o it is NAME_restored.EXT beside the picture. WebP, GIF
and BMP become PNG. Several samples are numbered: NAME-1.EXT, NAME-2.EXT. From
a folder, pictures named NAME_restored.EXT are not taken.

No picture is overwritten, nor any other file without --overwrite, and no
unfinished file is left behind. A batch goes on with the others when a picture
cannot be restored.

` + exitCodesHelp,
		Example: `  supir restore old.jpg -o restored.png
  supir restore old.jpg --upscale 2 --prompt "a girl on a swing"
  supir restore box-of-photos/ -o restored/ --preset fidelity
  supir restore *.jpg -o restored/ --skip-existing --json`,
		Args: pictures,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := exclude(cmd, "overwrite", "skip-existing"); err != nil {
				return err
			}
			if err := exclude(cmd, "prompt", "tile-captions"); err != nil {
				return err
			}
			if err := exclude(cmd, "caption-tiles", "tile-captions"); err != nil {
				return err
			}
			o.inputs = args
			return runRestore(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.VarP(text(&o.output, "OUT"), "output", "o", "file, or folder, for the results")
	f.Var(text(&o.format, "jpg|png|tif", "jpg", "png", "tif"), "format", "format of results that are named by their picture (the picture's)")
	f.BoolVar(&o.overwrite, "overwrite", false, "replace existing files, but for the pictures themselves")
	f.BoolVar(&o.skipExisting, "skip-existing", false, "leave out pictures whose results exist")
	f.Var(&intValue{&o.quality, 1, 100}, "quality", "of JPEG results, 1 to 100 (95)")
	f.BoolVar(&o.keepGPS, "keep-gps", false, "keep where the picture was taken in the result's metadata")
	f.BoolVar(&o.keepProfile, "keep-profile", false, "keep the picture's colour space instead of converting to sRGB")
	f.Var(text(&o.stage1, "FILE"), "stage1", "also write the picture after the first stage, cleaned but not yet restored")
	f.BoolVar(&o.json, "json", false, "print events as JSON, one a line (see go doc supir/cmd/supir)")
	f.Var(text(&o.trace, "FILE"), "trace", "write when each stage and operator ran, as JSON for Perfetto or chrome://tracing (see docs/profiling.md)")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print errors only")
	f.SortFlags = false
	o.add(cmd)
	return cmd
}

// pictures wants at least one argument.
func pictures(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("supir "+cmd.Use, "no pictures given")
	}
	return nil
}

func runRestore(ctx context.Context, o *restoreOptions) error {
	report := newReporter(o.streams, o.json, o.quiet)
	err := restoreAll(ctx, o, report)
	if f := (*failure)(nil); err != nil {
		if f = classify(err); !f.told {
			report.fatal(f)
		}
		return f
	}
	return nil
}

// restoreAll restores all pictures with one model.
func restoreAll(ctx context.Context, o *restoreOptions, report reporter) (err error) {
	opts, files, model, err := o.read()
	if err != nil {
		return err
	}
	o.samples = opts.Samples
	jobs, undo, err := planJobs(o.jobRequest)
	if err != nil {
		return err
	}
	defer undo()
	opts.Progress = report.progress
	if o.trace != "" {
		trace, end, err := startTrace(o.trace, o.overwrite)
		if err != nil {
			return err
		}
		defer func() { err = cmp.Or(err, end()) }()
		opts.Trace = trace
	}

	var m *supir.Model
	if slices.ContainsFunc(jobs, func(j *job) bool { return j.err == nil && !j.skip }) {
		if m, err = supir.New(files); err != nil {
			return err
		}
		defer m.Close()
	}
	defer context.AfterFunc(ctx, report.stopping)()
	report.start(model, len(jobs))
	sum := summary{total: len(jobs), began: time.Now()}
	for i, j := range jobs {
		if ctx.Err() != nil {
			break
		}
		report.begin(j, i+1, len(jobs))
		began := time.Now()
		o.captions.apply(&opts, files, j.input)
		r, err := o.restoreOne(ctx, m, j, jobs, opts)
		switch {
		case err != nil && ctx.Err() != nil:
			report.abandoned()
		case err != nil:
			f := classify(err)
			sum.failures = append(sum.failures, failedJob{j, f})
			report.failed(j, f)
		case j.skip:
			sum.skipped++
			report.skipped(j)
		default:
			sum.restored++
			r.took = time.Since(began)
			report.restored(j, r)
		}
	}
	sum.interrupted = ctx.Err() != nil
	report.done(&sum)
	if sum.interrupted {
		return &failure{err: context.Canceled, code: exitInterrupted, told: true}
	}
	if code := sum.code(); code != exitOK {
		return &failure{err: fmt.Errorf("%d pictures failed", len(sum.failures)), code: code, told: true}
	}
	return nil
}

// An outcome is a restored picture.
type outcome struct {
	width, height int
	caption       string
	described     bool     // by a captioner
	tiles         []string // captions of windows
	seed          uint64
	notices       []string
	took          time.Duration
}

// restoreOne restores one picture; all are there so that none is overwritten.
func (o *restoreOptions) restoreOne(ctx context.Context, m *supir.Model, j *job, all []*job, opts supir.Options) (*outcome, error) {
	if j.err != nil || j.skip {
		return nil, j.err
	}
	in, err := photo.Read(j.input, photo.ReadOptions{KeepGPS: o.keepGPS, KeepProfile: o.keepProfile})
	if err != nil {
		return nil, err
	}
	result, err := m.Restore(ctx, in.Image, opts)
	if err != nil {
		f := classify(err)
		f.err = fmt.Errorf("%s: %w", show(j.input), f.err)
		if memory := (*supir.MemoryError)(nil); errors.As(err, &memory) {
			f.hint = cmp.Or(fittingHint(m, in.Image.Bounds().Size(), opts, memory.Plan), f.hint)
		}
		return nil, f
	}
	write := photo.WriteOptions{Quality: o.quality, Overwrite: o.overwrite}
	for _, other := range all {
		write.Protect = append(write.Protect, other.input)
	}
	r := &outcome{caption: result.Caption, described: opts.Prompt == "" && result.Caption != "", tiles: result.TileCaptions, seed: cmp.Or(opts.Seed, 1234), notices: in.Meta.Notices}
	if result.CaptionError != nil {
		r.notices = append(r.notices, fmt.Sprintf("restored without a caption: %v", result.CaptionError))
	}
	if j.stage1 != "" {
		if result.Cleaned == nil {
			r.notices = append(r.notices, "there is no cleaned picture to write with --restoration 0 and --color-fix none")
		} else if err := photo.Write(j.stage1, in.With(result.Cleaned), write); err != nil {
			return nil, err
		}
	}
	for i, img := range result.Images {
		out := in.With(img)
		if i == 0 {
			size := out.Image.Bounds().Size()
			r.width, r.height = size.X, size.Y
			format, err := photo.OutputFormat(j.outputs[0])
			if err != nil {
				return nil, err
			}
			r.notices = append(r.notices, out.Losses(format)...)
		}
		if err := photo.Write(j.outputs[i], out, write); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// A summary is how a batch went.
type summary struct {
	total, restored, skipped int
	failures                 []failedJob
	interrupted              bool
	began                    time.Time
}

type failedJob struct {
	job *job
	err *failure
}

// left is how many pictures were not begun, or not finished when the user
// interrupted.
func (s *summary) left() int { return s.total - s.restored - s.skipped - len(s.failures) }

// code is the exit code: see the package's documentation.
func (s *summary) code() int {
	switch {
	case s.interrupted:
		return exitInterrupted
	case len(s.failures) == 0:
		return exitOK
	case len(s.failures) < s.total:
		return exitFailed
	}
	code := s.failures[0].err.code
	for _, f := range s.failures {
		if f.err.code != code {
			return exitFailed
		}
	}
	return code
}
