package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Bounds of a safetensors header, far above what files hold, so that hostile ones
// take little memory: the format itself allows 100 MB.
const (
	maxHeader  = 32 << 20 // bytes
	maxTensors = 1 << 17  // tensors, of GGUF files too, or entries of metadata
	maxFields  = 16       // of a tensor
	maxListed  = 16       // numbers of a shape
)

// looksLikeSafetensors tells a safetensors file whose header's length happens
// to begin with a brace from a JSON text.
func looksLikeSafetensors(data []byte) bool {
	return len(data) > 8 && data[8] == '{' && binary.LittleEndian.Uint64(data) <= maxHeader
}

// parseSafetensors reads a file of: the header's length (8 bytes), the header
// (JSON: tensors' types, shapes and places), the tensors' bytes, which the
// header must cover without overlap or hole.
func parseSafetensors(path string, data []byte) (*contents, error) {
	corrupt := func(format string, args ...any) error {
		return &CorruptError{File: path, Reason: fmt.Sprintf(format, args...)}
	}
	if len(data) < 8 {
		return nil, corrupt("not a weight file: only %d bytes", len(data))
	}
	n := binary.LittleEndian.Uint64(data)
	switch {
	case n < 2 || n > maxHeader:
		return nil, corrupt("neither GGUF nor a PyTorch checkpoint, and as safetensors it would have a header of %d bytes", n)
	case n > uint64(len(data)-8):
		return nil, corrupt("not a safetensors file, or cut short: it ends within a header of %d bytes", n)
	case data[8] != '{':
		return nil, corrupt("not a safetensors file: the header begins with %q", data[8])
	}
	header, body := data[8:8+n], data[8+n:]
	if !utf8.Valid(header) {
		return nil, corrupt("the header is not UTF-8")
	}
	h := headerReader{path: path, dec: json.NewDecoder(bytes.NewReader(header))}
	h.dec.UseNumber()
	if err := h.read(); err != nil {
		return nil, err
	}
	return &contents{path: path, tensors: h.tensors, meta: h.meta}, h.place(body)
}

// headerReader reads a safetensors header token by token, since decoding
// into a map would let the last of several equal keys win.
type headerReader struct {
	path    string
	dec     *json.Decoder
	tensors []*Tensor
	places  [][2]int // begin and end of each tensor in the body
	meta    map[string]any
}

