package unet

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
)

// TestGoldenTimestep compares sinusoids of every length there is; the reference
// computed their angles in F32, which at t = 999 is right to 1e-4 or so.
func TestGoldenTimestep(t *testing.T) {
	f := goldentest.Open(t, "schedule.safetensors")
	_, steps := f.Tensor(t, "timestep_embedding.t")
	n := 0
	for _, name := range f.Names() {
		dim, ok := strings.CutPrefix(name, "timestep_embedding.dim")
		if !ok {
			continue
		}
		n++
		d, err := strconv.Atoi(dim)
		require.NoError(t, err)
		_, want := f.Tensor(t, name)
		got := make([]float32, len(want))
		for i, v := range steps {
			Timestep(got[i*d:(i+1)*d], float64(v))
		}
		goldentest.Equal(t, name, got, want, 1e-9)
	}
	require.Positive(t, n)
}

func load(t *testing.T) (*UNet, *weights.Report) {
	var u UNet
	var r weights.Report
	goldentest.Weights(t).Fill(&u, "unet", "model.diffusion_model", &r)
	require.NoError(t, r.Err())
	return &u, &r
}

func TestCheck(t *testing.T) {
	u, r := load(t)
	skips, middle, decoder, inner := u.Check(r)
	require.NoError(t, r.Err())
	require.Len(t, skips, len(u.Input))
	require.Equal(t, middle, decoder[len(decoder)-1], "the middle goes to the last skip first")
	doublings := 0
	for _, c := range inner {
		if c > 0 {
			doublings++
		}
	}
	require.Equal(t, u.Factor(), 1<<doublings)
}

// TestCheckMisfits changes shapes and expects each to be named.
func TestCheckMisfits(t *testing.T) {
	for name, change := range map[string]func(u *UNet) *weights.Tensor{
		"convolution": func(u *UNet) *weights.Tensor { return u.Input[1].Res.InConv.Weight },
		"embedding":   func(u *UNet) *weights.Tensor { return u.Input[1].Res.Emb.Weight },
		"query":       func(u *UNet) *weights.Tensor { return u.Middle.Attn.Blocks[0].Attn1.ToQ.Weight },
		"value":       func(u *UNet) *weights.Tensor { return u.Middle.Attn.Blocks[0].Attn2.ToV.Weight },
		"norm":        func(u *UNet) *weights.Tensor { return u.OutNorm.Weight },
		"output":      func(u *UNet) *weights.Tensor { return u.OutConv.Weight },
		"time":        func(u *UNet) *weights.Tensor { return u.Time2.Weight },
	} {
		t.Run(name, func(t *testing.T) {
			u, r := load(t)
			tensor := change(u)
			tensor.Shape[len(tensor.Shape)-1]++
			u.Check(r)
			require.ErrorContains(t, r.Err(), tensor.Name)
		})
	}
	u, r := load(t)
	u.Output = u.Output[1:]
	u.Check(r)
	require.ErrorContains(t, r.Err(), "output_blocks")
	u, r = load(t)
	u.Middle.Attn.Blocks[0].Attn1.HeadDim = 48
	u.Check(r)
	require.ErrorContains(t, r.Err(), "head_dim")
}

// TestPlain runs the U-Net without connectors.
func TestPlain(t *testing.T) {
	u, _ := load(t)
	e, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	defer e.Close()
	params, err := e.Load(t.Context(), nn.F32, u)
	require.NoError(t, err)
	defer params.Close()
	p, err := e.Build(params, nil, func(g *nn.Graph) {
		time, y := g.InputVector(TimeInput, u.ModelChannels(), 1), g.InputVector(VectorInput, u.VectorFeatures(), 1)
		text := g.InputTokens(ContextInput, u.ContextFeatures(), 5, 1)
		c := u.Condition(g, "unet", time, y, text)
		nn.Output(g, "noise", u.Forward(g, g.InputMap("x", u.LatentChannels(), 8, 12, 1), c, nil))
	})
	require.NoError(t, err)
	defer p.Close()
	for name, n := range map[string]int{TimeInput: u.ModelChannels(), VectorInput: u.VectorFeatures(), ContextInput: 5 * u.ContextFeatures(), "x": 96 * u.LatentChannels()} {
		require.NoError(t, p.Set(name, make([]float32, n)))
	}
	require.NoError(t, p.Run(t.Context()))
	out, err := p.Get("noise")
	require.NoError(t, err)
	require.Len(t, out, 96*u.LatentChannels())
}
