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

// Forward maps x, 3×H×W, to 2Z×h×w.
func (e *Encoder) Forward(g *nn.Graph, name string, x nn.Map) nn.Map {
	h := nn.Name(g, e.ConvIn.Forward(g, x), "%s.conv_in", name) // C×H×W
	for i, level := range e.Down {
		for j := range level.Blocks {
			h = nn.Name(g, level.Blocks[j].Forward(g, h), "%s.down.%d.block.%d", name, i, j)
		}
		if level.Downsample != nil { // C×H/2×W/2
			h = level.Downsample.Strided(g, h, 2, nn.Padding{Right: 1, Bottom: 1})
			h = nn.Name(g, h, "%s.down.%d.downsample", name, i)
		}
	}
	h = e.Mid.Forward(g, name+".mid", h)
	h = nn.SiLU(g, e.NormOut.Forward(g, h, normEps))
	return nn.Name(g, e.ConvOut.Forward(g, h), "%s.conv_out", name)
}
