package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"supir"
)

// A bar reports on a terminal: a progress bar for the picture in work, lines
// for what is finished.
type bar struct {
	lines
	container *mpb.Progress
	bar       *mpb.Bar

	mu      sync.Mutex // guards what the bar shows, which it asks for when it likes
	title   string
	last    supir.Progress
	at      time.Time // when last was current
	stopped bool
}

// barTotal is the bar's length in its own units.
const barTotal = 1000

// shares are where each stage begins on the bar, in barTotal-ths; sampling takes
// nearly all the time.
var shares = []struct {
	stage supir.Stage
	from  int
}{
	{supir.StageEncode, 0}, {supir.StageClean, 20}, {supir.StageCaption, 50},
	{supir.StageText, 60}, {supir.StageSample, 70}, {supir.StageDecode, 950}, {"", barTotal},
}

// along is how far a picture is, in barTotal-ths.
func along(p supir.Progress) int64 {
	for i, s := range shares[:len(shares)-1] {
		if s.stage == p.Stage {
			done := 0.0
			if p.Of > 0 {
				done = float64(p.Step) / float64(p.Of)
			}
			return int64(float64(s.from) + done*float64(shares[i+1].from-s.from))
		}
	}
	return 0
}

func (b *bar) begin(j *job, index, of int) {
	b.lines.begin(j, index, of)
	if j.err != nil || j.skip {
		return
	}
	const widest = 30
	title := runewidth.Truncate(show(j.input), widest, "…")
	if of > 1 {
		title = fmt.Sprintf("[%d/%d] %s", index, of, title)
	}
	b.mu.Lock()
	b.title, b.last = title, supir.Progress{}
	b.mu.Unlock()
	b.container = mpb.New(mpb.WithOutput(b.w))
	b.bar = b.container.New(barTotal, mpb.BarStyle().Lbound("[").Filler("=").Tip(">").Padding(" ").Rbound("]"),
		mpb.PrependDecorators(decor.Any(b.what)), mpb.AppendDecorators(decor.Any(b.left)))
}

// what is the text before the bar.
func (b *bar) what(decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return b.title + " stopping… "
	}
	if b.last.Stage == "" {
		return b.title + " read "
	}
	return b.title + " " + position(b.last) + " "
}

// left is the text behind the bar. The estimate, made at a step's end, counts
// down during the next.
func (b *bar) left(s decor.Statistics) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := fmt.Sprintf(" %3d%%", 100*s.Current/barTotal)
	if b.last.Left > 0 {
		left := max(b.last.Left-time.Since(b.at), 0)
		text += " " + left.Round(time.Second).String() + " left"
	}
	return text
}

func (b *bar) progress(p supir.Progress) {
	b.mu.Lock()
	b.last, b.at = p, time.Now()
	b.mu.Unlock()
	b.bar.SetCurrent(min(along(p), barTotal-1)) // a full bar would end itself
}

// clear takes the bar away.
func (b *bar) clear() {
	if b.container == nil {
		return
	}
	b.bar.Abort(true)
	b.container.Wait()
	b.container = nil
}

func (b *bar) abandoned() { b.clear() }

func (b *bar) restored(j *job, r *outcome) {
	b.clear()
	b.lines.restored(j, r)
}

func (b *bar) failed(j *job, f *failure) {
	b.clear()
	b.lines.failed(j, f)
}

func (b *bar) stopping() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = true
}

func (b *bar) done(s *summary) {
	b.clear()
	b.lines.done(s)
}
