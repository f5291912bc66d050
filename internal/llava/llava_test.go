package llava

import (
	"testing"

	"supir/internal/ggml/ggmltest"
)

// TestMain wants every handle closed at the end.
func TestMain(m *testing.M) { ggmltest.Main(m) }
