package clip

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

const prefixG = "conditioner.embedders.1.model"

// BigG is the text encoder of OpenCLIP ViT-bigG in open_clip's layout.
type BigG struct {
	Token      *weights.Tensor `key:"token_embedding.weight"` // [ids, C]
	Position   *weights.Tensor `key:"positional_embedding"`   // [length, C]
	Blocks     []BlockG        `key:"transformer.resblocks.*"`
	Norm       nn.LayerNorm    `key:"ln_final"`
	Projection *weights.Tensor `key:"text_projection"`            // [C, pooled]
	Heads      int             `meta:"heads" default:"0" min:"0"` // 0: heads of 64 features
}

// BlockG is one layer of BigG. Queries, keys and values come from one product.
type BlockG struct {
	Norm1  nn.LayerNorm    `key:"ln_1"`
	Weight *weights.Tensor `key:"attn.in_proj_weight"` // [3C, C]
	Bias   *weights.Tensor `key:"attn.in_proj_bias"`
	Out    nn.Linear       `key:"attn.out_proj"`
	Norm2  nn.LayerNorm    `key:"ln_2"`
	FC     nn.Linear       `key:"mlp.c_fc"`
	Proj   nn.Linear       `key:"mlp.c_proj"`
}

// Load fills the network from a set of files and checks it; whatever does not
// fit goes to the report, and only without that may the network be used.
func (b *BigG) Load(set *weights.Set, r *weights.Report) {
	set.Fill(b, "clip_g", prefixG, r)
	c := checkEmbedding(r, "clip_g", b.Token, b.Position, &b.Heads)
	for i := range b.Blocks {
		b.Blocks[i].Check(r, c)
	}
	b.Norm.Check(r, c)
	r.Want(b.Projection, c, -1)
	set.Unexpected(r, prefixG+".transformer") // beside it is what only training needs
}

// Ids is the size of the vocabulary: all ids are below.
func (b *BigG) Ids() int { return b.Token.Shape[0] }

// Length is the number of ids that make a prompt.
func (b *BigG) Length() int { return b.Position.Shape[0] }

// Width is the number of features of a hidden state.
func (b *BigG) Width() int { return b.Token.Shape[1] }

// PooledWidth is the number of features of a pooled vector.
func (b *BigG) PooledWidth() int { return b.Projection.Shape[1] }

// Forward maps the ids of N prompts, N×Length, to the hidden states that go into
// the last block, N×Length×Width, and to one vector for each prompt, N×PooledWidth,
// from its token at the place given by ends, N×1 (see Ends).
func (b *BigG) Forward(g *nn.Graph, ids, ends nn.IDs) (hidden nn.Tokens, pooled nn.Vector) {
	x := nn.AddTable(g, nn.Rows(g, b.Token, ids), b.Position)
	for i := range b.Blocks {
		hidden = x
		x = nn.Name(g, b.Blocks[i].Forward(g, x, b.Heads), "clip_g.blocks.%d", i)
	}
	last := g.Pick(b.Norm.Forward(g, x, normEps), ends)
	return hidden, nn.Project(g, last, b.Projection)
}

// Check wants C features in and out.
func (b *BlockG) Check(r *weights.Report, c int) {
	b.Norm1.Check(r, c)
	if c > 0 {
		r.Want(b.Weight, 3*c, c)
		r.Want(b.Bias, 3*c)
	}
	checkLinear(r, &b.Out, c, c)
	b.Norm2.Check(r, c)
	checkLinear(r, &b.FC, c, -1)
	checkLinear(r, &b.Proj, b.FC.Out(), c)
}

// Forward maps tokens of C features, which see those before them, to tokens.
func (b *BlockG) Forward(g *nn.Graph, x nn.Tokens, heads int) nn.Tokens {
	in := nn.Linear{Weight: b.Weight, Bias: b.Bias}
	qkv := in.Forward(g, b.Norm1.Forward(g, x, normEps)) // 3C features
	q, k, v := g.Features(qkv, 0, x.C), g.Features(qkv, x.C, x.C), g.Features(qkv, 2*x.C, x.C)
	x = nn.Add(g, x, b.Out.Forward(g, g.Attention(q, k, v, heads, true)))
	n := b.Norm2.Forward(g, x, normEps)
	return nn.Add(g, x, b.Proj.Forward(g, nn.GELU(g, b.FC.Forward(g, n))))
}

// Ends gives the place of the largest id in each of n prompts, the first if
// there are several: the end of a prompt has the largest id of all.
func Ends(ids []int32, n int) []int32 {
	length := len(ids) / n
	ends := make([]int32, n)
	for i := range n {
		prompt := ids[i*length : (i+1)*length]
		for j, id := range prompt {
			if id > prompt[ends[i]] {
				ends[i] = int32(j)
			}
		}
	}
	return ends
}
