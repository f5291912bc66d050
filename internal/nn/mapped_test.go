package nn

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// layered is a network whose weights lie in a mapped file.
type layered struct {
	Layers []Linear `key:"layer.*"`
}

const depth, width, tokens = 24, 512, 10

func openLayered(t *testing.T) *layered {
	t.Helper()
	tensors := map[string]weightstest.Tensor{}
	for i := range depth {
		w := weightstest.Tensor{DType: weights.F16, Shape: []int{width, width}, Data: make([]byte, 2*width*width)}
		for j := range width { // a rotation of the features, scaled by ±½ or ±1
			at := 2 * (j*width + (j+i+1)%width)
			w.Data[at+1] = []byte{0x3c, 0xbc, 0x38, 0xb8}[(i+j)%4]
		}
		tensors[fmt.Sprintf("layer.%d.weight", i)] = w
		tensors[fmt.Sprintf("layer.%d.bias", i)] = weightstest.F32([]int{width}, make([]float32, width)...)
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, os.WriteFile(path, weightstest.Safetensors(tensors, nil), 0o600))
	set, err := weights.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { set.Close() })
	var net layered
	var r weights.Report
	set.Fill(&net, "net", "", &r)
	require.NoError(t, r.Err())
	require.Len(t, net.Layers, depth)
	return &net
}

// TestMapped wants the same of weights that stay in their file as of loaded
// ones, with no more of the file in memory than a window, after every run and
// after one that was cancelled.
func TestMapped(t *testing.T) {
	defer func(n int) { streamWindow = n }(streamWindow)
	streamWindow = 2 << 20 // four of the layers
	eachEngine(t, func(t *testing.T, _ testEngine, e *Engine) {
		net := openLayered(t)
		x := make([]float32, width*tokens)
		for i := range x {
			x[i] = float32(i%17) - 8
		}
		run := func(precision Precision) []float32 {
			params, err := e.Load(t.Context(), precision, net)
			require.NoError(t, err)
			defer params.Close()
			p := build(t, e, params, nil, func(g *Graph) {
				h := g.InputTokens("x", width, tokens, 1)
				for i := range net.Layers {
					h = net.Layers[i].Forward(g, h)
				}
				Output(g, "out", h)
			})
			require.NoError(t, p.Set("x", x))
			before := fileMemory(t)
			require.NoError(t, p.Run(context.Background()))
			out := get(t, p, "out")
			if s := p.body.stream; s != nil {
				require.Len(t, s.chunks, depth/4)
				require.Less(t, fileMemory(t), before+6000, "kilobytes, of 12 MiB")
				s.next = 1 // as if cancelled midway
				require.NoError(t, p.Run(context.Background()))
				require.Equal(t, out, get(t, p, "out"))

				var layers int
				e.Trace(func(s Span) { layers++ })
				require.NoError(t, p.Run(context.Background()))
				e.Trace(nil)
				require.GreaterOrEqual(t, layers, depth)
				require.Less(t, fileMemory(t), before+6000, "traced")
				require.Equal(t, out, get(t, p, "out"))
				require.NoError(t, p.Run(context.Background()))
				require.Less(t, fileMemory(t), before+6000, "after a trace")
			}
			require.Equal(t, precision&Mapped != 0 && e.low.onCPU(), p.body.stream != nil)
			return out
		}
		for _, stored := range []Precision{Stored, StoredBF16, StoredInt8} {
			require.Equal(t, run(stored), run(stored|Mapped))
			if e.low.onCPU() {
				require.Less(t, e.WeightBytes(stored|Mapped, net), e.WeightBytes(stored, net))
			}
		}
	})
}

// fileMemory is the kilobytes of files that are in the process's memory, 0 where
// the system does not tell.
func fileMemory(t *testing.T) (kb int) {
	text, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			_, err := fmt.Sscan(rest, &kb)
			require.NoError(t, err)
		}
	}
	return kb
}
