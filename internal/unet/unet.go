// Package unet is SDXL's denoising U-Net. Its encoder is also what SUPIR's
// adaptor is a trimmed copy of; the decoder lets Connectors steer it and knows
// nothing else of SUPIR.
package unet

import (
	"fmt"
	"slices"

	"supir/internal/nn"
	"supir/internal/weights"
)

// The names of the inputs that a program around a U-Net declares.
const (
	TimeInput    = "time"    // sinusoid of the timestep index, see Timestep
	ContextInput = "context" // hidden states of the text encoders
	VectorInput  = "y"       // pooled text and the picture's sizes
)

// An Encoder is the U-Net's first half with its middle.
type Encoder struct {
	Time0  nn.Linear `key:"time_embed.0" compute:"f32"`
	Time2  nn.Linear `key:"time_embed.2" compute:"f32"`
	Label0 nn.Linear `key:"label_emb.0.0" compute:"f32"`
	Label2 nn.Linear `key:"label_emb.0.2" compute:"f32"`
	Input  []Input   `key:"input_blocks.*"`
	Middle Middle    `key:"middle_block"`
}

// An Input is a block of the encoder: the first convolution, a residual block
// with or without a transformer, or a halving of the size.
type Input struct {
	Conv *nn.Conv2D   `key:"0"`
	Res  *ResBlock    `key:"0"`
	Down *nn.Conv2D   `key:"0.op"`
	Attn *Transformer `key:"1"`
}

// Middle is the block at the smallest size.
type Middle struct {
	Res0 ResBlock    `key:"0"`
	Attn Transformer `key:"1"`
	Res2 ResBlock    `key:"2"`
}

// A UNet predicts the noise in a latent.
type UNet struct {
	Encoder `key:"."`
	Output  []Output     `key:"output_blocks.*"`
	OutNorm nn.GroupNorm `key:"out.0"`
	OutConv nn.Conv2D    `key:"out.2"`
}

// An Output is a block of the decoder; the last of a level doubles the size.
type Output struct {
	Res  ResBlock     `key:"0"`
	Attn *Transformer `key:"1"`
	Up   *nn.Conv2D   `key:"1.conv|2.conv"`
}

// Connectors let another network steer the decoder (paper Fig. 3c).
type Connectors interface {
	// Middle may change the middle block's output.
	Middle(g *nn.Graph, h nn.Map) nn.Map
	// Skip joins what comes from the decoder with the encoder's i-th skip, the
	// last first, to what output block len(skips)-1-i takes.
	Skip(g *nn.Graph, i int, h, skip nn.Map) nn.Map
	// Inner may change the map in the block that takes skip i, before its size
	// is doubled.
	Inner(g *nn.Graph, i int, h nn.Map) nn.Map
}

// A Condition is what all blocks are told.
type Condition struct {
	Emb     nn.Vector // time and vector embedding, after a SiLU
	Context nn.Tokens // text
}

// ModelChannels is the length of the timestep's sinusoid.
func (e *Encoder) ModelChannels() int { return e.Time0.In() }

// VectorFeatures is the length of the vector y.
func (e *Encoder) VectorFeatures() int { return e.Label0.In() }

// ContextFeatures is the width of the text's tokens, -1 without any transformer.
func (e *Encoder) ContextFeatures() int {
	if len(e.Middle.Attn.Blocks) == 0 {
		return -1
	}
	return e.Middle.Attn.Blocks[0].Attn2.ToK.In()
}

// LatentChannels is the number of channels of the latent.
func (e *Encoder) LatentChannels() int {
	if len(e.Input) == 0 || e.Input[0].Conv == nil {
		return -1
	}
	return e.Input[0].Conv.In()
}

// FirstChannels is the number of channels after the first block.
func (e *Encoder) FirstChannels() int {
	if len(e.Input) == 0 || e.Input[0].Conv == nil {
		return -1
	}
	return e.Input[0].Conv.Out()
}

// Factor is by how much the middle is smaller than the latent.
func (e *Encoder) Factor() int {
	f := 1
	for i := range e.Input {
		if e.Input[i].Down != nil {
			f *= 2
		}
	}
	return f
}

// Check returns the channels after each input block, and after the middle.
func (e *Encoder) Check(r *weights.Report) (skips []int, middle int) {
	emb := e.Time0.Check(r, -1)
	r.Want(e.Time2.Weight, emb, emb)
	r.Want(e.Label0.Weight, emb, -1)
	r.Want(e.Label2.Weight, emb, emb)
	context, c := e.ContextFeatures(), -1
	for i := range e.Input {
		b := &e.Input[i]
		switch {
		case b.Conv != nil:
			c = b.Conv.Check(r, c, 3)
		case b.Down != nil:
			c = b.Down.Check(r, c, 3)
		case b.Res != nil:
			c = b.Res.Check(r, c, emb)
		default:
			r.Invalid("input_blocks.%d: neither a convolution, a residual block nor a downsampling", i)
		}
		if b.Attn != nil {
			b.Attn.Check(r, c, context)
		}
		skips = append(skips, c)
	}
	c = e.Middle.Res0.Check(r, c, emb)
	e.Middle.Attn.Check(r, c, context)
	return skips, e.Middle.Res2.Check(r, c, emb)
}

