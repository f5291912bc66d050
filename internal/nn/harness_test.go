package nn

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/x448/float16"

	"supir/internal/ggml"
	"supir/internal/ggml/ggmltest"
	"supir/internal/weights"
)

// TestMain wants every handle closed at the end.
func TestMain(m *testing.M) { ggmltest.Main(m) }

// A testEngine is a way to compute: a device, or the CPU with a helper or
// without kernels of our own.
type testEngine struct {
	name     string
	device   ggml.Device
	extra    []ggml.Device
	portable bool
	kind     engineKind
}

type engineKind int

const (
	cpuKind engineKind = iota
	softGPU            // a graphics driver that computes on the CPU
	realGPU
)

// engines lists the CPU alone, with either lowering, the CPU with each helper,
// and every graphics device, software ones too (Mesa's, where
// GGML_VK_VISIBLE_DEVICES=0 is set).
func engines(t testing.TB) []testEngine {
	t.Helper()
	os.Getenv("GGML_VK_VISIBLE_DEVICES") // C reads it; this tells go test's cache of it
	cpu, err := pick("cpu")
	require.NoError(t, err)
	list := []testEngine{{name: "CPU", device: cpu}, {name: "CPU portable", device: cpu, portable: true}}
	for _, d := range ggml.Devices() {
		switch d.Type() {
		case ggml.Accel:
			list = append(list, testEngine{name: "CPU+" + d.Name(), device: cpu, extra: []ggml.Device{d}})
		case ggml.GPU, ggml.IGPU:
			kind := realGPU
			if software(d) {
				kind = softGPU
			}
			list = append(list, testEngine{name: d.Name(), device: d, kind: kind})
		}
	}
	return list
}

func (te testEngine) open(t testing.TB) *Engine {
	t.Helper()
	e, err := open(te.device, 0, te.extra)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	if te.portable {
		e.low = &portable{cpu: true, scratch: scratchBytes}
	}
	return e
}

// scratchOf is the scratch memory's size of a lowering, to be changed.
func scratchOf(low lowering) *int {
	switch low := low.(type) {
	case *portable:
		return &low.scratch
	case *native:
		return &low.scratch
	}
	panic("a lowering that tests do not know")
}

// eachEngine runs a test on every engine.
func eachEngine(t *testing.T, f func(t *testing.T, te testEngine, e *Engine)) {
	for _, te := range engines(t) {
		t.Run(te.name, func(t *testing.T) { f(t, te, te.open(t)) })
	}
}

// An opCase is a row of the operator table.
type opCase struct {
	name     string
	in       [][]int       // inputs' shapes: maps N×C×H×W, tokens N×T×C, vectors N×C
	ids      []int32       // indices
	weights  [][]int       // weights' shapes
	uses     []use         // of weights that belong to a layer, in order
	products bool          // has products without weights
	outlier  float64       // by what every 64th channel of inputs is larger, not at all where 0
	stored   weights.DType // type of weights that are matrices
	scale    float64       // standard deviation of the inputs, 1 where 0
	scratch  int           // bytes, see portable; the default where 0
	build    func(g *Graph, in []any, ids func(tokens, n int) IDs, w []*weights.Tensor) any
	want     func(in []array, ids []int32, w []array) array
	flops    float64 // of rows to be timed: the multiplications and additions
}

// seeded draws the same numbers for a case on every engine.
func seeded(c opCase) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(c.name))
	return rand.New(rand.NewPCG(h.Sum64(), 1))
}

func random(r *rand.Rand, scale float64, shape []int) []float32 {
	n := 1
	for _, d := range shape {
		n *= d
	}
	data := make([]float32, n)
	for i := range data {
		data[i] = float32(scale * r.NormFloat64())
	}
	return data
}

func arrayOf(shape []int, data []float32) array {
	a := zeros(shape...)
	for i, v := range data {
		a.data[i] = float64(v)
	}
	return a
}

// tensor stores data, which it rounds to the type, as a file would.
func newTensor(name string, typ weights.DType, shape []int, data []float32) *weights.Tensor {
	t := &weights.Tensor{Name: name, DType: typ, Shape: shape, File: "test"}
	if typ.Quantised() { // all of it as one row, of which a kernel's blocks need not heed the ends
		stored := storedType(t)
		t.Data = make([]byte, stored.RowSize(int64(len(data))))
		ggml.Quantize(stored, t.Data, data, len(data))
		ggml.Dequantize(stored, data, t.Data)
		return t
	}
	for i, v := range data {
		switch typ {
		case weights.F16:
			h := float16.Fromfloat32(v)
			t.Data, data[i] = binary.LittleEndian.AppendUint16(t.Data, h.Bits()), h.Float32()
		case weights.BF16:
			bits := math.Float32bits(v) &^ 0xffff
			t.Data, data[i] = binary.LittleEndian.AppendUint16(t.Data, uint16(bits>>16)), math.Float32frombits(bits)
		default:
			t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
		}
	}
	return t
}

