package weights_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

func openGGUF(data []byte) (*weights.Set, error) {
	return weights.OpenFiles(weights.File{Path: "test.gguf", Data: data})
}

func TestGGUFTensors(t *testing.T) {
	tensors := map[string]weightstest.Tensor{
		"scalar":  weightstest.F32(nil, 7),
		"matrix":  weightstest.F32([]int{2, 3}, 1, 2, 3, 4, 5, 6),
		"half":    {DType: weights.F16, Shape: []int{2}, Data: []byte("\x00\x3c\x00\xc1")},
		"empty":   {DType: weights.F32, Shape: []int{0, 3}},
		"longest": {DType: weights.I64, Shape: []int{1, 2, 1, 1}},
	}
	for d := weights.Q4_0; d <= weights.Q2_0; d++ {
		elements, bytes := d.Block()
		data := make([]byte, 6*bytes)
		for i := range data {
			data[i] = byte(i)
		}
		tensors[d.String()] = weightstest.Tensor{DType: d, Shape: []int{3, 2 * elements}, Data: data}
	}
	file := weightstest.GGUF(tensors, nil)
	for _, version := range []byte{2, 3} {
		file[4] = version
		set, err := openGGUF(file)
		require.NoError(t, err)
		assert.Len(t, set.Names(), len(tensors))
		for name, want := range tensors {
			got := set.Tensor(name)
			require.NotNil(t, got, name)
			assert.Equal(t, want.DType, got.DType, name)
			if want.Shape == nil {
				want.Shape = []int{}
			}
			assert.Equal(t, want.Shape, got.Shape, name)
			if want.Data != nil {
				assert.Equal(t, want.Data, got.Bytes(), name)
			}
		}
		assert.Equal(t, []float32{1, 2, 3, 4, 5, 6}, set.Tensor("matrix").Float32())
		assert.Panics(t, func() { set.Tensor("Q8_0").Float32() })
	}
}

func TestGGUFMetadata(t *testing.T) {
	set, err := openGGUF(weightstest.GGUF(nil, map[string]any{
		"text": "a\nb", "yes": true, "u32": uint32(4), "i64": int64(-5), "u64": uint64(1) << 63,
		"f32": float32(1e-5), "f64": 0.1,
		"words": []string{"a", "", "ß"}, "ints": []int64{1, -2}, "floats": []float64{0.5, 2}, "flags": []bool{true, false},
		"nested": []any{[]int64{1}, []string{"x"}},
	}))
	require.NoError(t, err)
	for key, want := range map[string]any{
		"text": "a\nb", "yes": true, "u32": int64(4), "i64": int64(-5), "u64": uint64(1) << 63,
		"f32": float64(float32(1e-5)), "f64": 0.1,
		"words": []string{"a", "", "ß"}, "ints": []int64{1, -2}, "floats": []float64{0.5, 2}, "flags": []bool{true, false},
		"nested": []any{[]int64{1}, []string{"x"}}, "none": nil,
	} {
		assert.Equal(t, want, set.Value(key), key)
	}
	for key, want := range map[string]string{
		"text": "a\nb", "yes": "true", "u32": "4", "i64": "-5", "u64": "9223372036854775808", "f32": "1e-05", "f64": "0.1",
	} {
		got, ok := set.Metadata(key)
		assert.True(t, ok, key)
		assert.Equal(t, want, got, key)
	}
	_, ok := set.Metadata("ints")
	assert.False(t, ok, "an array is no text")
	words, ok := weights.Value[[]string](set, "words")
	assert.True(t, ok)
	assert.Equal(t, []string{"a", "", "ß"}, words)
	n, ok := weights.Value[float64](set, "u32")
	assert.True(t, ok)
	assert.Equal(t, 4.0, n)
	list, ok := weights.Value[[]float64](set, "ints")
	assert.True(t, ok)
	assert.Equal(t, []float64{1, -2}, list)
	_, ok = weights.Value[int64](set, "f64")
	assert.False(t, ok)
	assert.Equal(t, "f32", set.MetadataKeys()[0])
}

func TestGGUFFill(t *testing.T) {
	set, err := openGGUF(weightstest.GGUF(map[string]weightstest.Tensor{
		"net.weight": {DType: weights.Q4_0, Shape: []int{2, 64}},
		"net.kernel": {DType: weights.Q8_0, Shape: []int{1, 576}},
	}, map[string]any{"supir.unet.heads": uint32(4), "supir.unet.eps": float32(1e-5), "comfy.gguf.orig_shape.net.kernel": []int64{1, 64, 3, 3}}))
	require.NoError(t, err)
	var net struct {
		Weight *weights.Tensor `key:"weight"`
		Kernel *weights.Tensor `key:"kernel"`
		Heads  int             `meta:"heads"`
		Eps    float32         `meta:"eps"`
	}
	var r weights.Report
	set.Fill(&net, "unet", "net", &r)
	r.Want(net.Weight, 2, -1)
	r.Want(net.Kernel, 1, 64, 3, 3)
	require.NoError(t, r.Err())
	assert.Equal(t, 4, net.Heads)
	assert.Equal(t, float32(1e-5), net.Eps)
}

