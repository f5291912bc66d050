package supir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"supir/internal/clip"
	"supir/internal/convert"
	"supir/internal/weights"
)

// ConvertOptions say how Convert stores weights.
type ConvertOptions struct {
	// Type is that of the weights: f32, f16, bf16, q8_0, q6_k, q5_k, q4_k or q4_0.
	// Single networks (vae, text, unet, adaptor, connectors) may have others:
	// "q4_k,unet=q6_k". Default q8_0.
	Type string
	// Overwrite allows to replace an existing file.
	Overwrite bool
	// Progress, if set, is called as bytes of weights are written.
	Progress func(done, total int64)
}

// A Conversion is what Convert has written.
type Conversion struct {
	Size     int64 // of the file, in bytes
	Networks []ConvertedNetwork
}

// A ConvertedNetwork is a network's part of a Conversion.
type ConvertedNetwork struct {
	Name       string // vae, text, unet, adaptor or connectors
	Parameters int64
	Size       int64 // in bytes
	// Tensors counts the tensors by type, and so does Kept those that stay above
	// the type asked for since they are small and matter, and Misfits those that
	// do since their rows are not whole blocks of it.
	Tensors, Kept, Misfits map[string]int
	// Error is what rounding did to the matrices that were rounded,
	// ‖rounded-weights‖²/‖weights‖².
	Error float64
}

// Convert writes all that a model needs, the tokenizer's table and the metadata
// included, to one GGUF file, for Files.Model. The file appears whole or not at
// all. The error is a *WeightsError, an *OptionError (Type), fs.ErrExist, ctx's
// or what writing ran into.
func Convert(ctx context.Context, files Files, path string, o ConvertOptions) (c *Conversion, err error) {
	if o.Type == "" {
		o.Type = "q8_0"
	}
	recipe, err := convert.ParseRecipe(o.Type)
	if err != nil {
		return nil, &OptionError{"Type", err.Error()}
	}
	files.LLaVA = LLaVAFiles{} // stays in its own files
	n, err := openNetworks(files)
	if err != nil {
		return nil, err
	}
	defer n.close()
	out, err := convert.Create(path, o.Overwrite, files.sources(n.set))
	if err != nil {
		return nil, err
	}
	defer out.Discard()
	metadata, err := n.metadata(files, recipe)
	if err != nil {
		return nil, err
	}
	return write(ctx, files, out, metadata, recipe.Items(n.tensors()), n.set.Release, o.Progress)
}

// write writes and publishes a file of items, which come from files.
func write(ctx context.Context, files Files, out *convert.File, metadata map[string]any, items []convert.Item, release func(), progress func(done, total int64)) (c *Conversion, err error) {
	if err := out.Reserve(convert.Size(items)); err != nil {
		return nil, err
	}
	summaries, err := convert.Write(ctx, out, metadata, items, release, progress)
	if err != nil {
		if written := (*fs.PathError)(nil); ctx.Err() == nil && !errors.As(err, &written) {
			err = &WeightsError{files, err}
		}
		return nil, err
	}
	c = &Conversion{}
	for _, s := range summaries {
		c.Networks = append(c.Networks, convertedNetwork(s))
	}
	c.Size, err = out.Publish()
	return c, err
}

func convertedNetwork(s *convert.Summary) ConvertedNetwork {
	n := ConvertedNetwork{Name: s.Network, Parameters: s.Parameters, Size: s.Bytes, Error: s.Error,
		Tensors: map[string]int{}, Kept: map[string]int{}, Misfits: map[string]int{}}
	for typ, p := range s.Types {
		typ = strings.ToLower(typ)
		for m, count := range map[*map[string]int]int{&n.Tensors: p.Tensors, &n.Kept: p.Kept, &n.Misfits: p.Misfit} {
			if count > 0 {
				(*m)[typ] = count
			}
		}
	}
	return n
}

// sources are the files that a conversion reads: those named, LoRAs too, and the
// parts of a model in several.
func (f Files) sources(set *weights.Set) []string {
	if f.FS != nil {
		return nil
	}
	names := []string{f.SDXL, f.SUPIR, f.Model}
	for _, l := range f.LoRAs {
		names = append(names, l.Path)
	}
	for t := range set.Tensors() {
		names = append(names, t.File)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tensors are all that a model needs, network by network.
func (n *networks) tensors() []*weights.Tensor {
	var list []*weights.Tensor
	for _, network := range weights.Networks {
		for _, name := range n.taken {
			if weights.NetworkOf(name) == network.Name {
				list = append(list, n.set.Tensor(name))
			}
		}
	}
	return list
}

// metadata is what the files say of the model, with the tokenizer's table.
func (n *networks) metadata(files Files, recipe *convert.Recipe) (map[string]any, error) {
	var names []string
	for _, name := range []string{files.SDXL, files.SUPIR, files.Model} {
		if name != "" {
			names = append(names, filepath.Base(name))
		}
	}
	m := map[string]any{
		"general.architecture":         "supir",
		"general.name":                 "SUPIR",
		"general.description":          fmt.Sprintf("%s as %s", strings.Join(names, " and "), recipe),
		"general.quantization_version": int64(2),
	}
	for _, key := range n.set.MetadataKeys() {
		if strings.HasPrefix(key, "supir.") {
			m[key] = n.set.Value(key)
		}
	}
	if _, ok := m[mergesKey]; !ok {
		merges, err := clip.DefaultMerges()
		if err != nil {
			return nil, err
		}
		m[mergesKey] = merges
	}
	return m, nil
}
