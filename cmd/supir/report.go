package main

import (
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"supir"
)

// A reporter tells how a batch goes: to a person at a terminal (bar.go), to a
// log (lines.go), or to a program (events). stopping may be called from another
// goroutine at any time.
type reporter interface {
	start(model string, pictures int)
	begin(j *job, index, of int)
	progress(p supir.Progress)
	abandoned() // the picture begun last is given up, for the user interrupted
	restored(j *job, r *outcome)
	skipped(j *job)
	failed(j *job, f *failure)
	stopping() // the user has interrupted
	done(s *summary)
	fatal(f *failure) // nothing is done; the error is told elsewhere too
}

func newReporter(io streams, json, quiet bool) reporter {
	switch {
	case json:
		return &events{w: io.out, quiet: quiet}
	case io.terminal && !quiet:
		return &bar{lines: lines{w: io.err}}
	}
	return &lines{w: io.err, quiet: quiet}
}

// events are JSON objects, one a line: see the package's documentation.
type events struct {
	mu    sync.Mutex
	w     io.Writer
	quiet bool // no progress
	job   *job
	index int
}

// put writes one object. Its members come in a fixed order, "event" first.
func (e *events) put(v any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	enc := json.NewEncoder(e.w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // who reads it is gone; the exit code remains
}

func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

func (e *events) start(model string, pictures int) {
	e.put(struct {
		Event    string `json:"event"`
		Model    string `json:"model"`
		Pictures int    `json:"pictures"`
	}{"start", model, pictures})
}

func (e *events) begin(j *job, index, _ int) { e.job, e.index = j, index }

func (e *events) progress(p supir.Progress) {
	if e.quiet {
		return
	}
	e.put(struct {
		Event   string      `json:"event"`
		Input   string      `json:"input"`
		Index   int         `json:"index"`
		Stage   supir.Stage `json:"stage"`
		Step    int         `json:"step"`
		Of      int         `json:"of"`
		Elapsed float64     `json:"elapsed"`
		Left    float64     `json:"left"`
	}{"progress", e.job.input, e.index, p.Stage, p.Step, p.Of, seconds(p.Elapsed), seconds(p.Left)})
}

func (e *events) abandoned() {}

func (e *events) restored(j *job, r *outcome) {
	notices := r.notices
	if notices == nil {
		notices = []string{}
	}
	e.put(struct {
		Event   string   `json:"event"`
		Input   string   `json:"input"`
		Output  string   `json:"output"`
		Outputs []string `json:"outputs"`
		Stage1  string   `json:"stage1,omitempty"`
		Width   int      `json:"width"`
		Height  int      `json:"height"`
		Caption string   `json:"caption"`
		Tiles   []string `json:"tile_captions,omitempty"`
		Seed    uint64   `json:"seed"`
		Seconds float64  `json:"seconds"`
		Notices []string `json:"notices"`
	}{"result", j.input, j.outputs[0], j.outputs, j.stage1, r.width, r.height, r.caption, r.tiles, r.seed, seconds(r.took), notices})
}

func (e *events) skipped(j *job) {
	e.put(struct {
		Event  string `json:"event"`
		Input  string `json:"input"`
		Output string `json:"output"`
	}{"skip", j.input, j.outputs[0]})
}

func (e *events) failed(j *job, f *failure) { e.error(j.input, f) }
func (e *events) fatal(f *failure)          { e.error("", f) }

func (e *events) error(input string, f *failure) {
	e.put(struct {
		Event string `json:"event"`
		Input string `json:"input"`
		Error string `json:"error"`
		Hint  string `json:"hint,omitempty"`
		Code  int    `json:"code"`
	}{"error", input, f.Error(), f.hint, f.code})
}

func (e *events) stopping() {}

func (e *events) done(s *summary) {
	e.put(struct {
		Event    string  `json:"event"`
		Restored int     `json:"restored"`
		Failed   int     `json:"failed"`
		Skipped  int     `json:"skipped"`
		Left     int     `json:"left"`
		Seconds  float64 `json:"seconds"`
		Code     int     `json:"code"`
	}{"done", s.restored, len(s.failures), s.skipped, s.left(), seconds(time.Since(s.began)), s.code()})
}

// span is a time span for people, to the second where it is long.
func span(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// position is where a stage stands: "sample 3/50", or "encode" for stages of
// one step.
func position(p supir.Progress) string {
	if p.Of <= 1 {
		return string(p.Stage)
	}
	return fmt.Sprintf("%s %d/%d", p.Stage, p.Step, p.Of)
}