// A network of any weights, for Load.
type bag struct {
	List   []held   `key:"list.*"`
	Linear []Linear `key:"linear.*"`
	GEGLU  []GEGLU  `key:"geglu.*"`
	Conv   []Conv2D `key:"conv.*"`
}
type held struct {
	T *weights.Tensor `key:"t"`
}

func bagOf(list []*weights.Tensor, uses ...use) *bag {
	var b bag
	for i, t := range list {
		switch u := append(uses, make([]use, len(list))...)[i]; u {
		case linearUse:
			b.Linear = append(b.Linear, Linear{Weight: t})
		case gegluUse:
			b.GEGLU = append(b.GEGLU, GEGLU{Weight: t})
		case convUse:
			b.Conv = append(b.Conv, Conv2D{Weight: t})
		default:
			b.List = append(b.List, held{t})
		}
	}
	return &b
}

// enlarge makes the features or channels of every 64th larger.
func enlarge(shape []int, data []float32, by float64) {
	channels, each := shape[len(shape)-1], 1
	if len(shape) == 4 {
		channels, each = shape[1], shape[2]*shape[3]
	}
	for i := range data {
		if i/each%channels%64 == 7 {
			data[i] *= float32(by)
		}
	}
}

// A prepared case has its program on an engine, ready to run.
type prepared struct {
	program *Program
	inputs  map[string][]float32
	want    array
}

// guard is an input that no operator uses; it lies among those that they do.
const guard = "guard"

// references keeps what was computed for one engine for the next.
var references = map[string]array{}

func (c opCase) prepare(t testing.TB, e *Engine, precision Precision, reference bool) prepared {
	t.Helper()
	scratch := scratchOf(e.low)
	*scratch = scratchBytes
	if c.scratch != 0 {
		*scratch = c.scratch
	}
	r := seeded(c)
	var ws []*weights.Tensor
	var warrays []array
	for i, shape := range c.weights {
		typ := weights.F32
		if len(shape) > 1 {
			typ = c.stored
		}
		fan := 1
		for _, d := range shape[1:] {
			fan *= d
		}
		data := random(r, 1/math.Sqrt(float64(fan)), shape)
		ws = append(ws, newTensor(fmt.Sprintf("w%d", i), typ, shape, data))
		warrays = append(warrays, arrayOf(shape, data))
	}
	scale := c.scale
	if scale == 0 {
		scale = 1
	}
	p := prepared{inputs: map[string][]float32{guard: random(r, 1, []int{64})}}
	var arrays []array
	for i, shape := range c.in {
		data := random(r, scale, shape)
		if c.outlier != 0 {
			enlarge(shape, data, c.outlier)
		}
		p.inputs[fmt.Sprintf("in%d", i)] = data
		arrays = append(arrays, arrayOf(shape, data))
	}
	params, err := e.Load(t.Context(), precision, bagOf(ws, c.uses...))
	require.NoError(t, err)
	t.Cleanup(params.Close)
	p.program, err = e.Build(params, nil, func(g *Graph) {
		var in []any
		for i, s := range c.in {
			name := fmt.Sprintf("in%d", i)
			switch len(s) {
			case 4:
				in = append(in, g.InputMap(name, s[1], s[2], s[3], s[0]))
			case 3:
				in = append(in, g.InputTokens(name, s[2], s[1], s[0]))
			case 2:
				in = append(in, g.InputVector(name, s[1], s[0]))
			}
			if i == 0 {
				g.InputVector(guard, 64, 1)
			}
		}
		ids := func(tokens, n int) IDs { return g.InputIDs("ids", tokens, n) }
		if len(c.in) == 0 {
			g.InputVector(guard, 64, 1)
		}
		switch out := c.build(g, in, ids, ws).(type) {
		case Map:
			Output(g, "out", out)
		case Tokens:
			Output(g, "out", out)
		case Vector:
			Output(g, "out", out)
		}
	})
	require.NoError(t, err)
	t.Cleanup(p.program.Close)
	for name, data := range p.inputs {
		require.NoError(t, p.program.Set(name, data))
	}
	if c.ids != nil {
		require.NoError(t, p.program.SetInts("ids", c.ids))
	}
	if reference {
		want, known := references[c.name]
		if !known {
			want = c.want(arrays, c.ids, warrays)
			references[c.name] = want
		}
		p.want = want
	}
	return p
}

func (p prepared) run(t testing.TB) []float32 {
	t.Helper()
	require.NoError(t, p.program.Run(context.Background()))
	out, err := p.program.Get("out")
	require.NoError(t, err)
	return out
}

// nmse is the normalised squared error of got, ‖got−want‖²/‖want‖².
func nmse(got []float32, want []float64) float64 {
	var wrong, norm float64
	for i := range want {
		d := float64(got[i]) - want[i]
		wrong += d * d
		norm += want[i] * want[i]
	}
	if wrong == 0 {
		return 0
	}
	return wrong / norm
}
