package supir

import (
	"context"
	"errors"
	"strings"

	"supir/internal/convert"
	"supir/internal/llava"
	"supir/internal/weights"
)

// ConvertLLaVA makes one GGUF file, for LLaVAFiles.Text, of LLaVA-1.5 as Hugging
// Face's transformers keep it: a folder with config.json, tokenizer.model and the
// weights as safetensors. The type is that of the language model's matrices; its
// last one has q6_k at least, the vision tower and the projector are F16. The
// file appears whole or not at all. The error is that of Convert.
func ConvertLLaVA(ctx context.Context, folder, path string, o ConvertOptions) (c *Conversion, err error) {
	if o.Type == "" {
		o.Type = "q8_0"
	}
	typ, err := convert.ParseType(strings.ToLower(o.Type))
	if err != nil {
		return nil, &OptionError{"Type", err.Error()}
	}
	source := Files{LLaVA: LLaVAFiles{Text: folder}}
	h, err := llava.FromHuggingFace(folder)
	if err != nil {
		return nil, &WeightsError{source, err}
	}
	defer func() { err = errors.Join(err, h.Set.Close()) }()
	out, err := convert.Create(path, o.Overwrite, source.sources(h.Set))
	if err != nil {
		return nil, err
	}
	defer out.Discard()
	var items []convert.Item
	for _, t := range h.Tensors {
		items = append(items, llavaItem(t, typ))
	}
	return write(ctx, source, out, h.Metadata, items, h.Set.Release, o.Progress)
}

// llavaItem chooses a tensor's type.
func llavaItem(t *weights.Tensor, typ weights.DType) convert.Item {
	item := convert.Item{Tensor: t, Network: "language model", Type: typ}
	switch {
	case strings.HasPrefix(t.Name, "v."):
		item.Network = "vision tower"
	case strings.HasPrefix(t.Name, "mm."):
		item.Network = "projector"
	}
	switch {
	case len(t.Shape) < 2:
		item.Type = weights.F32
	case item.Network != "language model":
		item.Type, item.Kept = weights.F16, typ.Quantised()
	case t.Name == "output.weight" && typ.Quantised() && typ != weights.Q8_0:
		item.Type, item.Kept = weights.Q6_K, typ != weights.Q6_K
	}
	for _, fallback := range []weights.DType{weights.Q8_0, weights.F16} {
		if block, _ := item.Type.Block(); len(t.Shape) > 1 && t.Shape[len(t.Shape)-1]%block != 0 {
			item.Type, item.Misfit = fallback, true
		}
	}
	return item
}
