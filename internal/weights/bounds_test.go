package weights_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// TestHostileMemory opens files that ask for much memory with few bytes, and
// counts what is allocated, kept or not.
func TestHostileMemory(t *testing.T) {
	many := func(n int, format string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	safetensors := func(header string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	}
	const size = 31 << 20
	for name, file := range map[string][]byte{
		"many metadata":    safetensors(`{"__metadata__":{` + many(150_000, `"%d":"",`) + `}}`),
		"many tensors":     safetensors(`{` + many(150_000, `"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},`) + `}`),
		"many dimensions":  safetensors(`{"a":{"dtype":"F32","shape":[` + strings.Repeat("1,", size/2) + `1],"data_offsets":[0,4]}}`),
		"many fields":      safetensors(`{"a":{` + many(1000, `"%d":1,`) + `}}`),
		"long name":        safetensors(`{"` + strings.Repeat("a", size) + `":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}`),
		"long metadata":    safetensors(`{"__metadata__":{"a":"` + strings.Repeat(`\u0001`, size/6) + `"}}`),
		"deep unknown":     safetensors(`{"a":{"x":` + strings.Repeat("[", 9000) + strings.Repeat("1,", size/2) + "1" + strings.Repeat("]", 9000) + `}}`),
		"gguf of tensors":  append(ggufHeader(3, 1<<18, 0), make([]byte, 24<<18)...),
		"gguf of metadata": ggufHeader(3, 0, 1<<22, strings.Repeat("a", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			set, err := weights.OpenFiles(weights.File{Path: "test", Data: file})
			runtime.ReadMemStats(&after)
			t.Logf("%d MiB of %d: %.100v", (after.TotalAlloc-before.TotalAlloc)>>20, len(file)>>20, err)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(400<<20))
			if err == nil {
				require.NoError(t, set.Close())
			}
		})
	}
}
