package supir

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/weights"
)

// networkBound is golden's for a network in F32; blocks stay an order below it.
const networkBound = 1e-10

// Bounds for a network whose products are computed in fewer bits: roundings of
// both factors add up over its layers.
const (
	bf16Bound = 5e-4
	int8Bound = 1e-3
)

// A golden run's way to compute: a device, and in what precision.
type goldenWay struct {
	goldentest.Device
	precision nn.Precision
	bound     float64
}

// goldenWays are every device in F32, and the CPU in all precisions that it has
// kernels for.
func goldenWays(t *testing.T) map[string]goldenWay {
	ways := map[string]goldenWay{}
	for _, d := range goldentest.Devices(t) {
		ways[d.Name] = goldenWay{d, nn.F32, networkBound * d.Tolerance}
		if e := d.Open(t); e.Kernels() != "" {
			ways[d.Name+" bf16"] = goldenWay{d, nn.BF16, bf16Bound}
			ways[d.Name+" int8"] = goldenWay{d, nn.Int8, int8Bound}
			ways[d.Name+" int8, weights as stored"] = goldenWay{d, nn.StoredInt8, int8Bound}
		}
	}
	return ways
}

// TestGoldenDiffusion compares every block of adaptor, connectors and U-Net, and
// the whole at three control scales, on every device and in every precision.
func TestGoldenDiffusion(t *testing.T) {
	golden := goldentest.Open(t, "diffusion.safetensors")
	var d diffusion
	var r weights.Report
	d.fill(goldentest.Weights(t), &r)
	require.NoError(t, r.Err())

	xShape, x := golden.Tensor(t, "x")
	n, h, w := xShape[0], xShape[2], xShape[3]
	contextShape, context := golden.Tensor(t, "context")
	_, lq := golden.Tensor(t, "control")
	_, steps := golden.Tensor(t, "t")
	_, y := golden.Tensor(t, "y")
	time := make([]float32, d.UNet.ModelChannels())
	unet.Timestep(time, float64(steps[0]))

	for name, way := range goldenWays(t) {
		t.Run(name, func(t *testing.T) {
			engine := way.Open(t)
			params, err := engine.Load(t.Context(), way.precision, d.networks()...)
			require.NoError(t, err)
			defer params.Close()
			run := func(scaled bool, scale float32, tap func(string) bool) *nn.Program {
				program, err := engine.Build(params, tap, func(g *nn.Graph) {
					nn.Output(g, noiseOutput, d.forward(g, h, w, n, contextShape[1], scaled))
				})
				require.NoError(t, err)
				inputs := map[string][]float32{latentInput: x, lqInput: lq, unet.TimeInput: time, unet.ContextInput: context, unet.VectorInput: y}
				if scaled {
					inputs[controlInput] = []float32{scale}
				}
				for name, data := range inputs {
					require.NoError(t, program.Set(name, data))
				}
				require.NoError(t, program.Run(t.Context()))
				return program
			}
			equal := func(name string, p *nn.Program, output string) {
				got, err := p.Get(output)
				require.NoError(t, err)
				_, want := golden.Tensor(t, name)
				if rows := len(want) / len(got); rows > 1 { // the time is embedded once for the whole batch
					got = slices.Repeat(got, rows)
				}
				most := way.bound
				if way.precision != nn.F32 && output != noiseOutput {
					most *= 1.5 // the worst are in the middle, whose errors the last blocks even out
				}
				goldentest.Equal(t, name, got, want, most)
			}

			blocks := map[string]bool{}
			for _, name := range golden.Names() {
				inGraph := strings.HasPrefix(name, "unet.") || strings.HasPrefix(name, "control_model.")
				if inGraph && !strings.HasPrefix(name, "unet.out.control_scale_") {
					blocks[name] = true
				}
			}
			p := run(false, 1, func(name string) bool { return blocks[name] })
			defer p.Close()
			equal("unet.out", p, noiseOutput)
			for _, name := range slices.Sorted(maps.Keys(blocks)) {
				equal(name, p, name)
			}
			for name, scale := range map[string]float32{"unet.out": 1, "unet.out.control_scale_0.5": 0.5, "unet.out.control_scale_0": 0} {
				p := run(true, scale, nil)
				equal(name, p, noiseOutput)
				p.Close()
			}
		})
	}
}
