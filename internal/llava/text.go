package llava

import (
	"fmt"

	"supir/internal/nn"
	"supir/internal/weights"
)

// Text is the language model, LLaMA.
type Text struct {
	Embedding *weights.Tensor `key:"token_embd.weight"` // [ids, C]
	Layers    []Layer         `key:"blk.*"`
	Norm      nn.RMSNorm      `key:"output_norm"`
	Head      *nn.Linear      `key:"output"` // nil: the embedding's transpose

	Heads   int // of queries
	Context int // most positions
	Epsilon float32
	Rotary  nn.Rotary
}

// Layer is one of its blocks. Keys and values may have fewer heads than queries.
type Layer struct {
	AttentionNorm nn.RMSNorm `key:"attn_norm"`
	Q             nn.Linear  `key:"attn_q"`
	K             nn.Linear  `key:"attn_k"`
	V             nn.Linear  `key:"attn_v"`
	Out           nn.Linear  `key:"attn_output"`
	Norm          nn.RMSNorm `key:"ffn_norm"`
	Gate          nn.Linear  `key:"ffn_gate"`
	Up            nn.Linear  `key:"ffn_up"`
	Down          nn.Linear  `key:"ffn_down"`
}

// maxContext bounds the positions that a file may claim; more than LLaVA ever needs.
const maxContext = 1 << 20

func (m *Text) load(set *weights.Set, r *weights.Report) {
	set.Fill(m, "llava", "", r)
	set.Unexpected(r, "blk", "output")
	if set.Has("rope_freqs.weight") {
		r.Invalid("rope_freqs.weight: positions scaled by frequency are not LLaVA-1.5's")
	}
	meta := reader{set, r}
	if scaling, ok := set.Metadata("llama.rope.scaling.type"); ok && scaling != "none" {
		r.Invalid("metadata llama.rope.scaling.type: %s, want none", scaling)
	}
	c := -1
	if r.Want(m.Embedding, -1, -1) {
		c = m.Embedding.Shape[1]
	}
	same := func(key string, has int) {
		if n := meta.integer(key, has, 0, 1<<30); n != has && has > 0 {
			r.Invalid("metadata %s: %d, but the tensors say %d", key, n, has)
		}
	}
	same("llama.embedding_length", c)
	same("llama.block_count", len(m.Layers))
	m.Heads = meta.integer("llama.attention.head_count", -1, 1, 1<<12)
	m.Context = meta.integer("llama.context_length", 4096, 1, maxContext)
	m.Epsilon = meta.number("llama.attention.layer_norm_rms_epsilon", 1e-5, 1e-12, 1)
	m.Rotary.Base = meta.number("llama.rope.freq_base", 10000, 1, 1e9)
	if len(m.Layers) == 0 || c < 0 {
		return
	}
	q := m.Layers[0].Q.Out()
	if q > 0 && q%m.Heads != 0 {
		r.Invalid("blk.0.attn_q.weight: %d rows do not divide into %d heads", q, m.Heads)
		return
	}
	d := q / m.Heads
	shared := m.Layers[0].K.Out()
	if shared > 0 && (d == 0 || shared%d != 0 || m.Heads%(shared/d) != 0) {
		r.Invalid("blk.0.attn_k.weight: %d rows are not heads of %d that %d heads of queries share", shared, d, m.Heads)
	}
	if d > 0 && shared > 0 {
		same("llama.attention.head_count_kv", shared/d)
	}
	m.Rotary.Features = meta.integer("llama.rope.dimension_count", d, 2, max(d, 2))
	if m.Rotary.Features%2 != 0 {
		r.Invalid("metadata llama.rope.dimension_count: %d is odd", m.Rotary.Features)
	}
	ff := m.Layers[0].Up.Out()
	for i := range m.Layers {
		m.Layers[i].check(r, c, q, shared, ff)
	}
	m.Norm.Check(r, c)
	if m.Head != nil {
		r.Want(m.Head.Weight, m.IDs(), c)
		r.Want(m.Head.Bias, m.IDs())
	}
}

