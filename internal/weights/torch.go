package weights

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// torchNames are the functions and classes that a pickle may name, and what is
// made when it calls them; nil where the name may stand, but not be called.
var torchNames map[pyName]func(u *unpickler, args pyTuple) (any, error)

func init() { // not above: the functions lead back to it
	first := func(u *unpickler, args pyTuple) (any, error) {
		if len(args) == 0 {
			return nil, u.corrupt("a call without arguments")
		}
		return args[0], nil
	}
	ignored := func(*unpickler, pyTuple) (any, error) { return pyOther{}, nil }
	torchNames = map[pyName]func(u *unpickler, args pyTuple) (any, error){
		"torch._utils._rebuild_tensor":               rebuildTensor,
		"torch._utils._rebuild_tensor_v2":            rebuildTensor,
		"torch._utils._rebuild_tensor_v3":            rebuildTensor,
		"torch._utils._rebuild_parameter":            first,
		"torch._utils._rebuild_parameter_with_state": first,
		"torch.nn.parameter.Parameter":               first,
		"torch._tensor._rebuild_from_type_v2":        rebuildFromType,
		"torch.Tensor":                               nil,

		"collections.OrderedDict": newDict,
		"collections.defaultdict": func(*unpickler, pyTuple) (any, error) { return &pyDict{}, nil },
		"torch.Size":              first,

		// Bookkeeping of training: hyperparameters, random states, callbacks' names.
		"torch.device":                 ignored,
		"collections.Counter":          ignored,
		"numpy.dtype":                  ignored,
		"numpy.ndarray":                nil,
		"_codecs.encode":               ignored,
		"argparse.Namespace":           ignored,
		"torch.storage.UntypedStorage": nil,
		"typing.Any":                   nil,
		"pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint": nil,
		"lightning.pytorch.callbacks.model_checkpoint.ModelCheckpoint": nil,
		"pytorch_lightning.callbacks.early_stopping.EarlyStopping":     nil,
		"pytorch_lightning.utilities.parsing.AttributeDict":            newDict,
	}
	for module, names := range map[pyName][]pyName{
		"numpy.core.multiarray.": {"scalar", "_reconstruct"}, "numpy._core.multiarray.": {"scalar", "_reconstruct"},
		"numpy.core.numeric.": {"_frombuffer"}, "numpy._core.numeric.": {"_frombuffer"},
		"pathlib.": {"PosixPath", "WindowsPath"}, "pathlib._local.": {"PosixPath", "WindowsPath"},
		"datetime.":  {"date", "datetime", "timedelta"},
		"omegaconf.": {"dictconfig.DictConfig", "listconfig.ListConfig", "base.ContainerMetadata", "base.Metadata", "nodes.AnyNode"},
	} {
		for _, name := range names {
			torchNames[module+name] = ignored
		}
	}
	for _, module := range []pyName{"builtins.", "__builtin__."} {
		for _, name := range []pyName{"set", "frozenset", "complex", "bytearray", "bytes", "range", "xrange", "slice"} {
			torchNames[module+name] = ignored
		}
		for _, name := range []pyName{"dict", "list", "tuple", "int", "long", "float", "str", "unicode", "bool"} {
			torchNames[module+name] = nil
		}
	}
	for name := range torchStorages {
		torchNames[name] = nil
	}
	for name := range torchDTypes {
		torchNames[name] = nil
	}
}

// The types that PyTorch names; -1 for those that are not read.
var (
	torchStorages = map[pyName]DType{
		"torch.FloatStorage": F32, "torch.HalfStorage": F16, "torch.BFloat16Storage": BF16, "torch.DoubleStorage": F64,
		"torch.ByteStorage": U8, "torch.CharStorage": I8, "torch.ShortStorage": I16, "torch.IntStorage": I32,
		"torch.LongStorage": I64, "torch.BoolStorage": Bool,
		"torch.ComplexFloatStorage": -1, "torch.ComplexDoubleStorage": -1,
		"torch.QInt8Storage": -1, "torch.QUInt8Storage": -1, "torch.QInt32Storage": -1,
		"torch.QUInt4x2Storage": -1, "torch.QUInt2x4Storage": -1,
	}
	torchDTypes = map[pyName]DType{
		"torch.float32": F32, "torch.float": F32, "torch.float16": F16, "torch.half": F16, "torch.bfloat16": BF16,
		"torch.float64": F64, "torch.double": F64, "torch.uint8": U8, "torch.int8": I8, "torch.int16": I16,
		"torch.uint16": U16, "torch.int32": I32, "torch.uint32": U32, "torch.int64": I64, "torch.uint64": U64, "torch.bool": Bool,
		"torch.float8_e4m3fn": -1, "torch.float8_e5m2": -1, "torch.float8_e4m3fnuz": -1, "torch.float8_e5m2fnuz": -1,
		"torch.complex64": -1, "torch.complex128": -1,
	}
)

