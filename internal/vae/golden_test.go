package vae

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/ggml/ggmltest"
	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
)

// TestMain wants every handle closed at the end.
func TestMain(m *testing.M) { ggmltest.Main(m) }

// Errors that an F32 implementation on the CPU stays within: sums of a few
// thousand products in another order differ by 1e-13 or so, and what differs
// grows along the network, to 4e-12 at its end. A network of four times the
// depth would still pass, the smallest mistake in a layer not.
const (
	networkBound = 1e-10
	chainBound   = 1e-9 // three networks, each taking the one before's result
)

func load(t testing.TB) *VAE {
	t.Helper()
	var v VAE
	var r weights.Report
	v.Load(goldentest.Weights(t), &r)
	require.NoError(t, r.Err())
	return &v
}

// run computes out from one input, with every value named in taps kept as an
// output, and returns a function that reads them.
func run(t testing.TB, e *nn.Engine, v *VAE, p nn.Precision, shape []int, in []float32, taps func(string) bool, f func(*nn.Graph, nn.Map) nn.Map) (get func(name string) []float32) {
	t.Helper()
	params, err := e.Load(t.Context(), p, v)
	require.NoError(t, err)
	t.Cleanup(params.Close)
	program, err := e.Build(params, taps, func(g *nn.Graph) {
		nn.Output(g, "out", f(g, g.InputMap("in", shape[0], shape[1], shape[2], 1)))
	})
	require.NoError(t, err)
	t.Cleanup(program.Close)
	require.NoError(t, program.Set("in", in))
	require.NoError(t, program.Run(context.Background()))
	return func(name string) []float32 {
		data, err := program.Get(name)
		require.NoError(t, err)
		return data
	}
}

// TestGoldenSizes reads the sizes off the weights.
func TestGoldenSizes(t *testing.T) {
	v := load(t)
	f := goldentest.Open(t, "vae.safetensors")
	image, _ := f.Tensor(t, "image")
	latent, _ := f.Tensor(t, "encoder.latent_mode")
	assert.Equal(t, []int{v.LatentChannels(), image[1] / v.Factor(), image[2] / v.Factor()}, latent)
}

// TestGoldenBlocks compares every value the golden file holds on the way
// through either encoder and the decoder.
func TestGoldenBlocks(t *testing.T) {
	f := goldentest.Open(t, "vae.safetensors")
	v := load(t)
	imageShape, image := f.Tensor(t, "image")
	latentShape, latent := f.Tensor(t, "denoise_encoder.latent_mode")
	for _, network := range []struct {
		name, last string
		shape      []int
		in         []float32
		forward    func(*nn.Graph, nn.Map) nn.Map
	}{
		{"encoder", "encoder.moments", imageShape, image, func(g *nn.Graph, x nn.Map) nn.Map { return v.Encode(g, &v.Encoder, x) }},
		{"denoise_encoder", "denoise_encoder.moments", imageShape, image, func(g *nn.Graph, x nn.Map) nn.Map { return v.Encode(g, &v.Robust, x) }},
		{"decoder", "decoder.image", latentShape, latent, v.Decode},
	} {
		var keys []string
		kept := map[string]bool{}
		for _, key := range f.Names() {
			if strings.HasPrefix(key, network.name+".") && !strings.HasSuffix(key, ".latent_mode") {
				name, _ := goldentest.Sparse(key)
				keys, kept[name] = append(keys, key), true
			}
		}
		require.Contains(t, keys, network.last)
		for _, d := range goldentest.Devices(t) {
			t.Run(network.name+"/"+d.Name, func(t *testing.T) {
				get := run(t, d.Open(t), v, nn.F32, network.shape, network.in, func(name string) bool { return kept[name] }, network.forward)
				for _, key := range keys {
					shape, want := f.Tensor(t, key)
					name, step := goldentest.Sparse(key)
					got := get(name)
					if step > 1 {
						h, w := fullSize(t, len(got), shape, imageShape)
						got = goldentest.Every(step, got, h, w)
					}
					goldentest.Equal(t, key, got, want, networkBound*d.Tolerance)
				}
				require.Equal(t, get(network.last), get("out"))
			})
		}
	}
}

