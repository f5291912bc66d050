package weights_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/weights"
)

func TestCollect(t *testing.T) {
	var net struct {
		Blocks []block `key:"blocks.*"`
		Out    layer   `key:"out"`
		Other  *weights.Tensor
	}
	var r weights.Report
	setOf(t, nil, "blocks.0.0.weight", "blocks.1.0.in_layers.0.weight", "blocks.1.0.in_layers.0.bias", "out.weight").Fill(&net, "net", "", &r)
	require.NoError(t, r.Err())
	net.Other = &weights.Tensor{Name: "not from a tag"}
	var names []string
	for _, x := range weights.Collect(&net) {
		names = append(names, x.Name)
	}
	assert.Equal(t, []string{"blocks.0.0.weight", "blocks.1.0.in_layers.0.weight", "blocks.1.0.in_layers.0.bias", "out.weight"}, names)
}
