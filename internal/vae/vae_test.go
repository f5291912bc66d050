package vae

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
	"supir/internal/nn"
	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

// sketch is a small autoencoder's tensors, zeros: two levels of one block, 4
// and 8 channels, latents of 3, norms in 2 groups, no attention.
func sketch() map[string]weightstest.Tensor {
	tensors := map[string]weightstest.Tensor{}
	add := func(name string, shape ...int) {
		tensors["first_stage_model."+name+".weight"] = weightstest.F32(shape)
		tensors["first_stage_model."+name+".bias"] = weightstest.F32(shape[:1])
	}
	block := func(name string, in, out int) {
		add(name+".norm1", in)
		add(name+".conv1", out, in, 3, 3)
		add(name+".norm2", out)
		add(name+".conv2", out, out, 3, 3)
		if in != out {
			add(name+".nin_shortcut", out, in, 1, 1)
		}
	}
	for _, e := range []string{"encoder", "denoise_encoder"} {
		add(e+".conv_in", 4, 3, 3, 3)
		block(e+".down.0.block.0", 4, 4)
		add(e+".down.0.downsample.conv", 4, 4, 3, 3)
		block(e+".down.1.block.0", 4, 8)
		block(e+".mid.block_1", 8, 8)
		block(e+".mid.block_2", 8, 8)
		add(e+".norm_out", 8)
		add(e+".conv_out", 6, 8, 3, 3)
	}
	add("quant_conv", 6, 6, 1, 1)
	add("post_quant_conv", 3, 3, 1, 1)
	add("decoder.conv_in", 8, 3, 3, 3)
	block("decoder.mid.block_1", 8, 8)
	block("decoder.mid.block_2", 8, 8)
	block("decoder.up.1.block.0", 8, 8)
	add("decoder.up.1.upsample.conv", 8, 8, 3, 3)
	block("decoder.up.0.block.0", 8, 4)
	add("decoder.norm_out", 4)
	add("decoder.conv_out", 3, 4, 3, 3)
	return tensors
}

func loadSketch(t *testing.T, tensors map[string]weightstest.Tensor) (*VAE, error) {
	t.Helper()
	file := weightstest.Safetensors(tensors, map[string]string{"supir.vae.norm_groups": "2"})
	set, err := weights.OpenFiles(weights.File{Path: "sketch", Data: file})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, set.Close()) })
	var v VAE
	var r weights.Report
	v.Load(set, &r)
	return &v, r.Err()
}

// TestSketch runs an autoencoder of other sizes than the published one.
func TestSketch(t *testing.T) {
	v, err := loadSketch(t, sketch())
	require.NoError(t, err)
	assert.Equal(t, 2, v.Factor())
	assert.Equal(t, 3, v.LatentChannels())

	e := goldentest.Device{Name: "cpu"}.Open(t)
	params, err := e.Load(t.Context(), nn.F32, v)
	require.NoError(t, err)
	defer params.Close()
	const h, w, n = 6, 10, 2
	program, err := e.Build(params, nil, func(g *nn.Graph) {
		moments := v.Encode(g, &v.Robust, g.InputMap("image", 3, h, w, n))
		nn.Output(g, "moments", moments)
		nn.Output(g, "picture", v.Decode(g, g.InputMap("latent", 3, moments.H, moments.W, n)))
	})
	require.NoError(t, err)
	defer program.Close()
	require.NoError(t, program.Set("image", make([]float32, n*3*h*w)))
	require.NoError(t, program.Set("latent", make([]float32, n*3*h*w/4)))
	require.NoError(t, program.Run(context.Background()))
	moments, err := program.Get("moments")
	require.NoError(t, err)
	assert.Len(t, moments, n*6*h*w/4)
	picture, err := program.Get("picture")
	require.NoError(t, err)
	assert.Equal(t, make([]float32, n*3*h*w), picture)
}

