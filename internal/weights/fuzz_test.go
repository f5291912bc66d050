package weights_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// fuzzFile checks files made from the seeds.
func fuzzFile(f *testing.F, path string) {
	f.Helper()
	f.Fuzz(func(t *testing.T, data []byte) { checkFile(t, path, data) })
}

// checkFile opens a file, which must not bring anything down, and reads all
// that it holds if it opens.
func checkFile(t *testing.T, path string, data []byte) {
	t.Helper()
	before := slices.Clone(data)
	set, err := weights.OpenFiles(weights.File{Path: path, Data: data})
	if err != nil {
		return
	}
	total := 0
	for tensor := range set.Tensors() {
		if total += len(tensor.Bytes()); total > 1<<22 {
			break // many views of much
		}
		if !tensor.DType.Quantised() {
			assert.Len(t, tensor.Float32(), tensor.Elements(), tensor.Name)
		}
	}
	if total >= len(data) {
		t.Logf("%d bytes of tensors out of %d", total, len(data)) // of views that share storages
	}
	var dst struct {
		Conv   layer    `key:"a"`
		Blocks []layer  `key:"b.*,optional"`
		Other  *layer   `key:"c|d"`
		Head   int      `meta:"head" default:"64" min:"1"`
		Eps    float32  `meta:"eps" default:"1e-5"`
		Scale  struct{} `key:"."`
	}
	var r weights.Report
	set.Fill(&dst, "unet", "", &r)
	set.Unexpected(&r, "a", "b", "")
	if err := r.Err(); err != nil {
		_ = err.Error()
	}
	require.NoError(t, set.Close())
	assert.Equal(t, before, data, "the file's bytes changed")
}
