package memory

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestFloats(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for name, onDisk := range map[string]bool{"memory": false, "disk": true} {
		t.Run(name, func(t *testing.T) {
			f, err := NewFloats(10, onDisk)
			require.NoError(t, err)
			defer f.Close()
			require.Equal(t, 10, f.Len())
			require.NoError(t, f.Write([]float32{1, 2, 3}, 7))
			got := make([]float32, 5)
			require.NoError(t, f.Read(got, 5))
			require.Equal(t, []float32{0, 0, 1, 2, 3}, got)
			require.NoError(t, f.Read(nil, 10))
			require.Error(t, f.Read(got, 6), "beyond the end")
			require.Error(t, f.Write(got, -1))
			f.Close()
			f.Close()
			require.Error(t, f.Read(got, 0), "closed")
			left, err := os.ReadDir(os.TempDir())
			require.NoError(t, err)
			require.Empty(t, left, "nothing stays")
		})
	}
}

// TestFloatsNowhere wants an error, not a crash, where there is no room.
func TestFloatsNowhere(t *testing.T) {
	_, err := NewFloats(1<<58, false)
	require.Error(t, err)
	t.Setenv("TMPDIR", t.TempDir()+"/none")
	_, err = NewFloats(1, true)
	require.Error(t, err)
}
