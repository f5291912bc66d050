package memory

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	require.Positive(t, Available())
	require.LessOrEqual(t, Available(), Total())
	require.Greater(t, Resident(), int64(1<<20))
	if Peak() > 0 {
		require.LessOrEqual(t, Resident(), Peak())
	}
}

func TestInUse(t *testing.T) {
	require.Equal(t, int64(700), inUse("1000\n", "anon 600\nfile 400\ninactive_file 300\nactive_file 100\n"))
	require.Zero(t, inUse("", ""))
	require.Zero(t, inUse("5\n", "inactive_file 9\n"))
}
