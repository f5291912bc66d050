package supir

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"supir/internal/convert"
	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/vae"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
	"supir/photo"
)

// docs/quantization.md has the tables that this makes, of what each type costs, the small model's from the files that
// train.export wrote, before they were quantised for embedded:
//
//	go test -run TestQuantizationTables -timeout 1h -tables docs/quantization.md -exported RUN/export .
var (
	tables   = flag.String("tables", "", "write the tables of TestQuantizationTables into this page, between its markers")
	exported = flag.String("exported", "", "folder of the small model's sdxl.safetensors and supir.safetensors")
)

// converted is a model whose weights went through a GGUF file.
func converted(t testing.TB, from *Model, recipe string) (m *Model, size int) {
	t.Helper()
	r, err := convert.ParseRecipe(recipe)
	require.NoError(t, err)
	metadata, err := from.networks.metadata(Files{}, r)
	require.NoError(t, err)
	var file bytes.Buffer
	_, err = convert.Write(t.Context(), &file, metadata, r.Items(from.networks.tensors()), func() {}, nil)
	require.NoError(t, err)
	m, err = New(Files{Model: "model.gguf", FS: fstest.MapFS{"model.gguf": {Data: file.Bytes()}}})
	require.NoError(t, err)
	return m, file.Len()
}

// networkOutputs is what each network makes of a photograph and two prompts: the
// robust encoder's latent and the picture decoded from it ("vae"), the hidden
// states ("text"), and the noise that the U-Net predicts ("noise").
func networkOutputs(t testing.TB, m *Model, p nn.Precision) map[string][]float32 {
	t.Helper()
	n, mc, ctx := m.networks, &m.machine, t.Context()
	require.NoError(t, mc.open("cpu", 0))
	mc.hold(held{precision: p})
	const side = 128
	in, err := photo.Read("examples/photos/hopper.jpg", photo.ReadOptions{})
	require.NoError(t, err)
	lq, err := mc.encode(ctx, n, &n.vae.Robust, vae.Slice(planes(photo.Resize(in.Image, side, side, photo.Bicubic))), side, side, nil)
	require.NoError(t, err)
	picture := make(vae.Slice, 3*side*side)
	require.NoError(t, mc.decode(ctx, n, lq, side, side, picture, nil))
	hidden, pooled, err := mc.encodeText(ctx, n, []string{"a woman in a uniform", "blur"})
	require.NoError(t, err)

	d, f := &n.diffusion, n.vae.Factor()
	params, err := mc.engine.Load(ctx, p, d.networks()...)
	require.NoError(t, err)
	defer params.Close()
	program, err := mc.engine.Build(params, nil, func(g *nn.Graph) {
		nn.Output(g, noiseOutput, d.forward(g, side/f, side/f, 2, n.clipL.Length(), false))
	})
	require.NoError(t, err)
	defer program.Close()
	r := rand.New(rand.NewPCG(1, 2))
	var x []float32 // half noise, for both prompts
	for range 2 {
		for _, v := range lq {
			x = append(x, (v+float32(r.NormFloat64()))/math.Sqrt2)
		}
	}
	time := make([]float32, d.UNet.ModelChannels())
	unet.Timestep(time, 400)
	var y []float32
	for i := range 2 {
		y = append(y, vector(pooled[i*len(pooled)/2:(i+1)*len(pooled)/2], d.UNet.VectorFeatures())...)
	}
	for name, data := range map[string][]float32{latentInput: x, lqInput: lq, unet.TimeInput: time, unet.ContextInput: hidden, unet.VectorInput: y} {
		require.NoError(t, program.Set(name, data))
	}
	require.NoError(t, program.Run(ctx))
	noise, err := program.Get(noiseOutput)
	require.NoError(t, err)
	return map[string][]float32{"vae": picture, "text": hidden, "noise": noise}
}

// feels is the output in which a network's error is seen.
func feels(network string) string {
	switch network {
	case "vae", "text":
		return network
	}
	return "noise"
}

// TestQuantization converts the golden weights to every type and compares what
// the networks make of their inputs with F32. The bounds are twice to four times
// the errors seen: of weights (see package ggml's test), which add up along a
// network. Blocks of 256 fit few of these small matrices: q6_k to q4_k are mostly
// q8_0 here, but for those that docs/quantization.md measures at their full width.
func TestQuantization(t *testing.T) {
	golden := goldenModel(t)
	want := networkOutputs(t, golden, nn.F32)
	for recipe, bounds := range map[string]struct{ vae, text, noise float64 }{
		"f32":           {1e-12, 1e-12, 1e-12},
		"f16":           {1e-12, 1e-12, 1e-8}, // as the golden files hold them; products of few rows round the rows, too
		"bf16":          {1e-5, 1e-5, 1e-5},
		"q8_0,vae=q8_0": {2e-2, 4e-4, 1e-3}, // which random weights make more of than a trained VAE's
		"q6_k":          {1e-12, 4e-4, 1e-3},
		"q5_k":          {1e-12, 4e-4, 1e-3},
		"q4_k":          {1e-12, 4e-4, 1e-3},
		"q4_0":          {1e-12, 0.1, 0.2},
	} {
		t.Run(recipe, func(t *testing.T) {
			m, _ := converted(t, golden, recipe)
			defer m.Close()
			got := networkOutputs(t, m, nn.Stored)
			goldentest.Equal(t, "vae", got["vae"], want["vae"], bounds.vae)
			goldentest.Equal(t, "text", got["text"], want["text"], bounds.text)
			goldentest.Equal(t, "noise", got["noise"], want["noise"], bounds.noise)
		})
	}
}

