package supir

import (
	"slices"

	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/weights"
)

// connectorEps is the epsilon of the connectors' group norms.
const connectorEps = 1e-5

// zeroSFT joins an adaptor's feature X_c, a skip X_s of the U-Net's encoder and
// the decoder's map X_f (paper Fig. 3c): a zero convolution, then a spatial
// feature transfer of the normalised whole. A file that holds the convolution
// alone has ControlNet's connectors, which the paper compares with (Tab. 2c).
type zeroSFT struct {
	ZeroConv nn.Conv2D        `key:"zero_conv"` // X_c → X_s, 1×1
	Transfer *featureTransfer `key:"."`         // nil: zero convolution alone
}

// featureTransfer scales and shifts a normalised map by what it sees in X_c.
type featureTransfer struct {
	Shared nn.Conv2D    `key:"mlp_shared.0"` // X_c → hidden, 3×3
	Mul    nn.Conv2D    `key:"zero_mul"`     // hidden → γ
	Add    nn.Conv2D    `key:"zero_add"`     // hidden → β
	Norm   nn.GroupNorm `key:"param_free_norm"`
}

// check wants a feature of c, a skip of s and a decoder's map of f channels, 0
// where there is none (the middle).
func (z *zeroSFT) check(r *weights.Report, c, s, f int) {
	r.Want(z.ZeroConv.Weight, s, c, 1, 1)
	r.Want(z.ZeroConv.Bias, s)
	if t := z.Transfer; t != nil {
		hidden := t.Shared.Check(r, c, 3)
		r.Want(t.Mul.Weight, f+s, hidden, 3, 3)
		r.Want(t.Mul.Bias, f+s)
		r.Want(t.Add.Weight, f+s, hidden, 3, 3)
		r.Want(t.Add.Bias, f+s)
		t.Norm.Check(r, f+s)
	}
}

// forward returns the concatenation that enters the decoder's block, (f+s)×H×W:
// w·(GN(h)·(γ+1) + β) + (1-w)·[X_f, X_s] with h = [X_f, X_s + zero_conv(X_c)].
func (z *zeroSFT) forward(g *nn.Graph, c, s nn.Map, f *nn.Map, w controlScale) nn.Map {
	raw, h := s, nn.Add(g, s, z.ZeroConv.Forward(g, c))
	if f != nil {
		raw, h = g.Concat(*f, s), g.Concat(*f, h)
	}
	if z.Transfer != nil {
		h = z.Transfer.forward(g, c, h)
	}
	return w.mix(g, raw, h)
}

// forward is GN(h)·(γ+1) + β.
func (t *featureTransfer) forward(g *nn.Graph, c, h nn.Map) nn.Map {
	a := nn.SiLU(g, t.Shared.Forward(g, c))
	gamma, beta := t.Mul.Forward(g, a), t.Add.Forward(g, a)
	return t.Norm.Modulated(g, h, gamma, beta, connectorEps)
}

// zeroCrossAttn lets the decoder's map attend to an adaptor's feature of the
// same size.
type zeroCrossAttn struct {
	Norm1 nn.GroupNorm   `key:"norm1"` // of the decoder's map
	Norm2 nn.GroupNorm   `key:"norm2"` // of the feature
	Attn  unet.Attention `key:"attn"`
}

// check wants a decoder's map of x and a feature of c channels.
func (z *zeroCrossAttn) check(r *weights.Report, c, x int) {
	z.Norm1.Check(r, x)
	z.Norm2.Check(r, c)
	z.Attn.Check(r, x, c)
}

// forward returns x + w·attention(GN(x), GN(c)), of x's shape.
func (z *zeroCrossAttn) forward(g *nn.Graph, c, x nn.Map, w controlScale) nn.Map {
	q := g.Tokens(z.Norm1.Forward(g, x, connectorEps))
	n := g.Tokens(z.Norm2.Forward(g, c, connectorEps))
	a := z.Attn.Forward(g, q, z.Attn.ToK.Forward(g, n), z.Attn.ToV.Forward(g, n))
	return nn.Add(g, x, w.of(g, g.Map(a, x.H, x.W)))
}

// A controlScale is w, the strength of the adaptor's control: an input of the
// program, or the constant 1 where it is nil.
type controlScale struct{ input *nn.Vector }

