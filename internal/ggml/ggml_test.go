package ggml

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func open(t *testing.T, typ DeviceType) *Backend {
	t.Helper()
	for _, d := range Devices() {
		if d.Type() == typ {
			b, err := d.Open()
			require.NoError(t, err)
			t.Cleanup(b.Close)
			return b
		}
	}
	require.FailNow(t, "no such device", "%v", typ)
	return nil
}

func TestDevices(t *testing.T) {
	require.NotEmpty(t, Version())
	var cpu bool
	for _, d := range Devices() {
		free, total := d.Memory()
		t.Logf("%s: %s, %v, %s, %d/%d MiB free, %v", d.Name(), d.Description(), d.Type(), d.Backend(), free>>20, total>>20, d.Features())
		if d.Type() == CPU {
			cpu = true
			require.Positive(t, total)
			require.NotEmpty(t, d.Features())
		}
	}
	require.True(t, cpu, "ggml has found no CPU backend")
}

// TestMulMat computes [1 2; 3 4]·[5 6; 7 8]ᵀ twice with one allocation.
func TestMulMat(t *testing.T) {
	before := Live()
	func() {
		cpu := open(t, CPU)
		cpu.SetThreads(2)
		inputs := NewContext(8)
		defer inputs.Close()
		a, b := inputs.New(F32, 2, 2), inputs.New(F32, 2, 2)
		buf, err := cpu.Alloc(inputs)
		require.NoError(t, err)
		defer buf.Close()
		ctx := NewContext(64)
		defer ctx.Close()
		out := ctx.MulMat(a, b).SetOutput()
		g := ctx.NewGraph(64)
		g.Expand(out)
		require.Equal(t, 1, g.Nodes())
		s, err := NewSched([]*Backend{cpu}, 64)
		require.NoError(t, err)
		defer s.Close()
		require.NoError(t, s.Alloc(g))
		for _, scale := range []float32{1, 2} {
			a.SetFloat32([]float32{1, 2, 3, 4})
			b.SetFloat32([]float32{5 * scale, 6 * scale, 7 * scale, 8 * scale})
			require.NoError(t, s.Compute(g))
			got := make([]float32, 4)
			out.GetFloat32(got)
			require.Equal(t, []float32{17 * scale, 39 * scale, 23 * scale, 53 * scale}, got)
		}
		s.Close()
		s.Close()
		cpu.Close()
	}()
	require.Equal(t, before, Live())
}

// TestReserveSize measures a graph, which spoils it and its scheduler for Alloc.
func TestReserveSize(t *testing.T) {
	cpu := open(t, CPU)
	ctx := NewContext(16)
	defer ctx.Close()
	g := ctx.NewGraph(16)
	g.Expand(ctx.Silu(ctx.Silu(ctx.New(F32, 1024))))
	s, err := NewSched([]*Backend{cpu}, 16)
	require.NoError(t, err)
	defer s.Close()
	require.GreaterOrEqual(t, s.ReserveSize(g)[0], int64(4096))
	require.Zero(t, s.Size(), "nothing is allocated")
	require.Panics(t, func() { s.Alloc(g) })
}

func TestAbort(t *testing.T) {
	cpu := open(t, CPU)
	flag := NewAbortFlag()
	defer flag.Close()
	cpu.SetAbort(flag)
	ctx := NewContext(4096)
	defer ctx.Close()
	x := ctx.New(F32, 256, 256)
	buf, err := cpu.Alloc(ctx)
	require.NoError(t, err)
	defer buf.Close()
	x.SetFloat32(make([]float32, 256*256))
	g := ctx.NewGraph(2048)
	y := x
	for range 1000 {
		y = ctx.MulMat(x, y)
	}
	g.Expand(y)
	s, err := NewSched([]*Backend{cpu}, 2048)
	require.NoError(t, err)
	defer s.Close()
	require.NoError(t, s.Alloc(g))
	flag.Set(true)
	require.ErrorIs(t, s.Compute(g), Aborted)
	flag.Set(false)
	require.NoError(t, s.Compute(g), "usable after an abort")
}

func TestShapeErrors(t *testing.T) {
	ctx := NewContext(32)
	defer ctx.Close()
	a, b := ctx.New(F32, 4, 3), ctx.New(F32, 5, 3)
	for name, f := range map[string]func(){
		"mul_mat":  func() { ctx.MulMat(a, b) },
		"add":      func() { ctx.Add(a, b) },
		"reshape":  func() { ctx.Reshape(a, 5, 1, 1, 1) },
		"view":     func() { ctx.View(a, [4]int64{4, 4, 1, 1}, 0) },
		"concat":   func() { ctx.Concat(a, b, 1) },
		"negative": func() { ctx.New(F32, -1) },
		"huge":     func() { ctx.New(F32, math.MaxInt64, 8) },
		"blocks":   func() { ctx.New(Q8_0, 33) },
		"memory":   func() { a.SetFloat32([]float32{1}) },
		"full": func() {
			for {
				ctx.New(F32, 1)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				r := recover()
				require.IsType(t, &ShapeError{}, r)
			}()
			f()
		})
	}
}
