package weights_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// TestTorchFiles reads what PyTorch wrote: see testdata/make_torch.py.
func TestTorchFiles(t *testing.T) {
	want, err := weights.Open("testdata/torch.safetensors")
	require.NoError(t, err)
	for _, file := range []string{"module.pth", "types.bin", "protocol4.bin", "views.pth", "training.pt", "bookkeeping2.pt", "bookkeeping5.pt", "legacy.pth", "legacy4.pth"} {
		t.Run(file, func(t *testing.T) {
			set, err := weights.Open(filepath.Join("testdata", file))
			require.NoError(t, err)
			var names []string
			for _, name := range want.Names() {
				if name, mine := strings.CutPrefix(name, file+":"); mine {
					names = append(names, name)
				}
			}
			require.Equal(t, names, set.Names())
			for x := range set.Tensors() {
				w := want.Tensor(file + ":" + x.Name)
				assert.Equal(t, w.DType, x.DType, x.Name)
				assert.Equal(t, slices.Concat([]int{}, w.Shape), slices.Concat([]int{}, x.Shape), x.Name)
				assert.Equal(t, slices.Concat([]byte{}, w.Bytes()), slices.Concat([]byte{}, x.Bytes()), x.Name)
			}
			require.NoError(t, set.Close())
		})
	}
	require.NoError(t, want.Close())
}

func TestTorchSharesStorages(t *testing.T) {
	set, err := weights.Open("testdata/views.pth")
	require.NoError(t, err)
	assert.Same(t, &set.Tensor("base").Data[0], &set.Tensor("alias").Data[0], "the file's own bytes")
	assert.Same(t, &set.Tensor("base").Data[24], &set.Tensor("rows").Data[0])
	assert.Nil(t, set.Tensor("transposed").Data, "made when asked for")
	require.NoError(t, set.Close())
}

func TestUnsupportedTorchFiles(t *testing.T) {
	for file, reason := range map[string]string{
		"whole_module.pth": `"torch.nn.modules.container.Sequential", which is no part of weights`,
		"script.pth":       "TorchScript",
		"complex.pth":      "torch.ComplexFloatStorage",
		"float8.pth":       "float8_e4m3fn",
		"negated.pth":      "resolve_neg()",
	} {
		_, err := weights.Open(filepath.Join("testdata", file))
		var unsupported *weights.UnsupportedError
		require.ErrorAs(t, err, &unsupported, file)
		assert.Contains(t, err.Error(), reason)
	}
}

func TestTorchWriter(t *testing.T) {
	tensors := map[string]weightstest.Tensor{
		"a.weight": weightstest.F32([]int{2, 3}, 1, 2, 3, 4, 5, 6), "b": {DType: weights.BF16, Shape: []int{2}, Data: []byte("\x80\x3f\x20\xc0")},
		"s": weightstest.F32(nil, 7),
	}
	for _, nested := range [][]string{nil, {"state_dict"}, {"model"}} {
		set, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: weightstest.Torch(tensors, nested...)})
		require.NoError(t, err)
		assert.Equal(t, []float32{1, 2, 3, 4, 5, 6}, set.Tensor("a.weight").Float32())
		assert.Equal(t, []float32{1, -2.5}, set.Tensor("b").Float32())
		assert.Equal(t, []float32{7}, set.Tensor("s").Float32())
	}
}

// pickled is a checkpoint of that pickle, with one storage of 16 bytes.
func pickled(pickle string) []byte {
	return weightstest.Zip("archive/", map[string][]byte{"data.pkl": []byte(pickle), "data/0": make([]byte, 16)})
}

const (
	storage0 = "(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
	rebuild  = "ctorch._utils\n_rebuild_tensor_v2\n("
	hooks    = "\x89ccollections\nOrderedDict\n)RtR"
)

// tensorPickle is a checkpoint of tensor "a" with that offset, shape and strides.
func tensorPickle(offset, shape, strides string) []byte {
	return pickled("\x80\x02}X\x01\x00\x00\x00a" + rebuild + storage0 + offset + shape + strides + hooks + "s.")
}

