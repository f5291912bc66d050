package main

import (
	"cmp"
	"context"
	"image"
	"math/rand/v2"
	"slices"
	"time"

	"supir"
	"supir/internal/memory"
)

// benchRestore times whole restorations by the embedded model.
func benchRestore(ctx context.Context, o *benchOptions) (*partReport, error) {
	m, err := supir.New(embeddedFiles())
	if err != nil {
		return nil, err
	}
	defer m.Close()
	side, runs := cmp.Or(o.Size, 512), cmp.Or(o.Runs, 3)
	img := noisePicture(side)
	p := &partReport{Part: "restore", Shape: "embedded", Size: side, Runs: runs, device: cmp.Or(o.Device, "auto")}
	opts := supir.Options{MinSize: side, Device: o.Device, Threads: o.Threads}
	var took []float64
	for i := range runs + 1 {
		watch := &stageWatch{}
		opts.Progress = watch.progress
		if i == runs {
			opts.Trace = o.Trace
		}
		began := time.Now()
		r, err := m.Restore(ctx, img, opts)
		if err != nil {
			return nil, err
		}
		p.Type = r.Plan.Compute.String()
		if i == 0 {
			p.First = time.Since(began).Seconds()
		} else {
			took = append(took, time.Since(began).Seconds())
		}
		watch.enter("")
		p.Operators = watch.stages
	}
	slices.Sort(took)
	p.Minimum, p.Median = took[0], (took[(runs-1)/2]+took[runs/2])/2
	p.Peak = memory.Peak()
	return p, nil
}

// noisePicture is a square picture, always the same, that looks like a bad
// photograph of nothing.
func noisePicture(side int) image.Image {
	r := rand.New(rand.NewPCG(7, 8))
	img := image.NewNRGBA(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.Pix[i] = uint8(64 + 128*(i/4%side)/side + r.IntN(48))
		if i%4 == 3 {
			img.Pix[i] = 255
		}
	}
	return img
}

// A stageWatch times the stages of a restoration.
type stageWatch struct {
	stage  supir.Stage
	began  time.Time
	steps  int
	stages []operatorReport
}

func (w *stageWatch) progress(p supir.Progress) {
	if p.Stage != w.stage {
		w.enter(p.Stage)
	}
	w.steps = p.Of
}

// enter ends the stage and begins another.
func (w *stageWatch) enter(s supir.Stage) {
	if w.stage != "" {
		w.stages = append(w.stages, operatorReport{Kind: string(w.stage), Count: w.steps, Seconds: time.Since(w.began).Seconds()})
	}
	w.stage, w.began = s, time.Now()
}