func (l *Layer) check(r *weights.Report, c, q, kv, ff int) {
	for _, w := range []struct {
		linear  *nn.Linear
		in, out int
	}{{&l.Q, c, q}, {&l.K, c, kv}, {&l.V, c, kv}, {&l.Out, q, c}, {&l.Gate, c, ff}, {&l.Up, c, ff}, {&l.Down, ff, c}} {
		r.Want(w.linear.Weight, w.out, w.in)
		r.Want(w.linear.Bias, w.out)
	}
	l.AttentionNorm.Check(r, c)
	l.Norm.Check(r, c)
}

// IDs is the size of the vocabulary.
func (m *Text) IDs() int { return m.Embedding.Shape[0] }

// Width is the number of features of a token.
func (m *Text) Width() int { return m.Embedding.Shape[1] }

// cacheFeatures is the number of features of a key.
func (m *Text) cacheFeatures() int { return m.Layers[0].K.Out() }

// cacheHeads is the number of heads of keys.
func (m *Text) cacheHeads() int { return m.Heads * m.Layers[0].K.Out() / m.Layers[0].Q.Out() }

// Forward maps T tokens of C features, placed in a cache, to as many before the
// last norm.
func (m *Text) Forward(g *nn.Graph, x nn.Tokens, at *nn.Place) nn.Tokens {
	for i := range m.Layers {
		x = nn.Name(g, m.Layers[i].forward(g, x, m, i, at), "lm.layer.%d", i)
	}
	return x
}

func (l *Layer) forward(g *nn.Graph, x nn.Tokens, m *Text, i int, at *nn.Place) nn.Tokens {
	n := l.AttentionNorm.Forward(g, x, m.Epsilon)
	q, k, v := l.Q.Forward(g, n), l.K.Forward(g, n), l.V.Forward(g, n)
	q = g.Rotate(q, at.Positions, m.Heads, m.Rotary)
	k = g.Rotate(k, at.Positions, m.Heads*k.C/q.C, m.Rotary)
	x = nn.Add(g, x, l.Out.Forward(g, at.Attention(g, i, q, k, v, m.Heads)))
	n = l.Norm.Forward(g, x, m.Epsilon)
	return nn.Add(g, x, l.Down.Forward(g, g.SwiGLU(l.Gate.Forward(g, n), l.Up.Forward(g, n))))
}

// Logits maps what Forward gives to a number for each id, for every token.
func (m *Text) Logits(g *nn.Graph, x nn.Tokens) nn.Tokens {
	x = nn.Name(g, m.Norm.Forward(g, x, m.Epsilon), "lm.final_norm")
	head := m.Head
	if head == nil {
		head = &nn.Linear{Weight: m.Embedding}
	}
	return head.Forward(g, x)
}

// prompt records the whole prompt: ids, the picture's tokens, further ids; its
// output "logits" is that of the last token alone.
func (m *Text) prompt(g *nn.Graph, cache *nn.Cache, before, picture, after int) {
	at := g.Beginning(cache, before+picture+after)
	x := m.embed(g, before, picture, after)
	x = m.Forward(g, x, at)
	nn.Output(g, "logits", m.Logits(g, g.Some(x, x.T-1, 1)))
}

// embed joins the tokens of a prompt.
func (m *Text) embed(g *nn.Graph, before, picture, after int) nn.Tokens {
	x := nn.Rows(g, m.Embedding, g.InputIDs("before", before, 1))
	x = g.ConcatTokens(x, g.InputTokens("picture", m.Width(), picture, 1))
	return g.ConcatTokens(x, nn.Rows(g, m.Embedding, g.InputIDs("after", after, 1)))
}

// step records one further token.
func (m *Text) step(g *nn.Graph, cache *nn.Cache, window int) {
	at := g.Next(cache, window)
	x := m.Forward(g, nn.Rows(g, m.Embedding, g.InputIDs("id", 1, 1)), at)
	nn.Output(g, "logits", m.Logits(g, x))
}

// checkContext makes sure that the prompt fits, with some room for an answer.
func (m *Model) checkContext() error {
	before, after := m.promptIDs("")
	const least = 16
	if need := len(before) + len(after) + m.Vision.Tokens() + least; need > m.Text.Context {
		return fmt.Errorf("the prompt and %d tokens of a picture do not fit into the language model's %d positions", m.Vision.Tokens(), m.Text.Context)
	}
	return nil
}
