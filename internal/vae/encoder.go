package vae

import (
	"fmt"

	"supir/internal/nn"
	"supir/internal/weights"
)

// An Encoder halves a picture's size at every level but the last.
type Encoder struct {
	ConvIn  nn.Conv2D    `key:"conv_in"`
	Down    []Down       `key:"down.*"`
	Mid     Middle       `key:"mid"`
	NormOut nn.GroupNorm `key:"norm_out"`
	ConvOut nn.Conv2D    `key:"conv_out"`
}

// A Down is one level of an encoder.
type Down struct {
	Blocks     []ResnetBlock `key:"block.*"`
	Downsample *nn.Conv2D    `key:"downsample.conv"` // but at the last level
}

// Check returns the channels that go out; name is the encoder's place in the
// files.
func (e *Encoder) Check(r *weights.Report, name string, in int) (out int) {
	e.ConvIn.WantBias(r)
	e.ConvOut.WantBias(r)
	c := e.ConvIn.Check(r, in, 3)
	for i := range e.Down {
		for j := range e.Down[i].Blocks {
			c = e.Down[i].Blocks[j].Check(r, c)
		}
		c = checkResample(r, fmt.Sprintf("%s.down.%d.downsample", name, i), e.Down[i].Downsample, c, i < len(e.Down)-1)
	}
	c = e.Mid.Check(r, c)
	e.NormOut.Check(r, c)
	return e.ConvOut.Check(r, c, 3)
}

// steps map x, 3×H×W, to 2Z×h×w.
func (e *Encoder) steps(name string) []step {
	list := []step{convStep(&e.ConvIn, "%s.conv_in", name)} // C×H×W
	for i := range e.Down {
		level := &e.Down[i]
		for j := range level.Blocks {
			list = append(list, blockStep(&level.Blocks[j], "%s.down.%d.block.%d", name, i, j))
		}
		if level.Downsample != nil { // C×H/2×W/2
			list[len(list)-1].cut = false // what comes next is smaller
			list = append(list, downStep(level.Downsample, "%s.down.%d.downsample", name, i))
		}
	}
	list = append(list, e.Mid.steps(name+".mid")...)
	return append(list, endStep(&e.NormOut, &e.ConvOut, "%s.conv_out", name))
}
