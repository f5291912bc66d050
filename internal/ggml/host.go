package ggml

/*
#include <ggml.h>
#include <ggml-backend.h>
#include <stdint.h>

extern bool supirEval(struct ggml_tensor * t, bool ask, uintptr_t handle);

static bool supir_eval_go(struct ggml_tensor * t, bool ask, void * data) { return supirEval(t, ask, (uintptr_t) data); }
static void supir_sched_set_eval(ggml_backend_sched_t sched, uintptr_t handle) {
	ggml_backend_sched_set_eval_callback(sched, handle ? supir_eval_go : NULL, (void *) handle);
}
static ggml_backend_buffer_t supir_host(uintptr_t at, size_t size) { return ggml_backend_cpu_buffer_from_ptr((void *) at, size); }
static enum ggml_status supir_place(ggml_backend_buffer_t buffer, struct ggml_tensor * t, uintptr_t at) {
	return ggml_backend_tensor_alloc(buffer, t, (void *) at);
}
*/
import "C"

import (
	"runtime/cgo"
	"unsafe"
)

// Host makes a tensor without memory use data, which must stay where it is, and
// outside of Go's heap, until the buffer returned is closed. The CPU computes
// with the tensor; nothing may write to it.
func (t Tensor) Host(data []byte) (*Buffer, error) {
	if int64(len(data)) != t.Bytes() || len(data) == 0 {
		panic(&ShapeError{Op: "host", Reason: "not as many bytes as the tensor has"})
	}
	const align = 64 // what ggml wants buffers to begin at
	at := uintptr(unsafe.Pointer(unsafe.SliceData(data)))
	begin := at &^ (align - 1)
	c := C.supir_host(C.uintptr_t(begin), C.size_t(at-begin)+C.size_t(len(data)))
	if c == nil {
		return nil, &MemoryError{What: "a buffer's description"}
	}
	live.Add(1)
	b := &Buffer{c: c}
	if err := status(C.supir_place(c, t.c, C.uintptr_t(at))); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// Sources are the tensors that the node t reads; of views, what they view.
func (t Tensor) Sources() []Tensor {
	var list []Tensor
	for _, s := range t.c.src {
		if s == nil {
			continue
		}
		if s.view_src != nil {
			s = s.view_src
		}
		list = append(list, Tensor{s})
	}
	return list
}

// SetEval has Compute call f before every node, with ask true: whether to call it
// again, with ask false, right after the node is computed. f returns whether to
// go on then.
func (s *Sched) SetEval(f func(t Tensor, ask bool) bool) {
	s.eval = cgo.NewHandle(f)
	C.supir_sched_set_eval(s.c, C.uintptr_t(s.eval))
}

// computeTimedEval is ComputeTimed where SetEval's function must be called too.
func (s *Sched) computeTimedEval(g *Graph) (list []NodeTime, err error) {
	own := s.eval
	eval := own.Value().(func(Tensor, bool) bool)
	var began int64
	s.SetEval(func(t Tensor, ask bool) bool {
		if !ask {
			list = append(list, NodeTime{t, began, Clock()})
			began = 0
			return eval(t, false)
		}
		if began == 0 {
			began = Clock()
		}
		switch wanted := eval(t, true); t.c.op {
		case C.GGML_OP_NONE, C.GGML_OP_VIEW, C.GGML_OP_RESHAPE, C.GGML_OP_PERMUTE, C.GGML_OP_TRANSPOSE:
			return wanted
		}
		return true
	})
	err = s.Compute(g)
	s.eval.Delete()
	s.eval = own
	C.supir_sched_set_eval(s.c, C.uintptr_t(own))
	return list, err
}

//export supirEval
func supirEval(t *C.struct_ggml_tensor, ask C.bool, handle C.uintptr_t) C.bool {
	return C.bool(cgo.Handle(handle).Value().(func(Tensor, bool) bool)(Tensor{t}, bool(ask)))
}
