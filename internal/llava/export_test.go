package llava

import (
	"image/png"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
)

// TestExport computes what PyTorch did of a pair that train/export_llava.py wrote,
// with a prompt of its own (testdata, made by it with --golden).
func TestExport(t *testing.T) {
	sets := make([]*weights.Set, 3)
	for i, name := range []string{"llava-text.gguf", "llava-mmproj.gguf", "golden.safetensors"} {
		var err error
		sets[i], err = weights.Open("testdata/" + name)
		require.NoError(t, err)
		defer func() { require.NoError(t, sets[i].Close()) }()
	}
	m, err := Open(sets[0], sets[1])
	require.NoError(t, err)
	want := func(name string) []float32 {
		require.True(t, sets[2].Has(name), name)
		return sets[2].Tensor(name).Float32()
	}
	ids := func(name string) (list []int32) {
		for _, v := range want(name) {
			list = append(list, int32(v))
		}
		return list
	}
	before, after := m.promptIDs("")
	assert.Equal(t, ids("before"), before)
	assert.Equal(t, ids("after"), after)

	file, err := os.Open("testdata/picture.png")
	require.NoError(t, err)
	defer file.Close()
	img, err := png.Decode(file)
	require.NoError(t, err)
	e := goldentest.Devices(t)[0].Open(t)
	session := m.NewSession(e, nn.F32)
	defer session.Close()
	tokens, err := session.see(t.Context(), img, Crop)
	require.NoError(t, err)
	goldentest.Equal(t, "tokens", tokens, want("tokens"), 1e-10)

	answer := ids("ids")
	w, err := session.newWriter(t.Context(), Options{MaxTokens: len(answer)})
	require.NoError(t, err)
	defer w.close()
	logits, err := w.read(t.Context(), tokens)
	require.NoError(t, err)
	steps := &stepper{w: w}
	defer steps.close()
	var all []float32
	for i, id := range answer {
		all = append(all, logits...)
		logits, err = steps.next(t.Context(), id, w.prompt()+i)
		require.NoError(t, err)
	}
	goldentest.Equal(t, "logits", all, want("logits"), 1e-9)

	text, err := session.Caption(t.Context(), img, Options{MaxTokens: len(answer)})
	require.NoError(t, err)
	caption, _ := sets[2].Metadata("caption")
	assert.Equal(t, caption, text)
}
