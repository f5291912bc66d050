package supir

import (
	"bytes"
	"encoding/json"
	"image"
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
	Memory        int64
	Dir           string // of the weights
	Strips        int    // that the plan cuts maps into, at least

	Planned, Measured int64 // bytes at most
	Plan              Plan
}

// peakSlack is by how much libraries' own buffers and Go's heap differ from run to
// run, in bytes: little beside the full model, much beside this one.
const peakSlack = 48 << 20

// TestPeak compares what a plan says with the most memory that a process takes
// in which the picture is restored: within a tenth and peakSlack.
func TestPeak(t *testing.T) {
	if memory.Peak() == 0 || raceEnabled {
		t.Skip("the system does not tell, or the race detector takes memory too")
	}
	dir := t.TempDir()
	files := goldenFiles(t)
	for _, name := range []string{files.SDXL, files.SUPIR} {
		data, err := files.FS.Open(name)
		require.NoError(t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(data)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600))
	}
	for name, c := range map[string]peakCase{
		"whole":  {Width: 512, Height: 384, Memory: 2 << 30, Strips: 1},
		"strips": {Width: 384, Height: 768, Memory: 190 << 20, Strips: 2},
	} {
		t.Run(name, func(t *testing.T) {
			c.Dir = dir
			task, err := json.Marshal(c)
			require.NoError(t, err)
			cmd := exec.Command(os.Args[0], "-test.run=^TestPeakChild$", "-test.count=1")
			cmd.Env = append(os.Environ(), peakVariable+"="+string(task))
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, string(out))
			i := bytes.IndexByte(out, '{')
			require.GreaterOrEqual(t, i, 0, string(out))
			require.NoError(t, json.NewDecoder(bytes.NewReader(out[i:])).Decode(&c), string(out))
			t.Logf("planned %d MiB, measured %d MiB, %d strips", c.Planned>>20, c.Measured>>20, c.Plan.Strips)
			require.GreaterOrEqual(t, c.Plan.Strips, c.Strips)
			require.LessOrEqual(t, c.Planned, c.Memory)
			require.InDelta(t, c.Measured, c.Planned, 0.1*float64(c.Planned)+peakSlack)
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
	m, err := New(Files{SDXL: filepath.Join(c.Dir, "sdxl.safetensors"), SUPIR: filepath.Join(c.Dir, "supir.safetensors")})
	require.NoError(t, err)
	defer m.Close()
	r, err := m.Restore(t.Context(), scene(c.Width, c.Height), Options{Steps: 1, Device: "cpu", Memory: c.Memory})
	require.NoError(t, err)
	require.Equal(t, image.Pt(c.Width, c.Height), r.Image.Bounds().Size())
	c.Plan, c.Planned, c.Measured = r.Plan, r.Plan.Peak, memory.Peak()
	require.NoError(t, json.NewEncoder(os.Stdout).Encode(c))
}