func (h *headerReader) corrupt(tensor, format string, args ...any) error {
	return &CorruptError{File: h.path, Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
}

func (h *headerReader) read() error {
	err := h.object("", maxTensors, func(key string) error {
		if key == "__metadata__" {
			return h.metadata()
		}
		return h.tensor(key)
	})
	if err != nil {
		return err
	}
	if _, err := h.dec.Token(); err != io.EOF {
		return h.corrupt("", "something follows the header's JSON")
	}
	return nil
}

func (h *headerReader) metadata() error {
	h.meta = map[string]any{}
	return h.object("__metadata__", maxTensors, func(key string) error {
		token, err := h.token("")
		if err != nil {
			return err
		}
		value, ok := token.(string)
		if !ok {
			return h.corrupt("", "metadata %q is not a string", key)
		}
		h.meta[key] = value
		return nil
	})
}

func (h *headerReader) tensor(name string) error {
	t := &Tensor{Name: name, File: h.path, DType: -1}
	var place []int
	err := h.object(name, maxFields, func(key string) (err error) {
		switch key {
		case "dtype":
			t.DType, err = h.dtype(name)
		case "shape":
			t.Shape, err = h.ints(name, key)
		case "data_offsets":
			place, err = h.ints(name, key)
		default:
			err = h.skip(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	if t.DType < 0 || t.Shape == nil || place == nil {
		return h.corrupt(name, "lacks dtype, shape or data_offsets")
	}
	if len(place) != 2 || place[0] > place[1] {
		return h.corrupt(name, "data_offsets %v are not a begin and an end", place)
	}
	size, ok := byteSize(t.DType, t.Shape)
	if !ok {
		return h.corrupt(name, "shape %v is too large", t.Shape)
	}
	if size != place[1]-place[0] {
		return h.corrupt(name, "%v of shape %v takes %d bytes, data_offsets %v give it %d", t.DType, t.Shape, size, place, place[1]-place[0])
	}
	h.tensors = append(h.tensors, t)
	h.places = append(h.places, [2]int(place))
	return nil
}

func (h *headerReader) dtype(tensor string) (DType, error) {
	token, err := h.token(tensor)
	if err != nil {
		return 0, err
	}
	name, ok := token.(string)
	if !ok {
		return 0, h.corrupt(tensor, "dtype is not a string")
	}
	for d, known := range dtypes[:Bool+1] {
		if name == known.name {
			return DType(d), nil
		}
	}
	return 0, &UnsupportedError{File: h.path, Tensor: tensor,
		Reason: fmt.Sprintf("stored as %q, not as F32, F16 or BF16: take another variant of the file", name)}
}

// ints reads an array of sizes.
func (h *headerReader) ints(tensor, key string) ([]int, error) {
	token, err := h.token(tensor)
	if err != nil {
		return nil, err
	}
	if token != json.Delim('[') {
		return nil, h.corrupt(tensor, "%s is not an array", key)
	}
	values := []int{}
	for {
		token, err := h.token(tensor)
		if err != nil {
			return nil, err
		}
		if token == json.Delim(']') {
			return values, nil
		}
		number, ok := token.(json.Number)
		if !ok {
			return nil, h.corrupt(tensor, "%s holds something else than numbers", key)
		}
		v, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil || v > math.MaxInt {
			return nil, h.corrupt(tensor, "%s holds %s, which is no size", key, number)
		}
		if values = append(values, int(v)); len(values) > maxListed {
			return nil, h.corrupt(tensor, "%s holds more than %d numbers", key, maxListed)
		}
	}
}

// object reads an object's braces and keys, of which there may be most and each of
// which must be new, and leaves the values to value.
func (h *headerReader) object(name string, most int, value func(key string) error) error {
	token, err := h.token(name)
	if err != nil {
		return err
	}
	if token != json.Delim('{') {
		return h.corrupt(name, "not a JSON object in the header")
	}
	seen := map[string]bool{}
	for {
		token, err := h.token(name)
		if err != nil {
			return err
		}
		key, ok := token.(string)
		if !ok {
			return nil // the closing brace: the decoder lets nothing else stand here
		}
		switch {
		case len(key) > maxName:
			return h.corrupt(name, "a name of %d bytes in the header", len(key))
		case seen[key]:
			return h.corrupt(name, "%q stands twice in the header", key)
		case len(seen) == most:
			return h.corrupt(name, "more than %d entries in one object of the header", most)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
}

// skip passes over a value, whatever it is.
func (h *headerReader) skip(tensor string) error {
	var skipped json.RawMessage
	if err := h.dec.Decode(&skipped); err != nil {
		return h.corrupt(tensor, "bad JSON: %v", err)
	}
	return nil
}

func (h *headerReader) token(tensor string) (json.Token, error) {
	token, err := h.dec.Token()
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, h.corrupt(tensor, "bad JSON in the header: %v", err)
	}
	return token, nil
}

// place gives each tensor its bytes once all are known to share out the body.
func (h *headerReader) place(body []byte) error {
	order := make([]int, len(h.tensors))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(h.places[a][0], h.places[b][0]), cmp.Compare(h.places[a][1], h.places[b][1]))
	})
	end := 0
	for _, i := range order {
		t, p := h.tensors[i], h.places[i]
		switch {
		case p[1] > len(body):
			return h.corrupt(t.Name, "cut short: the tensor ends at byte %d of %d", p[1], len(body))
		case p[0] < end:
			return h.corrupt(t.Name, "overlaps another tensor")
		case p[0] > end:
			return h.corrupt(t.Name, "%d bytes before it belong to no tensor", p[0]-end)
		}
		t.Data = body[p[0]:p[1]:p[1]]
		end = p[1]
	}
	if end != len(body) {
		return h.corrupt("", "%d bytes at the end belong to no tensor", len(body)-end)
	}
	return nil
}