// Pickles of the known ways to run code, or to get around a list of what may
// be run.
var malicious = []struct{ name, pickle string }{
	{"os.system", "cos\nsystem\n(X\x04\x00\x00\x00echotR."},
	{"posix.system", "cposix\nsystem\n(X\x04\x00\x00\x00echotR."},
	{"nt.system", "cnt\nsystem\n(X\x04\x00\x00\x00echotR."},
	{"builtins.exec", "cbuiltins\nexec\n(X\x04\x00\x00\x00pass\x85R."},
	{"builtins.eval", "c__builtin__\neval\n(X\x01\x00\x00\x001tR."},
	{"builtins.getattr", "cbuiltins\ngetattr\n(cbuiltins\ndict\nX\x03\x00\x00\x00gettR."},
	{"builtins.__import__", "cbuiltins\n__import__\n(X\x02\x00\x00\x00ostR."},
	{"builtins.open", "cbuiltins\nopen\n(X\x01\x00\x00\x00xX\x01\x00\x00\x00wtR."},
	{"by STACK_GLOBAL", "\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R."},
	{"STACK_GLOBAL from the memo", "\x80\x04\x8c\x02os\x940\x8c\x06system\x940h\x00h\x01\x93\x8c\x04echo\x85R."},
	{"dotted name", "\x80\x04\x8c\x05torch\x8c\x0bnn.os.system\x93\x8c\x04echo\x85R."},
	{"dotted builtin", "\x80\x04\x8c\x08builtins\x8c\x0cdict.__class__\x93."},
	{"name split elsewhere", "ctorch._utils._rebuild_tensor_v2\n__globals__\n."},
	{"with INST", "(X\x04\x00\x00\x00echoios\nsystem\n."},
	{"with OBJ", "(cos\nsystem\nX\x04\x00\x00\x00echoo."},
	{"with NEWOBJ", "\x80\x02csubprocess\nPopen\nX\x04\x00\x00\x00echo\x85\x81."},
	{"with NEWOBJ_EX", "\x80\x04\x8c\nsubprocess\x8c\x05Popen\x93)}\x92."},
	{"with EXT1", "\x80\x02\x82\x01."},
	{"with a persistent id of text", "Pos.system\n."},
	{"numpy's runstring", "cnumpy.testing._private.utils\nrunstring\n(X\x04\x00\x00\x00passtR."},
	{"numpy's load", "cnumpy\nload\n(X\x01\x00\x00\x00xtR."},
	{"torch.hub", "ctorch.hub\nload\n(X\x01\x00\x00\x00xtR."},
	{"torch.load", "ctorch.serialization\nload\n(X\x01\x00\x00\x00xtR."},
	{"a pickle within", "ctorch.storage\n_load_from_bytes\n(C\x01.tR."},
	{"torch's own exec", "ctorch.fx.graph_module\n_forward_from_src\n(tR."},
	{"torch.jit", "ctorch.jit.unsupported_tensor_ops\nexecWrapper\n(tR."},
	{"torch._dynamo", "ctorch._dynamo.guards\nGuardBuilder.get\n(tR."},
	{"runpy", "crunpy\n_run_code\n(tR."},
	{"pip", "cpip\nmain\n(tR."},
	{"importlib", "cimportlib\nimport_module\n(X\x02\x00\x00\x00ostR."},
	{"functools.partial", "cfunctools\npartial\n(cbuiltins\nlist\ntR."},
	{"operator.attrgetter", "coperator\nattrgetter\n(X\x01\x00\x00\x00xtR."},
	{"codecs.decode", "c_codecs\ndecode\n(X\x01\x00\x00\x00xtR."},
	{"webbrowser", "cwebbrowser\nopen\n(X\x01\x00\x00\x00xtR."},
	{"through a tensor's type", "ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nctorch\nTensor\n)NtR."},
	{"through a known name that may not be called", "ctorch\nFloatStorage\n)R."},
	{"as a dictionary's factory", "ccollections\ndefaultdict\n(cos\nsystem\ntR."},
	{"as a state", "ccollections\nOrderedDict\n)R}X\x0a\x00\x00\x00__reduce__cos\nsystem\nsb."},
	{"as a tensor's hook", "\x80\x02}X\x01\x00\x00\x00a" + rebuild + storage0 + "K\x00K\x04\x85K\x01\x85\x89cos\nsystem\ntRs."},
	{"in a nested dictionary", "\x80\x02}X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00acos\nsystem\n(X\x04\x00\x00\x00echotRss."},
	{"in a set", "\x80\x04\x8f(cos\nsystem\n(\x8c\x04echotR\x90."},
	{"a value called", "\x80\x02X\x09\x00\x00\x00os.system)R."},
	{"the result called", "ccollections\nOrderedDict\n)R)R."},
	{"a name with a newline's end", "cos\r\nsystem\r\n)R."},
	{"uppercase", "cOS\nSystem\n)R."},
	{"the last of several pickles", "\x80\x02cos\nsystem\n0}."},
}

