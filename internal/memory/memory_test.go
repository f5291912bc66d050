package memory

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	require.Positive(t, Available())
	require.LessOrEqual(t, Available(), Total())
}
