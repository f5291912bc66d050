package nn

import (
	"context"
	"runtime"

	"supir/internal/ggml"
	"supir/internal/weights"
)

// A Precision says how weights are kept on the device.
type Precision int

// The precisions.
const (
	F32    Precision = iota // as 32-bit numbers, whatever the file holds
	Stored                  // matrices as the file holds them, vectors in F32
)

// Params are a network's weights on an engine's device.
type Params struct {
	ctx     *ggml.Context
	buf     *ggml.Buffer
	tensors map[*weights.Tensor]ggml.Tensor
}

// Load copies the weights of networks (pointers to structs that weights.Fill has
// filled) to the device. It ends early with ctx's error when ctx ends.
func (e *Engine) Load(ctx context.Context, p Precision, networks ...any) (*Params, error) {
	params, err := newParams(p, networks)
	if err != nil {
		return nil, err
	}
	if params.buf, err = e.home().Alloc(params.ctx); err != nil {
		params.Close()
		return nil, err
	}
	params.buf.SetWeights()
	for from, to := range params.tensors {
		if err := ctx.Err(); err != nil {
			params.Close()
			return nil, err
		}
		place(from, to)
	}
	return params, nil
}

// Describe is Load without memory: programs on such weights can be measured, not
// built.
func (e *Engine) Describe(p Precision, networks ...any) (*Params, error) {
	params, err := newParams(p, networks)
	if err != nil {
		return nil, err
	}
	params.buf = ggml.Pretend(params.ctx)
	params.buf.SetWeights()
	return params, nil
}

func newParams(p Precision, networks []any) (params *Params, err error) {
	defer recovered(&err)
	list := collect(networks)
	params = &Params{ctx: ggml.NewContext(len(list) + 1), tensors: make(map[*weights.Tensor]ggml.Tensor, len(list))}
	defer func() {
		if err != nil {
			params.Close()
			params = nil
		}
	}()
	for _, t := range list {
		params.tensors[t] = params.ctx.New(placedType(t, p), ne(t.Shape)...).SetName(t.Name)
	}
	return params, nil
}

// Size is the memory in bytes that the weights take.
func (p *Params) Size() int64 { return p.buf.Size() }

// Close frees the weights' memory. It may be repeated.
func (p *Params) Close() {
	if p == nil {
		return
	}
	p.buf.Close()
	p.ctx.Close()
}

// ne turns a shape in C order into ggml's.
func ne(shape []int) []int64 {
	if len(shape) == 0 {
		return []int64{1}
	}
	out := make([]int64, len(shape))
	for i, n := range shape {
		out[len(shape)-1-i] = int64(n)
	}
	return out
}

// placedType is the type that a weight has on the device: vectors (norms,
// biases) are F32 always.
func placedType(t *weights.Tensor, p Precision) ggml.Type {
	if p == Stored && len(t.Shape) > 1 {
		switch t.DType {
		case weights.F16:
			return ggml.F16
		case weights.BF16:
			return ggml.BF16
		}
	}
	return ggml.F32
}

// WeightBytes is the memory that Load would take, without loading.
func WeightBytes(p Precision, networks ...any) int64 {
	var n int64
	for _, t := range collect(networks) {
		n += placedType(t, p).RowSize(int64(t.Elements()))
	}
	return n
}

func collect(networks []any) []*weights.Tensor {
	var list []*weights.Tensor
	for _, n := range networks {
		list = append(list, weights.Collect(n)...)
	}
	return list
}

// place copies a weight's values to its tensor on the device.
func place(t *weights.Tensor, to ggml.Tensor) {
	switch {
	case to.Type() == ggml.F32 && t.DType != weights.F32:
		to.SetFloat32(t.Float32())
	default:
		to.SetBytes(t.Data)
	}
	runtime.KeepAlive(t)
}
