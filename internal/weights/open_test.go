package weights_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// indexOf is the index of a model in several files.
func indexOf(weightMap map[string]string) []byte {
	text, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 8}, "weight_map": weightMap})
	if err != nil {
		panic(err)
	}
	return text
}

func TestShards(t *testing.T) {
	dir := t.TempDir()
	index := filepath.Join(dir, "model.safetensors.index.json")
	for name, data := range map[string][]byte{
		"model-00001-of-00002.safetensors": weightstest.Safetensors(map[string]weightstest.Tensor{"a": weightstest.F32([]int{1}, 1), "c": weightstest.F32([]int{1}, 3)}, map[string]string{"k": "v"}),
		"model-00002-of-00002.safetensors": one("b", 2, nil),
		"model.safetensors.index.json":     indexOf(map[string]string{"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}),
		"config.json":                      []byte("{}"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
	for _, path := range []string{index, dir} {
		set, err := weights.Open(path)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b"}, set.Names(), "what the index does not name is left out")
		assert.Equal(t, []float32{2}, set.Tensor("b").Float32())
		assert.Equal(t, filepath.Join(dir, "model-00002-of-00002.safetensors"), set.Tensor("b").File)
		k, _ := set.Metadata("k")
		assert.Equal(t, "v", k)
		require.NoError(t, set.Close())
	}
}

func TestShardsFail(t *testing.T) {
	shard := one("a", 1, nil)
	for _, tt := range []struct {
		name   string
		index  string
		reason string
	}{
		{"a file that is not there", `{"weight_map":{"a":"none.safetensors"}}`, "none.safetensors\", which does not lie beside it"},
		{"a tensor that is not there", `{"weight_map":{"b":"a.safetensors"}}`, "not there, where the index"},
		{"a path", `{"weight_map":{"a":"../m/a.safetensors"}}`, "the name of a file beside it"},
		{"a path of Windows", `{"weight_map":{"a":"..\\a.safetensors"}}`, "the name of a file beside it"},
		{"the folder", `{"weight_map":{"a":".."}}`, "the name of a file beside it"},
		{"itself", `{"weight_map":{"a":"m.index.json"}}`, "JSON text"},
		{"a number", `{"weight_map":{"a":1}}`, "the name of a file beside it"},
		{"a name twice", `{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}`, `"a" stands twice`},
		{"no map", `{"metadata":{}}`, "without a weight_map"},
		{"cut short", `{"weight_map":{"a":"a.safe`, "bad JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := weights.OpenFiles(weights.File{Path: "m/m.index.json", FS: fstest.MapFS{
				"m/m.index.json":  {Data: []byte(tt.index)},
				"m/a.safetensors": {Data: shard},
			}})
			var corrupt *weights.CorruptError
			require.ErrorAs(t, err, &corrupt)
			assert.Contains(t, err.Error(), tt.reason)
		})
	}
}

func TestFolderChoosesFile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []string
		want  string // the file taken, or what the error says
	}{
		{"one", []string{"README.md", "x.gguf"}, "x.gguf"},
		{"half precision first", []string{"model.safetensors", "model.fp16.safetensors"}, "model.fp16.safetensors"},
		{"safetensors first", []string{"pytorch_model.bin", "model.safetensors"}, "model.safetensors"},
		{"not half of two kinds", []string{"a.non_ema.safetensors", "a.safetensors", "a.ckpt"}, "a.safetensors"},
		{"two models", []string{"a.safetensors", "b.safetensors"}, "name one, such as a.safetensors or b.safetensors"},
		{"parts alone", []string{"m-00001-of-00002.safetensors"}, "neither a weight file nor an index"},
		{"nothing", []string{"notes.txt"}, "neither a weight file nor an index"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder := fstest.MapFS{}
			for _, file := range tt.files {
				folder["m/"+file] = &fstest.MapFile{Data: one("a", 1, nil)}
			}
			set, err := weights.OpenFiles(weights.File{Path: "m", FS: folder})
			if err != nil {
				var unsupported *weights.UnsupportedError
				require.ErrorAs(t, err, &unsupported)
				assert.Contains(t, err.Error(), tt.want)
				return
			}
			assert.Equal(t, "m/"+tt.want, set.Tensor("a").File)
		})
	}
}

func TestOpenFrom(t *testing.T) {
	set, err := weights.OpenFiles(weights.File{Path: "a", FS: fstest.MapFS{"a": {Data: one("a", 1, nil)}}})
	require.NoError(t, err)
	assert.Equal(t, []float32{1}, set.Tensor("a").Float32())
}

// FuzzIndex reads any index beside one sound file.
func FuzzIndex(f *testing.F) {
	shard := &fstest.MapFile{Data: one("a", 1, nil)}
	for _, text := range []string{
		`{"metadata":{"total_size":4},"weight_map":{"a":"a.safetensors"}}`, `{"weight_map":{"a":"../m/a.safetensors"}}`,
		`{"weight_map":{"a":"m.index.json"}}`, `{"weight_map":{"a":"a.safetensors","a":"a.safetensors"}}`, `{"weight_map":[]}`, `{"weight_map":{}}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, index []byte) {
		set, err := weights.OpenFiles(weights.File{Path: "m/m.index.json", FS: fstest.MapFS{"m/m.index.json": {Data: index}, "m/a.safetensors": shard}})
		if err == nil {
			assert.LessOrEqual(t, len(set.Names()), len(index))
		}
	})
}
