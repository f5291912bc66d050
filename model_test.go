package supir

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"supir/internal/ggml/ggmltest"
	"supir/internal/goldentest"
)

// TestMain ends with no handle of ggml left open.
func TestMain(m *testing.M) { ggmltest.Main(m) }

// goldenFiles are the golden weights with the metadata that they lack: the heads
// of the text encoders, and a small size to work at.
func goldenFiles(t testing.TB) Files {
	t.Helper()
	sdxl, err := os.ReadFile(goldentest.Path(t, "sdxl.safetensors"))
	require.NoError(t, err)
	robust, err := os.ReadFile(goldentest.Path(t, "supir.safetensors"))
	require.NoError(t, err)
	config := goldentest.Config(t)
	sdxl = withMetadata(t, sdxl, map[string]string{
		"supir.clip_l.heads": strconv.Itoa(config.HeadsL),
		"supir.clip_g.heads": strconv.Itoa(config.HeadsG),
		"supir.min_size":     "64",
		"supir.steps":        "2",
	})
	return Files{SDXL: "sdxl.safetensors", SUPIR: "supir.safetensors", FS: fstest.MapFS{
		"sdxl.safetensors":  {Data: sdxl},
		"supir.safetensors": {Data: robust},
	}}
}

// withMetadata puts metadata into a safetensors file's header.
func withMetadata(t testing.TB, file []byte, metadata map[string]string) []byte {
	t.Helper()
	n := binary.LittleEndian.Uint64(file)
	var header map[string]any
	require.NoError(t, json.Unmarshal(file[8:8+n], &header))
	header["__metadata__"] = metadata
	text, err := json.Marshal(header)
	require.NoError(t, err)
	for len(text)%8 != 0 {
		text = append(text, ' ')
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(len(text)))
	return append(append(out, text...), file[8+n:]...)
}

func goldenModel(t testing.TB) *Model {
	t.Helper()
	m, err := New(goldenFiles(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// A model's own defaults come from its metadata; what makes no sense there is refused by name.
func TestMetadataOfSampling(t *testing.T) {
	of := func(name, value string) (*Model, error) {
		files := goldenFiles(t)
		sdxl := files.FS.(fstest.MapFS)["sdxl.safetensors"]
		config := goldentest.Config(t)
		sdxl.Data = withMetadata(t, sdxl.Data, map[string]string{"supir.clip_l.heads": strconv.Itoa(config.HeadsL),
			"supir.clip_g.heads": strconv.Itoa(config.HeadsG), name: value})
		return New(files)
	}
	m, err := of("supir.schedule", "karras")
	require.NoError(t, err)
	require.Equal(t, defaults{minSize: 1024, steps: 50, schedule: ScheduleKarras, restoration: 4, faithful: 4, sChurn: 5, cfgStart: 4, cfgEnd: 7.5, colorFixLevels: 5}, m.networks.defaults)
	require.NoError(t, m.Close())
	m, err = of("supir.fidelity.restoration", "0.5")
	require.NoError(t, err)
	require.Equal(t, []float64{4, 0.5}, []float64{m.networks.defaults.restoration, m.networks.defaults.faithful})
	require.NoError(t, m.Close())
	m, err = of("supir.cfg_end", "3")
	require.NoError(t, err)
	set, err := Quality.resolve(m.networks.defaults)
	require.NoError(t, err)
	require.Equal(t, []float64{4, 3}, []float64{set.CFGStart, set.CFGEnd})
	require.NoError(t, m.Close())
	m, err = of("supir.cfg_sigma_max", "3")
	require.NoError(t, err)
	for _, c := range []struct {
		o    Options
		want float64
	}{
		{Options{}, 3}, {Options{CFGSigmaMax: 100}, 100}, {Options{CFGSigmaMin: 5}, 0}, {Options{Sampler: DPMPP2M}, 0},
	} {
		set, err := c.o.resolve(m.networks.defaults)
		require.NoError(t, err)
		require.Equal(t, c.want, set.CFGSigmaMax, "%+v", c.o)
	}
	require.NoError(t, m.Close())
	m, err = of("supir.color_fix_levels", "3")
	require.NoError(t, err)
	set, err = Options{}.resolve(m.networks.defaults)
	require.NoError(t, err)
	require.Equal(t, 3, set.ColorFixLevels)
	require.NoError(t, m.Close())
	for name, value := range map[string]string{"supir.schedule": "auto", "supir.steps": "many", "supir.fidelity.restoration": "-1",
		"supir.restoration": "0", "supir.cfg_sigma_max": "NaN", "supir.color_fix_levels": "0", "supir.unet.norm_groups": "0", "supir.unet.head_dim": "NaN",
		"supir.connectors.head_dim": "0", "supir.vae.norm_groups": "4.0", "supir.clip_l.heads": "-1"} {
		_, err = of(name, value)
		require.ErrorContains(t, err, name)
	}
}
