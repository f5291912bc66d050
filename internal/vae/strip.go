package vae

import (
	"fmt"

	"supir/internal/nn"
)

// A strip is the part of a picture that a forward pass records: all of it, or
// some of its rows with as many more on both sides as the convolutions reach
// for. In a strip a convolution pads with zeros only where the picture ends, so
// that maps lose rows elsewhere, and norms take statistics of the whole picture,
// which earlier passes have gathered.
type strip struct {
	*nn.Graph
	whole       bool
	top, bottom bool   // it begins, or ends, where the picture does
	y0          int    // the picture's row that the map on the way begins at
	own         [2]int // the rows wanted of that map

	norms   map[*nn.GroupNorm]bool // those whose statistics are known
	keys    bool                   // the attention's keys and values are known
	keyed   int                    // how many there are
	wanted  any                    // what comes first of what is not known: a *nn.GroupNorm, an *Attention
	used    []*nn.GroupNorm        // norms that take their statistics as inputs
	attends bool                   // keys and values are inputs
	out     nn.Map                 // the output: the result, or what statistics are gathered from
}

// Names of a strip's inputs and outputs.
const (
	mapInput    = "map"
	keysInput   = "keys"
	valuesInput = "values"
	mapOutput   = "out"
)

func scaleInput(i int) string { return fmt.Sprintf("scale %d", i) }
func shiftInput(i int) string { return fmt.Sprintf("shift %d", i) }

// conv is a convolution that keeps the picture's size.
func (s *strip) conv(c *nn.Conv2D, x nn.Map) nn.Map {
	p := c.Weight.Shape[2] / 2
	pad := nn.Padding{Left: p, Right: p, Top: p, Bottom: p}
	if !s.top {
		pad.Top = 0
		s.y0 += p
	}
	if !s.bottom {
		pad.Bottom = 0
	}
	return c.Strided(s.Graph, x, 1, pad)
}

// down is a convolution that halves the size, centred on odd rows and columns.
func (s *strip) down(c *nn.Conv2D, x nn.Map) nn.Map {
	pad := nn.Padding{Right: 1, Bottom: 1}
	end := s.own[1]
	if !s.bottom || end < s.y0+x.H {
		pad.Bottom = 0
		end++
	}
	x = s.rows(x, s.y0, s.own[0], end) // so that the first is an even one
	s.own = [2]int{s.own[0] / 2, s.own[1] / 2}
	s.y0 = s.own[0]
	return c.Strided(s.Graph, x, 2, pad)
}

// up doubles the size.
func (s *strip) up(x nn.Map) nn.Map {
	s.y0, s.own = 2*s.y0, [2]int{2 * s.own[0], 2 * s.own[1]}
	return s.Upsample2(x)
}

// add is x + h for an x that begins at row y0 and of which h has lost rows.
func (s *strip) add(x nn.Map, y0 int, h nn.Map) nn.Map {
	return nn.Add(s.Graph, s.rows(x, y0, s.y0, s.y0+h.H), h)
}

// rows is rows from…to-1 of the picture of an x that begins at row y0.
func (s *strip) rows(x nn.Map, y0, from, to int) nn.Map {
	return s.Crop(x, nn.Padding{Top: from - y0, Bottom: y0 + x.H - to})
}

// norm normalises with the whole picture's statistics. Where they are not known
// yet, x becomes the output that they are gathered from, and what is recorded
// after that is never computed.
func (s *strip) norm(n *nn.GroupNorm, x nn.Map) nn.Map {
	switch {
	case s.whole:
		return n.Forward(s.Graph, x, normEps)
	case s.norms[n]:
		i := len(s.used)
		s.used = append(s.used, n)
		return s.Affine(x, s.InputVector(scaleInput(i), x.C, 1), s.InputVector(shiftInput(i), x.C, 1))
	case s.wanted == nil:
		s.wanted = n
		s.output(x)
	}
	return x
}

