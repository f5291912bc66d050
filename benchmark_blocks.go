package supir

import (
	"fmt"

	"supir/internal/nn"
	"supir/internal/sdxl"
	"supir/internal/unet"
	"supir/internal/weights"
)

// A timedBlock is one block of the U-Net at the size that it has in a picture of
// 1024×1024 pixels.
type timedBlock struct {
	transformer bool
	channels    int
	side        int // of its map
}

var timedBlocks = map[string]timedBlock{
	"transformer1280": {true, 1280, 32},
	"transformer640":  {true, 640, 64},
	"resblock640":     {false, 640, 64},
	"resblock320":     {false, 320, 128},
}

// part is the block as a part to be timed.
func (b timedBlock) part() timedPart {
	var transformer unet.Block
	var res unet.ResBlock
	shape := sdxl.Shapes["sdxl"]
	emb := 4 * shape.Channels
	p := timedPart{stage: func(m *machine) *stage { return &m.diffusion }}
	p.random = func(_ sdxl.Shape, typ weights.DType) *weights.Set {
		if b.transformer {
			return sdxl.RandomTransformer(b.channels, shape.Context, typ)
		}
		return sdxl.RandomResBlock(b.channels, emb, typ)
	}
	p.load = func(n *networks, r *weights.Report) {
		if b.transformer {
			n.set.Fill(&transformer, "unet", sdxl.BlockPrefix, r)
			transformer.Check(r, b.channels, shape.Context)
			return
		}
		n.set.Fill(&res, "unet", sdxl.BlockPrefix, r)
		res.Check(r, b.channels, emb)
	}
	p.networks = func(*networks) []any {
		if b.transformer {
			return []any{&transformer}
		}
		return []any{&res}
	}
	p.program = func(_ *networks, bench *Benchmark) func(g *nn.Graph) {
		return func(g *nn.Graph) {
			if b.transformer {
				x := g.InputTokens("x", b.channels, b.side*b.side, bench.Prompts)
				text := g.InputTokens(unet.ContextInput, shape.Context, textTokens, bench.Prompts)
				nn.Output(g, "y", transformer.Forward(g, "block", x, text))
				return
			}
			x := g.InputMap("x", b.channels, b.side, b.side, bench.Prompts)
			nn.Output(g, "y", res.Forward(g, x, g.InputVector("emb", emb, bench.Prompts)))
		}
	}
	return p
}

// partOf finds the part of a name.
func partOf(name string) (timedPart, error) {
	if b, ok := timedBlocks[name]; ok {
		return b.part(), nil
	}
	p, ok := timedParts[name]
	if !ok {
		return p, &OptionError{"Part", fmt.Sprintf("%q is none of those that can be timed", name)}
	}
	return p, nil
}
