// Package ggmltest serves tests of what computes with ggml.
package ggmltest

import (
	"fmt"
	"os"
	"testing"

	"supir/internal/ggml"
)

// Main is a package's TestMain: it runs the tests and fails if they leave a
// handle of ggml open.
func Main(m *testing.M) {
	code := m.Run()
	if n := ggml.Live(); n != 0 && code == 0 {
		fmt.Fprintln(os.Stderr, "ggml handles left open:", n)
		code = 1
	}
	os.Exit(code)
}