// ggufHeader is a file's beginning: version, numbers of tensors and values, and
// what follows.
func ggufHeader(version uint32, tensors, values uint64, rest ...any) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("GGUF"), version)
	b = binary.LittleEndian.AppendUint64(b, tensors)
	return append(binary.LittleEndian.AppendUint64(b, values), bytesOf(rest...)...)
}

// bytesOf puts numbers and texts, with their lengths, one after another.
func bytesOf(list ...any) []byte {
	var b []byte
	for _, v := range list {
		switch v := v.(type) {
		case string:
			b = append(binary.LittleEndian.AppendUint64(b, uint64(len(v))), v...)
		case []byte:
			b = append(b, v...)
		default:
			b, _ = binary.Append(b, binary.LittleEndian, v)
		}
	}
	return b
}

// ggufTensor is a tensor's entry.
func ggufTensor(name string, kind uint32, offset uint64, ne ...uint64) []byte {
	return slices.Concat(bytesOf(name, uint32(len(ne))), bytesOf(ne), bytesOf(kind, offset))
}

// padded is a file with a body of n bytes.
func padded(header []byte, n int) []byte {
	return append(append(header, make([]byte, -len(header)&31)...), make([]byte, n)...)
}

var hostileGGUF = []struct {
	name   string
	data   []byte
	tensor string
	reason string
}{
	{"magic alone", []byte("GGUF"), "", "cut short"},
	{"version alone", []byte("GGUF\x03\x00\x00\x00"), "", "cut short"},
	{"counts cut short", ggufHeader(3, 0, 0)[:20], "", "cut short"},
	{"more tensors than bytes", ggufHeader(3, 1<<60, 0), "", "cut short"},
	{"more metadata than bytes", ggufHeader(3, 0, 1<<63), "", "cut short"},
	{"a key beyond the end", padded(ggufHeader(3, 0, 1, uint64(1000)), 8), "", "cut short"},
	{"a key's length wraps", padded(ggufHeader(3, 0, 1, ^uint64(0)), 8), "", "a text of 18446744073709551615 bytes"},
	{"a text's length wraps", padded(ggufHeader(3, 0, 1, "k", uint32(8), uint64(1)<<63), 8), "", "a text of"},
	{"unknown kind", padded(ggufHeader(3, 0, 1, "k", uint32(13)), 8), "", "unknown kind, 13"},
	{"neither true nor false", padded(ggufHeader(3, 0, 1, "k", uint32(7), uint8(2)), 8), "", "0 or 1"},
	{"duplicate key", padded(ggufHeader(3, 0, 2, "k", uint32(0), uint8(2), "k", uint32(0), uint8(3)), 8), "", `"k" stands twice`},
	{"huge array", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(4), uint64(1)<<40), 8), "", "an array of 1099511627776 values"},
	{"array's length wraps", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(12), ^uint64(0)), 8), "", "an array of"},
	{"array of an unknown kind", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(99), uint64(1)), 8), "", "unknown kind, 99"},
	{"array cut short", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(12), uint64(20)), 32), "", "cut short"},
	{"array of numbers too large", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(10), uint64(1), ^uint64(0)), 0), "", "63 bits"},
	{"arrays nested deep", padded(ggufHeader(3, 0, 1, "k", uint32(9), uint32(9), uint64(1), uint32(9), uint64(1), uint32(9), uint64(1), uint32(9), uint64(1), uint32(9), uint64(1)), 64), "", "nested"},
	{"alignment of zero", padded(ggufHeader(3, 0, 1, "general.alignment", uint32(4), uint32(0)), 0), "", "alignment"},
	{"alignment no power of two", padded(ggufHeader(3, 0, 1, "general.alignment", uint32(4), uint32(24)), 0), "", "alignment"},
	{"alignment huge", padded(ggufHeader(3, 0, 1, "general.alignment", uint32(4), uint32(1<<31)), 0), "", "alignment"},
	{"alignment a text", padded(ggufHeader(3, 0, 1, "general.alignment", uint32(8), "32"), 0), "", "alignment"},
	{"five dimensions", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, 1, 1, 1, 1, 1)), 32), "a", "5 dimensions"},
	{"countless dimensions", padded(ggufHeader(3, 1, 0, "a", ^uint32(0)), 32), "a", "4294967295 dimensions"},
	{"negative dimension", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, ^uint64(0))), 32), "a", "dimension of"},
	{"product wraps", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, 1<<32, 1<<32)), 32), "a", "too large"},
	{"product wraps beside a zero", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, 0, 1<<62, 4)), 32), "a", "too large"},
	{"bytes wrap", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, 1<<62)), 32), "a", "too large"},
	{"rows not whole blocks", padded(ggufHeader(3, 1, 0, ggufTensor("a", 12, 0, 100, 256)), 64), "a", "not whole blocks of Q4_K"},
	{"scalar of a quantised type", padded(ggufHeader(3, 1, 0, ggufTensor("a", 8, 0)), 64), "a", ""},
	{"not aligned", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 8, 1)), 64), "a", "not aligned"},
	{"beyond the end", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 32, 8)), 32), "a", "ends at byte 64 of 32"},
	{"far beyond the end", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, 1<<63, 8)), 32), "a", "cut short"},
	{"end wraps", padded(ggufHeader(3, 1, 0, ggufTensor("a", 0, ^uint64(31), 16)), 32), "a", "cut short"},
	{"cut within the padding", ggufHeader(3, 1, 0, ggufTensor("a", 0, 0, 1)), "a", "cut short"},
	{"overlap", padded(ggufHeader(3, 2, 0, ggufTensor("a", 0, 0, 16), ggufTensor("b", 0, 32, 8)), 64), "b", "overlaps"},
	{"same place twice", padded(ggufHeader(3, 2, 0, ggufTensor("a", 0, 0, 8), ggufTensor("b", 0, 0, 8)), 64), "", "overlaps"},
	{"duplicate name", padded(ggufHeader(3, 2, 0, ggufTensor("a", 0, 0, 8), ggufTensor("a", 0, 32, 8)), 64), "a", "twice"},
	{"name not UTF-8", padded(ggufHeader(3, 1, 0, ggufTensor("\xff", 0, 0, 8)), 64), "", "UTF-8"},
	{"original shape too small", weightstest.GGUF(map[string]weightstest.Tensor{"a": weightstest.F32([]int{4})}, map[string]any{"comfy.gguf.orig_shape.a": []int64{2}}), "a", "does not fit"},
	{"original shape wraps", weightstest.GGUF(map[string]weightstest.Tensor{"a": weightstest.F32([]int{4})}, map[string]any{"comfy.gguf.orig_shape.a": []int64{1 << 62, 4}}), "a", "no shape"},
	{"original shape negative", weightstest.GGUF(map[string]weightstest.Tensor{"a": weightstest.F32([]int{4})}, map[string]any{"comfy.gguf.orig_shape.a": []int64{-2, -2}}), "a", "no shape"},
	{"original shape a text", weightstest.GGUF(map[string]weightstest.Tensor{"a": weightstest.F32([]int{1})}, map[string]any{"comfy.gguf.orig_shape.a": "1"}), "a", "does not fit"},
}

