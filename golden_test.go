package supir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// goldenPath is where a golden file lies: in $SUPIR_GOLDEN, by default testdata/golden. Sizes are
// read from the files, so any directory of the same layout will do.
func goldenPath(name string) string {
	dir := os.Getenv("SUPIR_GOLDEN")
	if dir == "" {
		dir = filepath.Join("testdata", "golden")
	}
	return filepath.Join(dir, name)
}

// openGolden opens a golden safetensors file until the test's end. A missing one fails the test.
func openGolden(t testing.TB, file string) *weights.Set {
	t.Helper()
	set, err := weights.Open(goldenPath(file))
	require.NoError(t, err)
	t.Cleanup(func() { set.Close() })
	return set
}

// goldenTensor returns a tensor of a golden file. A missing one fails the test.
func goldenTensor(t testing.TB, file, name string) (shape []int, data []float32) {
	t.Helper()
	tensor := openGolden(t, file).Tensor(name)
	require.NotNil(t, tensor, "%s has no %s", file, name)
	return tensor.Shape, tensor.Float32()
}

// goldenNames returns the names of a golden file's tensors that begin with prefix, which is cut off.
// It fails the test if there is none.
func goldenNames(t testing.TB, file, prefix string) []string {
	t.Helper()
	var names []string
	for _, name := range openGolden(t, file).Names() {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			names = append(names, rest)
		}
	}
	require.NotEmpty(t, names, "%s has no %s…", file, prefix)
	return names
}

// nmse is the normalised squared error of got, ‖got-want‖²/‖want‖².
func nmse(got, want []float32) float64 {
	if len(got) != len(want) {
		panic("nmse of different sizes")
	}
	var wrong, norm float64
	for i := range want {
		difference := float64(got[i]) - float64(want[i])
		wrong += difference * difference
		norm += float64(want[i]) * float64(want[i])
	}
	return wrong / norm
}
