package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"supir"
)

// An experiment is one table or figure of the paper.
type experiment interface {
	about() about
	// cases is how many it has: photographs, mostly.
	cases(l *lab) int
	// run does one of them.
	run(ctx context.Context, l *lab, i int) error
	// write tells of those that were done.
	write(l *lab, s *section) error
}

// about is what an experiment is.
type about struct {
	name, title string
	needs       []variant // the models it wants
	photographs bool      // it wants a user's photographs
	alone       bool      // it is none of the paper's: done where it is named
}

// errBudget ends a run whose time is over.
var errBudget = errors.New("the time budget is used up")

// A lab is one run of the program.
type lab struct {
	*flags
	log      io.Writer
	items    []item
	skipped  []string // pictures, with the reason
	models   *models
	pictures *ledger
	deadline time.Time // zero: none
}

// runLab does the experiment of that name, or all for "".
func runLab(ctx context.Context, f *flags, log io.Writer, name string) (err error) {
	if f.quick {
		f.size = min(f.size, 256)
		if f.pictures == 0 {
			f.pictures = 2
		}
	}
	if err := f.check(); err != nil {
		return err
	}
	list := experiments(f)
	list = slices.DeleteFunc(list, func(e experiment) bool {
		return name != "" && e.about().name != name || name == "" && e.about().alone
	})
	l := &lab{flags: f, log: log, models: newModels(f)}
	defer func() { err = errors.Join(err, l.models.close()) }()
	var left []experiment // with every model that they need
	for _, e := range list {
		switch missing := l.models.missing(e.about().needs); {
		case missing == "":
			left = append(left, e)
		case name != "":
			return usagef("%s wants a second model: %s FILE", e.about().name, missing)
		default:
			fmt.Fprintf(log, "%s is left out: it wants %s FILE\n", e.about().name, missing)
		}
	}
	if err := l.models.check(left); err != nil {
		return err
	}
	if slices.ContainsFunc(left, func(e experiment) bool { return e.about().photographs }) {
		if err := l.load(); err != nil {
			return err
		}
	}
	if len(left) == 1 && left[0].cases(l) == 0 {
		return usagef("%s has nothing to do: it wants photographs with a caption beside them, in NAME.txt, and a model with a captioner", left[0].about().name)
	}
	if err := os.MkdirAll(f.out, 0o777); err != nil {
		return err
	}
	if l.pictures, err = openLedger(f.out); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.pictures.close()) }()
	if f.budget > 0 {
		l.deadline = time.Now().Add(f.budget)
	}
	return l.runAll(ctx, left)
}

// load reads the photographs.
func (l *lab) load() (err error) {
	if l.photos == "" && l.degraded == "" {
		if !exists(examples) {
			return usagef("--photos DIR is needed: a folder of photographs")
		}
		l.photos, l.size = examples, min(l.size, exampleSize)
		fmt.Fprintf(l.log, "no --photos: taking those of %s, %d pixels: enough to see that all works, too little to say anything\n", examples, l.size)
	}
	l.items, err = l.flags.load(func(name string, err error) {
		reason := strings.TrimPrefix(err.Error(), name+": ") // some name the file
		l.skipped = append(l.skipped, filepath.Base(name)+": "+reason)
		fmt.Fprintf(l.log, "skipped %s: %s\n", name, reason)
	})
	fmt.Fprintf(l.log, "%d pictures, %d skipped\n", len(l.items), len(l.skipped))
	return err
}

// runAll does the first case of every experiment, then the second, so that a
// budget that ends early leaves something of each.
func (l *lab) runAll(ctx context.Context, list []experiment) error {
	over := map[experiment]bool{}
	for i, more := 0, true; more; i++ {
		more = false
		for _, e := range list {
			if over[e] || i >= e.cases(l) {
				continue
			}
			switch err := e.run(ctx, l, i); {
			case errors.Is(err, errBudget):
				fmt.Fprintf(l.log, "%s: %v after %d of %d cases\n", e.about().name, err, i, e.cases(l))
				over[e] = true
				continue
			case err != nil:
				return fmt.Errorf("%s: %w", e.about().name, err)
			}
			more = true
			if err := l.report(e, i+1); err != nil {
				return err
			}
		}
	}
	if len(list) > 0 {
		fmt.Fprintf(l.log, "see %s\n", filepath.Join(l.out, reportName))
	}
	return nil
}

// restored is what a model makes of a low-quality picture: from the ledger if
// that was made from the same before. folder and file name it.
func (l *lab) restored(ctx context.Context, v variant, o supir.Options, low image.Image, folder, file string) (image.Image, error) {
	o.Steps, o.Seed = l.steps, uint64(l.seed)
	o.Device, o.Threads = l.device, l.threads
	if o.Captioner == nil {
		o.Captioner = supir.FixedCaption("") // not the model's own, if it has one
	}
	path := filepath.Join("pictures", folder, file+".png")
	print, err := l.models.print(v)
	if err != nil {
		return nil, err
	}
	key := keyOf(low, fmt.Sprintf("%+v", o), print)
	if img := l.pictures.find(path, key); img != nil && !l.fresh {
		return img, nil
	}
	if !l.deadline.IsZero() && time.Now().After(l.deadline) {
		return nil, errBudget
	}
	began := time.Now()
	m, err := l.models.use(v)
	if err != nil {
		return nil, err
	}
	result, err := m.Restore(ctx, low, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	took := time.Since(began)
	fmt.Fprintf(l.log, "%s: %.1f s\n", path, took.Seconds())
	return result.Image, l.pictures.add(path, key, result.Image)
}
