package weights_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
	"supir/internal/weights/weightstest"
)

type layer struct {
	Weight *weights.Tensor `key:"weight"`
	Bias   *weights.Tensor `key:"bias,optional"`
	note   string
}

type resBlock struct {
	In   layer  `key:"in_layers.0"`
	Skip *layer `key:"skip_connection"`
}

type transformer struct {
	Norm   layer   `key:"norm"`
	Blocks []layer `key:"transformer_blocks.*"`
}

type sampling struct {
	Conv layer `key:"op|conv"`
}

// block is one of the U-Net's, of which no two hold the same.
type block struct {
	Conv        *layer       `key:"0"`
	Res         *resBlock    `key:"0"`
	Down        *sampling    `key:"0"`
	Transformer *transformer `key:"1"`
	Up          *sampling    `key:"1|2"`
}

// setOf is a set of F32 tensors, each of one element.
func setOf(t *testing.T, metadata map[string]string, names ...string) *weights.Set {
	t.Helper()
	tensors := map[string]weightstest.Tensor{}
	for _, name := range names {
		tensors[name] = weightstest.F32([]int{1})
	}
	set, err := openBytes(weightstest.Safetensors(tensors, metadata))
	require.NoError(t, err)
	return set
}

func TestFillTellsBlocksApart(t *testing.T) {
	set := setOf(t, nil,
		"net.blocks.0.0.weight", "net.blocks.0.0.bias",
		"net.blocks.1.0.in_layers.0.weight", "net.blocks.1.0.skip_connection.weight",
		"net.blocks.1.1.norm.weight", "net.blocks.1.1.transformer_blocks.0.weight", "net.blocks.1.1.transformer_blocks.1.weight",
		"net.blocks.2.0.op.weight",
		"net.blocks.3.0.in_layers.0.weight", "net.blocks.3.1.conv.weight",
		"net.blocks.4.0.in_layers.0.weight", "net.blocks.4.1.norm.weight", "net.blocks.4.1.transformer_blocks.0.weight", "net.blocks.4.2.conv.weight",
	)
	var net struct {
		Blocks []block `key:"blocks.*"`
	}
	var r weights.Report
	set.Fill(&net, "unet", "net", &r)
	set.Unexpected(&r, "net")
	require.NoError(t, r.Err())

	var kinds []string
	for _, b := range net.Blocks {
		kind := ""
		for letter, there := range map[string]bool{"c": b.Conv != nil, "r": b.Res != nil, "d": b.Down != nil, "t": b.Transformer != nil, "u": b.Up != nil} {
			if there {
				kind += letter
			}
		}
		letters := []byte(kind)
		slices.Sort(letters)
		kinds = append(kinds, string(letters))
	}
	assert.Equal(t, []string{"c", "rt", "d", "ru", "rtu"}, kinds)
	assert.Equal(t, "net.blocks.0.0.bias", net.Blocks[0].Conv.Bias.Name)
	assert.Nil(t, net.Blocks[1].Res.In.Bias)
	assert.NotNil(t, net.Blocks[1].Res.Skip)
	assert.Nil(t, net.Blocks[3].Res.Skip)
	assert.Len(t, net.Blocks[1].Transformer.Blocks, 2)
	assert.Equal(t, "net.blocks.4.2.conv.weight", net.Blocks[4].Up.Conv.Weight.Name)
	assert.Empty(t, net.Blocks[0].Conv.note)
}

