package weights

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strings"
)

// component is a folder of SDXL in the Diffusers layout.
type component struct {
	folder   string
	convert  func(c *contents) ([]*Tensor, error) // into the names and shapes of a single file
	settings map[string]string                    // metadata by name in config.json
}

var components = []component{
	{"unet", unetOf, map[string]string{"norm_num_groups": "supir.unet.norm_groups"}},
	{"vae", vaeOf, map[string]string{"norm_num_groups": "supir.vae.norm_groups"}},
	{"text_encoder", clipLOf, map[string]string{"num_attention_heads": "supir.clip_l.heads"}},
	{"text_encoder_2", bigGOf, map[string]string{"num_attention_heads": "supir.clip_g.heads"}},
}

// diffusers reads SDXL from a folder that has each network in a folder of its
// own, as the Diffusers library writes them. What comes out has the names and
// shapes of a single-file checkpoint.
func (o *opener) diffusers(path string) (*contents, error) {
	all := &contents{path: path, meta: map[string]any{}}
	for _, part := range components {
		folder := o.join(path, part.folder)
		names, err := o.names(folder)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &UnsupportedError{File: path,
				Reason: "a folder in the Diffusers layout, but without " + part.folder + ", which SDXL has"}
		} else if err != nil {
			return nil, err
		}
		file, err := modelFile(folder, names)
		if err != nil {
			return nil, err
		}
		c, err := o.file(o.join(folder, file))
		if err != nil {
			return nil, err
		}
		tensors, err := part.convert(c)
		if err != nil {
			return nil, err
		}
		all.tensors = append(all.tensors, tensors...)
		if slices.Contains(names, "config.json") {
			if err := o.config(o.join(folder, "config.json"), part.settings, all.meta); err != nil {
				return nil, err
			}
		}
		maps.Copy(all.meta, c.meta)
	}
	seen := map[string]bool{}
	for _, t := range all.tensors {
		if seen[t.Name] {
			return nil, &CorruptError{File: path, Tensor: t.Name, Reason: "stands twice: two of the folder's tensors take its place"}
		}
		seen[t.Name] = true
	}
	return all, nil
}

// config takes the settings that tensors do not tell from a network's
// config.json.
func (o *opener) config(path string, settings map[string]string, meta map[string]any) error {
	data, err := o.read(path)
	if err != nil {
		return err
	}
	var config map[string]json.RawMessage
	if err := json.Unmarshal(data, &config); err != nil {
		return &CorruptError{File: path, Reason: fmt.Sprintf("bad JSON: %v", err)}
	}
	for name, key := range settings {
		text, ok := config[name]
		if !ok || string(text) == "null" {
			continue
		}
		var n float64
		if json.Unmarshal(text, &n) != nil || n < 1 || n > math.MaxInt32 || n != math.Trunc(n) {
			return &CorruptError{File: path, Reason: fmt.Sprintf("%s: %.100s, want a number of groups", name, text)}
		}
		meta[key] = int64(n)
	}
	return nil
}

// has tells whether a tensor's name begins so.
func (c *contents) has(prefix string) bool {
	return slices.ContainsFunc(c.tensors, func(t *Tensor) bool { return strings.HasPrefix(t.Name, prefix) })
}

// count is the number of the parts 0, 1, 2… that exist of names of that format.
func (c *contents) count(format string) (n int) {
	for n < maxNumber && c.has(fmt.Sprintf(format, n)) {
		n++
	}
	return n
}

// renamed is all tensors by names that to gives. One that has no name there
// keeps its own below the prefix, where it will be told as unexpected.
func (c *contents) renamed(prefix string, to func(name string) (string, bool)) []*Tensor {
	list := make([]*Tensor, 0, len(c.tensors))
	for _, t := range c.tensors {
		name, ok := to(t.Name)
		if !ok {
			name = t.Name
		}
		list = append(list, t.as(prefix+name, t.Shape...))
	}
	return list
}

func unetOf(c *contents) ([]*Tensor, error) {
	r := renamer{
		layers:  c.count("down_blocks.0.resnets.%d."),
		attends: func(i int) bool { return c.has(fmt.Sprintf("up_blocks.%d.attentions.", i)) },
	}
	return c.renamed(unetPrefix, r.unet), nil
}

func vaeOf(c *contents) ([]*Tensor, error) {
	r := renamer{levels: c.count("decoder.up_blocks.%d.")}
	list := c.renamed(vaePrefix, r.vae)
	for i, t := range list {
		// Attention's projections are matrices here, 1×1 kernels there.
		if strings.Contains(t.Name, ".attn_1.") && len(t.Shape) == 2 {
			list[i] = t.as(t.Name, t.Shape[0], t.Shape[1], 1, 1)
		}
	}
	return list, nil
}

func clipLOf(c *contents) ([]*Tensor, error) {
	return c.renamed(clipLPrefix, func(name string) (string, bool) { return textModel(name), true }), nil
}

// textModel adds what names of a text encoder began with until version 5 of
// the Transformers library.
func textModel(name string) string {
	for _, begin := range []string{"embeddings.", "encoder.", "final_layer_norm."} {
		if strings.HasPrefix(name, begin) {
			return "text_model." + name
		}
	}
	return name
}

func bigGOf(c *contents) ([]*Tensor, error) {
	var list []*Tensor
	joined := map[string]*[3]*Tensor{} // queries', keys' and values' by the name of all three
	for _, t := range c.tensors {
		if t.Name == "text_projection.weight" {
			projection, err := transpose(bigGPrefix+"text_projection", t)
			if err != nil {
				return nil, err
			}
			list = append(list, projection)
			continue
		}
		name, part, ok := renamer{}.bigG(textModel(t.Name))
		switch {
		case !ok:
			list = append(list, t.as(bigGPrefix+t.Name, t.Shape...))
		case part < 0:
			list = append(list, t.as(bigGPrefix+name, t.Shape...))
		default:
			if joined[name] == nil {
				joined[name] = &[3]*Tensor{}
			}
			joined[name][part] = t
		}
	}
	for _, name := range slices.Sorted(maps.Keys(joined)) {
		parts := joined[name]
		if slices.Contains(parts[:], nil) {
			continue // the whole will be told as missing
		}
		t, err := concat(bigGPrefix+name, parts[:]...)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}
