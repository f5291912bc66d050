package supir

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

var sdxlDefaults = defaults{minSize: 1024, steps: 50, schedule: ScheduleEven, restoration: 4, faithful: 4, sChurn: 5, cfgStart: 4, cfgEnd: 7.5, colorFixLevels: 5}

func TestOptionsDefaults(t *testing.T) {
	s, err := Options{}.resolve(sdxlDefaults)
	require.NoError(t, err)
	require.Equal(t, Options{Upscale: 1, MinSize: 1024, Steps: 50, Schedule: ScheduleEven, Seed: 1234, Samples: 1, CFGStart: 4, CFGEnd: 7.5,
		ControlStart: 1, ControlEnd: 1, Restoration: 4, SChurn: 5, SNoise: 1.01, Eta: 1, GateStep: 1000, DeepInterval: 1, AdaptorInterval: 1,
		PositiveWords: DefaultPositive, NegativeWords: DefaultNegative, ColorFixLevels: 5, TileSize: 128, TileStride: 64}, s.Options)
	require.True(t, s.guided)

	s, err = Options{Sampler: DPMPP2M}.resolve(sdxlDefaults)
	require.NoError(t, err)
	require.Equal(t, []float64{1.5, 1.5, 1}, []float64{s.CFGStart, s.CFGEnd, s.SNoise})
	require.Equal(t, 8, s.Steps)
	require.Equal(t, ScheduleKarras, s.Schedule)
	require.False(t, s.guided)
}

// A model may want other defaults with Fidelity; what the caller sets stays.
func TestFidelityTakesTheModelsOwn(t *testing.T) {
	model := defaults{minSize: 256, steps: 12, schedule: ScheduleKarras, restoration: 1, faithful: 0.1, cfgStart: 4, cfgEnd: 4, colorFixLevels: 4}
	tau := func(o Options) float64 {
		s, err := o.resolve(model)
		require.NoError(t, err)
		require.Equal(t, ScheduleKarras, s.Schedule)
		return s.Restoration
	}
	require.Equal(t, 1.0, tau(Options{}))
	require.Equal(t, 1.0, tau(Quality))
	require.Equal(t, 0.1, tau(Fidelity))
	o := Fidelity
	o.Restoration = 2
	require.Equal(t, 2.0, tau(o))
}

func TestOptionsNegativeIsZero(t *testing.T) {
	s, err := Options{CFGStart: -1, SChurn: -1, ControlStart: -1, Restoration: -1, Eta: -1, MinSize: -1, NegativeWords: "-", TileSize: -1}.
		resolve(sdxlDefaults)
	require.NoError(t, err)
	require.Zero(t, s.CFGStart)
	require.Zero(t, s.SChurn)
	require.Zero(t, s.ControlStart)
	require.Equal(t, 1.0, s.ControlEnd)
	require.False(t, s.guided)
	require.Zero(t, s.Eta)
	require.Equal(t, 1, s.MinSize)
	require.Empty(t, s.NegativeWords)
	require.False(t, needsTiles(1<<20, 1<<20, s.TileSize))
}

func TestOptionsRefused(t *testing.T) {
	for option, o := range map[string]Options{
		"Upscale":         {Upscale: 17},
		"MinSize":         {MinSize: 1 << 20},
		"Steps":           {Steps: -1},
		"Samples":         {Samples: 1000},
		"CFGStart":        {CFGStart: math.NaN()},
		"CFGEnd":          {CFGEnd: math.Inf(1)},
		"ControlStart":    {ControlStart: 3},
		"ControlEnd":      {ControlEnd: 3},
		"Restoration":     {Restoration: math.NaN()},
		"SChurn":          {SChurn: 1e9},
		"SNoise":          {SNoise: -1},
		"Eta":             {Eta: 2},
		"CFGSigmaMin":     {CFGSigmaMin: 200},
		"CFGSigmaMax":     {CFGSigmaMin: 3, CFGSigmaMax: 2},
		"GateStep":        {GateStep: -1},
		"DeepInterval":    {DeepInterval: 1001},
		"AdaptorInterval": {DeepInterval: 2, AdaptorInterval: 3},
		"Sampler":         {Sampler: 9},
		"Schedule":        {Schedule: 3},
		"ColorFix":        {ColorFix: -1},
		"ColorFixLevels":  {ColorFixLevels: 7},
		"Precision":       {Precision: 7},
		"TileSize":        {TileSize: 12},
		"TileStride":      {TileSize: 64, TileStride: 20},
		"Threads":         {Threads: -1},
		"Memory":          {Memory: -1},
		"Device":          {Device: "abacus"},
	} {
		t.Run(option, func(t *testing.T) {
			_, err := o.resolve(sdxlDefaults)
			var e *OptionError
			require.ErrorAs(t, err, &e)
			require.Equal(t, option, e.Option)
		})
	}
}

func TestSizes(t *testing.T) {
	for name, c := range map[string]struct {
		w, h           int
		upscale        float64
		minSize        int
		workW, workH   int
		resultW, reslH int
	}{
		"as it is":      {512, 512, 1, 1, 512, 512, 512, 512},
		"rounded":       {500, 333, 1, 1, 512, 320, 500, 333},
		"enlarged":      {128, 128, 4, 1, 512, 512, 512, 512},
		"least size":    {100, 200, 1, 1024, 1024, 2048, 100, 200},
		"one pixel":     {1, 1, 1, 1024, 1024, 1024, 1, 1},
		"strip":         {3, 4000, 1, 256, 64, 18688, 3, 4000},
		"long panorama": {8000, 1000, 1, 1024, 8000, 1024, 8000, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			z, err := sizesFor(c.w, c.h, &settings{Options: Options{Upscale: c.upscale, MinSize: c.minSize}}, 64)
			require.NoError(t, err)
			require.Equal(t, sizes{c.w, c.h, c.workW, c.workH, c.resultW, c.reslH, false}, z)
		})
	}
	_, err := sizesFor(5000, 5000, &settings{Options: Options{Upscale: 4, MinSize: 1}}, 64)
	require.Error(t, err)
}
