package clip

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/ggml/ggmltest"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// TestMain wants every handle closed at the end.
func TestMain(m *testing.M) { ggmltest.Main(m) }

// sketch is both encoders' tensors, zeros: 10 ids, prompts of 5, two layers of
// 8 and of 64 features.
func sketch() map[string]weightstest.Tensor {
	tensors := map[string]weightstest.Tensor{}
	add := func(name string, shape ...int) { tensors[name] = weightstest.F32(shape) }
	layer := func(name string, shape ...int) {
		add(name+".weight", shape...)
		add(name+".bias", shape[0])
	}
	add(prefixL+".embeddings.token_embedding.weight", 10, 8)
	add(prefixL+".embeddings.position_embedding.weight", 5, 8)
	add(prefixL+".embeddings.position_ids", 1, 5)
	for i := range 2 {
		at := fmt.Sprintf("%s.encoder.layers.%d.", prefixL, i)
		layer(at+"layer_norm1", 8)
		layer(at+"layer_norm2", 8)
		for _, p := range []string{"q", "k", "v", "out"} {
			layer(at+"self_attn."+p+"_proj", 8, 8)
		}
		layer(at+"mlp.fc1", 16, 8)
		layer(at+"mlp.fc2", 8, 16)
	}
	layer(prefixL+".final_layer_norm", 8)
	add(prefixG+".token_embedding.weight", 10, 64)
	add(prefixG+".positional_embedding", 5, 64)
	for i := range 2 {
		at := fmt.Sprintf("%s.transformer.resblocks.%d.", prefixG, i)
		layer(at+"ln_1", 64)
		layer(at+"ln_2", 64)
		add(at+"attn.in_proj_weight", 192, 64)
		add(at+"attn.in_proj_bias", 192)
		layer(at+"attn.out_proj", 64, 64)
		layer(at+"mlp.c_fc", 128, 64)
		layer(at+"mlp.c_proj", 64, 128)
	}
	layer(prefixG+".ln_final", 64)
	add(prefixG+".text_projection", 64, 24)
	add(prefixG + ".logit_scale")
	return tensors
}

func loadSketch(t *testing.T, tensors map[string]weightstest.Tensor, metadata map[string]string) (*ClipL, *BigG, error) {
	t.Helper()
	set, err := weights.OpenFiles(weights.File{Path: "sketch", Data: weightstest.Safetensors(tensors, metadata)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	var l ClipL
	var b BigG
	var r weights.Report
	l.Load(set, &r)
	b.Load(set, &r)
	return &l, &b, r.Err()
}

func TestSizes(t *testing.T) {
	l, b, err := loadSketch(t, sketch(), map[string]string{"supir.clip_l.heads": "2"})
	require.NoError(t, err)
	assert.Equal(t, []int{10, 5, 8, 2}, []int{l.Ids(), l.Length(), l.Width(), l.Heads})
	assert.Equal(t, []int{10, 5, 64, 1}, []int{b.Ids(), b.Length(), b.Width(), b.Heads})
	assert.Equal(t, 24, b.PooledWidth())
	assert.Len(t, l.Layers, 1, "the last layer is not used")
	assert.Len(t, weights.Collect(l), 2+16, "nor loaded onto a device")
}

func TestMisfits(t *testing.T) {
	tensors := sketch()
	delete(tensors, prefixL+".encoder.layers.1.self_attn.q_proj.bias")
	delete(tensors, prefixG+".transformer.resblocks.0.attn.in_proj_bias")
	tensors[prefixL+".encoder.layers.0.mlp.fc2.weight"] = weightstest.F32([]int{8, 32})
	tensors[prefixG+".transformer.resblocks.1.attn.in_proj_weight"] = weightstest.F32([]int{64, 64})
	tensors[prefixG+".transformer.resblocks.1.ls_1.gamma"] = weightstest.F32([]int{64})
	_, _, err := loadSketch(t, tensors, map[string]string{"supir.clip_g.heads": "7"})
	var got *weights.MismatchError
	require.ErrorAs(t, err, &got)
	assert.Equal(t, []string{
		prefixL + ".encoder.layers.1.self_attn.q_proj.bias",
		prefixG + ".transformer.resblocks.0.attn.in_proj_bias",
	}, got.Missing)
	assert.Equal(t, []string{prefixG + ".transformer.resblocks.1.ls_1.gamma"}, got.Unexpected)
	assert.Equal(t, []string{
		prefixL + ".encoder.layers.0.mlp.fc2.weight: shape [8 32], want [8 16] (sketch)",
		prefixG + ".transformer.resblocks.1.attn.in_proj_weight: shape [64 64], want [192 64] (sketch)",
	}, got.Misshaped)
	assert.Equal(t, []string{
		prefixL + ".embeddings.token_embedding.weight: 8 features are not whole heads of 64 (metadata supir.clip_l.heads)",
		prefixG + ".token_embedding.weight: 64 features do not divide into 7 heads (metadata supir.clip_g.heads)",
	}, got.Invalid)
}

func TestEnds(t *testing.T) {
	assert.Equal(t, []int32{2, 1, 0}, Ends([]int32{
		8, 3, 9, 0,
		8, 9, 9, 9,
		9, 1, 2, 3,
	}, 3))
}
