package supir

import (
	"fmt"
	"image"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/unet"
)

func TestReuseSchedule(t *testing.T) {
	text, deep, adaptor := unet.TextPart, unet.DeepPart, adaptorPart
	r := reuse{gate: 3, deep: 2, adaptor: 4}
	want := [][]string{nil, {deep, adaptor}, {adaptor}, {text, deep, adaptor}, {text}, {text, deep, adaptor}, {text, adaptor}}
	for step, parts := range want {
		assert.Equal(t, parts, r.at(step), "step %d", step)
	}
	ways, kept := r.ways(5)
	assert.Equal(t, [][]string{{deep, adaptor}, {adaptor}, {text, deep, adaptor}, {text}}, ways)
	assert.ElementsMatch(t, []string{text, deep, adaptor}, kept)
	for _, off := range []reuse{{}, {1000, 1, 1}, {gate: 5}, {gate: 5, deep: 1, adaptor: 1}} {
		ways, kept := off.ways(5)
		assert.Empty(t, ways, "%v", off)
		assert.Empty(t, kept, "%v", off)
	}
}

// sampled draws the golden model's latents for fixed inputs.
func sampled(t *testing.T, m *Model, h, w int, o Options) [][]float32 {
	set, err := o.resolve(m.networks.defaults)
	require.NoError(t, err)
	f := m.networks.vae.Factor()
	n := m.networks.vae.LatentChannels() * h * w
	latents, err := m.sample(t.Context(), &set, sizes{workH: h * f, workW: w * f}, newTracker(nil, nil), samplingInput{
		lq: normals(1, n), centre: normals(2, n), cond: goldenConditions(t, "positive"), noise: func(i int) noiseSource { return newNoise(uint64(i)) }})
	require.NoError(t, err)
	return latents
}

// TestReuse: options that leave nothing out change nothing, to the last bit; the
// others change something, little where little is left out, and the same in every
// run.
func TestReuse(t *testing.T) {
	m := goldenModel(t)
	require.NoError(t, m.machine.open("cpu", 0))
	m.machine.hold(held{precision: nn.F32, keep: true})
	const h, w = 8, 12
	whole, tiled := Options{Steps: 4, TileSize: -1}, Options{Steps: 4, TileSize: 8}
	for name, base := range map[string]Options{"whole": whole, "windows": tiled} {
		t.Run(name, func(t *testing.T) {
			full := sampled(t, m, h, w, base)[0]
			with := func(change func(o *Options)) Options {
				o := base
				change(&o)
				return o
			}
			for _, same := range []Options{
				with(func(o *Options) { o.GateStep, o.DeepInterval, o.AdaptorInterval = 4, 1, 1 }),
				with(func(o *Options) { o.CFGSigmaMin, o.CFGSigmaMax = 0.001, 100 }),
			} {
				assert.Equal(t, full, sampled(t, m, h, w, same)[0])
			}
			for name, other := range map[string]Options{
				"gate":       with(func(o *Options) { o.GateStep = 2 }),
				"deep":       with(func(o *Options) { o.DeepInterval = 2 }),
				"adaptor":    with(func(o *Options) { o.AdaptorInterval = 2 }),
				"everything": with(func(o *Options) { o.GateStep, o.DeepInterval, o.AdaptorInterval = 1, 2, 4 }),
				"interval":   with(func(o *Options) { o.CFGSigmaMax = 5 }),
				"both":       with(func(o *Options) { o.CFGSigmaMax, o.DeepInterval = 5, 2 }),
			} {
				latents := sampled(t, m, h, w, other)
				loss := goldentest.NMSE(latents[0], full)
				t.Logf("%s: %.2g", name, loss)
				assert.Positive(t, loss, name)
				assert.Less(t, loss, 1.0, name)
				other.Samples = 2
				assert.Equal(t, latents[0], sampled(t, m, h, w, other)[0], "%s again", name)
			}
		})
	}
}

// TestReuseInWindows: what one window has kept is not used in another. Two windows
// of the same content must give the same, wherever they lie.
func TestReuseInWindows(t *testing.T) {
	m := goldenModel(t)
	require.NoError(t, m.machine.open("cpu", 0))
	m.machine.hold(held{precision: nn.F32, keep: true})
	const side = 8
	set, err := Options{Steps: 4, TileSize: side, DeepInterval: 4, AdaptorInterval: 4, GateStep: 1}.resolve(m.networks.defaults)
	require.NoError(t, err)
	n := m.networks.vae.LatentChannels() * side * side
	lq, x := [2][]float32{normals(1, n), normals(2, n)}, [2][]float32{normals(3, n), normals(4, n)}
	run := func(order ...int) map[int][]float32 { // two steps of each window given, in turn
		net := m.machine.newSteered(t.Context(), m.networks, &set, side, side, goldenConditions(t, "positive"))
		defer net.close()
		var windows []network
		for i := range lq {
			windows = append(windows, net.network(i, func() []float32 { return lq[i] }, 0))
		}
		last := map[int][]float32{}
		for step := range 2 {
			for _, i := range order {
				_, pos, err := windows[i](x[i], 900-100*step, 1, true)
				require.NoError(t, err)
				last[i] = pos
			}
		}
		return last
	}
	together := run(0, 1)
	assert.Equal(t, run(0)[0], together[0])
	assert.Equal(t, run(1)[1], together[1])
	assert.NotEqual(t, together[0], together[1])
}

// TestPlanOfReuse: what is kept and the programs that use it are planned for.
func TestPlanOfReuse(t *testing.T) {
	m := goldenModel(t)
	working := func(o Options) int64 {
		o.Device = "cpu"
		p, err := m.Plan(image.Pt(128, 128), o)
		require.NoError(t, err)
		for _, s := range p.Stages {
			if s.Stage == StageSample {
				return s.Working
			}
		}
		t.Fatal("no sampling")
		return 0
	}
	plain := working(Options{Steps: 9})
	assert.Equal(t, plain, working(Options{Steps: 9, GateStep: 9}))
	last := plain
	for i, o := range []Options{{Steps: 9, DeepInterval: 2}, {Steps: 9, DeepInterval: 2, AdaptorInterval: 4}, {Steps: 9, DeepInterval: 2, AdaptorInterval: 4, GateStep: 3}} {
		more := working(o)
		assert.Greater(t, more, last, fmt.Sprint(i))
		last = more
	}
}