func TestFillReportsAllAtOnce(t *testing.T) {
	set, err := openBytes(weightstest.Safetensors(map[string]weightstest.Tensor{
		"n.in.weight":       weightstest.F32([]int{4, 3}),
		"n.in.bias":         weightstest.F32([]int{5}),
		"n.in.extra":        weightstest.F32([]int{1}),
		"n.list.0.weight":   weightstest.F32([]int{4}),
		"n.list.3.weight":   weightstest.F32([]int{4}),
		"n.list.03.weight":  weightstest.F32([]int{4}),
		"n.list.999.weight": weightstest.F32([]int{4}),
		"n.list.x":          weightstest.F32([]int{4}),
		"n.ids":             {DType: weights.I64, Shape: []int{2}},
		"n.table":           {DType: weights.I32, Shape: []int{2}},
		"other.weight":      weightstest.F32([]int{1}),
	}, map[string]string{"supir.net.groups": "many", "supir.net.heads": "0", "supir.net.eps": "NaN"}))
	require.NoError(t, err)

	var net struct {
		In     layer           `key:"in"`
		Out    layer           `key:"out|final"`
		List   []layer         `key:"list.*"`
		None   []layer         `key:"none.*"`
		Table  *weights.Tensor `key:"table"`
		Groups int             `meta:"groups" default:"32"`
		Heads  int             `meta:"heads" default:"8" min:"1"`
		Eps    float32         `meta:"eps" default:"1e-5"`
		Name   string          `meta:"name"`
	}
	var r weights.Report
	set.Fill(&net, "net", "n.", &r)
	assert.True(t, r.Want(net.In.Weight, -1, 3))
	assert.False(t, r.Want(net.In.Bias, 4))
	assert.False(t, r.Want(net.List[0].Weight, -1, -1))
	assert.False(t, r.Want(net.Out.Weight, 7), "already missing")
	r.Invalid("%d heads do not share out %d channels", 3, 4)
	set.Unexpected(&r, "n", "absent")

	var mismatch *weights.MismatchError
	require.ErrorAs(t, r.Err(), &mismatch)
	assert.Equal(t, &weights.MismatchError{
		Missing:    []string{"metadata supir.net.name", "n.list.1.*", "n.list.2.*", "n.none.0.*", "n.out.weight"},
		Unexpected: []string{"n.in.extra", "n.list.03.weight", "n.list.999.weight", "n.list.x"},
		Misshaped: []string{
			"n.in.bias: shape [5], want [4] (test.safetensors)",
			"n.list.0.weight: shape [4], want [any any] (test.safetensors)",
		},
		Invalid: []string{
			"3 heads do not share out 4 channels",
			`metadata supir.net.eps: "NaN" is no float32`,
			`metadata supir.net.groups: "many" is no int`,
			"metadata supir.net.heads: 0, want at least 1",
			"n.table: stored as I32, want F32, F16, BF16 or a quantised type (test.safetensors)",
		},
	}, mismatch)
	assert.Contains(t, mismatch.Error(), "5 missing, 4 unexpected, 2 of another shape, 5 invalid\nmissing:\n  metadata supir.net.name\n")
	for _, list := range [][]string{mismatch.Missing, mismatch.Unexpected, mismatch.Misshaped, mismatch.Invalid} {
		for _, line := range list {
			assert.Contains(t, mismatch.Error(), "\n  "+line)
		}
	}
}

func TestFillAlternatives(t *testing.T) {
	type net struct {
		Leaf *weights.Tensor `key:"weight|w"`
		Sub  layer           `key:"a|b.c|."`
		Many []layer         `key:"xs.*|ys.*,optional"`
		Ptr  *layer          `key:"p|q"`
	}
	for _, tt := range []struct {
		name          string
		tensors, want []string // want: the tensors taken, in the order of the fields
		missing       []string
	}{
		{"first", []string{"weight", "a.weight", "xs.0.weight", "p.weight"}, []string{"weight", "a.weight", "xs.0.weight", "p.weight"}, nil},
		{"second", []string{"w", "b.c.weight", "ys.0.weight", "q.weight"}, []string{"w", "b.c.weight", "ys.0.weight", "q.weight"}, nil},
		{"the first of both", []string{"weight", "a.weight", "b.c.weight"}, []string{"weight", "a.weight"}, nil},
		{"same prefix", []string{"weight"}, []string{"weight", "weight"}, nil},
		{"none", []string{"z"}, nil, []string{"a.weight", "weight"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n net
			var r weights.Report
			setOf(t, nil, tt.tensors...).Fill(&n, "net", "", &r)
			var got []string
			note := func(x *weights.Tensor) {
				if x != nil {
					got = append(got, x.Name)
				}
			}
			note(n.Leaf)
			note(n.Sub.Weight)
			for _, x := range n.Many {
				note(x.Weight)
			}
			if n.Ptr != nil {
				note(n.Ptr.Weight)
			}
			assert.Equal(t, tt.want, got)
			if tt.missing == nil {
				assert.NoError(t, r.Err())
				return
			}
			var mismatch *weights.MismatchError
			require.ErrorAs(t, r.Err(), &mismatch)
			assert.Equal(t, tt.missing, mismatch.Missing)
		})
	}
}

