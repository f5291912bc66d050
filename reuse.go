package supir

import (
	"slices"

	"supir/internal/unet"
)

// reusable are the parts of the network that a step can take over.
var reusable = []string{unet.TextPart, unet.DeepPart, adaptorPart}

// reuse says which parts of the network a step takes over from an earlier one.
type reuse struct {
	gate    int // steps that attend to the text; 0: all
	deep    int // the U-Net's lower levels are computed in every so manieth step
	adaptor int // and so is the adaptor
}

func (o *Options) reuse() reuse { return reuse{o.GateStep, o.DeepInterval, o.AdaptorInterval} }

// at are the parts that a step, counted from 0, takes over.
func (r reuse) at(step int) (parts []string) {
	if r.gate > 0 && step >= r.gate {
		parts = append(parts, unet.TextPart)
	}
	if r.deep > 1 && step%r.deep > 0 {
		parts = append(parts, unet.DeepPart)
	}
	if r.adaptor > 1 && step%r.adaptor > 0 {
		parts = append(parts, adaptorPart)
	}
	return parts
}

// ways are the different sets of parts that so many steps take over, and kept all
// parts in them.
func (r reuse) ways(steps int) (ways [][]string, kept []string) {
	for step := range steps {
		parts := r.at(step)
		if len(parts) > 0 && !slices.ContainsFunc(ways, func(w []string) bool { return slices.Equal(w, parts) }) {
			ways = append(ways, parts)
		}
	}
	for _, parts := range ways {
		for _, part := range parts {
			if !slices.Contains(kept, part) {
				kept = append(kept, part)
			}
		}
	}
	return ways, kept
}
