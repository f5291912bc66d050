package sdxl

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"

	"supir/internal/ggml"
	"supir/internal/weights"
)

// A Part is a part of the model that can be made by itself.
type Part int

// The parts.
const (
	Diffusion Part = iota // U-Net, adaptor and connectors
	VAE                   // both encoders and the decoder
	Text                  // both text encoders
)

// Random makes a part's tensors from normally distributed numbers, of which no
// two neighbours are alike; matrices of the type asked for, vectors in F32.
// Tensors share memory: all together take a few hundred MB at most.
func Random(part Part, s Shape, typ weights.DType) *weights.Set {
	return random(typ, func(w writer) { w.part(part, s) })
}

// BlockPrefix is where the tensors of a single block are.
const BlockPrefix = "block"

// RandomTransformer makes one layer of a transformer.
func RandomTransformer(channels, context int, typ weights.DType) *weights.Set {
	return random(typ, func(w writer) { w.transformerBlock(BlockPrefix, channels, context) })
}

// RandomResBlock makes a residual block with as many channels out as in.
func RandomResBlock(channels, emb int, typ weights.DType) *weights.Set {
	return random(typ, func(w writer) { w.resBlock(BlockPrefix, channels, channels, emb) })
}

// random makes the tensors that write adds.
func random(typ weights.DType, write func(w writer)) *weights.Set {
	const file = "random numbers"
	r := &pool{typ: typ, blocks: map[string][]byte{}, most: map[string]int{}, grown: map[string]bool{}}
	var list []*weights.Tensor
	var scales []string
	w := writer{add: func(name string, k kind, shape ...int) {
		t := &weights.Tensor{Name: name, DType: weights.F32, Shape: shape, File: file}
		if len(shape) > 1 {
			t.DType = storable(typ, t.Elements()/shape[0])
		}
		list = append(list, t)
		scales = append(scales, r.want(t, k))
	}}
	write(w)
	for i, t := range list {
		r.give(t, scales[i])
	}
	return weights.Assemble(file, list, nil)
}

// storable is the type, or what takes its place where rows of so many elements
// are not whole blocks of it.
func storable(typ weights.DType, row int) weights.DType {
	for _, t := range []weights.DType{typ, weights.Q8_0} {
		if block, _ := t.Block(); row%block == 0 {
			return t
		}
	}
	return weights.F16
}

// part writes the part's tensors.
func (w writer) part(part Part, s Shape) {
	switch part {
	case Diffusion:
		w.diffusion(s)
	case VAE:
		w.vae(s)
	case Text:
		w.text(s)
	}
}

// A pool holds, for each size of numbers and each type, one piece of memory as
// long as the largest tensor needs.
type pool struct {
	typ    weights.DType
	most   map[string]int // elements, by scale
	blocks map[string][]byte
	grown  map[string]bool
	base   []float64
}

// scale names a size of numbers: 2^-shift around a centre.
func scale(typ weights.DType, centre, shift int) string {
	return fmt.Sprintf("%v %d %d", typ, centre, shift)
}

// want notes that a tensor will be asked for, and returns its scale's name.
func (p *pool) want(t *weights.Tensor, k kind) string {
	centre, shift := 0, 5
	switch k {
	case ones:
		centre = 1
	case matrix: // 2^-shift is near 1/√fan-in
		fan := t.Elements() / t.Shape[0]
		shift = (bits.Len(uint(fan)) + 1) / 2
	}
	name := scale(t.DType, centre, shift)
	if p.blocks[name] == nil {
		p.blocks[name] = p.values(t.DType, centre, shift)
	}
	p.most[name] = max(p.most[name], t.Elements())
	return name
}

// pattern is how many different numbers are drawn, as whole blocks of every
// quantized type.
const pattern = 1 << 20

// values draws a pattern in a type.
func (p *pool) values(typ weights.DType, centre, shift int) []byte {
	if p.base == nil {
		r := rand.New(rand.NewPCG(1, 2))
		p.base = make([]float64, pattern)
		for i := range p.base {
			p.base[i] = r.NormFloat64()
		}
	}
	x := make([]float32, pattern)
	for i, v := range p.base {
		x[i] = float32(float64(centre) + math.Ldexp(v, -shift))
	}
	if number, ok := typ.GGML(); ok && typ.Quantised() {
		quantised, _ := ggml.TypeOf(number)
		data := make([]byte, quantised.RowSize(pattern))
		ggml.Quantize(quantised, data, x, pattern)
		return data
	}
	return weights.FromFloat32("pattern", typ, []int{pattern}, x).Data
}

// give sets a tensor's data to the start of its scale's memory, which it makes
// long enough first.
func (p *pool) give(t *weights.Tensor, name string) {
	block := p.blocks[name]
	n := (p.most[name] + pattern - 1) / pattern
	if n > 1 && !p.grown[name] {
		block = bytes.Repeat(block, n)
		p.blocks[name] = block
	}
	p.grown[name] = true
	t.Data = block[:t.Elements()*(len(block)/n)/pattern]
}
