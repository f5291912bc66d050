package weights

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

// looksLikeJSON tells a JSON text from a safetensors file whose header's
// length happens to begin with a brace.
func looksLikeJSON(data []byte) bool {
	return bytes.HasPrefix(data, []byte("{")) && !looksLikeSafetensors(data)
}

// shards reads a model in several files by its index, a JSON object of which
// "weight_map" tells the file of each tensor. Tensors in the files that it does
// not name are left out.
func (o *opener) shards(path string, index []byte) (*contents, error) {
	byFile, err := parseIndex(path, index)
	if err != nil {
		return nil, err
	}
	c := &contents{path: path, meta: map[string]any{}}
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		at := o.join(o.dir(path), file)
		data, err := o.read(at)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &CorruptError{File: path, Reason: fmt.Sprintf("the index names %q, which does not lie beside it (%v)", file, err)}
		} else if err != nil {
			return nil, err
		}
		shard, err := parse(at, data)
		if err != nil {
			return nil, err
		}
		tensors := map[string]*Tensor{}
		for _, t := range shard.tensors {
			tensors[t.Name] = t
		}
		for _, name := range byFile[file] {
			t := tensors[name]
			if t == nil {
				return nil, &CorruptError{File: at, Tensor: name, Reason: "not there, where the index " + path + " has it"}
			}
			c.tensors = append(c.tensors, t)
		}
		maps.Copy(c.meta, shard.meta)
	}
	return c, nil
}

// parseIndex reads which tensors each file has.
func parseIndex(path string, index []byte) (map[string][]string, error) {
	if len(index) > maxHeader {
		return nil, &CorruptError{File: path, Reason: "too long for an index of a model in several files"}
	}
	h := headerReader{path: path, dec: json.NewDecoder(bytes.NewReader(index))}
	h.dec.UseNumber()
	var byFile map[string][]string
	err := h.object("", maxFields, func(key string) error {
		if key != "weight_map" {
			return h.skip("")
		}
		byFile = map[string][]string{}
		return h.object(key, maxTensors, func(name string) error {
			token, err := h.token(name)
			if err != nil {
				return err
			}
			file, _ := token.(string)
			if file == "" || file == "." || file == ".." || strings.ContainsAny(file, "/\\:\x00") {
				return h.corrupt(name, "the index has %q where the name of a file beside it must stand", token)
			}
			byFile[file] = append(byFile[file], name)
			return nil
		})
	})
	switch {
	case err != nil:
		return nil, err
	case byFile == nil:
		return nil, &CorruptError{File: path, Reason: "a JSON text without a weight_map: not the index of a model in several files"}
	}
	return byFile, nil
}
