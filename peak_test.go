package supir

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/memory"
)

// peakVariable holds what TestPeakChild is to do, as JSON; without it that is nothing.
const peakVariable = "SUPIR_TEST_PEAK"

// A peakCase is a picture restored by a process of its own.
type peakCase struct {
	Width, Height int
	Files         Files
	Strips        int // that the plan cuts maps into, at least
	Windows       int // of sampling, at least
	Memory        int64
	Compute       Compute
	Precision     Precision

	Upscale float64
	Again   bool // restore it twice
	Reuse   bool // steps take parts over from others

	Plan     Plan  // as Model.Plan has it, before anything is loaded
	Measured int64 // bytes at most, from then on
}

// TestPeak compares what a plan says with the most memory that a process takes
// in which the picture is restored: within a tenth.
func TestPeak(t *testing.T) {
	if memory.Peak() == 0 || raceEnabled {
		t.Skip("the system does not tell, or the race detector takes memory too")
	}
	golden := Files{SDXL: "sdxl.safetensors", SUPIR: "supir.safetensors"}
	dir := t.TempDir()
	files := goldenFiles(t)
	for _, name := range []*string{&golden.SDXL, &golden.SUPIR} {
		data, err := files.FS.Open(*name)
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(data)
		require.NoError(t, err)
		*name = filepath.Join(dir, *name)
		require.NoError(t, os.WriteFile(*name, b.Bytes(), 0o600))
	}
	embedded := Files{Model: "embedded/model.gguf"}
	for name, c := range map[string]peakCase{
		"whole":    {Width: 448, Height: 320, Files: golden, Memory: 2 << 30, Strips: 1},
		"strips":   {Width: 256, Height: 640, Files: golden, Memory: 110 << 20, Strips: 2},
		"tiny":     {Width: 64, Height: 64, Files: golden, Strips: 1},
		"int8":     {Width: 300, Height: 300, Files: embedded, Compute: ComputeAuto, Strips: 1},
		"f32":      {Width: 256, Height: 320, Files: embedded, Compute: ComputeF32, Strips: 1},
		"stored":   {Width: 160, Height: 320, Files: embedded, Precision: PrecisionStored, Strips: 1},
		"upscaled": {Width: 128, Height: 96, Files: golden, Upscale: 3, Strips: 1},
		"reuse":    {Width: 256, Height: 256, Files: embedded, Strips: 1, Reuse: true},
		"windows":  {Width: 1024, Height: 640, Files: embedded, Strips: 1, Windows: 6},
		"again":    {Width: 256, Height: 192, Files: golden, Strips: 1, Again: true},
	} {
		t.Run(name, func(t *testing.T) {
			task, err := json.Marshal(c)
			require.NoError(t, err)
			cmd := exec.Command(os.Args[0], "-test.run=^TestPeakChild$", "-test.count=1")
			cmd.Env = append(os.Environ(), peakVariable+"="+string(task))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			i := bytes.IndexByte(out, '{')
			require.GreaterOrEqual(t, i, 0, string(out))
			require.NoError(t, json.NewDecoder(bytes.NewReader(out[i:])).Decode(&c), string(out))
			t.Logf("planned %d MiB, measured %d MiB, %d strips", c.Plan.Peak>>20, c.Measured>>20, c.Plan.Strips)
			require.GreaterOrEqual(t, c.Plan.Strips, c.Strips)
			require.GreaterOrEqual(t, c.Plan.Windows, c.Windows)
			require.InEpsilon(t, c.Measured, c.Plan.Peak, 0.1)
		})
	}
}

// TestPeakChild is the other process.
func TestPeakChild(t *testing.T) {
	task := os.Getenv(peakVariable)
	if task == "" {
		t.Skip("for TestPeak alone")
	}
	var c peakCase
	require.NoError(t, json.Unmarshal([]byte(task), &c))
	m, err := New(c.Files)
	require.NoError(t, err)
	defer m.Close()
	opts := Options{Steps: 1, Device: "cpu", Memory: c.Memory, Compute: c.Compute, Precision: c.Precision, Upscale: c.Upscale}
	if c.Reuse {
		opts.Steps, opts.DeepInterval, opts.AdaptorInterval, opts.GateStep = 4, 2, 4, 2
		opts.CFGSigmaMax = 100 // both prompts in all of them: what is planned for
	}
	in := scene(c.Width, c.Height)
	p, err := m.Plan(in.Bounds().Size(), opts)
	require.NoError(t, err)
	c.Plan = *p
	for range 2 {
		_, err := m.Restore(t.Context(), in, opts)
		require.NoError(t, err)
		if !c.Again {
			break
		}
	}
	c.Measured = memory.Peak()
	require.NoError(t, json.NewEncoder(os.Stdout).Encode(c))
}
