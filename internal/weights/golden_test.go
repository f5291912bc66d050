package weights_test

import (
	"cmp"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

// golden is the path of a file of reference data, which must be there.
func golden(name string) string {
	return filepath.Join(cmp.Or(os.Getenv("SUPIR_GOLDEN"), "../../testdata/golden"), name)
}

func TestGoldenCheckpoints(t *testing.T) {
	sdxl, supir := golden("sdxl.safetensors"), golden("supir.safetensors")
	set, err := weights.Open(sdxl, supir)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, set.Close()) })
	require.NoError(t, set.CheckRoles(weights.SDXL, weights.SUPIR))
	assert.ErrorContains(t, set.CheckRoles(weights.SUPIR, weights.SDXL), "swapped")

	var embed struct {
		Token    *weights.Tensor `key:"token_embedding.weight"`
		Position *weights.Tensor `key:"position_embedding.weight"`
	}
	var r weights.Report
	const prefix = "conditioner.embedders.0.transformer.text_model.embeddings"
	set.Fill(&embed, "clip_l", prefix, &r)
	r.Want(embed.Token, -1, -1)
	r.Want(embed.Position, 77, -1)
	set.Unexpected(&r, prefix) // the integer position_ids are not
	require.NoError(t, r.Err())
	assert.Equal(t, sdxl, embed.Token.File)

	for x := range set.Tensors() {
		for i, v := range x.Float32() {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				t.Fatalf("%s: element %d is %v", x.Name, i, v)
			}
		}
	}
}