func TestMaliciousPickles(t *testing.T) {
	for _, tt := range malicious {
		t.Run(tt.name, func(t *testing.T) {
			for _, data := range [][]byte{pickled(tt.pickle), []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + tt.pickle)} {
				_, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: data})
				require.Error(t, err)
				var corrupt *weights.CorruptError
				var unsupported *weights.UnsupportedError
				assert.True(t, errors.As(err, &unsupported) || errors.As(err, &corrupt), err)
			}
		})
	}
}

// archive is a ZIP archive of entries as w makes them.
func archive(make func(w *zip.Writer)) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	make(w)
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// entry adds an entry to an archive.
func entry(w *zip.Writer, name string, method uint16, data string) {
	e, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err == nil {
		_, err = e.Write([]byte(data))
	}
	if err != nil {
		panic(err)
	}
}

// sound is a checkpoint of one tensor of four elements.
var sound = tensorPickle("K\x00", "K\x04\x85", "K\x01\x85")

var hostileTorch = []struct {
	name   string
	data   []byte
	tensor string
	reason string
}{
	{"no archive", []byte("PK\x03\x04rest of an archive"), "", "unfinished download"},
	{"cut short", sound[:len(sound)-5], "", "unfinished download"},
	{"no pickle's end", pickled("\x80\x02}"), "", "cut short"},
	{"empty pickle", pickled(""), "", "cut short"},
	{"nothing left", pickled("\x80\x02."), "", "empty stack"},
	{"no mark", pickled("\x80\x02t."), "", "mark"},
	{"below the mark", pickled("\x80\x02}(X\x01\x00\x00\x00as."), "", "empty stack"},
	{"a text's length beyond the end", pickled("\x80\x02X\xff\xff\xff\xff."), "", "cut short"},
	{"a text's length wraps", pickled("\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "", "cut short"},
	{"bytes' length wraps", pickled("\x80\x05\x96\xff\xff\xff\xff\xff\xff\xff\xff."), "", "cut short"},
	{"a number's length beyond the end", pickled("\x80\x02\x8b\xff\xff\xff\x7f."), "", "cut short"},
	{"an unknown operation", pickled("\x80\x02\xff."), "", "operation 0xff"},
	{"a buffer outside", pickled("\x80\x05\x97."), "", "operation 0x97"},
	{"a protocol of the future", pickled("\x80\x06}."), "", "protocol 6"},
	{"not put aside", pickled("\x80\x02h\x01."), "", "put aside"},
	{"added to a number", pickled("\x80\x02K\x01K\x02a."), "", "takes nothing"},
	{"a key without value", pickled("\x80\x02}(X\x01\x00\x00\x00au."), "", "takes nothing"},
	{"state of a number", pickled("\x80\x02K\x01}b."), "", "has none"},
	{"countless marks", pickled("\x80\x02" + strings.Repeat("(", 1<<21+1)), "", "makes more than"},
	{"countless values", pickled("\x80\x02(" + strings.Repeat("]", 1<<21+1)), "", "makes more than"},
	{"a storage that is not there", pickled("\x80\x02}X\x01\x00\x00\x00a" + rebuild + strings.Replace(storage0, "X\x01\x00\x00\x000", "X\x01\x00\x00\x001", 1) + "K\x00K\x04\x85K\x01\x85" + hooks + "s."), "", "not in the archive"},
	{"a storage larger than its entry", pickled("\x80\x02}X\x01\x00\x00\x00a" + rebuild + strings.Replace(storage0, "K\x04t", "K\x05t", 1) + "K\x00K\x04\x85K\x01\x85" + hooks + "s."), "", "has 16 bytes"},
	{"a storage of negative size", pickled("\x80\x02}X\x01\x00\x00\x00a" + rebuild + strings.Replace(storage0, "K\x04t", "J\xff\xff\xff\xfft", 1) + "K\x00K\x04\x85K\x01\x85" + hooks + "s."), "", "no storage"},
	{"a persistent id of something else", pickled("\x80\x02(X\x06\x00\x00\x00modulettQ."), "", ""},
	{"a tensor of no storage", pickled("\x80\x02" + rebuild + "NK\x00))" + hooks + "."), "", "without a storage"},
	{"a tensor of nothing", pickled("\x80\x02" + rebuild + "tR."), "", "0 properties"},
	{"beyond the storage", tensorPickle("K\x00", "K\x05\x85", "K\x01\x85"), "a", "element 4 of a storage of 4"},
	{"offset beyond the storage", tensorPickle("K\x01", "K\x04\x85", "K\x01\x85"), "a", "element 4 of a storage of 4"},
	{"stride beyond the storage", tensorPickle("K\x00", "K\x02\x85", "K\x04\x85"), "a", "element 4 of a storage of 4"},
	{"negative offset", tensorPickle("J\xff\xff\xff\xff", "K\x04\x85", "K\x01\x85"), "", "begins at -1"},
	{"an offset of tuples without end", tensorPickle("K\x01"+strings.Repeat("q\x07"+strings.Repeat("h\x07", 2)+"\x87", 60), "K\x04\x85", "K\x01\x85"), "", "offset is no number"},
	{"a name without end", pickled("\x80\x02}" + "X\x88\x13\x00\x00" + strings.Repeat("a", 5000) + rebuild + storage0 + "K\x00K\x04\x85K\x01\x85" + hooks + "s."), "", "name of 5000 bytes"},
	{"negative size", tensorPickle("K\x00", "J\xff\xff\xff\xff\x85", "K\x01\x85"), "", "not of sizes"},
	{"negative stride", tensorPickle("K\x03", "K\x04\x85", "J\xff\xff\xff\xff\x85"), "", "strides do not fit"},
	{"fewer strides than dimensions", tensorPickle("K\x00", "K\x02K\x02\x86", "K\x01\x85"), "", "strides do not fit"},
	{"countless dimensions", tensorPickle("K\x00", "("+strings.Repeat("K\x01", 100)+"t", "("+strings.Repeat("K\x01", 100)+"t"), "", "not of sizes"},
	{"shape's product wraps", tensorPickle("K\x00", "\x8a\x05\x00\x00\x00\x00\x01\x8a\x05\x00\x00\x00\x00\x01\x86", "K\x00K\x00\x86"), "a", "too large"},
	{"much of little by strides of zero", tensorPickle("K\x00", "\x8a\x04\xff\xff\xff\x7f\x85", "K\x00\x85"), "a", "more than the whole file"},
	{"offset and strides wrap", tensorPickle("\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f", "K\x02\x85", "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f\x85"), "a", "beyond its storage"},
	{"duplicate name", pickled("\x80\x02}(" + strings.Repeat("X\x01\x00\x00\x00a"+rebuild+storage0+"K\x00K\x04\x85K\x01\x85"+hooks, 2) + "u."), "a", "twice"},
	{"a tensor without a name", pickled("\x80\x02}K\x01" + rebuild + storage0 + "K\x00K\x04\x85K\x01\x85" + hooks + "s."), "", "whose name is no text"},
	{"an entry twice", archive(func(w *zip.Writer) {
		entry(w, "a/data.pkl", zip.Store, "\x80\x02}.")
		entry(w, "a/data.pkl", zip.Store, "\x80\x02}.")
	}), "", "stands twice"},
	{"two pickles", archive(func(w *zip.Writer) {
		entry(w, "a/data.pkl", zip.Store, "\x80\x02}.")
		entry(w, "b/data.pkl", zip.Store, "\x80\x02}.")
	}), "", "several data.pkl"},
	{"the entry's own name is another", bytes.Replace(sound, []byte("archive/data.pkl"), []byte("archive/DATA.pkl"), 1), "", "its own name"},
	{"the entry's own method is another", bytes.Replace(sound, []byte("PK\x03\x04\x14\x00\x08\x00\x00\x00"), []byte("PK\x03\x04\x14\x00\x08\x00\x08\x00"), 1), "", "its own method"},
	{"entries overlap", overlapping(), "", "overlap"},
	{"legacy cut short", []byte("\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."), "", "cut short"},
}

// overlapping is an archive in which one entry lies within another, with all
// that belongs to it, so that either is sound by itself.
func overlapping() []byte {
	inner := archive(func(w *zip.Writer) { entry(w, "a/data/0", zip.Store, "1234") })
	inner = inner[:bytes.Index(inner, []byte("1234"))+4]
	data := archive(func(w *zip.Writer) {
		entry(w, "a/data.pkl", zip.Store, string(inner))
		entry(w, "a/data/0", zip.Store, "1234")
	})
	second := bytes.LastIndex(data, []byte("PK\x01\x02"))
	at := bytes.Index(data[4:], inner[:4]) + 4
	binary.LittleEndian.PutUint32(data[second+42:], uint32(at))
	return data
}

func TestHostileTorch(t *testing.T) {
	for _, tt := range hostileTorch {
		t.Run(tt.name, func(t *testing.T) {
			_, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: tt.data})
			var corrupt *weights.CorruptError
			require.ErrorAs(t, err, &corrupt)
			if tt.tensor != "" {
				assert.Equal(t, tt.tensor, corrupt.Tensor)
			}
			assert.Contains(t, corrupt.Reason, tt.reason)
		})
	}
	_, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: sound})
	require.NoError(t, err, "what the hostile ones were made from")
}

