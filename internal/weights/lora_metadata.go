package weights

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
)

// adapterMetadata is the metadata in which Diffusers tells what no tensor does: a
// JSON object of PEFT's settings, each with the network before its name, such as
// "unet.lora_alpha".
const adapterMetadata = "lora_adapter_metadata"

// adapterAlphas gives an alpha to the layers that have none of their own, where
// the file's metadata tells it.
func (f *contents) adapterAlphas(changes []*change) error {
	text, ok := f.meta[adapterMetadata].(string)
	if !ok {
		return nil
	}
	var settings map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &settings); err != nil {
		return &CorruptError{File: f.path, Reason: fmt.Sprintf("metadata %s: bad JSON: %v", adapterMetadata, err)}
	}
	for _, c := range changes {
		network, layer, _ := strings.Cut(c.name, ".")
		read := func(name string, to any) bool { return json.Unmarshal(settings[network+"."+name], to) == nil }
		var alpha float64
		if c.alpha != nil || !read("lora_alpha", &alpha) {
			continue
		}
		var patterns map[string]float64 // alphas of layers, by how their names end
		read("alpha_pattern", &patterns)
		longest := 0
		for end, a := range patterns {
			if len(end) > longest && strings.HasSuffix("."+layer, "."+end) {
				longest, alpha = len(end), a
			}
		}
		var stabilised bool
		if read("use_rslora", &stabilised) && stabilised { // alpha/√rank
			alpha *= math.Sqrt(float64(c.rank()))
		}
		c.alpha = FromFloat32(c.name+".alpha", F32, []int{}, []float32{float32(alpha)})
	}
	return nil
}
