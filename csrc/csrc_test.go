package csrc_test

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/csrc"
	"supir/internal/ggml"
)

func TestMain(m *testing.M) {
	m.Run()
	if n := ggml.Live(); n != 0 {
		panic("ggml handles left open")
	}
}

// A bench of one CPU on which graphs of operators run.
type bench struct {
	cpu    *ggml.Backend
	inputs *ggml.Context
	nodes  *ggml.Context
}

func newBench(t *testing.T) *bench {
	for _, d := range ggml.Devices() {
		if d.Type() == ggml.CPU {
			cpu, err := d.Open()
			require.NoError(t, err)
			cpu.SetThreads(2)
			b := &bench{cpu: cpu, inputs: ggml.NewContext(16), nodes: ggml.NewContext(64)}
			t.Cleanup(func() { b.nodes.Close(); b.inputs.Close(); b.cpu.Close() })
			return b
		}
	}
	require.FailNow(t, "no CPU")
	return nil
}

// input allocates the inputs, and run computes a result.
func (b *bench) input(t *testing.T) {
	buf, err := b.cpu.Alloc(b.inputs)
	require.NoError(t, err)
	t.Cleanup(buf.Close)
}

func (b *bench) run(t *testing.T, out ggml.Tensor) []float32 {
	g := b.nodes.NewGraph(64)
	g.Expand(out.SetOutput())
	s, err := ggml.NewSched([]*ggml.Backend{b.cpu}, 64)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Alloc(g))
	require.NoError(t, s.Compute(g))
	if out.Type() != ggml.F32 {
		return nil
	}
	got := make([]float32, out.Elements())
	out.GetFloat32(got)
	return got
}

func normal(n int, scale float64) []float32 {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(scale * r.NormFloat64())
	}
	return x
}

func TestLinearInAGraph(t *testing.T) {
	const tokens, in, out = 19, 96, 70
	x, w, bias := normal(tokens*in, 1), normal(out*in, 0.1), normal(out, 1)
	for _, rows := range []csrc.Rows{{Type: csrc.F32}, {Type: csrc.BF16}, {Type: csrc.Int8}, {Type: csrc.Int8, Rotate: true}} {
		t.Run(rows.Type.String(), func(t *testing.T) {
			layer := csrc.Weights{Out: out, In: in, KH: 1, KW: 1, Rows: rows}
			packed := make([]byte, layer.PackedBytes())
			require.NoError(t, layer.Pack(unsafe.Pointer(&packed[0]), unsafe.Pointer(&w[0]), csrc.Stored{Type: int32(ggml.F32)}, 2))

			b := newBench(t)
			tx, tw, tb := b.inputs.New(ggml.F32, in, tokens), b.inputs.New(ggml.I8, int64(len(packed))), b.inputs.New(ggml.F32, out)
			b.input(t)
			tx.SetFloat32(x)
			tw.SetBytes(packed)
			tb.SetFloat32(bias)

			ws := csrc.NewWorkspace(2)
			defer ws.Close()
			convert := csrc.ConvertRows(tokens, in, rows)
			defer convert.Close()
			product := csrc.Product{Weights: layer, N: 1, H: 1, W: tokens, OutH: 1, OutW: tokens, Stride: 1, Bias: true}.Op(ws)
			defer product.Close()
			require.Positive(t, ws.Size())
			require.NoError(t, ws.Alloc())
			r := b.nodes.CustomNew(ggml.I8, [4]int64{rows.Bytes(in), tokens, 1, 1}, convert.Func, convert.Data, tx)
			y := b.nodes.CustomNew(ggml.F32, [4]int64{out, tokens, 1, 1}, product.Func, product.Data, r, tw, tb)
			got := b.run(t, y)
			require.NoError(t, convert.Err())
			require.NoError(t, product.Err())

			var wrong, norm float64
			for i := range tokens {
				for o := range out {
					want := float64(bias[o])
					for c := range in {
						want += float64(x[i*in+c]) * float64(w[o*in+c])
					}
					d := float64(got[i*out+o]) - want
					wrong, norm = wrong+d*d, norm+want*want
				}
			}
			most := map[csrc.Type]float64{csrc.F32: 1e-12, csrc.BF16: 2e-5, csrc.Int8: 3e-4}[rows.Type]
			assert.LessOrEqual(t, wrong/norm, most)
			assert.False(t, math.IsNaN(wrong))
		})
	}
}

// TestErrors makes sure that what ggml cannot be told is remembered.
func TestErrors(t *testing.T) {
	t.Run("groups", func(t *testing.T) {
		b := newBench(t)
		x := b.inputs.New(ggml.F32, 6, 4)
		b.input(t)
		x.SetFloat32(normal(24, 1))
		op := csrc.GroupStats(4, 6, 1, 5) // 6 channels in 5 groups
		defer op.Close()
		require.NoError(t, op.Err())
		b.run(t, b.nodes.CustomNew(ggml.I8, [4]int64{csrc.GroupStatsBytes(4, 5, 1), 1, 1, 1}, op.Func, op.Data, x))
		var status *csrc.StatusError
		require.ErrorAs(t, op.Err(), &status)
		require.ErrorContains(t, status, "sizes")
	})
	t.Run("scratch", func(t *testing.T) {
		b := newBench(t)
		a := csrc.Attention{Queries: 3, Keys: 3, Batch: 1, KVBatch: 1, Heads: 1, Dim: 4, Scale: 1}
		q, packed := b.inputs.New(ggml.F32, 4, 3), b.inputs.New(ggml.I8, a.PackedBytes())
		b.input(t)
		ws := csrc.NewWorkspace(2) // of which Alloc is forgotten
		defer ws.Close()
		op := a.Op(ws)
		defer op.Close()
		b.run(t, b.nodes.CustomNew(ggml.F32, [4]int64{4, 3, 1, 1}, op.Func, op.Data, q, packed))
		require.ErrorContains(t, op.Err(), "scratch")
	})
	t.Run("weights", func(t *testing.T) {
		w := csrc.Weights{Out: 3, In: 4, KH: 1, KW: 1, GEGLU: true} // halves of 3
		var dst, src [1 << 12]byte
		require.ErrorContains(t, w.Pack(unsafe.Pointer(&dst), unsafe.Pointer(&src), csrc.Stored{}, 1), "sizes")
	})
}

func TestProcessor(t *testing.T) {
	t.Logf("%s, %v, best in %v", csrc.ISA(), csrc.Features(), csrc.BestType())
	require.NotEmpty(t, csrc.ISA())
}