// A file of the older form has no bound of its own on what its pickles say.
func TestPickleOfMuchText(t *testing.T) {
	data := "\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02\x8d" + "\x01\x00\x00\x04\x00\x00\x00\x00" + strings.Repeat("a", 64<<20+1)
	_, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: []byte(data)})
	require.ErrorContains(t, err, "MiB of text")
}

func TestUnsupportedArchives(t *testing.T) {
	bomb := archive(func(w *zip.Writer) { entry(w, "a/data.pkl", zip.Deflate, strings.Repeat("N", 1<<20)) })
	for _, tt := range []struct {
		name   string
		data   []byte
		reason string
	}{
		{"compressed", bomb, "is compressed"},
		{"no checkpoint", archive(func(w *zip.Writer) { entry(w, "a.safetensors", zip.Store, "") }), "no PyTorch checkpoint"},
		{"no tensors", pickled("\x80\x02}."), "no tensors"},
		{"a list", pickled("\x80\x02]."), "something else than a dictionary"},
		{"tensors deep down", pickled("\x80\x02}X\x01\x00\x00\x00x}X\x01\x00\x00\x00a" + rebuild + storage0 + "K\x00K\x04\x85K\x01\x85" + hooks + "ss."), "no tensors"},
		{"big-endian", weightstest.Zip("a/", map[string][]byte{"data.pkl": []byte("\x80\x02}."), "byteorder": []byte("big")}), "big-endian"},
		{"a plain pickle", []byte("\x80\x04}."), "no PyTorch checkpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := weights.OpenFiles(weights.File{Path: "test.ckpt", Data: tt.data})
			var unsupported *weights.UnsupportedError
			require.ErrorAs(t, err, &unsupported)
			assert.Contains(t, err.Error(), tt.reason)
		})
	}
}

