package llava

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/x448/float16"

	"supir/internal/nn"
	"supir/internal/weights"
)

// A Shape is the sizes of a published language model.
type Shape struct {
	Layers, Width, Heads, Hidden, IDs int
}

// Shapes are LLaVA-1.5's, by name.
var Shapes = map[string]Shape{
	"7b":   {32, 4096, 32, 11008, 32064},
	"13b":  {40, 5120, 40, 13824, 32064},
	"tiny": {4, 256, 4, 512, 512}, // for tests
}

// RandomTypes are the types that RandomText makes, by name: q4_k is llama.cpp's
// mix Q4_K_M, whose more sensitive matrices are Q6_K.
var RandomTypes = map[string][2]weights.DType{
	"q4_k": {weights.Q4_K, weights.Q6_K},
	"q8_0": {weights.Q8_0, weights.Q8_0},
	"f16":  {weights.F16, weights.F16},
}

// RandomText is a language model of random numbers, to time. Its tensors share
// memory, so that it takes little until it is loaded.
func RandomText(shape, typ string) (*Text, error) {
	s, known := Shapes[shape]
	if !known {
		return nil, fmt.Errorf("no language model of shape %q: there are %v", shape, slices.Sorted(maps.Keys(Shapes)))
	}
	types, known := RandomTypes[typ]
	if !known {
		return nil, fmt.Errorf("weights of type %q cannot be made: there are %v", typ, slices.Sorted(maps.Keys(RandomTypes)))
	}
	p := &pool{rng: rand.New(rand.NewPCG(7, 8)), blocks: map[weights.DType][]byte{}}
	linear := func(name string, typ weights.DType, out, in int) nn.Linear {
		return nn.Linear{Weight: p.tensor(name, typ, out, in)}
	}
	norm := func(name string) nn.RMSNorm { return nn.RMSNorm{Weight: p.ones(name, s.Width)} }
	m := &Text{Heads: s.Heads, Context: 4096, Epsilon: 1e-5, Rotary: nn.Rotary{Base: 10000, Features: s.Width / s.Heads}}
	m.Embedding = p.tensor("token_embd", types[0], s.IDs, s.Width)
	m.Norm = norm("output_norm")
	head := linear("output", types[1], s.IDs, s.Width)
	m.Head = &head
	for i := range s.Layers {
		name := fmt.Sprintf("blk.%d.", i)
		most := types[0]
		// llama.cpp's mix: the first and last eighth of the layers, and every third
		// between.
		if e := s.Layers / 8; i < e || i >= s.Layers-e || (i-e)%3 == 2 {
			most = types[1]
		}
		m.Layers = append(m.Layers, Layer{
			AttentionNorm: norm(name + "attn_norm"),
			Q:             linear(name+"attn_q", types[0], s.Width, s.Width),
			K:             linear(name+"attn_k", types[0], s.Width, s.Width),
			V:             linear(name+"attn_v", most, s.Width, s.Width),
			Out:           linear(name+"attn_output", types[0], s.Width, s.Width),
			Norm:          norm(name + "ffn_norm"),
			Gate:          linear(name+"ffn_gate", types[0], s.Hidden, s.Width),
			Up:            linear(name+"ffn_up", types[0], s.Hidden, s.Width),
			Down:          linear(name+"ffn_down", most, s.Width, s.Hidden),
		})
	}
	return m, nil
}

// A pool holds, for each type, one piece of memory for all tensors.
type pool struct {
	rng    *rand.Rand
	blocks map[weights.DType][]byte
}

func (p *pool) tensor(name string, typ weights.DType, out, in int) *weights.Tensor {
	elements, bytes := typ.Block()
	n := out * in / elements * bytes
	if len(p.blocks[typ]) < n {
		p.blocks[typ] = p.random(typ, n)
	}
	return &weights.Tensor{Name: name + ".weight", DType: typ, Shape: []int{out, in}, Data: p.blocks[typ][:n], File: "random numbers"}
}

func (p *pool) ones(name string, n int) *weights.Tensor {
	one := make([]float32, n)
	for i := range one {
		one[i] = 1
	}
	return weights.FromFloat32(name+".weight", weights.F32, []int{n}, one)
}

// random is n bytes of a type's blocks: all bits are drawn, but for the scales,
// which make numbers of some 1/64 around 0.
func (p *pool) random(typ weights.DType, n int) []byte {
	data := make([]byte, (n+7)/8*8)
	for i := 0; i < len(data); i += 8 {
		binary.LittleEndian.PutUint64(data[i:], p.rng.Uint64())
	}
	data = data[:n]
	_, bytes := typ.Block()
	half := func(at int, v float64) {
		binary.LittleEndian.PutUint16(data[at:], float16.Fromfloat32(float32(v)).Bits())
	}
	const size = 1.0 / 64
	for at := 0; at+bytes <= n; at += bytes {
		switch typ {
		case weights.Q4_K: // d·scale·q - min·scale', scales to 63, q to 15
			d := size / 170
			half(at, d)
			half(at+2, 7.5*d)
		case weights.Q6_K: // d·scale·(q-32), scales and q-32 of all signs
			half(at+bytes-2, size/1400)
		case weights.Q8_0:
			half(at, size/74)
		case weights.F16:
			half(at, size*p.rng.NormFloat64())
		}
	}
	return data
}

// textBytes is what is read of the weights for a token: all but the table of
// which it takes one row.
func (m *Text) textBytes() int64 {
	var n int64
	for _, t := range weights.Collect(m) {
		if t != m.Embedding || m.Head == nil {
			n += int64(len(t.Data))
		}
	}
	return n
}

// flop is the multiplications and additions for so many tokens of a prompt, of
// the first layers alone, without the head.
func (m *Text) flop(tokens, layers int) float64 {
	var n float64
	for i := range layers {
		l := &m.Layers[i]
		for _, w := range []*nn.Linear{&l.Q, &l.K, &l.V, &l.Out, &l.Gate, &l.Up, &l.Down} {
			n += 2 * float64(w.In()) * float64(w.Out()) * float64(tokens)
		}
		n += 4 * float64(l.Q.Out()) * float64(tokens) * float64(tokens) // scores and their product with values
	}
	return n
}
