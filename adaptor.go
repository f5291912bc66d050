package supir

import (
	"fmt"

	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/weights"
)

// adaptor is the trimmed, trained copy of the U-Net's encoder that sees the
// low-quality latent (paper Sec. 3.1, Fig. 3b). How much is trimmed is read from
// the weights: as many transformer blocks as the file holds.
type adaptor struct {
	unet.Encoder `key:"."`
	Hint         nn.Conv2D `key:"input_hint_block.0"` // z_LQ → channels of the first block
}

// adaptorPart are the adaptor's features, which a step may take over from an
// earlier one: see nn.Keep.
const adaptorPart = "adaptor"

// features are the adaptor's X_c for the noisy latent x (times c_in) and the
// low-quality latent lq, which is not scaled: computed when they are asked for.
type features struct {
	*adaptor
	x, lq nn.Map
	c     unet.Condition
	known map[int]nn.Map
}

// at is the feature after input block i, or after the middle, which comes last.
func (f *features) at(g *nn.Graph, i int) nn.Map {
	if _, ok := f.known[i]; !ok {
		name := fmt.Sprintf("control_model.feature.%d", i)
		f.known[i] = nn.Keep(g, adaptorPart, name, func() nn.Map { return nn.Name(g, f.forward(g, i), "%s", name) })
	}
	return f.known[i]
}

func (f *features) forward(g *nn.Graph, i int) nn.Map {
	const name = "control_model"
	switch i {
	case 0:
		hint := nn.Once(g, lqInput, func() nn.Map { return f.Hint.Forward(g, f.lq) })
		nn.Name(g, hint, "%s.input_hint_block", name)
		return nn.Name(g, nn.Add(g, f.Block(g, name, 0, f.x, f.c), hint), "%s.input_blocks.0", name)
	case len(f.Input):
		return f.Last(g, name, f.at(g, i-1), f.c)
	}
	return f.Block(g, name, i, f.at(g, i-1), f.c)
}

// diffusion is the U-Net steered by the adaptor: what the paper calls H.
type diffusion struct {
	UNet       unet.UNet
	Adaptor    adaptor
	Connectors connectors
}

// The inputs of a diffusion program beside unet's own.
const (
	latentInput  = "x"       // noisy latent times c_in
	lqInput      = "lq"      // low-quality latent
	controlInput = "control" // control scale w
	noiseOutput  = "noise"   // predicted ε
)

// Where the parts lie in the files.
const (
	unetPrefix       = "model.diffusion_model"
	adaptorPrefix    = "model.control_model"
	connectorsPrefix = "model.diffusion_model"
)

// fill takes the weights from a set and reports what does not fit.
func (d *diffusion) fill(set *weights.Set, r *weights.Report) {
	set.Fill(&d.UNet, "unet", unetPrefix, r)
	set.Fill(&d.Adaptor, "adaptor", adaptorPrefix, r)
	set.Fill(&d.Connectors, "connectors", connectorsPrefix, r)

	skips, middle, decoder, inner := d.UNet.Check(r)
	features, last := d.Adaptor.Check(r)
	r.Want(d.Adaptor.Hint.Weight, d.Adaptor.FirstChannels(), d.UNet.LatentChannels(), 3, 3)
	for name, pair := range map[string][2]int{
		"channels of the latent": {d.Adaptor.LatentChannels(), d.UNet.LatentChannels()},
		"length of the sinusoid": {d.Adaptor.ModelChannels(), d.UNet.ModelChannels()},
		"width of the text":      {d.Adaptor.ContextFeatures(), d.UNet.ContextFeatures()},
		"length of the vector y": {d.Adaptor.VectorFeatures(), d.UNet.VectorFeatures()},
		"number of input blocks": {len(d.Adaptor.Input), len(d.UNet.Input)},
		"halvings of the size":   {d.Adaptor.Factor(), d.UNet.Factor()},
	} {
		if pair[0] > 0 && pair[1] > 0 && pair[0] != pair[1] {
			r.Invalid("%s: %s is %d, the U-Net's %d", adaptorPrefix, name, pair[0], pair[1])
		}
	}
	if len(features) == len(skips) && decoder != nil {
		d.Connectors.check(r, append(features, last), skips, middle, decoder, inner)
	}
}

// networks are the parts whose weights a device needs.
func (d *diffusion) networks() []any { return []any{&d.UNet, &d.Adaptor, &d.Connectors} }

// forward declares the program's inputs and predicts the noise in latents of
// c×h×w for a batch of n prompts, of context tokens each. The latent, z_LQ and
// the time are the same for the whole batch.
func (d *diffusion) forward(g *nn.Graph, h, w, n, tokens int, scaled bool) nn.Map {
	c := d.UNet.LatentChannels()
	x := g.InputMap(latentInput, c, h, w, n)
	lq := g.InputMap(lqInput, c, h, w, 1)
	time := g.InputVector(unet.TimeInput, d.UNet.ModelChannels(), 1)
	y := g.InputVector(unet.VectorInput, d.UNet.VectorFeatures(), n)
	context := g.InputTokens(unet.ContextInput, d.UNet.ContextFeatures(), tokens, n)
	var scale controlScale
	if scaled {
		v := g.InputVector(controlInput, 1, 1)
		scale.input = &v
	}
	f := &features{adaptor: &d.Adaptor, x: x, lq: lq, c: d.Adaptor.Condition(g, "control_model", time, y, context), known: map[int]nn.Map{}}
	steer := &steering{connectors: &d.Connectors, features: f, scale: scale}
	return d.UNet.Forward(g, x, d.UNet.Condition(g, "unet", time, y, context), steer)
}
