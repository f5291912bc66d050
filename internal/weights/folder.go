package weights

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// folder reads a folder by what lies in it: SDXL in the Diffusers layout, or
// one model in one or several files.
func (o *opener) folder(path string) (*contents, error) {
	names, err := o.names(path)
	if err != nil {
		return nil, err
	}
	if slices.Contains(names, "unet") {
		return o.diffusers(path)
	}
	file, err := modelFile(path, names)
	if err != nil {
		return nil, err
	}
	return o.file(o.join(path, file))
}

// modelName is how files of a model are called: an index, or the model itself.
// The first group is a variant's name, such as fp16.
var modelName = regexp.MustCompile(`^.+?(?:\.(fp16|non_ema))?\.(?:safetensors|gguf|ckpt|pth|pt|bin)(?:\.index(?:\.(fp16|non_ema))?\.json)?$`)

var shardName = regexp.MustCompile(`-\d{5}-of-\d{5}\.`)

// modelFile chooses the file to open of those in a folder: the index of a
// model in several files before the files themselves, safetensors before
// pickled ones, half precision before full, and never both of two models.
func modelFile(folder string, names []string) (string, error) {
	type candidate struct {
		name string
		rank int
	}
	var found []candidate
	for _, name := range names {
		m := modelName.FindStringSubmatch(name)
		if m == nil || shardName.MatchString(name) {
			continue
		}
		rank := 0
		if !strings.Contains(name, ".safetensors") {
			rank += 4
		}
		switch m[1] + m[2] {
		case "":
			rank += 1
		case "non_ema":
			rank += 2
		}
		found = append(found, candidate{name, rank})
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return a.rank - b.rank })
	switch {
	case len(found) == 0:
		return "", &UnsupportedError{File: folder, Reason: "a folder with neither a weight file nor an index of several in it, nor SDXL in the Diffusers layout (unet, vae, text_encoder, text_encoder_2)"}
	case len(found) > 1 && found[0].rank == found[1].rank:
		return "", &UnsupportedError{File: folder, Reason: fmt.Sprintf("a folder of several models: name one, such as %s or %s", found[0].name, found[1].name)}
	}
	return found[0].name, nil
}
