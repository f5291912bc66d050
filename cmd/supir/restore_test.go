package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"supir"
)

// interrupter cancels a context when a certain text passes.
type interrupter struct {
	bytes.Buffer
	at     string
	cancel func()
}

func (w *interrupter) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(w.at)) {
		w.cancel()
	}
	return w.Buffer.Write(p)
}

// Interrupted while it samples, the program ends with its own code, says what is
// left, and leaves no file.
func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	var inputs []string
	for _, name := range []string{"a.png", "b.png"} {
		var b bytes.Buffer
		if err := encodePicture(&b, ".png", gradient(48, 32)); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, filepath.Join(dir, name))
		if err := os.WriteFile(inputs[len(inputs)-1], b.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeModel(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &interrupter{at: `"stage":"sample","step":1`, cancel: cancel}
	args := append([]string{"restore", "--json", "--steps", "1000", "-o", filepath.Join(dir, "out") + "/",
		"--sdxl", filepath.Join(dir, "sdxl.safetensors"), "--supir", filepath.Join(dir, "supir.safetensors")}, inputs...)
	if code := run(ctx, args, streams{out: out, err: io.Discard}); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var last struct {
		Event    string
		Restored int
		Left     int
		Code     int
	}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
		t.Fatal(err)
	}
	if last.Event != "done" || last.Restored != 0 || last.Left != 2 || last.Code != exitInterrupted {
		t.Errorf("last event %+v", last)
	}
	if _, err := os.Stat(filepath.Join(dir, "out")); !os.IsNotExist(err) {
		t.Errorf("the folder for the results is still there: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".supir*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// What an explicit value means, and that presets give way to it in any order.
func TestOptionFlags(t *testing.T) {
	for _, test := range []struct {
		args string
		want func(o *supir.Options)
	}{
		{"", func(*supir.Options) {}},
		{"--preset quality", func(o *supir.Options) { *o = supir.Quality }},
		{"--steps 20 --preset fast", func(o *supir.Options) { *o = supir.Fast; o.Steps = 20 }},
		{"--cfg-start 0 --cfg-end 0", func(o *supir.Options) { o.CFGStart, o.CFGEnd = -1, -1 }},
		{"--restoration 0 --s-churn 0 --eta 0", func(o *supir.Options) { o.Restoration, o.SChurn, o.Eta = -1, -1, -1 }},
		{"--min-size 0 --tile-size 0", func(o *supir.Options) { o.MinSize, o.TileSize = -1, -1 }},
		{"--control-end 0.5 --control-scale 0.8", func(o *supir.Options) { o.ControlStart, o.ControlEnd = 0.8, 0.5 }},
		{"--positive= --negative=blur", func(o *supir.Options) { o.PositiveWords, o.NegativeWords = "-", "blur" }},
		{"--memory 6GiB --seed 18446744073709551615", func(o *supir.Options) { o.Memory, o.Seed = 6<<30, 1<<64-1 }},
		{"--color-fix AdaIN --sampler dpmpp2m --precision f32 --schedule even", func(o *supir.Options) {
			o.ColorFix, o.Sampler, o.Precision, o.Schedule = supir.AdaIN, supir.DPMPP2M, supir.PrecisionF32, supir.ScheduleEven
		}},
	} {
		o := &restoreOptions{}
		cmd := newRestoreInto(o)
		if err := cmd.ParseFlags(strings.Fields(test.args)); err != nil {
			t.Errorf("%s: %v", test.args, err)
			continue
		}
		got, err := o.flags.options()
		if err != nil {
			t.Errorf("%s: %v", test.args, err)
		}
		var want supir.Options
		test.want(&want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", test.args, got, want)
		}
	}
}

// Every option has a flag, so that errors can name it.
func TestEveryOptionHasAFlag(t *testing.T) {
	for _, option := range []string{"Upscale", "MinSize", "Sampler", "Steps", "Schedule", "Seed", "Samples", "CFGStart", "CFGEnd",
		"ControlStart", "ControlEnd", "Restoration", "SChurn", "SNoise", "Eta", "Prompt", "TileCaptions",
		"PositiveWords", "NegativeWords", "ColorFix", "ColorFixLevels", "TileSize", "TileStride", "Precision", "Device", "Threads", "Memory"} {
		if flag := flagOf(option); !strings.HasPrefix(flag, "--") {
			t.Errorf("no flag for option %s", option)
		}
	}
}

// The bar never goes back, and ends at its end.
func TestBarGoesOn(t *testing.T) {
	last := int64(-1)
	for _, stage := range []supir.Stage{supir.StageEncode, supir.StageClean, supir.StageCaption, supir.StageText, supir.StageSample, supir.StageDecode} {
		for step := range 4 {
			now := along(supir.Progress{Stage: stage, Step: step, Of: 3})
			if now < last {
				t.Errorf("%s %d: %d after %d", stage, step, now, last)
			}
			last = now
		}
	}
	if last != barTotal {
		t.Errorf("ends at %d", last)
	}
}
