package vae

import (
	"fmt"

	"supir/internal/nn"
	"supir/internal/weights"
)

// A Decoder doubles a latent's size at every level but the first; it goes
// through the levels from the last to the first.
type Decoder struct {
	ConvIn  nn.Conv2D    `key:"conv_in"`
	Mid     Middle       `key:"mid"`
	Up      []Up         `key:"up.*"`
	NormOut nn.GroupNorm `key:"norm_out"`
	ConvOut nn.Conv2D    `key:"conv_out"`
}

// An Up is one level of a decoder.
type Up struct {
	Blocks   []ResnetBlock `key:"block.*"`
	Upsample *nn.Conv2D    `key:"upsample.conv"` // but at the first level
}

// Check wants out channels to go out; name is the decoder's place in the files.
func (d *Decoder) Check(r *weights.Report, name string, in, out int) {
	d.ConvIn.WantBias(r)
	d.ConvOut.WantBias(r)
	c := d.ConvIn.Check(r, in, 3)
	c = d.Mid.Check(r, c)
	for i := len(d.Up) - 1; i >= 0; i-- {
		for j := range d.Up[i].Blocks {
			c = d.Up[i].Blocks[j].Check(r, c)
		}
		c = checkResample(r, fmt.Sprintf("%s.up.%d.upsample", name, i), d.Up[i].Upsample, c, i > 0)
	}
	d.NormOut.Check(r, c)
	r.Want(d.ConvOut.Weight, out, c, 3, 3)
	r.Want(d.ConvOut.Bias, out)
}

// steps map z, Z×h×w, to 3×H×W.
func (d *Decoder) steps(name string) []step {
	list := []step{convStep(&d.ConvIn, "%s.conv_in", name)} // C×h×w
	list = append(list, d.Mid.steps(name+".mid")...)
	for i := len(d.Up) - 1; i >= 0; i-- {
		level := &d.Up[i]
		for j := range level.Blocks {
			list = append(list, blockStep(&level.Blocks[j], "%s.up.%d.block.%d", name, i, j))
		}
		if level.Upsample != nil { // C×2h×2w
			list = append(list, upStep(level.Upsample, "%s.up.%d.upsample", name, i))
		}
	}
	return append(list, endStep(&d.NormOut, &d.ConvOut, "%s.conv_out", name))
}
