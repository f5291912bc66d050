package supir

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/ggml"
	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/weights"
)

func goldenDiffusion(t testing.TB) *diffusion {
	t.Helper()
	set, err := weights.Open(goldenPath("sdxl.safetensors"), goldenPath("supir.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { set.Close() })
	var d diffusion
	var r weights.Report
	d.fill(set, &r)
	set.Unexpected(&r, unetPrefix, adaptorPrefix)
	require.NoError(t, r.Err())
	return &d
}

// TestGoldenDiffusion compares every block of adaptor and U-Net, on every device.
func TestGoldenDiffusion(t *testing.T) {
	golden := openGolden(t, "diffusion.safetensors")
	tensor := func(name string) ([]int, []float32) {
		g := golden.Tensor(name)
		require.NotNil(t, g, name)
		return g.Shape, g.Float32()
	}
	d := goldenDiffusion(t)
	xShape, x := tensor("x")
	n, h, w := xShape[0], xShape[2], xShape[3]
	_, lq := tensor("control")
	_, steps := tensor("t")
	contextShape, context_ := tensor("context")
	_, y := tensor("y")
	time := make([]float32, d.UNet.ModelChannels())
	unet.Timestep(time, float64(steps[0]))

	engine, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	defer engine.Close()
	params, err := engine.Load(nn.F32, d.networks()...)
	require.NoError(t, err)
	defer params.Close()
	for _, scale := range []struct {
		output string
		w      float32
	}{{"unet.out", 1}, {"unet.out.control_scale_0.5", 0.5}, {"unet.out.control_scale_0", 0}} {
		program, err := engine.Build(params, golden.Has, func(g *nn.Graph) {
			nn.Output(g, noiseOutput, d.forward(g, h, w, n, contextShape[1], scale.w != 1))
		})
		require.NoError(t, err)
		require.NoError(t, program.Set(latentInput, x))
		require.NoError(t, program.Set(lqInput, lq))
		require.NoError(t, program.Set(unet.TimeInput, time))
		require.NoError(t, program.Set(unet.ContextInput, context_))
		require.NoError(t, program.Set(unet.VectorInput, y))
		if scale.w != 1 {
			require.NoError(t, program.Set(controlInput, []float32{scale.w}))
		}
		require.NoError(t, program.Run(context.Background()))
		if scale.w == 1 {
			for _, name := range golden.Names() {
				if !strings.HasPrefix(name, "unet.") && !strings.HasPrefix(name, "control_model.") || strings.HasPrefix(name, "unet.out.") {
					continue
				}
				got, err := program.Get(name)
				if err != nil {
					t.Log(name, err)
					continue
				}
				_, want := tensor(name)
				if len(got) != len(want) { t.Log(name, len(got), len(want)); continue }
				t.Log(name, nmse(got, want))
			}
		}
		got, err := program.Get(noiseOutput)
		require.NoError(t, err)
		_, want := tensor(scale.output)
		t.Log(scale.output, nmse(got, want), program.Size())
		program.Close()
	}
	_ = ggml.Live
}
