package nn

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"supir/csrc"
	"supir/internal/ggml"
	"supir/internal/weights"
)

// Params are a network's weights on an engine's device.
type Params struct {
	ctx       *ggml.Context
	buf       *ggml.Buffer
	tensors   map[*weights.Tensor]ggml.Tensor
	packed    map[*weights.Tensor]csrc.Weights // how a tensor is packed; others are as ggml has them
	precision Precision
	mapped    mapped
}

// Load copies the weights of networks (pointers to structs that weights.Fill has
// filled) to the device. It ends early with ctx's error when ctx ends.
func (e *Engine) Load(ctx context.Context, p Precision, networks ...any) (*Params, error) {
	params, err := e.newParams(p, networks)
	if err != nil {
		return nil, err
	}
	if err := params.mapped.place(); err != nil {
		params.Close()
		return nil, err
	}
	if params.buf, err = e.home().Alloc(params.ctx); err != nil {
		params.Close()
		return nil, err
	}
	params.buf.SetWeights()
	for from, to := range params.tensors {
		if params.mapped.has(to) {
			continue
		}
		if err := ctx.Err(); err != nil {
			params.Close()
			return nil, err
		}
		if form, packed := params.packed[from]; packed {
			err = e.pack(from, to, form)
		} else {
			place(from, to)
		}
		if err != nil {
			params.Close()
			return nil, err
		}
		from.Release()
	}
	return params, nil
}

// Describe is Load without memory: programs on such weights can be measured, not
// built.
func (e *Engine) Describe(p Precision, networks ...any) (*Params, error) {
	params, err := e.newParams(p, networks)
	if err != nil {
		return nil, err
	}
	params.buf = ggml.Pretend(params.ctx)
	params.buf.SetWeights()
	return params, nil
}

func (e *Engine) newParams(p Precision, networks []any) (params *Params, err error) {
	defer recovered(&err)
	list := collect(networks)
	p, inPlace := e.mapped(p)
	params = &Params{ctx: ggml.NewContext(len(list) + 1), tensors: make(map[*weights.Tensor]ggml.Tensor, len(list)),
		packed: e.low.pack(p, uses(networks)), precision: p}
	defer func() {
		if err != nil {
			params.Close()
			params = nil
		}
	}()
	for _, t := range list {
		if form, packed := params.packed[t]; packed {
			params.tensors[t] = params.ctx.New(ggml.I8, form.PackedBytes()).SetName(t.Name)
			continue
		}
		typ := placedType(t, p)
		to := params.ctx.New(typ, placedShape(t, typ)...).SetName(t.Name)
		params.tensors[t] = to
		if inPlace && stays(p, t) {
			params.mapped.add(to, t)
		}
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
	p.mapped.close()
	p.ctx.Close()
	ggml.Trim()
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
// biases) are F32 always. Blocks of a quantised type lie within a row there, all
// that makes one output; where the file's do not, the weight is F16.
func placedType(t *weights.Tensor, p Precision) ggml.Type {
	if !p.stored() || len(t.Shape) < 2 {
		return ggml.F32
	}
	typ := storedType(t)
	if typ.Quantized() && int64(rowOf(t))%typ.BlockSize() != 0 {
		return ggml.F16
	}
	return typ
}

// storedType is the type that a weight has in its file: see CheckTypes.
func storedType(t *weights.Tensor) ggml.Type {
	number, _ := t.DType.GGML()
	typ, known := ggml.TypeOf(number)
	if !known {
		failf("%s is stored as %v", t.Name, t.DType)
	}
	return typ
}

// CheckTypes reports the weights of networks that ggml cannot compute with.
func CheckTypes(r *weights.Report, networks ...any) {
	for _, t := range collect(networks) {
		number, _ := t.DType.GGML()
		if _, known := ggml.TypeOf(number); !known {
			r.Invalid("%s: ggml %s cannot compute with weights stored as %v (%s)", t.Name, ggml.Version(), t.DType, t.File)
		}
	}
}

// rowOf is the number of elements that make one output of a matrix or a kernel.
func rowOf(t *weights.Tensor) int {
	n := 1
	for _, d := range t.Shape[1:] {
		n *= d
	}
	return n
}

// placedShape is a weight's shape on the device, in ggml's order: kernels of a
// quantised type are matrices [KW·KH·in out], since their blocks do not fit KW.
func placedShape(t *weights.Tensor, typ ggml.Type) []int64 {
	if typ.Quantized() {
		return []int64{int64(rowOf(t)), int64(t.Shape[0])}
	}
	return ne(t.Shape)
}

// WeightBytes is the memory that Load would take, without loading; of mapped
// weights, the most that is in memory at once.
func (e *Engine) WeightBytes(p Precision, networks ...any) int64 {
	p, inPlace := e.mapped(p)
	packed := e.low.pack(p, uses(networks))
	var n, largest int64
	for _, t := range collect(networks) {
		form, ok := packed[t]
		switch {
		case ok:
			n += form.PackedBytes()
		case inPlace && stays(p, t):
			largest = max(largest, int64(len(t.Data)))
		default:
			n += placedType(t, p).RowSize(int64(t.Elements()))
		}
	}
	if largest > 0 {
		n += int64(streamWindow) + largest
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

// pack copies a matrix to its tensor on the device as our own kernels want it.
func (e *Engine) pack(t *weights.Tensor, to ggml.Tensor, form csrc.Weights) error {
	typ, data := storedType(t), t.Bytes()
	if int64(rowOf(t))%typ.BlockSize() != 0 { // blocks go beyond a row
		values := make([]float32, t.Elements())
		ggml.Dequantize(typ, values, data)
		typ, data = ggml.F32, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
	}
	err := form.Pack(to.Data(), unsafe.Pointer(unsafe.SliceData(data)), csrc.Stored{Type: int32(typ)}, e.threads)
	runtime.KeepAlive(t)
	if err != nil {
		return fmt.Errorf("nn: %s: %w", t.Name, err)
	}
	return nil
}

// Float32 is a weight's values, whatever type it has in its file.
func Float32(t *weights.Tensor) []float32 {
	if !t.DType.Quantised() {
		return t.Float32()
	}
	values := make([]float32, t.Elements())
	ggml.Dequantize(storedType(t), values, t.Bytes())
	return values
}

// place copies a weight's values to its tensor on the device, a part at a time
// where they are converted.
func place(t *weights.Tensor, to ggml.Tensor) {
	from, data := storedType(t), t.Bytes()
	if from == to.Type() {
		to.SetBytes(data)
		runtime.KeepAlive(t)
		return
	}
	const most = 1 << 20 // elements, whole blocks of any type
	values := make([]float32, min(t.Elements(), most))
	var rounded []byte
	for at := 0; at < t.Elements(); at += most {
		part := values[:min(most, t.Elements()-at)]
		ggml.Dequantize(from, part, data[from.RowSize(int64(at)):])
		if to.Type() == ggml.F32 {
			to.SetFloat32At(at, part)
			continue
		}
		rounded = slices.Grow(rounded[:0], 2*len(part))[:2*len(part)]
		ggml.Quantize(to.Type(), rounded, part, len(part))
		to.SetBytesAt(2*at, rounded)
	}
	runtime.KeepAlive(t)
}
