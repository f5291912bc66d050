package clip

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

const prefixL = "conditioner.embedders.0.transformer.text_model"

// ClipL is the text encoder of CLIP ViT-L in Hugging Face's layout, without its
// last layer and final norm: the diffusion model was trained on what goes into
// them.
type ClipL struct {
	Token    *weights.Tensor `key:"embeddings.token_embedding.weight"`    // [ids, C]
	Position *weights.Tensor `key:"embeddings.position_embedding.weight"` // [length, C]
	Layers   []LayerL        `key:"encoder.layers.*"`
	Heads    int             `meta:"heads" default:"0" min:"0"` // 0: heads of 64 features
}

// LayerL is one layer of ClipL.
type LayerL struct {
	Norm1 nn.LayerNorm `key:"layer_norm1"`
	Q     nn.Linear    `key:"self_attn.q_proj"`
	K     nn.Linear    `key:"self_attn.k_proj"`
	V     nn.Linear    `key:"self_attn.v_proj"`
	Out   nn.Linear    `key:"self_attn.out_proj"`
	Norm2 nn.LayerNorm `key:"layer_norm2"`
	FC1   nn.Linear    `key:"mlp.fc1"`
	FC2   nn.Linear    `key:"mlp.fc2"`
}

// Load fills the network from a set of files and checks it; whatever does not
// fit goes to the report, and only without that may the network be used. The
// last layer is checked too, then left out.
func (l *ClipL) Load(set *weights.Set, r *weights.Report) {
	set.Fill(l, "clip_l", prefixL, r)
	c := checkEmbedding(r, "clip_l", l.Token, l.Position, &l.Heads)
	for i := range l.Layers {
		l.Layers[i].Check(r, c)
	}
	set.Unexpected(r, prefixL+".encoder") // beside it are the final norm and tables of indices
	l.Layers = l.Layers[:max(0, len(l.Layers)-1)]
}

// Ids is the size of the vocabulary: all ids are below.
func (l *ClipL) Ids() int { return l.Token.Shape[0] }

// Length is the number of ids that make a prompt.
func (l *ClipL) Length() int { return l.Position.Shape[0] }

// Width is the number of features of a hidden state.
func (l *ClipL) Width() int { return l.Token.Shape[1] }

// Forward maps the ids of N prompts, N×Length, to hidden states, N×Length×Width.
func (l *ClipL) Forward(g *nn.Graph, ids nn.IDs) nn.Tokens {
	x := nn.AddTable(g, nn.Rows(g, l.Token, ids), l.Position)
	for i := range l.Layers {
		x = nn.Name(g, l.Layers[i].Forward(g, x, l.Heads), "clip_l.layers.%d", i)
	}
	return x
}

// Check wants C features in and out.
func (l *LayerL) Check(r *weights.Report, c int) {
	l.Norm1.Check(r, c)
	for _, p := range []*nn.Linear{&l.Q, &l.K, &l.V, &l.Out} {
		checkLinear(r, p, c, c)
	}
	l.Norm2.Check(r, c)
	checkLinear(r, &l.FC1, c, -1)
	checkLinear(r, &l.FC2, l.FC1.Out(), c)
}

// Forward maps tokens of C features, which see those before them, to tokens.
func (l *LayerL) Forward(g *nn.Graph, x nn.Tokens, heads int) nn.Tokens {
	n := l.Norm1.Forward(g, x, normEps)
	q, k, v := l.Q.Forward(g, n), l.K.Forward(g, n), l.V.Forward(g, n)
	x = nn.Add(g, x, l.Out.Forward(g, g.Attention(q, k, v, heads, true)))
	n = l.Norm2.Forward(g, x, normEps)
	return nn.Add(g, x, l.FC2.Forward(g, nn.QuickGELU(g, l.FC1.Forward(g, n))))
}
