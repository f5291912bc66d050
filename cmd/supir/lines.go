package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"supir"
)

// lines report in plain lines: one for each stage, and for every tenth of
// sampling.
type lines struct {
	mu    sync.Mutex
	w     io.Writer
	quiet bool // errors only

	job   *job
	of    int
	stage supir.Stage
	tenth int
}

func (l *lines) printf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", args...)
}

func (l *lines) start(string, int) {}

func (l *lines) begin(j *job, _, of int) {
	l.job, l.of, l.stage = j, of, ""
}

func (l *lines) progress(p supir.Progress) {
	if l.quiet {
		return
	}
	tenth := 0
	if p.Of > 0 {
		tenth = 10 * p.Step / p.Of
	}
	if p.Stage == l.stage && (tenth == l.tenth || p.Of <= 1) {
		return
	}
	l.stage, l.tenth = p.Stage, tenth
	left := ""
	if p.Left > 0 {
		left = ", " + span(p.Left) + " left"
	}
	l.printf("%s: %s%s", show(l.job.input), position(p), left)
}

func (l *lines) abandoned() {}

func (l *lines) restored(j *job, r *outcome) {
	if l.quiet {
		return
	}
	for _, n := range r.notices {
		l.printf("warning: %s: %s", show(j.input), n)
	}
	if r.described {
		l.printf("%s: caption: %s", show(j.input), r.caption)
	}
	var names []string
	for _, name := range j.written() {
		names = append(names, show(name))
	}
	l.printf("%s → %s (%d×%d, %s)", show(j.input), strings.Join(names, ", "), r.width, r.height, span(r.took))
}

func (l *lines) skipped(j *job) {
	if !l.quiet {
		l.printf("%s: skipped, %s is there", show(j.input), show(j.outputs[0]))
	}
}

func (l *lines) failed(_ *job, f *failure) {
	l.printf("error: %s", f)
	if f.hint != "" && l.of == 1 {
		l.printf("hint: %s", f.hint)
	}
}

func (l *lines) stopping() { l.printf("interrupted, stopping (again to end at once)") }

func (l *lines) fatal(*failure) {}

// done sums up a batch; what failed may be far above by now.
func (l *lines) done(s *summary) {
	if s.interrupted {
		l.printf("supir: interrupted")
	}
	if s.total > 1 && (!l.quiet || len(s.failures) > 0) {
		parts := []string{fmt.Sprintf("%d restored", s.restored)}
		add := func(n int, what string) {
			if n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, what))
			}
		}
		add(s.skipped, "skipped")
		add(len(s.failures), "failed")
		add(s.left(), "left")
		l.printf("%d pictures in %s: %s", s.total, span(time.Since(s.began)), strings.Join(parts, ", "))
		for _, f := range s.failures {
			l.printf("failed: %s", f.err)
			if f.err.hint != "" {
				l.printf("  hint: %s", f.err.hint)
			}
		}
	}
}
