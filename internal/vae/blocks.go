package vae

import (
	"supir/internal/nn"
	"supir/internal/weights"
)

// normEps is the epsilon of all norms, which no file holds.
const normEps = 1e-6

// A ResnetBlock is the residual block of the autoencoder.
type ResnetBlock struct {
	Norm1    nn.GroupNorm `key:"norm1"`
	Conv1    nn.Conv2D    `key:"conv1"`
	Norm2    nn.GroupNorm `key:"norm2"`
	Conv2    nn.Conv2D    `key:"conv2"`
	Shortcut *nn.Conv2D   `key:"nin_shortcut"` // 1×1, where the channels change
}

// Check returns the channels that go out.
func (b *ResnetBlock) Check(r *weights.Report, in int) (out int) {
	b.Norm1.Check(r, in)
	out = b.Conv1.Check(r, in, 3)
	b.Norm2.Check(r, out)
	r.Want(b.Conv2.Weight, out, out, 3, 3)
	r.Want(b.Conv2.Bias, out)
	b.Conv1.WantBias(r)
	b.Conv2.WantBias(r)
	if b.Shortcut != nil {
		r.Want(b.Shortcut.Weight, out, in, 1, 1)
		r.Want(b.Shortcut.Bias, out)
		b.Shortcut.WantBias(r)
	} else if in != out && in > 0 && out > 0 {
		r.Invalid("%s: the block goes from %d to %d channels without a nin_shortcut", b.Conv1.Weight.Name, in, out)
	}
	return out
}

// Forward maps x, C×H×W, to C'×H×W.
func (b *ResnetBlock) Forward(s *strip, x nn.Map) nn.Map {
	y0 := s.y0
	h := s.conv(&b.Conv1, nn.SiLU(s.Graph, s.norm(&b.Norm1, x)))
	h = s.conv(&b.Conv2, nn.SiLU(s.Graph, s.norm(&b.Norm2, h)))
	if b.Shortcut != nil {
		x = b.Shortcut.Forward(s.Graph, x)
	}
	return s.add(x, y0, h)
}

// Middle is the part at the smallest size.
type Middle struct {
	Block1 ResnetBlock `key:"block_1"`
	Attn   *Attention  `key:"attn_1"` // small models do without
	Block2 ResnetBlock `key:"block_2"`
}

// Check returns the channels that go out.
func (m *Middle) Check(r *weights.Report, in int) (out int) {
	c := m.Block1.Check(r, in)
	if m.Attn != nil {
		m.Attn.Check(r, c)
	}
	return m.Block2.Check(r, c)
}

// steps map x, C×h×w, to the same shape.
func (m *Middle) steps(name string) []step {
	list := []step{blockStep(&m.Block1, "%s.block_1", name)}
	if m.Attn != nil {
		list = append(list, attentionStep(m.Attn, m.Block1.Conv2.Out(), "%s.attn_1", name))
	}
	return append(list, blockStep(&m.Block2, "%s.block_2", name))
}

// Attention is attention of a single head among all pixels. Its weights are
// stored as 1×1 convolutions.
type Attention struct {
	Norm    nn.GroupNorm `key:"norm"`
	Q       nn.Linear    `key:"q"`
	K       nn.Linear    `key:"k"`
	V       nn.Linear    `key:"v"`
	ProjOut nn.Linear    `key:"proj_out"`
}

// Check wants as many channels out as in.
func (a *Attention) Check(r *weights.Report, channels int) {
	a.Norm.Check(r, channels)
	for _, l := range []*nn.Linear{&a.Q, &a.K, &a.V, &a.ProjOut} {
		if out := l.Check(r, channels); out >= 0 && out != channels && channels >= 0 {
			r.Invalid("%s: %d features go out, want %d", l.Weight.Name, out, channels)
		}
		l.WantBias(r)
	}
}

// Forward maps x, C×h×w, to the same shape.
func (a *Attention) Forward(s *strip, x nn.Map) nn.Map {
	n := s.norm(&a.Norm, x)
	k, v := s.keysAndValues(a, n)
	q := a.Q.Forward(s.Graph, s.Tokens(n)) // h·w tokens of C
	h := a.ProjOut.Forward(s.Graph, s.Attention(q, k, v, 1, false))
	return nn.Add(s.Graph, x, s.Map(h, x.H, x.W))
}

// checkResample checks the convolution that changes the size after a level,
// which exists exactly where it is wanted, and returns the channels after it.
func checkResample(r *weights.Report, name string, conv *nn.Conv2D, c int, wanted bool) (out int) {
	switch {
	case conv == nil && wanted:
		r.Missing(name + ".conv.weight")
	case conv != nil && !wanted:
		r.Invalid("%s: the outermost level cannot change the size", name)
	case conv != nil:
		conv.WantBias(r)
		return conv.Check(r, c, 3)
	}
	return c
}