func TestHostileGGUF(t *testing.T) {
	for _, tt := range hostileGGUF {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openGGUF(tt.data)
			var corrupt *weights.CorruptError
			require.ErrorAs(t, err, &corrupt)
			if tt.tensor != "" {
				assert.Equal(t, tt.tensor, corrupt.Tensor)
			}
			assert.Contains(t, corrupt.Reason, tt.reason)
		})
	}
}

func TestUnsupportedGGUF(t *testing.T) {
	for _, tt := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"version 1", ggufHeader(1, 0, 0), "version 1"},
		{"version 4", ggufHeader(4, 0, 0), "version 4"},
		{"big-endian", ggufHeader(3<<24, 0, 0), "big-endian"},
		{"withdrawn type", padded(ggufHeader(3, 1, 0, ggufTensor("a", 31, 0, 32)), 64), "type 31"},
		{"unknown type", padded(ggufHeader(3, 1, 0, ggufTensor("a", 1000, 0, 32)), 64), "type 1000"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := openGGUF(tt.data)
			var unsupported *weights.UnsupportedError
			require.ErrorAs(t, err, &unsupported)
			assert.Contains(t, err.Error(), tt.reason)
		})
	}
}

func FuzzGGUF(f *testing.F) {
	for _, tt := range hostileGGUF {
		f.Add(tt.data)
	}
	f.Add(weightstest.GGUF(map[string]weightstest.Tensor{
		"a.weight": weightstest.F32([]int{2, 1}, 1, 2), "b": {DType: weights.Q4_K, Shape: []int{1, 256}}, "a.bias": {DType: weights.BF16, Shape: []int{2}},
	}, map[string]any{"supir.unet.head": uint32(8), "t": []string{"a", "b"}, "general.alignment": uint32(32), "n": []any{[]bool{true}}}))
	fuzzFile(f, "test.gguf")
}
