package supir

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"supir/internal/nn"
)

// A Trace writes what a restoration does, stage by stage and operator by
// operator, as the JSON that Chrome's chrome://tracing and Perfetto show. Set it
// in Options; it may serve several restorations, one after the other. Close it
// at the end.
//
// Operators are computed one by one while they are traced, which takes a few
// hundredths longer.
type Trace struct {
	w     io.Writer
	start time.Time
	err   error
}

// NewTrace begins a trace on w, of which time 0 is now.
func NewTrace(w io.Writer) *Trace {
	t := &Trace{w: w, start: time.Now()}
	t.write([]byte(`{"displayTimeUnit":"ms","traceEvents":[` + "\n"))
	for row, name := range []string{stageRow: "stages", stepRow: "steps", operatorRow: "operators"} {
		t.event(traceEvent{Name: "thread_name", Phase: "M", Row: row, Args: map[string]any{"name": name}})
	}
	return t
}

// The rows of a trace, called threads there.
const (
	stageRow = iota
	stepRow
	operatorRow
)

// A traceEvent is one bar of a trace. Times are in microseconds.
type traceEvent struct {
	Name     string         `json:"name"`
	Category string         `json:"cat,omitempty"`
	Phase    string         `json:"ph"` // X: a bar; M: a row's name
	Start    float64        `json:"ts"`
	Took     float64        `json:"dur"`
	Process  int            `json:"pid"`
	Row      int            `json:"tid"`
	Args     map[string]any `json:"args,omitempty"`
}

func (t *Trace) write(data []byte) {
	if t.err == nil {
		_, t.err = t.w.Write(data)
	}
}

func (t *Trace) event(e traceEvent) {
	data, err := json.Marshal(e)
	if err != nil {
		t.err = errors.Join(t.err, err)
		return
	}
	t.write(append(data, ",\n"...))
}

// bar adds a bar to a row.
func (t *Trace) bar(row int, name, category string, start time.Time, took time.Duration, args map[string]any) {
	if t == nil {
		return
	}
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	t.event(traceEvent{Name: name, Category: category, Phase: "X", Start: us(start.Sub(t.start)), Took: us(took), Row: row, Args: args})
}

// operator adds an operator of a run.
func (t *Trace) operator(s nn.Span) {
	args := map[string]any{"shape": s.Shape}
	if s.Name != "" {
		args["layer"] = s.Name
	}
	if s.FLOP > 0 {
		args["GFLOP"] = s.FLOP / 1e9
		args["GFLOP/s"] = s.FLOP / 1e9 / max(s.Took.Seconds(), 1e-9)
	}
	t.bar(operatorRow, s.Kind, "operator", s.Start, s.Took, args)
}

// Close ends the JSON; it doesn't close the writer. The error is the first that
// writing met.
func (t *Trace) Close() error {
	end, err := json.Marshal(traceEvent{Name: "process_name", Phase: "M", Args: map[string]any{"name": "supir"}})
	t.err = errors.Join(t.err, err)
	t.write(append(end, "\n]}\n"...))
	return t.err
}