// FuzzPickle puts the pickle into an archive, so that the fuzzer need not get
// that right.
func FuzzPickle(f *testing.F) {
	for _, tt := range malicious {
		f.Add([]byte(tt.pickle), []byte("0123456789abcdef"))
	}
	for _, file := range []string{"module.pth", "protocol4.bin", "views.pth", "training.pt"} {
		r, err := zip.OpenReader(filepath.Join("testdata", file))
		require.NoError(f, err)
		for _, e := range r.File {
			if strings.HasSuffix(e.Name, "data.pkl") {
				in, err := e.Open()
				require.NoError(f, err)
				pickle, err := io.ReadAll(in)
				require.NoError(f, err)
				f.Add(pickle, make([]byte, 64))
			}
		}
		require.NoError(f, r.Close())
	}
	for _, tt := range hostileTorch {
		if r, err := zip.NewReader(bytes.NewReader(tt.data), int64(len(tt.data))); err == nil && len(tt.data) < 1<<12 {
			if in, err := r.Open("archive/data.pkl"); err == nil {
				pickle, _ := io.ReadAll(in)
				f.Add(pickle, make([]byte, 16))
			}
		}
	}
	f.Fuzz(func(t *testing.T, pickle, storage []byte) {
		if len(pickle) > 1<<14 || len(storage) > 1<<12 {
			return
		}
		checkFile(t, "test.ckpt", weightstest.Zip("archive/", map[string][]byte{
			"data.pkl": pickle, "data/0": storage, "data/1": storage, "data/2": storage[:len(storage)/2],
		}))
	})
}

func FuzzTorch(f *testing.F) {
	for _, tt := range hostileTorch {
		if len(tt.data) < 1<<12 {
			f.Add(tt.data)
		}
	}
	for _, file := range []string{"module.pth", "views.pth", "legacy.pth", "script.pth"} {
		data, err := os.ReadFile(filepath.Join("testdata", file))
		require.NoError(f, err)
		f.Add(data)
	}
	fuzzFile(f, "test.ckpt")
}
