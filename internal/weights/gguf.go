package weights

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"
)

// Bounds of what a GGUF file's header may hold. Those of real models, with
// vocabularies of a quarter of a million words, are far below.
const (
	maxValues     = 1 << 22 // values of metadata, those of arrays counted singly
	maxText       = 1 << 26 // bytes of all texts of metadata, or of a pickle
	maxName       = 1 << 12 // bytes of a key or of a tensor's name
	maxDims       = 4       // ggml's
	maxNesting    = 4       // arrays of arrays
	maxAlignment  = 1 << 20
	ggufAlignment = 32 // unless general.alignment says otherwise
)

// parseGGUF reads a file of: magic and version, the numbers of tensors and of
// metadata, the metadata, the tensors' names, sizes, types and places, and,
// aligned, the tensors' bytes. Versions 2 and 3, little-endian.
func parseGGUF(path string, data []byte) (*contents, error) {
	r := &ggufReader{path: path, data: data, pos: len("GGUF")}
	c := &contents{path: path, meta: map[string]any{}}
	version := r.uint32()
	switch {
	case r.err != nil:
		return nil, r.err
	case version&0xffff == 0 && version != 0:
		return nil, &UnsupportedError{File: path, Reason: "a GGUF file of a big-endian machine"}
	case version != 2 && version != 3:
		return nil, &UnsupportedError{File: path, Reason: fmt.Sprintf("GGUF of version %d, want 2 or 3: convert it anew", version)}
	}
	tensors, values := r.uint64(), r.uint64()
	// A value takes 13 bytes at least, a tensor 24.
	if r.err == nil && (values > uint64(len(data))/13 || tensors > uint64(len(data))/24) {
		r.corrupt("", "cut short: %d tensors and %d values of metadata do not fit into %d bytes", tensors, values, len(data))
	}
	if r.err == nil && tensors > maxTensors {
		r.corrupt("", "%d tensors, more than %d", tensors, maxTensors)
	}
	for range values {
		if r.err != nil {
			return nil, r.err
		}
		key := r.text(maxName)
		value := r.value(r.uint32(), 0)
		if _, twice := c.meta[key]; twice {
			r.corrupt("", "metadata %q stands twice", key)
		}
		c.meta[key] = value
	}
	alignment := ggufAlignment
	if v, ok := c.meta["general.alignment"]; ok {
		n, whole := v.(int64)
		if !whole || n < 1 || n > maxAlignment || n&(n-1) != 0 {
			r.corrupt("", "an alignment of %v: want a power of two up to %d", v, maxAlignment)
		}
		alignment = int(n)
	}
	seen := map[string]bool{}
	for range tensors {
		if r.err != nil {
			return nil, r.err
		}
		c.tensors = append(c.tensors, r.tensor(alignment))
		if name := c.tensors[len(c.tensors)-1].Name; seen[name] {
			r.corrupt(name, "stands twice in the file")
		} else {
			seen[name] = true
		}
	}
	if r.err == nil {
		r.place(c.tensors, (r.pos+alignment-1)/alignment*alignment)
		r.reshape(c)
	}
	return c, r.err
}

// OriginalShape begins the metadata that tells the shape a tensor had before it
// was flattened for its blocks to fit, such as a 3×3 kernel's. ComfyUI-GGUF's
// tools write it.
const OriginalShape = "comfy.gguf.orig_shape."

// reshape gives flattened tensors their shape back.
func (r *ggufReader) reshape(c *contents) {
	for _, t := range c.tensors {
		value, ok := c.meta[OriginalShape+t.Name]
		if !ok {
			continue
		}
		list, _ := value.([]int64)
		shape := make([]int, len(list))
		n := 1
		for i, d := range list {
			if shape[i] = int(d); d < 1 || n > math.MaxInt/shape[i] {
				r.corrupt(t.Name, "metadata %s%s: %v is no shape", OriginalShape, t.Name, value)
				return
			}
			n *= shape[i]
		}
		if len(shape) == 0 || len(shape) > maxDims || n != t.Elements() {
			r.corrupt(t.Name, "metadata %s%s: %v does not fit shape %v", OriginalShape, t.Name, value, t.Shape)
			return
		}
		t.Shape = shape
	}
}