// keysAndValues are the attention's for n's pixels, or the whole picture's once
// a pass has gathered them.
func (s *strip) keysAndValues(a *Attention, n nn.Map) (k, v nn.Tokens) {
	if s.keys {
		s.attends = true
		return s.InputTokens(keysInput, n.C, s.keyed, 1), s.InputTokens(valuesInput, n.C, s.keyed, 1)
	}
	tokens := s.Tokens(n)
	k, v = a.K.Forward(s.Graph, tokens), a.V.Forward(s.Graph, tokens)
	if !s.whole && s.wanted == nil {
		s.wanted = a
		nn.Output(s.Graph, keysInput, k)
		nn.Output(s.Graph, valuesInput, v)
	}
	return k, v
}

// output makes the rows wanted of x the strip's output.
func (s *strip) output(x nn.Map) {
	s.out = s.rows(x, s.y0, s.own[0], s.own[1])
	nn.Output(s.Graph, mapOutput, s.out)
}

// A step is a part of a network that can be computed strip by strip.
type step struct {
	forward func(s *strip, x nn.Map) nn.Map
	out     int                                 // channels that go out
	needs   func(from, to int) (first, end int) // rows that go in for rows from…to-1 that come out
	up      int                                 // 1: the rows are doubled first, -1: halved last
	cut     bool                                // what comes out may be stored, so that later steps need not compute it anew
	first   *nn.GroupNorm                       // what the map that goes in is normalised by, nil if it is not
	gathers int                                 // passes that gather what the step wants to know of the whole picture
	keys    bool                                // an attention
}

// reach is needs of so many rows more on both sides.
func reach(rows int) func(from, to int) (int, int) {
	return func(from, to int) (int, int) { return from - rows, to + rows }
}

// forward records all steps for a whole picture.
func forward(g *nn.Graph, steps []step, x nn.Map) nn.Map {
	s := &strip{Graph: g, whole: true, top: true, bottom: true, own: [2]int{0, x.H}}
	for _, step := range steps {
		x = step.forward(s, x)
	}
	return x
}

// Forms of steps.

func convStep(c *nn.Conv2D, format string, args ...any) step {
	return step{out: c.Out(), needs: reach(c.Weight.Shape[2] / 2), forward: func(s *strip, x nn.Map) nn.Map {
		return nn.Name(s.Graph, s.conv(c, x), format, args...)
	}}
}

func blockStep(b *ResnetBlock, format string, args ...any) step {
	return step{out: b.Conv2.Out(), needs: reach(2), cut: true, first: &b.Norm1, gathers: 2, forward: func(s *strip, x nn.Map) nn.Map {
		return nn.Name(s.Graph, b.Forward(s, x), format, args...)
	}}
}

func downStep(c *nn.Conv2D, format string, args ...any) step {
	return step{out: c.Out(), up: -1, cut: true,
		needs: func(from, to int) (int, int) { return 2 * from, 2*to + 1 },
		forward: func(s *strip, x nn.Map) nn.Map {
			return nn.Name(s.Graph, s.down(c, x), format, args...)
		}}
}

func upStep(c *nn.Conv2D, format string, args ...any) step {
	return step{out: c.Out(), up: 1,
		needs: func(from, to int) (int, int) { return (from - 1) >> 1, to>>1 + 1 },
		forward: func(s *strip, x nn.Map) nn.Map {
			return nn.Name(s.Graph, s.conv(c, s.up(x)), format, args...)
		}}
}

func attentionStep(a *Attention, c int, format string, args ...any) step {
	return step{out: c, needs: reach(0), cut: true, first: &a.Norm, gathers: 2, keys: true, forward: func(s *strip, x nn.Map) nn.Map {
		return nn.Name(s.Graph, a.Forward(s, x), format, args...)
	}}
}

// endStep is the norm, the activation and the convolution at a network's end.
func endStep(n *nn.GroupNorm, c *nn.Conv2D, format string, args ...any) step {
	return step{out: c.Out(), needs: reach(1), first: n, gathers: 1, forward: func(s *strip, x nn.Map) nn.Map {
		return nn.Name(s.Graph, s.conv(c, nn.SiLU(s.Graph, s.norm(n, x))), format, args...)
	}}
}