// torchStorage is memory that tensors share.
type torchStorage struct {
	name  pyName // its type
	dtype DType  // of its elements; U8 where each tensor says its own
	key   string
	size  int // in elements
	data  []byte
}

// torchTensor is a view of a storage.
type torchTensor struct {
	storage *torchStorage
	dtype   DType
	kind    pyName // the type's name in PyTorch
	offset  int    // of the first element
	shape   []int
	strides []int // in elements
}

// storageOf reads a persistent id: "storage", its type, key, device and size.
func (u *unpickler) storageOf(id pyTuple) (*torchStorage, error) {
	if len(id) >= 5 && id[0] == "storage" {
		name, isName := id[1].(pyName)
		key, isText := id[2].(string)
		size, isInt := id[4].(int64)
		dtype, known := torchStorages[name]
		if name == "torch.storage.UntypedStorage" {
			dtype, known = U8, true
		}
		if isName && isText && isInt && known && size >= 0 {
			return &torchStorage{name: name, dtype: dtype, key: key, size: int(size)}, nil
		}
	}
	return nil, u.corrupt("a persistent id that is no storage")
}

// rebuildTensor makes a tensor of: storage, offset, shape, strides, whether a
// gradient is wanted, hooks; the third version has the type besides.
func rebuildTensor(u *unpickler, args pyTuple) (any, error) {
	if len(args) < 4 {
		return nil, u.corrupt("a tensor of %d properties", len(args))
	}
	storage, ok := args[0].(*torchStorage)
	if !ok {
		return nil, u.corrupt("a tensor without a storage")
	}
	t := &torchTensor{storage: storage, dtype: storage.dtype, kind: storage.name}
	if len(args) >= 7 {
		switch x := args[6].(type) {
		case pyName:
			if t.dtype, ok = torchDTypes[x]; !ok {
				return nil, u.corrupt("a tensor of type %q", x)
			}
			t.kind = x
		case *pyDict: // bits of the view, of the second version
			if x.get("neg") == true {
				return nil, &UnsupportedError{File: u.path, Reason: "a tensor that is to be negated as it is read: save it with resolve_neg()"}
			}
		}
	}
	offset, ok := args[1].(int64)
	switch {
	case !ok:
		return nil, u.corrupt("a tensor whose offset is no number")
	case offset < 0:
		return nil, u.corrupt("a tensor that begins at %d", offset)
	}
	t.offset = int(offset)
	if t.shape, ok = sizesOf(args[2]); !ok {
		return nil, u.corrupt("a tensor whose shape is not of sizes")
	}
	if t.strides, ok = sizesOf(args[3]); !ok || len(t.strides) != len(t.shape) {
		return nil, u.corrupt("a tensor whose strides do not fit its shape %v", t.shape)
	}
	return t, nil
}

// sizesOf is a tuple of sizes.
func sizesOf(v any) ([]int, bool) {
	tuple, ok := v.(pyTuple)
	if !ok || len(tuple) > 64 {
		return nil, false
	}
	sizes := make([]int, len(tuple))
	for i, x := range tuple {
		n, ok := x.(int64)
		if !ok || n < 0 || n > math.MaxInt {
			return nil, false
		}
		sizes[i] = int(n)
	}
	return sizes, true
}

// rebuildFromType makes a tensor of: a function, a class, the function's
// arguments, further state.
func rebuildFromType(u *unpickler, args pyTuple) (any, error) {
	if len(args) >= 3 {
		name, isName := args[0].(pyName)
		inner, isTuple := args[2].(pyTuple)
		switch {
		case !isName || !isTuple:
		case name == "torch._utils._rebuild_tensor_v2", name == "torch._utils._rebuild_tensor_v3", name == "torch._utils._rebuild_parameter":
			return torchNames[name](u, inner)
		}
	}
	return nil, u.corrupt("a tensor of a class that is not known")
}