// of is w·x.
func (w controlScale) of(g *nn.Graph, x nn.Map) nn.Map {
	if w.input == nil {
		return x
	}
	return nn.ScaleBy(g, x, *w.input)
}

// mix is w·steered + (1-w)·raw.
func (w controlScale) mix(g *nn.Graph, raw, steered nn.Map) nn.Map {
	if w.input == nil {
		return steered
	}
	return nn.Add(g, raw, w.of(g, nn.Sub(g, steered, raw)))
}

// connectors are all of a model's, as the files number them: from the decoder's
// last block back to the middle, which comes last.
type connectors struct {
	Modules []connector `key:"project_modules.*"`
}

// A connector is one of the two kinds.
type connector struct {
	SFT   *zeroSFT       `key:"."`
	Cross *zeroCrossAttn `key:"."`
}

// zeroConvolutions tells whether they are ControlNet's: without any feature
// transfer or attention.
func (cs *connectors) zeroConvolutions() bool {
	return !slices.ContainsFunc(cs.Modules, func(m connector) bool {
		return m.SFT == nil || m.SFT.Transfer != nil
	})
}

// check wants, for each skip from the first to the last, a ZeroSFT, before it a
// ZeroCrossAttn where the decoder's block ends in a doubling of the size, and at
// the end a ZeroSFT for the middle. Of zero convolutions it wants one for each
// skip and the middle. The channels are those of unet.UNet.Check.
func (cs *connectors) check(r *weights.Report, features, skips []int, middle int, decoder, inner []int) {
	n, plain := 0, cs.zeroConvolutions()
	next := func(kind string) *connector {
		n++
		if n > len(cs.Modules) {
			return nil
		}
		m := &cs.Modules[n-1]
		if (kind == "ZeroSFT") != (m.SFT != nil) || m.SFT == nil && m.Cross == nil {
			r.Invalid("project_modules.%d: not a %s", n-1, kind)
			return nil
		}
		if m.SFT != nil && !plain && m.SFT.Transfer == nil {
			r.Invalid("project_modules.%d: a zero convolution among ZeroSFTs", n-1)
		}
		return m
	}
	for i := range skips {
		if inner[i] > 0 && !plain {
			if m := next("ZeroCrossAttn"); m != nil {
				m.Cross.check(r, features[i], inner[i])
			}
		}
		if m := next("ZeroSFT"); m != nil {
			m.SFT.check(r, features[i], skips[i], decoder[i])
		}
	}
	if m := next("ZeroSFT"); m != nil {
		m.SFT.check(r, features[len(skips)], middle, 0)
	}
	if n != len(cs.Modules) {
		r.Invalid("project_modules: %d connectors, the U-Net has places for %d", len(cs.Modules), n)
	}
}

// of finds the connectors of skip i, or of the middle, which comes after the
// last: the number of its ZeroSFT, and of the ZeroCrossAttn before it, if any.
func (cs *connectors) of(skip int) (sft, cross int) {
	for i, m := range cs.Modules {
		if m.SFT == nil {
			continue
		}
		if skip--; skip < 0 {
			return i, i - 1
		}
	}
	panic("supir: no connector for the skip") // which check has made sure of
}

// steering steers a U-Net by an adaptor's features; it implements unet.Connectors.
type steering struct {
	connectors *connectors
	features   *features
	scale      controlScale
}

func (s *steering) Middle(g *nn.Graph, h nn.Map) nn.Map {
	return s.transfer(g, len(s.features.Input), h, nil)
}

func (s *steering) Skip(g *nn.Graph, skip int, h, x nn.Map) nn.Map {
	return s.transfer(g, skip, x, &h)
}

// transfer joins a feature with a skip, or the middle, and the decoder's map.
func (s *steering) transfer(g *nn.Graph, skip int, x nn.Map, h *nn.Map) nn.Map {
	i, _ := s.connectors.of(skip)
	joined := s.connectors.Modules[i].SFT.forward(g, s.features.at(g, skip), x, h, s.scale)
	return nn.Name(g, joined, "unet.project_modules.%d", i)
}

func (s *steering) Inner(g *nn.Graph, skip int, h nn.Map) nn.Map {
	if s.connectors.zeroConvolutions() {
		return h
	}
	_, i := s.connectors.of(skip)
	attended := s.connectors.Modules[i].Cross.forward(g, s.features.at(g, skip), h, s.scale)
	return nn.Name(g, attended, "unet.project_modules.%d", i)
}
