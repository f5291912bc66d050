package supir

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/vae"
)

// runBound is golden's for a whole run in F32: errors of single blocks, near
// 1e-12, are carried through every step.
const runBound = 1e-7

// boundOn is a run's bound on a device, where F16 products add up to no more
// than a few thousandths.
func boundOn(d goldentest.Device) float64 { return min(runBound*d.Tolerance, 5e-3) }

// goldenNoise hands out recorded noise, the initial one first, and counts.
func goldenNoise(t testing.TB, f *goldentest.File, prefix string, draws *int) func(int) noiseSource {
	*draws = -1
	return func(int) noiseSource {
		return func(dst []float32) {
			name := prefix + "initial_noise"
			if *draws >= 0 {
				name = fmt.Sprintf("%snoise.%d", prefix, *draws)
			}
			_, noise := f.Tensor(t, name)
			copy(dst, noise)
			*draws++
		}
	}
}

// TestGoldenPipeline runs all of the paper's Fig. 2 from a picture to both colour
// fixes, with the machine that Restore uses.
func TestGoldenPipeline(t *testing.T) {
	golden := goldentest.Open(t, "pipeline.safetensors")
	var prompts map[string]string
	data, err := os.ReadFile(goldentest.Path(t, "text.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &prompts))
	for _, device := range goldentest.Devices(t) {
		t.Run(device.Name, func(t *testing.T) {
			model := goldenModel(t)
			n, m := model.networks, &model.machine
			require.NoError(t, m.open(device.Name, 0))
			m.hold(held{precision: nn.F32, keep: true})
			equal := func(name string, got []float32) {
				t.Helper()
				_, want := golden.Tensor(t, name)
				goldentest.Equal(t, name, got, want, boundOn(device))
			}
			shape, image := golden.Tensor(t, "image")
			z := sizes{workH: shape[1], workW: shape[2]}
			lq, err := m.encode(t.Context(), n, &n.vae.Robust, vae.Slice(image), z.workH, z.workW, nil)
			require.NoError(t, err)
			equal("z_lq", lq)
			cleaned := make(vae.Slice, len(image))
			require.NoError(t, m.decode(t.Context(), n, lq, z.workH, z.workW, cleaned, nil))
			equal("stage1_image", cleaned)
			centre, err := m.encode(t.Context(), n, &n.vae.Encoder, cleaned, z.workH, z.workW, nil)
			require.NoError(t, err)
			equal("centre", centre)

			set, err := Options{Steps: 5, CFGStart: 4, CFGEnd: 7.5, SChurn: 5, SNoise: 1.01, Restoration: 4,
				Prompt: prompts["positive"], PositiveWords: "-", NegativeWords: prompts["negative"]}.resolve(n.defaults)
			require.NoError(t, err)
			cond, err := m.conditions(t.Context(), n, &set, []string{set.Prompt})
			require.NoError(t, err)
			var draws int
			latents, err := model.sample(t.Context(), &set, z, newTracker(nil, nil),
				samplingInput{lq: lq, centre: centre, cond: cond, noise: goldenNoise(t, golden, "", &draws)})
			require.NoError(t, err)
			equal("z_0", latents[0])
			decoded := make(vae.Slice, len(image))
			require.NoError(t, m.decode(t.Context(), n, latents[0], z.workH, z.workW, decoded, nil))
			equal("decoded", decoded)
			fixed := append([]float32(nil), decoded...)
			waveletFix(fixed, cleaned, z.workH, z.workW, set.ColorFixLevels)
			equal("wavelet", fixed)
			adainFix(decoded, cleaned, z.workH, z.workW)
			equal("adain", decoded)
		})
	}
}

// A goldenRun is one entry of samplers.json.
type goldenRun struct {
	Sampler      string   `json:"sampler"`
	Steps        int      `json:"steps"`
	CFGStart     float64  `json:"cfg_start"`
	CFGEnd       float64  `json:"cfg_end"`
	Restore      float64  `json:"restore"`
	SChurn       float64  `json:"s_churn"`
	SNoise       float64  `json:"s_noise"`
	ControlEnd   float64  `json:"control_scale"`
	Linear       bool     `json:"linear_control_scale"`
	ControlStart float64  `json:"control_scale_start"`
	Tile         []int    `json:"tile"` // size, stride
	Eta          float64  `json:"eta"`
	Captions     []string `json:"per_tile_context"`
	Draws        int      `json:"noise_draws"`
}

// settings are the run's, as Options would resolve to.
func (r *goldenRun) settings() *settings {
	s := &settings{Options: Options{Steps: r.Steps, Samples: 1, CFGStart: r.CFGStart, CFGEnd: r.CFGEnd, Restoration: r.Restore,
		ControlStart: r.ControlEnd, ControlEnd: r.ControlEnd, SChurn: r.SChurn, SNoise: r.SNoise, Eta: r.Eta, TileSize: 1 << 20},
		guided: r.Restore > 0}
	if r.Linear {
		s.ControlStart = r.ControlStart
	}
	if r.Sampler == "dpmpp_2m" {
		s.Sampler, s.Schedule = DPMPP2M, ScheduleKarras
	}
	if r.Tile != nil {
		s.TileSize, s.TileStride = r.Tile[0], r.Tile[1]
	}
	return s
}

// goldenConditions are the recorded hidden states and vectors of captions, behind
// those of the negative prompt.
func goldenConditions(t testing.TB, captions ...string) *conditions {
	f := goldentest.Open(t, "text.safetensors")
	c := &conditions{prompts: 1 + len(captions)}
	for _, caption := range append([]string{"negative"}, captions...) {
		lShape, l := f.Tensor(t, caption+".clip_l.hidden")
		gShape, g := f.Tensor(t, caption+".clip_g.hidden")
		for i := range lShape[0] {
			c.context = append(c.context, l[i*lShape[1]:][:lShape[1]]...)
			c.context = append(c.context, g[i*gShape[1]:][:gShape[1]]...)
		}
		_, y := f.Tensor(t, caption+".vector")
		c.y = append(c.y, y...)
	}
	return c
}

// TestGoldenSamplers repeats recorded runs of both samplers, whole and in tiles,
// with U-Net, adaptor and connectors.
func TestGoldenSamplers(t *testing.T) {
	data, err := os.ReadFile(goldentest.Path(t, "samplers.json"))
	require.NoError(t, err)
	var runs map[string]*goldenRun
	require.NoError(t, json.Unmarshal(data, &runs))
	require.NotEmpty(t, runs)
	golden := goldentest.Open(t, "samplers.safetensors")
	model := goldenModel(t)
	require.NoError(t, model.machine.open("cpu", 0))
	model.machine.hold(held{precision: nn.F32, keep: true})
	for name, run := range runs {
		t.Run(name, func(t *testing.T) {
			shape, lq := golden.Tensor(t, name+".z_lq")
			_, centre := golden.Tensor(t, name+".centre")
			f := model.networks.vae.Factor()
			captions := run.Captions
			if captions == nil {
				captions = []string{"positive"}
			}
			var draws int
			latents, err := model.sample(t.Context(), run.settings(), sizes{workH: shape[2] * f, workW: shape[3] * f}, newTracker(nil, nil),
				samplingInput{lq: lq, centre: centre, cond: goldenConditions(t, captions...), noise: goldenNoise(t, golden, name+".", &draws)})
			require.NoError(t, err)
			_, want := golden.Tensor(t, name+".result")
			goldentest.Equal(t, name, latents[0], want, runBound)
			require.Equal(t, run.Draws, draws, "draws of noise")
		})
	}
}