// Check checks the whole network and returns the channels after each input
// block, after the middle, and, for each skip, of the decoder's map that it is
// joined with and of the map before a doubling of the size (0 without).
func (u *UNet) Check(r *weights.Report) (skips []int, middle int, decoder, inner []int) {
	skips, middle = u.Encoder.Check(r)
	if len(u.Output) != len(skips) {
		r.Invalid("output_blocks: %d blocks for %d input blocks", len(u.Output), len(skips))
		return skips, middle, nil, nil
	}
	decoder, inner = make([]int, len(skips)), make([]int, len(skips))
	emb, c := u.Time0.Out(), middle
	for j := range u.Output {
		b, i := &u.Output[j], len(skips)-1-j
		decoder[i] = c
		c = b.Res.Check(r, c+skips[i], emb)
		if b.Attn != nil {
			b.Attn.Check(r, c, u.ContextFeatures())
		}
		if b.Up != nil {
			inner[i] = c
			c = b.Up.Check(r, c, 3)
		}
	}
	u.OutNorm.Check(r, c)
	r.Want(u.OutConv.Weight, u.LatentChannels(), c, 3, 3)
	r.Want(u.OutConv.Bias, u.LatentChannels())
	return skips, middle, decoder, inner
}

// Condition embeds the timestep's sinusoid, one for all of the batch, and the
// vector y, one for each. It declares no inputs: see TimeInput, VectorInput.
func (e *Encoder) Condition(g *nn.Graph, name string, time, y nn.Vector, context nn.Tokens) Condition {
	t := e.Time2.Vector(g, nn.SiLU(g, e.Time0.Vector(g, time)))
	label := nn.Once(g, VectorInput, func() nn.Vector {
		return e.Label2.Vector(g, nn.SiLU(g, e.Label0.Vector(g, y)))
	})
	label = nn.Name(g, label, "%s.label_emb", name)
	t = nn.Name(g, t, "%s.time_embed", name)
	return Condition{Emb: nn.SiLU(g, nn.Add(g, label, t)), Context: context}
}

// Block is input block i: from the map after the block before it, or the latent.
func (e *Encoder) Block(g *nn.Graph, name string, i int, h nn.Map, c Condition) nn.Map {
	b := &e.Input[i]
	block := nameOf("%s.input_blocks.%d", name, i)
	switch {
	case b.Conv != nil:
		h = b.Conv.Forward(g, h)
	case b.Down != nil:
		h = b.Down.Strided(g, h, 2, nn.Padding{Left: 1, Right: 1, Top: 1, Bottom: 1})
	default:
		h = nn.Name(g, b.Res.Forward(g, h, c.Emb), "%s.0", block)
	}
	if b.Attn != nil {
		h = b.Attn.Forward(g, block+".1", h, c.Context)
	}
	return nn.Name(g, h, "%s", block)
}

// Last is the middle, from the map after the last input block.
func (e *Encoder) Last(g *nn.Graph, name string, h nn.Map, c Condition) nn.Map {
	h = e.Middle.Res0.Forward(g, h, c.Emb)
	h = e.Middle.Attn.Forward(g, name+".middle_block.1", h, c.Context)
	h = e.Middle.Res2.Forward(g, h, c.Emb)
	return nn.Name(g, h, "%s.middle_block", name)
}

// Parts of the network that a step may take over from an earlier one: see nn.Keep.
const (
	TextPart = "text" // what every attention to the text has found (T-GATE)
	DeepPart = "deep" // what comes up from below the first level (DeepCache)
)

// Forward predicts the noise in x, a latent times c_in, C×H×W; H and W are
// multiples of Factor. steer may be nil.
func (u *UNet) Forward(g *nn.Graph, x nn.Map, c Condition, steer Connectors) nn.Map {
	const name = "unet"
	if steer == nil {
		steer = plain{}
	}
	h, skips := x, make([]nn.Map, 0, len(u.Input))
	down := func(to int) {
		for i := len(skips); i < to; i++ {
			h = u.Block(g, name, i, h, c)
			skips = append(skips, h)
		}
	}
	up := func(from, to int) {
		for j := from; j < to; j++ {
			i := len(u.Input) - 1 - j
			h = u.Output[j].forward(g, nameOf("%s.output_blocks.%d", name, j), steer.Skip(g, i, h, skips[i]), c,
				func(h nn.Map) nn.Map { return steer.Inner(g, i, h) })
		}
	}
	outer := u.firstLevel()
	down(outer)
	h = nn.Keep(g, DeepPart, "deep", func() nn.Map {
		down(len(u.Input))
		h = steer.Middle(g, u.Last(g, name, h, c))
		up(0, len(u.Output)-outer)
		return h
	})
	up(len(u.Output)-outer, len(u.Output))
	h = nn.SiLU(g, u.OutNorm.Forward(g, h, normEps))
	return nn.Name(g, u.OutConv.Forward(g, h), "%s.out", name)
}

// firstLevel is the number of input blocks before the first halving.
func (u *UNet) firstLevel() int {
	n := slices.IndexFunc(u.Input, func(b Input) bool { return b.Down != nil })
	if n < 0 {
		return len(u.Input)
	}
	return n
}

// forward maps the joined map; inner may change it before its size is doubled.
func (b *Output) forward(g *nn.Graph, name string, h nn.Map, c Condition, inner func(nn.Map) nn.Map) nn.Map {
	h = nn.Name(g, b.Res.Forward(g, h, c.Emb), "%s.0", name)
	if b.Attn != nil {
		h = nn.Name(g, b.Attn.Forward(g, name+".1", h, c.Context), "%s.1", name)
	}
	if b.Up != nil {
		h = nn.Name(g, b.Up.Forward(g, g.Upsample2(inner(h))), "%s.2", name)
	}
	return nn.Name(g, h, "%s", name)
}

// plain joins skips as SDXL does.
type plain struct{}

func (plain) Middle(_ *nn.Graph, h nn.Map) nn.Map            { return h }
func (plain) Skip(g *nn.Graph, _ int, h, skip nn.Map) nn.Map { return g.Concat(h, skip) }
func (plain) Inner(_ *nn.Graph, _ int, h nn.Map) nn.Map      { return h }

func nameOf(format string, args ...any) string { return fmt.Sprintf(format, args...) }