// TestConvertKeepsResults restores a picture from a converted file: as F32 the
// pixels are those of the original's.
func TestConvertKeepsResults(t *testing.T) {
	golden := goldenModel(t)
	m, _ := converted(t, golden, "f32")
	defer m.Close()
	in := gradientPicture(48, 40)
	opts := Options{Steps: 1, MinSize: 64, Device: "cpu", Prompt: "a gradient", Precision: PrecisionF32}
	want, err := golden.Restore(t.Context(), in, opts)
	require.NoError(t, err)
	got, err := m.Restore(t.Context(), in, opts)
	require.NoError(t, err)
	require.Equal(t, want.Image, got.Image)
}

func gradientPicture(w, h int) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			copy(img.Pix[img.PixOffset(x, y):], []byte{uint8(255 * x / w), uint8(255 * y / h), 128, 255})
		}
	}
	return img
}

var allTypes = []string{"f16", "bf16", "q8_0", "q6_k", "q5_k", "q4_k", "q4_0"}

// TestQuantizationTables writes the tables of docs/quantization.md.
func TestQuantizationTables(t *testing.T) {
	if *tables == "" || *exported == "" {
		t.Skip("makes a page of the documents, with -tables and -exported")
	}
	page, err := os.ReadFile(*tables)
	require.NoError(t, err)
	text := string(page)
	for name, table := range map[string]func(*testing.T) string{
		"layers": layersTable, "pictures": picturesTable,
		"embedded": func(t *testing.T) string { return networksTable(t, embeddedModel(t)) },
		"golden":   func(t *testing.T) string { return networksTable(t, goldenModel(t)) },
	} {
		begin, end := fmt.Sprintf("<!-- %s -->\n", name), fmt.Sprintf("<!-- end of %s -->\n", name)
		before, rest, ok := strings.Cut(text, begin)
		_, after, ok2 := strings.Cut(rest, end)
		require.True(t, ok && ok2, "no markers of %s", name)
		text = before + begin + table(t) + end + after
	}
	require.NoError(t, os.WriteFile(*tables, []byte(text), 0o666))
}

