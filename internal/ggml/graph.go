package ggml

/*
#include <stdlib.h>
#include <ggml.h>
#include <ggml-backend.h>

static bool supir_eval(struct ggml_tensor * t, bool ask, void * data) {
	(void) t;
	// A node in 32 is looked at, so that the ones between still run as a batch.
	static _Thread_local unsigned count;
	if (ask) return ++count % 32 == 0;
	return __atomic_load_n((int *) data, __ATOMIC_RELAXED) == 0;
}
static void supir_sched_set_abort(ggml_backend_sched_t sched, int * flag) {
	ggml_backend_sched_set_eval_callback(sched, flag ? supir_eval : NULL, flag);
}

// What a timed computation tells: when each node, or each node with the views
// before it, began and ended.
struct supir_times {
	struct ggml_tensor ** nodes;
	int64_t * from, * to; // microseconds of ggml's clock
	int n, most;
	int64_t began; // 0 between nodes
	int * abort;
};
static bool supir_time(struct ggml_tensor * t, bool ask, void * data) {
	struct supir_times * times = (struct supir_times *) data;
	if (ask) {
		if (times->began == 0) times->began = ggml_time_us();
		return t->op != GGML_OP_NONE && t->op != GGML_OP_VIEW && t->op != GGML_OP_RESHAPE && t->op != GGML_OP_PERMUTE && t->op != GGML_OP_TRANSPOSE;
	}
	if (times->n < times->most) {
		times->nodes[times->n] = t;
		times->from[times->n] = times->began;
		times->to[times->n] = ggml_time_us();
		times->n++;
	}
	times->began = 0;
	return __atomic_load_n(times->abort, __ATOMIC_RELAXED) == 0;
}
static void supir_sched_set_times(ggml_backend_sched_t sched, struct supir_times * times) {
	ggml_backend_sched_set_eval_callback(sched, supir_time, times);
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"runtime/cgo"
	"slices"
	"unsafe"
)

// A Context holds the descriptions of tensors and graphs, never their data.
type Context struct {
	c    *C.struct_ggml_context
	left int // tensors that still fit
	made int // tensors so far
}

// NewContext makes room for the descriptions of so many tensors and graph nodes.
func NewContext(tensors int) *Context {
	size := C.size_t(tensors)*C.ggml_tensor_overhead() + C.ggml_graph_overhead_custom(C.size_t(tensors), false)
	c := C.ggml_init(C.struct_ggml_init_params{mem_size: size, no_alloc: true})
	if c == nil {
		panic(&MemoryError{What: "a graph's description", Bytes: int64(size)})
	}
	live.Add(1)
	return &Context{c: c, left: tensors}
}

// Close frees the descriptions; the tensors and graphs made from the context
// must not be used any more.
func (ctx *Context) Close() {
	if ctx == nil || ctx.c == nil {
		return
	}
	C.ggml_free(ctx.c)
	ctx.c = nil
	live.Add(-1)
}

// take counts one more tensor.
func (ctx *Context) take() {
	ctx.made++
	if ctx.left--; ctx.left < 0 {
		panic(&ShapeError{Op: "graph", Reason: "more tensors than the context has room for"})
	}
}

// A Graph is a list of nodes to compute in order. It belongs to its context.
type Graph struct {
	c *C.struct_ggml_cgraph
}

// NewGraph makes an empty graph for at most so many nodes; a context has room
// for one of its own number of tensors.
func (ctx *Context) NewGraph(nodes int) *Graph {
	return &Graph{c: C.ggml_new_graph_custom(ctx.c, C.size_t(nodes), false)}
}

// Expand appends t and all that it needs and that is not yet in the graph.
func (g *Graph) Expand(t Tensor) { C.ggml_build_forward_expand(g.c, t.c) }

// Nodes is the number of nodes in the graph.
func (g *Graph) Nodes() int { return int(C.ggml_graph_n_nodes(g.c)) }

// Node is the i-th node.
func (g *Graph) Node(i int) Tensor { return Tensor{C.ggml_graph_node(g.c, C.int(i))} }

// Sort puts the nodes in another order, in which each must still come after
// those it is computed from; ggml itself puts a node's first operand and all
// before it first.
func (g *Graph) Sort(compare func(a, b Tensor) int) {
	if n := g.Nodes(); n > 0 {
		slices.SortFunc(unsafe.Slice(C.ggml_graph_nodes(g.c), n), func(a, b *C.struct_ggml_tensor) int { return compare(Tensor{a}, Tensor{b}) })
	}
}

// A Sched runs a graph on several backends, the first that can compute a node
// taking it, and owns the memory of the graph's intermediate results.
type Sched struct {
	c        C.ggml_backend_sched_t
	backends []*Backend
	used     bool // by ReserveSize or Alloc
	abort    *AbortFlag
	eval     cgo.Handle
}

// NewSched makes a scheduler for graphs of at most so many nodes; the last
// backend must be a CPU, which computes what no other can.
func NewSched(backends []*Backend, nodes int) (*Sched, error) {
	if n := len(backends); n == 0 || backends[n-1].Device.Type() != CPU {
		return nil, fmt.Errorf("ggml: the last backend of a scheduler must be a CPU")
	}
	cs := make([]C.ggml_backend_t, len(backends))
	for i, b := range backends {
		cs[i] = b.c
	}
	c := C.ggml_backend_sched_new(&cs[0], nil, C.int(len(cs)), C.size_t(nodes), false, false)
	if c == nil {
		return nil, &MemoryError{What: "a scheduler"}
	}
	live.Add(1)
	return &Sched{c: c, backends: backends}, nil
}

// ReserveSize is the memory in bytes that Alloc would take for g, per backend,
// without taking it. Neither the graph, which cutting it between backends has
// changed, nor the scheduler is good for Alloc after it.
func (s *Sched) ReserveSize(g *Graph) []int64 {
	s.used = true
	sizes := make([]C.size_t, len(s.backends))
	C.ggml_backend_sched_reserve_size(s.c, g.c, &sizes[0])
	out := make([]int64, len(sizes))
	seen := map[C.ggml_backend_buffer_type_t]bool{}
	for i, n := range sizes { // ggml gives the size of a type for every backend that shares it
		typ := C.ggml_backend_sched_get_buffer_type(s.c, s.backends[i].c)
		if !seen[typ] {
			out[i] = int64(n)
		}
		seen[typ] = true
	}
	C.ggml_backend_sched_reset(s.c)
	return out
}

// Alloc takes the memory for g's intermediate results. One scheduler serves one
// graph, which may then be computed many times.
func (s *Sched) Alloc(g *Graph) error {
	need(!s.used, "alloc", "the scheduler has been used for another graph, or for ReserveSize")
	s.used = true
	if !C.ggml_backend_sched_alloc_graph(s.c, g.c) {
		return &MemoryError{What: "a graph's intermediate results"}
	}
	return nil
}

// Splits is the number of parts into which the graph was cut between backends.
func (s *Sched) Splits() int { return int(C.ggml_backend_sched_get_n_splits(s.c)) }

// Size is the memory in bytes taken for intermediate results on all backends.
func (s *Sched) Size() int64 {
	var n int64
	for _, b := range s.backends {
		n += int64(C.ggml_backend_sched_get_buffer_size(s.c, b.c))
	}
	return n
}

// SetAbort makes Compute look at the flag between groups of nodes, on backends
// that cannot be stopped otherwise.
func (s *Sched) SetAbort(flag *AbortFlag) {
	s.abort = flag
	C.supir_sched_set_abort(s.c, flag.c)
}

// Compute runs the graph given to Alloc and waits for its end. The error is a
// Status.
func (s *Sched) Compute(g *Graph) error {
	err := status(C.ggml_backend_sched_graph_compute(s.c, g.c))
	runtime.KeepAlive(s)
	return err
}

// A NodeTime says when a node was computed, in microseconds of Clock.
type NodeTime struct {
	Node     Tensor
	From, To int64
}

// Clock is ggml's time in microseconds since some moment.
func Clock() int64 { return int64(C.ggml_time_us()) }

// ComputeTimed is Compute node by node, which takes a little longer, and tells
// when each was computed; views are part of what follows them. It stops between
// nodes when the flag is set.
func (s *Sched) ComputeTimed(g *Graph, flag *AbortFlag) ([]NodeTime, error) {
	if s.eval != 0 {
		return s.computeTimedEval(g)
	}
	n := max(1, g.Nodes())
	const each = unsafe.Sizeof(uintptr(0)) + 2*unsafe.Sizeof(C.int64_t(0))
	times := (*C.struct_supir_times)(C.calloc(1, C.sizeof_struct_supir_times))
	memory := C.calloc(C.size_t(n), C.size_t(each))
	defer C.free(unsafe.Pointer(times))
	defer C.free(memory)
	times.from = (*C.int64_t)(memory)
	times.to = (*C.int64_t)(unsafe.Add(memory, 8*n))
	times.nodes = (**C.struct_ggml_tensor)(unsafe.Add(memory, 16*n))
	times.most, times.abort = C.int(n), flag.c

	C.supir_sched_set_times(s.c, times)
	err := s.Compute(g)
	C.supir_sched_set_abort(s.c, nil)
	if s.abort != nil {
		s.SetAbort(s.abort)
	}
	from, to := unsafe.Slice(times.from, n), unsafe.Slice(times.to, n)
	list := make([]NodeTime, times.n)
	for i, node := range unsafe.Slice(times.nodes, n)[:times.n] {
		list[i] = NodeTime{Tensor{node}, int64(from[i]), int64(to[i])}
	}
	return list, err
}

// Made is the number of tensors made so far.
func (ctx *Context) Made() int { return ctx.made }

// Tensors are all of the context's, in the order they were made.
func (ctx *Context) Tensors() []Tensor {
	var list []Tensor
	for t := C.ggml_get_first_tensor(ctx.c); t != nil; t = C.ggml_get_next_tensor(ctx.c, t) {
		list = append(list, Tensor{t})
	}
	return list
}

// Close frees the scheduler and its memory, before the backends are closed.
func (s *Sched) Close() {
	if s == nil || s.c == nil {
		return
	}
	C.ggml_backend_sched_free(s.c)
	s.c = nil
	if s.eval != 0 {
		s.eval.Delete()
		s.eval = 0
	}
	live.Add(-1)
}
