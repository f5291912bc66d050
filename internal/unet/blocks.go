package unet

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

// Epsilons of the norms, which no file holds.
const (
	normEps        = 1e-5 // residual blocks, layer norms, the output
	transformerEps = 1e-6 // the group norm that opens a transformer
)

// A ResBlock is the residual block of a diffusion U-Net, told the time by a
// vector that is added per channel.
type ResBlock struct {
	InNorm  nn.GroupNorm `key:"in_layers.0"`
	InConv  nn.Conv2D    `key:"in_layers.2"`
	Emb     nn.Linear    `key:"emb_layers.1" compute:"f32"`
	OutNorm nn.GroupNorm `key:"out_layers.0"`
	OutConv nn.Conv2D    `key:"out_layers.3"`
	Skip    *nn.Conv2D   `key:"skip_connection"` // 1×1, where the channels change
}

// Check returns the channels that go out.
func (b *ResBlock) Check(r *weights.Report, in, emb int) (out int) {
	b.InNorm.Check(r, in)
	out = b.InConv.Check(r, in, 3)
	r.Want(b.Emb.Weight, out, emb)
	r.Want(b.Emb.Bias, out)
	b.OutNorm.Check(r, out)
	r.Want(b.OutConv.Weight, out, out, 3, 3)
	r.Want(b.OutConv.Bias, out)
	if b.Skip != nil {
		r.Want(b.Skip.Weight, out, in, 1, 1)
		r.Want(b.Skip.Bias, out)
	} else if in != out && in > 0 && out > 0 && b.InConv.Weight != nil {
		r.Invalid("%s: the block goes from %d to %d channels without a skip_connection", b.InConv.Weight.Name, in, out)
	}
	return out
}

// Forward maps x, C×H×W, to C'×H×W; emb has passed a SiLU already.
func (b *ResBlock) Forward(g *nn.Graph, x nn.Map, emb nn.Vector) nn.Map {
	h := b.InConv.Forward(g, nn.SiLU(g, b.InNorm.Forward(g, x, normEps)))
	h = g.AddVector(h, b.Emb.Vector(g, emb))
	h = b.OutConv.Forward(g, nn.SiLU(g, b.OutNorm.Forward(g, h, normEps)))
	if b.Skip != nil {
		x = b.Skip.Forward(g, x)
	}
	return nn.Add(g, x, h)
}

// A Transformer attends over all pixels of a map, and to the text.
type Transformer struct {
	Norm    nn.GroupNorm `key:"norm"`
	ProjIn  nn.Linear    `key:"proj_in"`
	Blocks  []Block      `key:"transformer_blocks.*"`
	ProjOut nn.Linear    `key:"proj_out"`
}

// Check wants as many channels out as in.
func (t *Transformer) Check(r *weights.Report, channels, context int) {
	t.Norm.Check(r, channels)
	inner := t.ProjIn.Check(r, channels)
	for i := range t.Blocks {
		t.Blocks[i].Check(r, inner, context)
	}
	if out := t.ProjOut.Check(r, inner); out >= 0 && channels >= 0 && out != channels {
		r.Want(t.ProjOut.Weight, channels, inner)
	}
}

// Forward maps x, C×H×W, to the same shape.
func (t *Transformer) Forward(g *nn.Graph, name string, x nn.Map, context nn.Tokens) nn.Map {
	n := nn.Name(g, t.Norm.Forward(g, x, transformerEps), "%s.norm", name)
	h := t.ProjIn.Forward(g, g.Tokens(n)) // H·W tokens of C
	for i := range t.Blocks {
		h = t.Blocks[i].Forward(g, nameOf("%s.transformer_blocks.%d", name, i), h, context)
	}
	return nn.Add(g, x, g.Map(t.ProjOut.Forward(g, h), x.H, x.W))
}

// A Block is one layer of a transformer: attention among the pixels, attention
// to the text, a gated feed-forward network.
type Block struct {
	Norm1 nn.LayerNorm `key:"norm1"`
	Attn1 Attention    `key:"attn1"`
	Norm2 nn.LayerNorm `key:"norm2"`
	Attn2 Attention    `key:"attn2"`
	Norm3 nn.LayerNorm `key:"norm3"`
	In    nn.GEGLU     `key:"ff.net.0.proj"` // C → 2·4·C: value and gate, → 4·C
	Out   nn.Linear    `key:"ff.net.2"`
}

// Check wants C features in and out.
func (b *Block) Check(r *weights.Report, c, context int) {
	b.Norm1.Check(r, c)
	b.Attn1.Check(r, c, c)
	b.Norm2.Check(r, c)
	b.Attn2.Check(r, c, context)
	b.Norm3.Check(r, c)
	inner := b.In.Check(r, c)
	r.Want(b.Out.Weight, c, inner)
	r.Want(b.Out.Bias, c)
}

// Forward maps tokens to tokens; context is the text, the input "context".
func (b *Block) Forward(g *nn.Graph, name string, x, context nn.Tokens) nn.Tokens {
	n := nn.Name(g, b.Norm1.Forward(g, x, normEps), "%s.norm1", name)
	k, v := b.Attn1.ToK.Forward(g, n), b.Attn1.ToV.Forward(g, n)
	x = nn.Add(g, x, nn.Name(g, b.Attn1.Forward(g, n, k, v), "%s.attn1", name))

	text := nn.Keep(g, TextPart, name+".attn2", func() nn.Tokens {
		n := b.Norm2.Forward(g, x, normEps)
		// The text's keys and values are the same in every step.
		k := nn.Once(g, ContextInput, func() nn.Tokens { return b.Attn2.ToK.Forward(g, context) })
		v := nn.Once(g, ContextInput, func() nn.Tokens { return b.Attn2.ToV.Forward(g, context) })
		return nn.Name(g, b.Attn2.Forward(g, n, k, v), "%s.attn2", name)
	})
	x = nn.Add(g, x, text)

	n = b.Norm3.Forward(g, x, normEps)
	return nn.Add(g, x, nn.Name(g, b.Out.Forward(g, b.In.Forward(g, n)), "%s.ff", name))
}

// Attention is attention of several heads of equal size.
type Attention struct {
	ToQ     nn.Linear `key:"to_q"`
	ToK     nn.Linear `key:"to_k"`
	ToV     nn.Linear `key:"to_v"`
	ToOut   nn.Linear `key:"to_out.0"`
	HeadDim int       `meta:"head_dim" default:"64" min:"1"`
}

// Check wants queries from c features and keys and values from context features.
func (a *Attention) Check(r *weights.Report, c, context int) {
	inner := a.ToQ.Check(r, c)
	r.Want(a.ToK.Weight, inner, context)
	r.Want(a.ToV.Weight, inner, context)
	r.Want(a.ToOut.Weight, c, inner)
	r.Want(a.ToOut.Bias, c)
	if inner > 0 && inner%a.HeadDim != 0 {
		r.Invalid("%s: %d features are not whole heads of %d (metadata head_dim)", a.ToQ.Weight.Name, inner, a.HeadDim)
	}
}

// Forward attends from x to the tokens that k and v were made of.
func (a *Attention) Forward(g *nn.Graph, x, k, v nn.Tokens) nn.Tokens {
	q := a.ToQ.Forward(g, x)
	return a.ToOut.Forward(g, g.Attention(q, k, v, q.C/a.HeadDim, false))
}
