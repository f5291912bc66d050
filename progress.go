package supir

import (
	"image"
	"time"
)

// A tracker turns what is done into Progress.
type tracker struct {
	report         func(Progress)
	stage          Stage
	start, entered time.Time
}

func newTracker(report func(Progress)) *tracker {
	return &tracker{report: report, start: time.Now()}
}

// enter begins a stage of so many steps.
func (t *tracker) enter(stage Stage, of int) {
	t.stage, t.entered = stage, time.Now()
	t.step(0, of, nil)
}

// step tells that so many steps of the stage are done. What is left is estimated
// in sampling alone, which takes nearly all the time.
func (t *tracker) step(done, of int, preview func() image.Image) {
	if t.report == nil {
		return
	}
	p := Progress{Stage: t.stage, Step: done, Of: of, Elapsed: time.Since(t.start), Preview: preview}
	if t.stage == StageSample && done > 0 {
		p.Left = time.Duration(float64(time.Since(t.entered)) / float64(done) * float64(of-done))
	}
	t.report(p)
}
