// Package convert turns a model's weights into one GGUF file of other types.
package convert

import (
	"fmt"
	"slices"
	"strings"

	"supir/internal/weights"
)

// types are those that weights can be converted to, largest first.
var types = []weights.DType{weights.F32, weights.F16, weights.BF16, weights.Q8_0, weights.Q6_K, weights.Q5_K, weights.Q4_K, weights.Q4_0}

// Types names the types that weights can be converted to, largest first.
func Types() []string {
	var names []string
	for _, t := range types {
		names = append(names, strings.ToLower(t.String()))
	}
	return names
}

// Networks names the parts of a model that can have types of their own.
func Networks() []string {
	var names []string
	for _, n := range weights.Networks {
		names = append(names, n.Name)
	}
	return names
}

// A Recipe says which type each network's weights get.
type Recipe struct {
	text  string
	types map[string]weights.DType // by network
}

// ParseRecipe reads a type for all networks, then types for some of them:
// "q4_k", "q4_k,unet=q6_k,vae=f32".
//
// The VAE stays F16 with a quantised type for all: it is a twentieth of the
// model, and its errors are seen as they are.
func ParseRecipe(text string) (*Recipe, error) {
	r := &Recipe{text: strings.ToLower(strings.ReplaceAll(text, " ", "")), types: map[string]weights.DType{}}
	all, some, _ := strings.Cut(r.text, ",")
	t, err := ParseType(all)
	if err != nil {
		return nil, err
	}
	for _, n := range Networks() {
		r.types[n] = t
	}
	if t.Quantised() {
		r.types["vae"] = weights.F16
	}
	for some != "" {
		var part string
		part, some, _ = strings.Cut(some, ",")
		network, name, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(Networks(), network) {
			return nil, fmt.Errorf("%q is not NETWORK=TYPE with one of the networks %s", part, strings.Join(Networks(), ", "))
		}
		if r.types[network], err = ParseType(name); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// String is the recipe as it was written.
func (r *Recipe) String() string { return r.text }

// ParseType finds a type by its name, one of Types.
func ParseType(name string) (weights.DType, error) {
	if i := slices.Index(Types(), name); i >= 0 {
		return types[i], nil
	}
	return 0, fmt.Errorf("no type %q; there are %s", name, strings.Join(Types(), ", "))
}

// stays are the parts of tensors' names that keep F16 where their network is
// quantised: first and last convolutions, embeddings of time, sizes and places,
// the projection that nothing follows, and the connectors' convolutions that see
// the adaptor's features. They are small, and an error in them is in everything
// that follows.
var stays = []string{
	".input_blocks.0.0.", ".input_hint_block.", ".diffusion_model.out.",
	".time_embed.", ".label_emb.",
	".position_embedding.", ".positional_embedding", ".text_projection",
	".encoder.conv_in.", ".encoder.conv_out.", ".denoise_encoder.conv_in.", ".denoise_encoder.conv_out.",
	".decoder.conv_in.", ".decoder.conv_out.", ".quant_conv.", ".post_quant_conv.",
	".zero_conv.", ".mlp_shared.",
}

// An Item is a tensor and what it is to become.
type Item struct {
	Tensor  *weights.Tensor
	Network string
	Type    weights.DType
	Kept    bool // Type is above the network's, since the tensor is one of those that stay
	Misfit  bool // Type is above the network's, since rows are not whole blocks
}

// item chooses a tensor's type. Vectors (norms, biases) are F32. Rows that are
// not whole blocks fall back from blocks of 256 to Q8_0, from blocks of 32 to F16.
func (r *Recipe) item(network string, t *weights.Tensor) Item {
	item := Item{Tensor: t, Network: network, Type: r.types[network]}
	if len(t.Shape) < 2 {
		item.Type = weights.F32
		return item
	}
	if !item.Type.Quantised() {
		return item
	}
	if slices.ContainsFunc(stays, func(s string) bool { return strings.Contains(t.Name, s) }) {
		item.Type, item.Kept = weights.F16, true
		return item
	}
	row := 1
	for _, d := range t.Shape[1:] {
		row *= d
	}
	for _, fallback := range []weights.DType{weights.Q8_0, weights.F16} {
		if block, _ := item.Type.Block(); row%block != 0 {
			item.Type, item.Misfit = fallback, true
		}
	}
	return item
}

// Items chooses the types of tensors, in order.
func (r *Recipe) Items(tensors []*weights.Tensor) []Item {
	var items []Item
	for _, t := range tensors {
		items = append(items, r.item(weights.NetworkOf(t.Name), t))
	}
	return items
}

// Size is the bytes that the tensors of items will take in a file.
func Size(items []Item) (n int64) {
	for _, item := range items {
		t := weights.GGUFTensor{DType: item.Type, Shape: item.Tensor.Shape}
		n += t.Size()
	}
	return n
}