// ggufReader reads a header from front to back. After the first error all
// that is read is zero.
type ggufReader struct {
	path   string
	data   []byte
	pos    int
	values int // of metadata so far
	texts  int // bytes of texts in metadata so far
	places [][2]uint64
	err    error
}

// corrupt notes an error, unless there is one.
func (r *ggufReader) corrupt(tensor, format string, args ...any) {
	if r.err == nil {
		r.err = &CorruptError{File: r.path, Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
	}
}

// bytes takes the next n bytes.
func (r *ggufReader) bytes(n uint64) []byte {
	if r.err == nil && n > uint64(len(r.data)-r.pos) {
		r.corrupt("", "cut short: it ends within the header, at byte %d", len(r.data))
	}
	if r.err != nil {
		return nil
	}
	b := r.data[r.pos : r.pos+int(n)]
	r.pos += int(n)
	return b
}

func (r *ggufReader) uint32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *ggufReader) uint64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *ggufReader) text(limit int) string {
	n := r.uint64()
	if n > uint64(limit) {
		r.corrupt("", "a text of %d bytes in the header", n)
	}
	return string(r.bytes(n))
}

// The kinds of values of metadata.
const (
	ggufU8 = iota
	ggufI8
	ggufU16
	ggufI16
	ggufU32
	ggufI32
	ggufF32
	ggufBool
	ggufString
	ggufArray
	ggufU64
	ggufI64
	ggufF64
)

// value reads a value of metadata, as [Set.Value] describes.
func (r *ggufReader) value(kind uint32, depth int) any {
	if r.values++; r.values > maxValues {
		r.corrupt("", "more than %d values of metadata", maxValues)
	}
	switch kind {
	case ggufString:
		s := r.text(maxText)
		if r.texts += len(s); r.texts > maxText {
			r.corrupt("", "more than %d bytes of metadata", maxText)
		}
		return s
	case ggufBool:
		b := r.bytes(1)
		if b != nil && b[0] > 1 {
			r.corrupt("", "metadata of %d where 0 or 1 must stand", b[0])
		}
		return b != nil && b[0] == 1
	case ggufF32:
		return float64(math.Float32frombits(r.uint32()))
	case ggufF64:
		return math.Float64frombits(r.uint64())
	case ggufU64:
		if n := r.uint64(); n > math.MaxInt64 {
			return n
		} else {
			return int64(n)
		}
	case ggufI64:
		return int64(r.uint64())
	case ggufU32:
		return int64(r.uint32())
	case ggufI32:
		return int64(int32(r.uint32()))
	case ggufU8, ggufI8, ggufU16, ggufI16:
		return r.small(kind)
	case ggufArray:
		return r.array(depth + 1)
	}
	r.corrupt("", "metadata of an unknown kind, %d", kind)
	return nil
}

func (r *ggufReader) small(kind uint32) int64 {
	size := uint64(1)
	if kind == ggufU16 || kind == ggufI16 {
		size = 2
	}
	b := r.bytes(size)
	switch {
	case b == nil:
		return 0
	case kind == ggufU8:
		return int64(b[0])
	case kind == ggufI8:
		return int64(int8(b[0]))
	case kind == ggufU16:
		return int64(binary.LittleEndian.Uint16(b))
	default:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	}
}

func (r *ggufReader) array(depth int) any {
	if depth > maxNesting {
		r.corrupt("", "arrays nested more than %d deep in the metadata", maxNesting)
	}
	kind, n := r.uint32(), r.uint64()
	// Every value takes a byte at least; what is left bounds what is made.
	if n > uint64(len(r.data)-r.pos) || n > maxValues {
		r.corrupt("", "an array of %d values in the metadata, where the file has %d bytes left", n, len(r.data)-r.pos)
	}
	if r.err != nil {
		return nil
	}
	switch kind {
	case ggufString:
		return ggufList[string](r, kind, n, depth)
	case ggufBool:
		return ggufList[bool](r, kind, n, depth)
	case ggufF32, ggufF64:
		return ggufList[float64](r, kind, n, depth)
	case ggufArray:
		return ggufList[any](r, kind, n, depth)
	}
	return ggufList[int64](r, kind, n, depth)
}