// fullSize is the size of a map of so many values in shape[0] channels: the
// picture's, halved as often as fits.
func fullSize(t testing.TB, values int, shape, image []int) (h, w int) {
	t.Helper()
	for f := 1; f <= image[1]; f *= 2 {
		h, w = image[1]/f, image[2]/f
		if shape[0]*h*w == values {
			return h, w
		}
	}
	require.Fail(t, "no such map", "%d values for %v", values, shape)
	return 0, 0
}

// TestGoldenCentre goes from the picture through the robust encoder, the
// decoder and the plain encoder, as restoration does.
func TestGoldenCentre(t *testing.T) {
	f := goldentest.Open(t, "vae.safetensors")
	v := load(t)
	shape, image := f.Tensor(t, "image")
	latentShape, _ := f.Tensor(t, "denoise_encoder.latent_mode")
	for _, d := range goldentest.Devices(t) {
		t.Run(d.Name, func(t *testing.T) {
			e := d.Open(t)
			check := func(key string, got []float32) {
				_, want := f.Tensor(t, key)
				goldentest.Equal(t, key, got, want, chainBound*d.Tolerance)
			}
			encode := func(encoder *Encoder, x []float32) []float32 {
				moments := run(t, e, v, nn.F32, shape, x, nil, func(g *nn.Graph, x nn.Map) nn.Map { return v.Encode(g, encoder, x) })("out")
				return Mode(moments, 1)
			}
			check("encoder.latent_mode", encode(&v.Encoder, image))
			lq := encode(&v.Robust, image)
			check("denoise_encoder.latent_mode", lq)
			stage1 := run(t, e, v, nn.F32, latentShape, lq, nil, v.Decode)("out")
			check("decoder.image", stage1)
			check("centre_latent_mode", encode(&v.Encoder, stage1))
		})
	}
}

// TestGoldenStored keeps matrices in the files' F16. The weights are exact in
// it, but products with them may round the activations to F16 too.
func TestGoldenStored(t *testing.T) {
	f := goldentest.Open(t, "vae.safetensors")
	v := load(t)
	shape, image := f.Tensor(t, "image")
	_, want := f.Tensor(t, "encoder.moments")
	for _, d := range goldentest.Devices(t) {
		t.Run(d.Name, func(t *testing.T) {
			get := run(t, d.Open(t), v, nn.Stored, shape, image, nil, func(g *nn.Graph, x nn.Map) nn.Map { return v.Encode(g, &v.Encoder, x) })
			goldentest.Equal(t, "encoder.moments", get("out"), want, 1e-5)
		})
	}
}

// TestGoldenBF16: pictures of the golden weights, decoded and encoded in BF16,
// stay within 45 dB of the recorded ones' range.
func TestGoldenBF16(t *testing.T) {
	f := goldentest.Open(t, "vae.safetensors")
	v := load(t)
	e, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	for _, c := range []struct {
		in, out string
		forward func(*nn.Graph, nn.Map) nn.Map
	}{
		{"denoise_encoder.latent_mode", "decoder.image", v.Decode},
		{"image", "denoise_encoder.moments", func(g *nn.Graph, x nn.Map) nn.Map { return v.Encode(g, &v.Robust, x) }},
	} {
		shape, in := f.Tensor(t, c.in)
		_, want := f.Tensor(t, c.out)
		got := run(t, e, v, nn.BF16, shape, in, nil, c.forward)("out")
		span := float64(slices.Max(want) - slices.Min(want))
		sum := 0.0
		for i, x := range got {
			sum += math.Pow(float64(x-want[i]), 2)
		}
		db := 10 * math.Log10(span*span*float64(len(got))/sum)
		t.Logf("%s: %.1f dB", c.out, db)
		assert.Greater(t, db, 45.0, c.out)
	}
}
