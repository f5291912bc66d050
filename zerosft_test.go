package supir

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// zeroConvolutionWeights are the golden weights with ControlNet's connectors in
// place of the paper's: the zero convolutions of the ZeroSFTs, numbered anew.
// Tensors that keep tells stay as they are.
func zeroConvolutionWeights(t *testing.T, keep func(name string) bool) *weights.Set {
	t.Helper()
	const prefix = "model.diffusion_model.project_modules."
	tensors := map[string]weightstest.Tensor{}
	var modules []string
	set := goldentest.Weights(t)
	for i := 0; ; i++ {
		module := fmt.Sprintf("%s%d.", prefix, i)
		if set.Has(module + "zero_conv.weight") {
			modules = append(modules, module)
		} else if !set.Has(module + "norm1.weight") {
			break
		}
	}
	for tensor := range set.Tensors() {
		name, connector := strings.CutPrefix(tensor.Name, prefix)
		if connector && !keep(name) {
			module, rest, _ := strings.Cut(name, ".")
			n := slices.Index(modules, prefix+module+".")
			if n < 0 || !strings.HasPrefix(rest, "zero_conv.") {
				continue
			}
			name = fmt.Sprintf("%d.%s", n, rest)
		}
		if connector {
			name = prefix + name
		}
		tensors[name] = weightstest.Tensor{DType: tensor.DType, Shape: tensor.Shape, Data: tensor.Data}
	}
	out, err := weights.OpenFiles(weights.File{Path: "zeroconv", Data: weightstest.Safetensors(tensors, nil)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, out.Close()) })
	return out
}

// TestZeroConvolution compares a connector that is a zero convolution alone,
// [X_f, X_s + w·(W·X_c + b)], with the same in plain Go.
func TestZeroConvolution(t *testing.T) {
	var d diffusion
	var r weights.Report
	d.fill(zeroConvolutionWeights(t, func(string) bool { return false }), &r)
	require.NoError(t, r.Err())
	require.True(t, d.Connectors.zeroConvolutions())
	z := d.Connectors.Modules[2].SFT

	const h, w, f, scale = 3, 5, 4, 0.7
	in, out := z.ZeroConv.In(), z.ZeroConv.Out()
	noise := newNoise(3)
	c, s, x := make([]float32, in*h*w), make([]float32, out*h*w), make([]float32, f*h*w)
	for _, v := range [][]float32{c, s, x} {
		noise(v)
	}
	want := slices.Concat(x, s)
	weight, bias := z.ZeroConv.Weight.Float32(), z.ZeroConv.Bias.Float32()
	for o := range out {
		for p := range h * w {
			sum := float64(bias[o])
			for i := range in {
				sum += float64(weight[o*in+i]) * float64(c[i*h*w+p])
			}
			want[(f+o)*h*w+p] += float32(scale * sum)
		}
	}
	for _, device := range goldentest.Devices(t) {
		t.Run(device.Name, func(t *testing.T) {
			engine := device.Open(t)
			params, err := engine.Load(t.Context(), nn.F32, z)
			require.NoError(t, err)
			defer params.Close()
			program, err := engine.Build(params, nil, func(g *nn.Graph) {
				xf := g.InputMap("x", f, h, w, 1)
				v := g.InputVector("scale", 1, 1)
				nn.Output(g, "y", z.forward(g, g.InputMap("c", in, h, w, 1), g.InputMap("s", out, h, w, 1), &xf, controlScale{&v}))
			})
			require.NoError(t, err)
			defer program.Close()
			for name, data := range map[string][]float32{"c": c, "s": s, "x": x, "scale": {scale}} {
				require.NoError(t, program.Set(name, data))
			}
			require.NoError(t, program.Run(t.Context()))
			got, err := program.Get("y")
			require.NoError(t, err)
			goldentest.Equal(t, "y", got, want, 1e-11*device.Tolerance)
		})
	}
}

// TestMixedConnectors: a file with both kinds is damaged.
func TestMixedConnectors(t *testing.T) {
	var d diffusion
	var r weights.Report
	d.fill(zeroConvolutionWeights(t, func(name string) bool { return strings.HasPrefix(name, "0.") }), &r)
	require.ErrorContains(t, r.Err(), "a zero convolution among ZeroSFTs")
}
