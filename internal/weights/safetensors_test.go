package weights_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// raw is a safetensors file with any header and body.
func raw(header, body string) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header+body...)
}

func openBytes(data []byte) (*weights.Set, error) {
	return weights.OpenFiles(weights.File{Path: "test.safetensors", Data: data})
}

var hostile = []struct {
	name   string
	data   []byte
	tensor string // the tensor that the error blames
	reason string // part of what it says
}{
	{"empty", []byte{}, "", "empty"},
	{"shorter than a length", []byte("abc"), "", "only 3 bytes"},
	{"no header", raw("", ""), "", "header of 0 bytes"},
	{"huge header", append(binary.LittleEndian.AppendUint64(nil, 1<<63), "{}"...), "", "header of 9223372036854775808 bytes"},
	{"header over the format's bound", append(binary.LittleEndian.AppendUint64(nil, 32<<20+1), "{}"...), "", "header of 33554433 bytes"},
	{"header cut short", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "")[:30], "", "cut short"},
	{"not an object", raw(`[1]`, ""), "", "begins with '['"},
	{"not UTF-8", raw("{\"\xff\":1}", ""), "", "UTF-8"},
	{"bad JSON", raw(`{"a":`, ""), "a", "bad JSON"},
	{"unclosed", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}`, "1234"), "", "bad JSON"},
	{"key without value", raw(`{"a"}`, ""), "a", "bad JSON"},
	{"something after the object", raw(`{} {}`, ""), "", "follows"},
	{"a name without end", raw(`{"`+strings.Repeat("a", 5000)+`":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "1234"), "", "a name of 5000 bytes"},
	{"duplicate tensor", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, "12345678"), "", `"a" stands twice`},
	{"duplicate tensor, escaped", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`, "12345678"), "", `"a" stands twice`},
	{"duplicate field", raw(`{"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}}`, "1234"), "a", `"shape" stands twice`},
	{"duplicate metadata", raw(`{"__metadata__":{"k":"1","k":"2"}}`, ""), "__metadata__", `"k" stands twice`},
	{"metadata twice", raw(`{"__metadata__":{},"__metadata__":{}}`, ""), "", "stands twice"},
	{"metadata not a string", raw(`{"__metadata__":{"k":1}}`, ""), "", "not a string"},
	{"metadata not an object", raw(`{"__metadata__":3}`, ""), "__metadata__", "not a JSON object"},
	{"tensor not an object", raw(`{"a":3}`, ""), "a", "not a JSON object"},
	{"tensor null", raw(`{"a":null}`, ""), "a", "not a JSON object"},
	{"no dtype", raw(`{"a":{"shape":[1],"data_offsets":[0,4]}}`, "1234"), "a", "lacks"},
	{"no shape", raw(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, "1234"), "a", "lacks"},
	{"no offsets", raw(`{"a":{"dtype":"F32","shape":[1]}}`, "1234"), "a", "lacks"},
	{"dtype a number", raw(`{"a":{"dtype":32,"shape":[1],"data_offsets":[0,4]}}`, "1234"), "a", "dtype is not a string"},
	{"shape not an array", raw(`{"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}}`, "1234"), "a", "shape is not an array"},
	{"shape of strings", raw(`{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, "1234"), "a", "something else than numbers"},
	{"shape nested", raw(`{"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}}`, "1234"), "a", "something else than numbers"},
	{"negative shape", raw(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, "1234"), "a", "-1, which is no size"},
	{"fractional shape", raw(`{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}`, "1234"), "a", "1.5, which is no size"},
	{"shape over int", raw(`{"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}}`, "1234"), "a", "no size"},
	{"shape wraps to 4 bytes", raw(`{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}`, "1234"), "a", "too large"},
	{"shape product wraps", raw(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`, ""), "a", "too large"},
	{"shape wraps beside a zero", raw(`{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]}}`, ""), "a", "too large"},
	{"one offset", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4]}}`, "1234"), "a", "not a begin and an end"},
	{"three offsets", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}`, "1234"), "a", "not a begin and an end"},
	{"end before begin", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}`, "1234"), "a", "not a begin and an end"},
	{"size differs from shape", raw(`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}}`, "1234"), "a", "takes 6 bytes"},
	{"beyond the file", raw(`{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}`, "1234"), "a", "ends at byte 8 of 4"},
	{"far beyond the file", raw(`{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, "1234"), "a", "cut short"},
	{"overlap", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}`, "123456"), "b", "overlaps"},
	{"same place twice", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "1234"), "", "overlaps"},
	{"hole", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}`, "123456789abc"), "b", "4 bytes before it"},
	{"bytes at the end", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "12345"), "", "1 bytes at the end"},
	{"deep nesting", raw(`{"a":{"x":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}}`, ""), "a", "bad JSON"},
	{"web page", []byte("\n<!DOCTYPE html><html><body>Not found</body></html>"), "", "web page"},
	{"web page without doctype", []byte("<html>\n<head></head></html>"), "", "web page"},
	{"LFS pointer", []byte("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), "", "Git LFS pointer, not the file itself"},
	{"index of shards", []byte(`{"metadata": {"total_size": 1}, "weight_map": {}}`), "", "index"},
}

func TestHostileSafetensors(t *testing.T) {
	for _, tt := range hostile {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openBytes(tt.data)
			var corrupt *weights.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Equal(t, "test.safetensors", corrupt.File)
			if tt.tensor != "" {
				assert.Equal(t, tt.tensor, corrupt.Tensor)
			}
			assert.Contains(t, corrupt.Reason, tt.reason)
			assert.Contains(t, err.Error(), "test.safetensors: ")
		})
	}
}

func TestUnsupportedFiles(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		reason     string
	}{
		{"quantised type", string(raw(`{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}`, "1234")), `stored as "F8_E4M3"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openBytes([]byte(tt.data))
			var unsupported *weights.UnsupportedError
			require.ErrorAs(t, err, &unsupported)
			assert.Contains(t, err.Error(), tt.reason)
		})
	}
}

func TestSafetensorsAllows(t *testing.T) {
	for _, tt := range []struct {
		name   string
		data   []byte
		tensor string
		shape  []int
	}{
		{"padding after the header", raw(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}     `, "1234"), "a", []int{1}},
		{"a scalar", raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, "1234"), "a", []int{}},
		{"nothing in it", raw(`{"a":{"dtype":"F32","shape":[0,3],"data_offsets":[0,0]}}`, ""), "a", []int{0, 3}},
		{"fields in any order, unknown ones too", raw(`{"a":{"data_offsets":[0,4],"note":{"x":[1]},"shape":[1],"dtype":"F32"}}`, "1234"), "a", []int{1}},
		{"tensors out of order", raw(`{"b":{"dtype":"F16","shape":[2],"data_offsets":[4,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, "12345678"), "b", []int{2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := openBytes(tt.data)
			require.NoError(t, err)
			require.True(t, set.Has(tt.tensor))
			assert.Equal(t, tt.shape, set.Tensor(tt.tensor).Shape)
		})
	}
}

func FuzzSafetensors(f *testing.F) {
	for _, tt := range hostile {
		if len(tt.data) < 1000 { // long inputs take the fuzzer minutes to shorten
			f.Add(tt.data)
		}
	}
	f.Add(weightstest.Safetensors(map[string]weightstest.Tensor{
		"a.weight": weightstest.F32([]int{2, 1}, 1, 2),
		"a.ids":    {DType: weights.I64, Shape: []int{1}},
		"a.scale":  {DType: weights.BF16},
	}, map[string]string{"format": "pt", "supir.unet.head": "8"}))
	fuzzFile(f, "test.safetensors")
}