func embeddedModel(t *testing.T) *Model {
	m, err := New(Files{SDXL: "sdxl.safetensors", SUPIR: "supir.safetensors", FS: os.DirFS(*exported)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// networksTable converts one network at a time.
func networksTable(t *testing.T, m *Model) string {
	networks := []string{"text", "vae", "unet", "adaptor", "connectors"}
	want := networkOutputs(t, m, nn.F32)
	var b strings.Builder
	b.WriteString("| type | text encoders | VAE | U-Net | adaptor | connectors |\n|---|---:|---:|---:|---:|---:|\n")
	for _, typ := range allTypes {
		fmt.Fprintf(&b, "| %s |", typ)
		for _, network := range networks {
			c, _ := converted(t, m, "f32,"+network+"="+typ)
			got := networkOutputs(t, c, nn.Stored)
			require.NoError(t, c.Close())
			fmt.Fprintf(&b, " %.1g |", goldentest.NMSE(got[feels(network)], want[feels(network)]))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// picturesTable restores photographs with the embedded model, whole.
func picturesTable(t *testing.T) string {
	m := embeddedModel(t)
	var photos []image.Image
	for _, name := range []string{"kitten", "hopper"} {
		p, err := photo.Read("examples/photos/"+name+".jpg", photo.ReadOptions{})
		require.NoError(t, err)
		photos = append(photos, p.Image)
	}
	restore := func(m *Model, p Precision) (out []image.Image) {
		for _, in := range photos {
			r, err := m.Restore(t.Context(), in, Options{MinSize: 256, Device: "cpu", Precision: p})
			require.NoError(t, err)
			out = append(out, r.Image)
		}
		return out
	}
	want := restore(m, PrecisionF32)
	var b strings.Builder
	b.WriteString("| type | file | PSNR | HaarPSI |\n|---|---:|---:|---:|\n")
	for _, typ := range append(allTypes, "q8_0,vae=q8_0", "q4_0,vae=q4_0") {
		c, size := converted(t, m, typ)
		got := restore(c, PrecisionStored)
		require.NoError(t, c.Close())
		var psnrs, haars float64
		for i := range got {
			psnrs += psnr(got[i], want[i]) / float64(len(got))
			haars += haarPSI(got[i], want[i]) / float64(len(got))
		}
		fmt.Fprintf(&b, "| %s | %.1f MiB | %.1f | %.4f |\n", typ, float64(size)/(1<<20), psnrs, haars)
	}
	return b.String()
}

// layersTable measures blocks of the U-Net at their full width, 1280 channels,
// with random weights, where all types have whole blocks.
func layersTable(t *testing.T) string {
	const c, text, side = 1280, 2048, 8
	r := rand.New(rand.NewPCG(5, 6))
	normal := func(n int, scale float64) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(scale * r.NormFloat64())
		}
		return v
	}
	tensors := map[string]weightstest.Tensor{}
	add := func(name string, shape ...int) {
		n, fan := shape[0], 1
		for _, d := range shape[1:] {
			n, fan = n*d, fan*d
		}
		values := normal(n, 1/math.Sqrt(float64(fan)))
		if len(shape) == 1 { // a bias, or a norm's
			values = normal(n, 0.02)
			if strings.Contains(name, "norm") && strings.HasSuffix(name, "weight") || strings.HasSuffix(name, "_layers.0.weight") {
				for i := range values {
					values[i]++
				}
			}
		}
		data := make([]byte, 0, 4*n)
		for _, v := range values {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
		}
		tensors[name] = weightstest.Tensor{DType: weights.F32, Shape: shape, Data: data}
	}
	layer := func(name string, out, in int, kernel ...int) {
		add(name+".weight", append([]int{out, in}, kernel...)...)
		add(name+".bias", out)
	}
	norm := func(name string) { add(name+".weight", c); add(name+".bias", c) }
	const res, attn = "model.diffusion_model.middle_block.0", "model.diffusion_model.middle_block.1"
	norm(res + ".in_layers.0")
	layer(res+".in_layers.2", c, c, 3, 3)
	layer(res+".emb_layers.1", c, c)
	norm(res + ".out_layers.0")
	layer(res+".out_layers.3", c, c, 3, 3)
	norm(attn + ".norm")
	layer(attn+".proj_in", c, c)
	block := attn + ".transformer_blocks.0"
	for i, context := range []int{c, text} {
		norm(fmt.Sprintf("%s.norm%d", block, i+1))
		a := fmt.Sprintf("%s.attn%d", block, i+1)
		add(a+".to_q.weight", c, c)
		add(a+".to_k.weight", c, context)
		add(a+".to_v.weight", c, context)
		layer(a+".to_out.0", c, c)
	}
	norm(block + ".norm3")
	layer(block+".ff.net.0.proj", 8*c, c)
	layer(block+".ff.net.2", c, 4*c)
	layer(attn+".proj_out", c, c)

	engine, err := nn.Open("cpu", 0)
	require.NoError(t, err)
	defer engine.Close()
	x, emb, words := normal(c*side*side, 1), normal(c, 1), normal(77*text, 1)
	run := func(set *weights.Set, p nn.Precision) (outs [2][]float32) {
		var resBlock unet.ResBlock
		var transformer unet.Transformer
		var report weights.Report
		set.Fill(&resBlock, "unet", res, &report)
		set.Fill(&transformer, "unet", attn, &report)
		require.NoError(t, report.Err())
		params, err := engine.Load(t.Context(), p, &resBlock, &transformer)
		require.NoError(t, err)
		defer params.Close()
		program, err := engine.Build(params, nil, func(g *nn.Graph) {
			in := g.InputMap("x", c, side, side, 1)
			nn.Output(g, "res", resBlock.Forward(g, in, g.InputVector("emb", c, 1)))
			nn.Output(g, "attn", transformer.Forward(g, "attn", in, g.InputTokens(unet.ContextInput, text, 77, 1)))
		})
		require.NoError(t, err)
		defer program.Close()
		for name, data := range map[string][]float32{"x": x, "emb": emb, unet.ContextInput: words} {
			require.NoError(t, program.Set(name, data))
		}
		require.NoError(t, program.Run(t.Context()))
		for i, name := range []string{"res", "attn"} {
			outs[i], err = program.Get(name)
			require.NoError(t, err)
		}
		return outs
	}
	open := func(data []byte) *weights.Set {
		set, err := weights.OpenFiles(weights.File{Path: "layers", Data: data})
		require.NoError(t, err)
		return set
	}
	from := open(weightstest.Safetensors(tensors, nil))
	defer from.Close()
	want := run(from, nn.F32)
	var list []*weights.Tensor
	for tensor := range from.Tensors() {
		list = append(list, tensor)
	}
	var b strings.Builder
	b.WriteString("| type | bits a weight | weights | residual block | transformer block |\n|---|---:|---:|---:|---:|\n")
	for _, typ := range allTypes {
		recipe, err := convert.ParseRecipe(typ)
		require.NoError(t, err)
		var file bytes.Buffer
		summaries, err := convert.Write(t.Context(), &file, nil, recipe.Items(list), func() {}, nil)
		require.NoError(t, err)
		set := open(file.Bytes())
		got := run(set, nn.Stored)
		require.NoError(t, set.Close())
		fmt.Fprintf(&b, "| %s | %.2f | %.1g | %.1g | %.1g |\n", typ, 8*float64(summaries[0].Bytes)/float64(summaries[0].Parameters),
			summaries[0].Error, goldentest.NMSE(got[0], want[0]), goldentest.NMSE(got[1], want[1]))
	}
	return b.String()
}
