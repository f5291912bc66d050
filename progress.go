package supir

import (
	"fmt"
	"image"
	"time"
)

// A tracker turns what is done into Progress.
type tracker struct {
	report         func(Progress)
	trace          *Trace // may be nil
	stage          Stage
	start, entered time.Time
	stepped        time.Time
}

func newTracker(report func(Progress), trace *Trace) *tracker {
	return &tracker{report: report, trace: trace, start: time.Now()}
}

// enter begins a stage of so many steps, and ends the one before.
func (t *tracker) enter(stage Stage, of int) {
	t.leave()
	t.stage, t.entered = stage, time.Now()
	t.step(0, of, nil)
}

// part tells that a part of the stage's first step is done; the step itself is
// told elsewhere.
func (t *tracker) part(done, of int) {
	if t.report != nil && done < of {
		t.report(Progress{Stage: t.stage, Step: done, Of: of, Elapsed: time.Since(t.start)})
	}
}

// leave ends the stage.
func (t *tracker) leave() {
	if t.stage != "" {
		t.trace.bar(stageRow, string(t.stage), "stage", t.entered, time.Since(t.entered), nil)
	}
	t.stage = ""
}

// step tells that so many steps of the stage are done. What is left is estimated
// in sampling alone, which takes nearly all the time.
func (t *tracker) step(done, of int, preview func() image.Image) {
	if done > 0 {
		t.trace.bar(stepRow, fmt.Sprintf("%s %d", t.stage, done), "step", t.stepped, time.Since(t.stepped), nil)
	}
	t.stepped = time.Now()
	if t.report == nil {
		return
	}
	p := Progress{Stage: t.stage, Step: done, Of: of, Elapsed: time.Since(t.start), Preview: preview}
	if t.stage == StageSample && done > 0 {
		p.Left = time.Duration(float64(time.Since(t.entered)) / float64(done) * float64(of-done))
	}
	t.report(p)
}