// newDict makes a dictionary, of a list of pairs or of another.
func newDict(u *unpickler, args pyTuple) (any, error) {
	d := &pyDict{}
	if len(args) == 0 {
		return d, nil
	}
	switch from := args[0].(type) {
	case *pyDict:
		return from, nil
	case *pyList:
		for _, item := range from.items {
			pair := item
			if list, ok := pair.(*pyList); ok {
				pair = pyTuple(list.items)
			}
			if tuple, ok := pair.(pyTuple); ok && len(tuple) == 2 {
				if u.objects++; u.objects > maxObjects {
					return nil, u.corrupt("it makes more than %d values", maxObjects)
				}
				d.set(tuple)
				continue
			}
			return nil, u.corrupt("a dictionary of something else than pairs")
		}
		return d, nil
	}
	return nil, u.corrupt("a dictionary of something else than pairs")
}

// stateDicts are where the tensors stand in a checkpoint that holds other
// things besides.
var stateDicts = []string{"state_dict", "model_state_dict", "module", "model", "params_ema", "params"}

// tensors are those of a checkpoint's dictionary from names to tensors, which
// may stand within another. Entries that are no tensors are passed over.
func (u *unpickler) tensors(root any) ([]*Tensor, error) {
	d, ok := root.(*pyDict)
	if !ok {
		return nil, &UnsupportedError{File: u.path, Reason: "a pickle of something else than a dictionary of tensors: save the model's state_dict"}
	}
	for _, name := range stateDicts {
		if inner, ok := d.get(name).(*pyDict); ok && inner.hasTensors() {
			d = inner
			break
		}
	}
	if !d.hasTensors() {
		return nil, &UnsupportedError{File: u.path, Reason: "no tensors in it, or only deeper than in state_dict"}
	}
	var list []*Tensor
	seen := map[string]bool{}
	for i, key := range d.keys {
		from, isTensor := d.values[i].(*torchTensor)
		if !isTensor {
			continue
		}
		name, isText := key.(string)
		switch {
		case !isText || !utf8.ValidString(name):
			return nil, u.corrupt("a tensor whose name is no text")
		case len(name) > maxName:
			return nil, u.corrupt("a tensor's name of %d bytes", len(name))
		case seen[name]:
			return nil, &CorruptError{File: u.path, Tensor: name, Reason: "stands twice in the file"}
		}
		seen[name] = true
		t, err := from.tensor(u, name)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// get is the last value of that name, nil where there is none.
func (d *pyDict) get(name string) any {
	for i, key := range slices.Backward(d.keys) {
		if key == any(name) {
			return d.values[i]
		}
	}
	return nil
}

func (d *pyDict) hasTensors() bool {
	return slices.ContainsFunc(d.values, func(v any) bool { _, ok := v.(*torchTensor); return ok })
}

// tensor makes sure that a view lies within its storage. Where its elements lie
// there in order they are taken as they are, else gathered when asked for.
func (t *torchTensor) tensor(u *unpickler, name string) (*Tensor, error) {
	corrupt := func(format string, args ...any) (*Tensor, error) {
		return nil, &CorruptError{File: u.path, Tensor: name, Reason: fmt.Sprintf(format, args...)}
	}
	if t.dtype < 0 {
		return nil, &UnsupportedError{File: u.path, Tensor: name,
			Reason: fmt.Sprintf("stored as %s, not as float32, float16 or bfloat16: take another variant of the file", t.kind)}
	}
	size, ok := byteSize(t.dtype, t.shape)
	if !ok {
		return corrupt("shape %v is too large", t.shape)
	}
	out := &Tensor{Name: name, DType: t.dtype, Shape: t.shape, File: u.path}
	if size == 0 {
		return out, nil
	}
	if size > u.size {
		// Strides of zero could make any size of little.
		return corrupt("%v of shape %v takes %d bytes, more than the whole file", t.dtype, t.shape, size)
	}
	_, width := t.dtype.Block()
	last, inOrder := t.offset, true // the element furthest on; whether all lie in order
	for i, next := len(t.shape)-1, 1; i >= 0; i-- {
		n, stride := t.shape[i], t.strides[i]
		if n > 1 && stride > (math.MaxInt-last)/(n-1) {
			return corrupt("strides %v go beyond its storage", t.strides)
		}
		last += (n - 1) * stride
		inOrder = inOrder && (n == 1 || stride == next)
		next *= n
	}
	if held := len(t.storage.data) / width; last >= held {
		return corrupt("it reaches to element %d of a storage of %d", last, held)
	}
	data := t.storage.data[t.offset*width:]
	if inOrder {
		out.Data = data[:size:size]
	} else {
		out.made = func() []byte { return gather(make([]byte, 0, size), data, t.shape, t.strides, width) }
	}
	return out, nil
}

// gather appends the elements of a view, each of that many bytes, in C order.
func gather(to, from []byte, shape, strides []int, width int) []byte {
	switch len(shape) {
	case 0:
		return append(to, from[:width]...)
	case 1:
		step := strides[0] * width
		for i := range shape[0] {
			to = append(to, from[i*step:][:width]...)
		}
		return to
	}
	for i := range shape[0] {
		to = gather(to, from[i*strides[0]*width:], shape[1:], strides[1:], width)
	}
	return to
}

// legacyMagic is the number, as a pickle has it, that the files begin with which
// torch.save wrote before version 1.6.
var legacyMagic = []byte("\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")

// parseLegacy reads such a file: pickles of the magic number, the version, the
// machine's properties, the values, the storages' keys; then for each storage
// its size and elements.
func parseLegacy(path string, data []byte) (*contents, error) {
	storages := map[string]*torchStorage{}
	u := &unpickler{path: path, data: data, size: len(data)}
	u.stored = func(id pyTuple) (any, error) {
		s, err := u.storageOf(id)
		if err != nil {
			return nil, err
		}
		if len(id) > 5 && id[5] != nil {
			return nil, &UnsupportedError{File: path, Reason: "a checkpoint of a very old PyTorch, with views of storages: save it anew"}
		}
		if old := storages[s.key]; old != nil {
			if old.dtype != s.dtype || old.size != s.size {
				return nil, u.corrupt("storage %.20q is of two kinds", s.key)
			}
			return old, nil
		}
		storages[s.key] = s
		return s, nil
	}
	var values [5]any
	for i := range values {
		var err error
		if values[i], err = u.load(); err != nil {
			return nil, err
		}
		if i == 2 { // the machine's properties
			if d, ok := values[i].(*pyDict); ok && d.get("little_endian") == false {
				return nil, &UnsupportedError{File: path, Reason: "a checkpoint of a big-endian machine"}
			}
		}
	}
	keys, ok := values[4].(*pyList)
	if !ok {
		return nil, u.corrupt("no list of storages")
	}
	for _, key := range keys.items {
		name, _ := key.(string)
		s := storages[name]
		if s == nil || s.data != nil {
			return nil, u.corrupt("storage %.20q is not known, or stands twice", name)
		}
		if s.dtype < 0 {
			return nil, &UnsupportedError{File: path, Reason: fmt.Sprintf("a storage of type %s", s.name)}
		}
		n, err := u.length(8)
		if err != nil {
			return nil, err
		}
		_, width := s.dtype.Block()
		if n != uint64(s.size) || n > uint64(len(data)/width) {
			return nil, u.corrupt("storage %.20q of %d elements, want %d", name, n, s.size)
		}
		if s.data, err = u.bytes(n * uint64(width)); err != nil {
			return nil, err
		}
	}
	tensors, err := u.tensors(values[3])
	return &contents{path: path, tensors: tensors, meta: map[string]any{}}, err
}

// isLegacy tells a file of torch.save before version 1.6. Its pickles may be of
// any protocol from 2 to 5; those from 4 on come in frames.
func isLegacy(data []byte) bool {
	if len(data) < 2 || data[0] != 0x80 || data[1] < 2 || data[1] > 5 {
		return false
	}
	const frame = 9
	first := data[2:]
	if len(first) > frame && first[0] == 0x95 {
		first = first[frame:]
	}
	return bytes.HasPrefix(first, legacyMagic)
}