// TestMisfits lists, for a change to a file that fits, what one error must tell.
func TestMisfits(t *testing.T) {
	const p = "first_stage_model."
	for name, c := range map[string]struct {
		change func(map[string]weightstest.Tensor)
		want   weights.MismatchError
	}{
		"missing": {
			func(m map[string]weightstest.Tensor) {
				delete(m, p+"encoder.conv_in.weight")
				delete(m, p+"encoder.mid.block_1.conv1.bias")
				delete(m, p+"decoder.up.1.upsample.conv.weight")
				delete(m, p+"decoder.up.1.upsample.conv.bias")
			},
			weights.MismatchError{Missing: []string{p + "decoder.up.1.upsample.conv.weight", p + "encoder.conv_in.weight", p + "encoder.mid.block_1.conv1.bias"}},
		},
		"unexpected": {
			func(m map[string]weightstest.Tensor) {
				m[p+"encoder.down.0.attn.0.norm.weight"] = weightstest.F32([]int{4})
				m[p+"loss.logvar"] = weightstest.F32([]int{1}) // what training leaves behind
			},
			weights.MismatchError{Unexpected: []string{p + "encoder.down.0.attn.0.norm.weight"}},
		},
		"shapes": {
			func(m map[string]weightstest.Tensor) {
				m[p+"encoder.down.1.block.0.conv1.weight"] = weightstest.F32([]int{8, 5, 3, 3})
				m[p+"denoise_encoder.conv_out.weight"] = weightstest.F32([]int{4, 8, 3, 3})
				m[p+"denoise_encoder.conv_out.bias"] = weightstest.F32([]int{4})
			},
			weights.MismatchError{Misshaped: []string{
				p + "denoise_encoder.conv_out.weight: shape [4 8 3 3], want [6 any any any] (sketch)",
				p + "encoder.down.1.block.0.conv1.weight: shape [8 5 3 3], want [any 4 3 3] (sketch)",
			}},
		},
		"shortcut": {
			func(m map[string]weightstest.Tensor) {
				delete(m, p+"decoder.up.0.block.0.nin_shortcut.weight")
				delete(m, p+"decoder.up.0.block.0.nin_shortcut.bias")
			},
			weights.MismatchError{Invalid: []string{p + "decoder.up.0.block.0.conv1.weight: the block goes from 8 to 4 channels without a nin_shortcut"}},
		},
		"levels": {
			func(m map[string]weightstest.Tensor) {
				for name := range m {
					if strings.HasPrefix(name, p+"encoder.down.1.") {
						delete(m, name)
					}
				}
			},
			weights.MismatchError{
				Misshaped: []string{
					p + "encoder.mid.block_1.conv1.weight: shape [8 8 3 3], want [any 4 3 3] (sketch)",
					p + "encoder.mid.block_1.norm1.bias: shape [8], want [4] (sketch)",
					p + "encoder.mid.block_1.norm1.weight: shape [8], want [4] (sketch)",
				},
				Invalid: []string{
					p + "encoder.down.0.downsample: the outermost level cannot change the size",
					p + "encoder.mid.block_1.conv1.weight: the block goes from 4 to 8 channels without a nin_shortcut",
					"first_stage_model: 1 levels in the encoder, 2 in denoise_encoder, 2 in the decoder",
				},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tensors := sketch()
			c.change(tensors)
			_, err := loadSketch(t, tensors)
			var got *weights.MismatchError
			require.ErrorAs(t, err, &got)
			assert.Equal(t, fmt.Sprintf("%q", c.want), fmt.Sprintf("%q", *got))
		})
	}
}

func TestMode(t *testing.T) {
	moments := []float32{1, 2, 100, -100, 3, 4, 0, 0} // two pictures of one channel: means, log variances
	assert.InDeltaSlice(t, []float32{Scale, 2 * Scale, 3 * Scale, 4 * Scale}, Mode(moments, 2), 1e-7)
}
