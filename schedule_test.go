package supir

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

// floatGrain is a float32's unit in the last place: the golden files are float32, once rounded.
const floatGrain = 1. / (1 << 23)

func requireSigmas(t *testing.T, name string, sigmas func(n int) []float64, tolerance float64) {
	for _, number := range goldenNames(t, name+".n") {
		n, err := strconv.Atoi(number)
		require.NoError(t, err)
		_, want := goldentest.Open(t, "schedule.safetensors").Tensor(t, name+".n"+number)
		got := sigmas(n)
		require.Len(t, got, len(want))
		for k := range n {
			require.InEpsilon(t, want[k], got[k], tolerance, "n=%d, k=%d", n, k)
		}
		require.Zero(t, got[n])
	}
}

func TestSigmasGolden(t *testing.T) {
	requireSigmas(t, "sigmas", samplingSigmas, floatGrain)
}

// The reference takes root and power in float32, so that the unit counts seven times.
func TestKarrasSigmasGolden(t *testing.T) {
	requireSigmas(t, "sigmas_karras", sigmasOf(DPMPP2M, ScheduleKarras), 7*floatGrain)
}

// sigmasOf are the levels of a sampler's schedule.
func sigmasOf(sampler Sampler, schedule Schedule) func(n int) []float64 {
	return func(n int) []float64 {
		s := settings{Options: Options{Sampler: sampler, Schedule: schedule, Steps: n}}
		return s.sigmas()
	}
}

// With EDM, Karras's levels go down to the least that the model was trained on.
func TestKarrasSigmasOfEDM(t *testing.T) {
	for _, n := range []int{2, 12, 50} {
		assert.InEpsilon(t, 0.0292, sigmasOf(EDM, ScheduleKarras)(n)[n-1], 1e-2)
		assert.Equal(t, samplingSigmas(n), sigmasOf(EDM, ScheduleEven)(n))
	}
}

func TestSnapGolden(t *testing.T) {
	_, sigma := goldentest.Open(t, "schedule.safetensors").Tensor(t, "snap.sigma")
	_, index := goldentest.Open(t, "schedule.safetensors").Tensor(t, "snap.index")
	_, to := goldentest.Open(t, "schedule.safetensors").Tensor(t, "snap.to")
	for i := range sigma {
		step, snapped := snap(float64(sigma[i]))
		assert.Equal(t, int(index[i]), step, "σ=%v", sigma[i])
		assert.InEpsilon(t, to[i], snapped, floatGrain, "σ=%v", sigma[i])
	}
}

func TestSigmaMaxIsTheGridsEnd(t *testing.T) {
	assert.InDelta(t, sigmaMax, trainingSigmas[trainingSteps-1], 5e-5)
}

func TestSigmasDescend(t *testing.T) {
	for n := 1; n <= trainingSteps; n++ {
		for _, sigmas := range [][]float64{samplingSigmas(n), sigmasOf(DPMPP2M, ScheduleKarras)(n), sigmasOf(EDM, ScheduleKarras)(n)} {
			require.Len(t, sigmas, n+1)
			require.Equal(t, trainingSigmas[trainingSteps-1], sigmas[0])
			for k := range n {
				require.Greater(t, sigmas[k], sigmas[k+1], "n=%d, k=%d", n, k)
			}
			require.Zero(t, sigmas[n])
		}
	}
}

func FuzzSnap(f *testing.F) {
	for _, sigma := range []float64{0, 0.029, 1, 14.6146, 20, 1e300, math.Inf(1)} {
		f.Add(sigma)
	}
	f.Fuzz(func(t *testing.T, sigma float64) {
		if math.IsNaN(sigma) {
			t.Skip()
		}
		step, snapped := snap(sigma)
		require.Equal(t, trainingSigmas[step], snapped)
		for _, other := range trainingSigmas {
			require.LessOrEqual(t, math.Abs(sigma-snapped), math.Abs(sigma-other))
		}
	})
}

func TestLinear(t *testing.T) {
	l := linear{start: 4, end: 7.5}
	assert.Equal(t, 7.5, l.at(0))
	assert.InDelta(t, 4, l.at(sigmaMax), 1e-12)
	assert.InDelta(t, 5.75, l.at(sigmaMax/2), 1e-12)
	assert.Less(t, l.at(1.4*sigmaMax), 4.0, "not clamped")
	for _, sigma := range trainingSigmas {
		require.Equal(t, 1.0, linear{1, 1}.at(sigma), "a constant is exact")
	}
}

// A network that finds the noise exactly makes a predictor that finds the latent.
func TestDiscrete(t *testing.T) {
	clean := []float32{0.5, -1.25, 2}
	eps := []float32{0.3, -0.7, 1.1}
	const asked = 3.3333
	step, sigma := snap(asked)
	x := make([]float32, len(clean))
	for i := range x {
		x[i] = clean[i] + float32(sigma)*eps[i]
	}
	before := append([]float32(nil), x...)

	calls := 0
	predict := discrete(func(scaled []float32, at int, controlScale float64, both bool) (neg, pos []float32, err error) {
		calls++
		assert.Equal(t, step, at)
		assert.Equal(t, 0.8, controlScale)
		for i := range scaled {
			assert.InDelta(t, float64(x[i])/math.Sqrt(1+sigma*sigma), scaled[i], 1e-6)
		}
		if both {
			neg = make([]float32, len(eps))
		}
		return neg, append([]float32(nil), eps...), nil
	})

	neg, pos, err := predict(x, asked, 0.8, true)
	require.NoError(t, err)
	assert.Equal(t, x, neg, "no noise seen, none taken away")
	assert.InDeltaSlice(t, clean, pos, 1e-6)

	neg, pos, err = predict(x, asked, 0.8, false)
	require.NoError(t, err)
	assert.Nil(t, neg)
	assert.InDeltaSlice(t, clean, pos, 1e-6)
	assert.Equal(t, before, x, "x is only borrowed")
	assert.Equal(t, 2, calls)
}

func TestDiscreteFails(t *testing.T) {
	_, _, err := discrete(func([]float32, int, float64, bool) (neg, pos []float32, err error) {
		return nil, nil, assert.AnError
	})([]float32{1}, 1, 1, true)
	assert.ErrorIs(t, err, assert.AnError)
}

// goldenNames lists the tensors of the golden schedules that begin with prefix,
// which is cut off. It fails the test if there is none.
func goldenNames(t testing.TB, prefix string) []string {
	t.Helper()
	var names []string
	for _, name := range goldentest.Open(t, "schedule.safetensors").Names() {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			names = append(names, rest)
		}
	}
	require.NotEmpty(t, names, "no %s…", prefix)
	return names
}
