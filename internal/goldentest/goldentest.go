// Package goldentest serves tests that compare networks with golden tensors:
// numbers that an independent implementation made from the same weights.
//
// The files lie in $SUPIR_GOLDEN, by default testdata/golden of this module.
// Every size is read from them, so that another folder of the same layout
// passes with the same code. A missing file or tensor fails the test; nothing
// here writes one.
package goldentest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// Dir is the folder of golden files.
func Dir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("SUPIR_GOLDEN"); dir != "" {
		return dir
	}
	return ownDir(t)
}

// Own is where a golden file of this module lies, whatever $SUPIR_GOLDEN says:
// for tests that damage a file whose sizes they know.
func Own(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(ownDir(t), name)
}

func ownDir(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata", "golden")
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, parent, dir, "the test does not run inside the module")
		dir = parent
	}
}

// Path is where the golden file of that name lies.
func Path(t testing.TB, name string) string {
	t.Helper()
	return filepath.Join(Dir(t), name)
}

// File is an open file of golden tensors.
type File struct {
	name string
	set  *weights.Set
}

// Open opens a golden file until the test's end.
func Open(t testing.TB, name string) *File {
	t.Helper()
	return &File{name: name, set: open(t, weights.File{Path: Path(t, name)})}
}

func open(t testing.TB, files ...weights.File) *weights.Set {
	t.Helper()
	set, err := weights.OpenFiles(files...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	return set
}

// Tensor is a tensor's shape and its values, in C order.
func (f *File) Tensor(t testing.TB, name string) (shape []int, data []float32) {
	t.Helper()
	tensor := f.set.Tensor(name)
	require.NotNil(t, tensor, "%s has no %s", f.name, name)
	return slices.Clone(tensor.Shape), tensor.Float32()
}

// Names lists the tensors, sorted.
func (f *File) Names() []string { return f.set.Names() }

// Weights opens the two small checkpoints together until the test's end, and
// adds as metadata what their tensors do not tell: the text encoders' heads.
func Weights(t testing.TB) *weights.Set {
	t.Helper()
	c := Config(t)
	metadata := weightstest.Safetensors(nil, map[string]string{
		"supir.clip_l.heads": strconv.Itoa(c.HeadsL),
		"supir.clip_g.heads": strconv.Itoa(c.HeadsG),
	})
	return open(t,
		weights.File{Path: Path(t, "sdxl.safetensors")},
		weights.File{Path: Path(t, "supir.safetensors")},
		weights.File{Path: "config.json", Data: metadata},
	)
}

// Settings are what cannot be read off the golden tensors.
type Settings struct {
	HeadsL     int `json:"hl"` // attention heads of CLIP-L
	HeadsG     int `json:"hg"` // and of bigG
	TileSize   int `json:"ts"` // of the tiled sampler runs, in latent pixels
	TileStride int `json:"st"`
}

// Config reads the settings.
func Config(t testing.TB) Settings {
	t.Helper()
	data, err := os.ReadFile(Path(t, "config.json"))
	require.NoError(t, err)
	var c Settings
	require.NoError(t, json.Unmarshal(data, &c))
	return c
}