func ggufList[T any](r *ggufReader, kind uint32, n uint64, depth int) []T {
	list := make([]T, 0, min(n, 1<<16))
	for range n {
		v, ok := r.value(kind, depth).(T)
		if !ok {
			r.corrupt("", "a number beyond 63 bits in an array of the metadata")
		}
		if r.err != nil {
			return nil
		}
		list = append(list, v)
	}
	return list
}

// tensor reads a tensor's entry, and notes where its bytes lie in places.
func (r *ggufReader) tensor(alignment int) *Tensor {
	t := &Tensor{Name: r.text(maxName), File: r.path, Shape: []int{}}
	if !utf8.ValidString(t.Name) {
		r.corrupt(t.Name, "the name is not UTF-8")
	}
	dims := r.uint32()
	if dims > maxDims {
		r.corrupt(t.Name, "%d dimensions, want %d at most", dims, maxDims)
		return t
	}
	for range dims {
		n := r.uint64()
		if n > math.MaxInt {
			r.corrupt(t.Name, "a dimension of %d", n)
		}
		t.Shape = append(t.Shape, int(n))
	}
	slices.Reverse(t.Shape) // ggml's run from the innermost
	kind, offset := r.uint32(), r.uint64()
	if r.err != nil {
		return t
	}
	d, ok := ggmlType(kind)
	if !ok {
		r.err = &UnsupportedError{File: r.path, Tensor: t.Name,
			Reason: fmt.Sprintf("stored as ggml's type %d, which is not known or was withdrawn: convert the file anew", kind)}
		return t
	}
	t.DType = d
	size, ok := byteSize(d, t.Shape)
	switch block, _ := d.Block(); {
	case !ok && len(t.Shape) > 0 && t.Shape[len(t.Shape)-1]%block == 0:
		r.corrupt(t.Name, "shape %v is too large", t.Shape)
	case !ok:
		r.corrupt(t.Name, "rows of shape %v are not whole blocks of %v, %d elements", t.Shape, d, block)
	case offset%uint64(alignment) != 0:
		r.corrupt(t.Name, "begins at byte %d, which is not aligned to %d", offset, alignment)
	case offset > math.MaxInt-uint64(size):
		r.corrupt(t.Name, "cut short: the tensor begins at byte %d", offset)
	}
	r.places = append(r.places, [2]uint64{offset, offset + uint64(size)})
	return t
}

// ggmlType is the type that has that number in ggml.
func ggmlType(number uint32) (DType, bool) {
	for d := range dtypes {
		if n, ok := DType(d).GGML(); ok && uint32(n) == number {
			return DType(d), true
		}
	}
	return 0, false
}

// place gives each tensor its bytes, from start on, where none may overlap.
func (r *ggufReader) place(tensors []*Tensor, start int) {
	var body []byte
	if start <= len(r.data) {
		body = r.data[start:]
	}
	order := make([]int, len(tensors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(r.places[a][0], r.places[b][0]), cmp.Compare(r.places[a][1], r.places[b][1]))
	})
	var end uint64
	for _, i := range order {
		t, p := tensors[i], r.places[i]
		switch {
		case p[0] == p[1]: // nothing in it
			continue
		case p[1] > uint64(len(body)):
			r.corrupt(t.Name, "cut short: the tensor ends at byte %d of %d", p[1], len(body))
			return
		case p[0] < end:
			r.corrupt(t.Name, "overlaps another tensor")
			return
		}
		t.Data = body[p[0]:p[1]:p[1]]
		end = p[1]
	}
}
