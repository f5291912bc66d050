package main

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/weights/weightstest"
)

// inspected is what `supir inspect --json` tells of a file.
func inspected(t *testing.T, data []byte) fileReport {
	t.Helper()
	path := filepath.Join(t.TempDir(), "w")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	var out, errs bytes.Buffer
	require.Zero(t, run(context.Background(), []string{"inspect", path, "--json"}, streams{out: &out, err: &errs}), errs.String())
	var in inspection
	require.NoError(t, json.Unmarshal(out.Bytes(), &in), out.String())
	return in.Files[0]
}

func TestInspectNumbersThatAreNone(t *testing.T) {
	r := inspected(t, weightstest.GGUF(nil, map[string]any{"a": math.NaN(), "b": []float64{1, math.Inf(1)}, "c": []any{[]float64{math.Inf(-1)}}}))
	require.Equal(t, map[string]any{"a": "NaN", "b": []any{1.0, "+Inf"}, "c": []any{[]any{"-Inf"}}}, r.Metadata)
}

// TestInspectFormat has headers of any length, whose first byte may be that of
// another format.
func TestInspectFormat(t *testing.T) {
	for n := range 256 {
		file := weightstest.Safetensors(nil, map[string]string{"x": strings.Repeat("y", n)})
		require.Equal(t, "safetensors", inspected(t, file).Format, "%x", file[:8])
	}
}