func TestFillOptionalStruct(t *testing.T) {
	type net struct {
		Sub layer `key:"sub,optional"`
		layer
		Same struct {
			Weight *weights.Tensor `key:"weight"`
		} `key:"."`
	}
	var n net
	var r weights.Report
	setOf(t, nil, "p.weight").Fill(&n, "net", "p", &r)
	assert.NoError(t, r.Err())
	assert.Nil(t, n.Sub.Weight)
	assert.Equal(t, "p.weight", n.Same.Weight.Name)

	// Once a part of it is there, all of it must be.
	setOf(t, nil, "p.weight", "p.sub.bias").Fill(&n, "net", "p", &r)
	var mismatch *weights.MismatchError
	require.ErrorAs(t, r.Err(), &mismatch)
	assert.Equal(t, []string{"p.sub.weight"}, mismatch.Missing)
}

func TestFillMetadata(t *testing.T) {
	type sub struct {
		Groups int `meta:"norm_groups" default:"32" min:"1"`
	}
	var n struct {
		Sub    sub     `key:"sub"`
		Heads  int     `meta:"heads"`
		Eps    float32 `meta:"eps" default:"1e-5"`
		Scale  float64 `meta:"scale" default:"0.13025"`
		Causal bool    `meta:"causal" default:"false"`
		Act    string  `meta:"act" default:"gelu"`
	}
	set := setOf(t, map[string]string{
		"supir.clip.heads": "12", "supir.clip.norm_groups": "4", "supir.clip.causal": "true", "supir.unet.act": "silu",
	})
	var r weights.Report
	set.Fill(&n, "clip", "anywhere", &r)
	require.NoError(t, r.Err())
	assert.Equal(t, 4, n.Sub.Groups)
	assert.Equal(t, 12, n.Heads)
	assert.Equal(t, float32(1e-5), n.Eps)
	assert.Equal(t, 0.13025, n.Scale)
	assert.True(t, n.Causal)
	assert.Equal(t, "gelu", n.Act)
}

func TestFillMalformedMetadata(t *testing.T) {
	for _, text := range []string{"", "x", "1.5", "1e3", " 8", "0x10", "99999999999999999999", "-1", "0"} {
		var n struct {
			Heads int `meta:"heads" default:"1" min:"1"`
		}
		var r weights.Report
		setOf(t, map[string]string{"supir.net.heads": text}).Fill(&n, "net", "", &r)
		var mismatch *weights.MismatchError
		require.ErrorAs(t, r.Err(), &mismatch, "%q", text)
		assert.Equal(t, 1, n.Heads, "checks go on with the default")
		assert.Len(t, mismatch.Invalid, 1)
	}
}

// Mistakes in a struct are the program's, and must not wait for a file that
// shows them.
func TestFillPanics(t *testing.T) {
	set := setOf(t, nil)
	for name, dst := range map[string]any{
		"no pointer":           layer{},
		"nil":                  (*layer)(nil),
		"pointer to no struct": new(int),
		"wrong type": &struct {
			A int `key:"a"`
		}{},
		"slice of pointers": &struct {
			A []*layer `key:"a.*"`
		}{},
		"slice without star": &struct {
			A []layer `key:"a"`
		}{},
		"star without slice": &struct {
			A layer `key:"a.*"`
		}{},
		"unknown option": &struct {
			A layer `key:"a,maybe"`
		}{},
		"not exported": &struct {
			a layer `key:"a"`
		}{},
		"metadata of a wrong type": &struct {
			A []int `meta:"a" default:"1"`
		}{},
		"bound that is no number": &struct {
			A int `meta:"a" default:"1" min:"one"`
		}{},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Panics(t, func() { set.Fill(dst, "net", "", new(weights.Report)) })
		})
	}
}

// A number far out must not make a list of that length.
func TestFillFarNumber(t *testing.T) {
	var n struct {
		Blocks []block `key:"blocks.*"`
	}
	var r weights.Report
	set := setOf(t, nil, "blocks.0.0.weight", "blocks.9999999999999.0.weight", "blocks.1000000.0.weight")
	set.Fill(&n, "net", "", &r)
	set.Unexpected(&r, "blocks")
	assert.Len(t, n.Blocks, 1)
	var mismatch *weights.MismatchError
	require.ErrorAs(t, r.Err(), &mismatch)
	assert.Len(t, mismatch.Unexpected, 2)
}
