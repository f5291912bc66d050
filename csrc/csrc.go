// Package csrc holds supir's own kernels, C++ behind a C header, as operators of
// ggml graphs for the CPU. Package nn uses them where it computes on the CPU;
// SUPIR_ENGINE=ggml in the environment does without.
//
// supir_kernels.h says what the kernels compute and how their operands lie in
// memory; an [Op] of this package is a kernel with its sizes, for a node of a
// graph (ggml.Context.CustomNew).
package csrc

/*
#cgo pkg-config: ggml
#cgo CFLAGS: -O2
#cgo CXXFLAGS: -std=c++17 -O3
#include <stdlib.h>
#include <ggml.h>
#include "ops.h"

static void * supir_op_function(void) { return (void *) supir_run_op; }
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// A Type is what products are computed in, and how the rows they read lie in
// memory.
type Type int32

// The types. Int8 quantises rows on the fly, each with a scale and a zero point
// of its own, and weights once, each output with a scale of its own.
const (
	F32  Type = C.SUPIR_F32
	BF16 Type = C.SUPIR_BF16
	Int8 Type = C.SUPIR_INT8
)

func (t Type) String() string {
	switch t {
	case F32:
		return "f32"
	case BF16:
		return "bf16"
	case Int8:
		return "int8"
	}
	return fmt.Sprintf("type %d", int32(t))
}

// BestType is the type in which this processor is fastest: Int8 where it has
// AMX or VNNI, else F32.
func BestType() Type { return Type(C.supir_best_type()) }

// FastBF16 tells whether this processor multiplies BF16 itself.
func FastBF16() bool { return C.supir_features()&(C.SUPIR_AVX512_BF16|C.SUPIR_AMX_BF16) != 0 }

// ISA is the instruction set that the kernels run on: "avx512", "avx2" or
// "portable".
func ISA() string { return C.GoString(C.supir_kernel_isa()) }

// OnTiles tells whether products of a type run on AMX, by oneDNN's small kernels.
func OnTiles(t Type) bool { return bool(C.supir_on_tiles(C.enum_supir_type(t))) }

// Features names what the processor and the system offer that the kernels know of.
func Features() []string {
	var list []string
	set := C.supir_features()
	for _, f := range []struct {
		bit  C.uint32_t
		name string
	}{
		{C.SUPIR_AVX2, "AVX2"}, {C.SUPIR_AVX_VNNI, "AVX-VNNI"}, {C.SUPIR_AVX512, "AVX-512"},
		{C.SUPIR_AVX512_VNNI, "AVX-512 VNNI"}, {C.SUPIR_AVX512_BF16, "AVX-512 BF16"},
		{C.SUPIR_AVX512_FP16, "AVX-512 FP16"}, {C.SUPIR_AMX_INT8, "AMX int8"}, {C.SUPIR_AMX_BF16, "AMX BF16"},
	} {
		if set&f.bit != 0 {
			list = append(list, f.name)
		}
	}
	return list
}

// A Rows says how rows (the pixels of a map, or tokens) lie in memory.
type Rows struct {
	Type   Type
	Rotate bool // multiplied by the signs and Hadamard blocks that weights know of
}

// Bytes is the size of a row of so many channels. Rows other than F32 are ggml
// tensors of type I8 and this width.
func (r Rows) Bytes(channels int) int64 {
	return int64(C.supir_row_bytes(uint32(r.Type), C.int64_t(channels)))
}

func (r Rows) flags() C.int32_t {
	if r.Rotate {
		return C.SUPIR_ROTATE
	}
	return 0
}

// A StatusError is what a kernel reported.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return "csrc: " + C.GoString(C.supir_status_text(uint32(e.Status)))
}

func statusError(s C.enum_supir_status) error {
	if s == C.SUPIR_OK {
		return nil
	}
	return &StatusError{int(s)}
}

// A Workspace is scratch memory that the operators of a program share, since
// they run one after the other. Operators made with it grow what it will take;
// Alloc takes it, before the first run. Close it after the program.
type Workspace struct {
	c *C.struct_supir_workspace
}

// NewWorkspace is scratch for graphs that run on so many threads.
func NewWorkspace(threads int) *Workspace {
	w := &Workspace{c: (*C.struct_supir_workspace)(C.calloc(1, C.sizeof_struct_supir_workspace))}
	w.c.threads = C.int32_t(threads)
	return w
}

// Size is the memory in bytes that Alloc takes.
func (w *Workspace) Size() int64 { return int64(w.c.each) * int64(w.c.threads) }

// Alloc takes the memory.
func (w *Workspace) Alloc() error {
	if w.c.memory != nil || w.c.each == 0 {
		return nil
	}
	// Pages, so that threads do not share cache lines.
	w.c.memory = (*C.char)(C.aligned_alloc(4096, C.size_t(w.Size())))
	if w.c.memory == nil {
		return fmt.Errorf("csrc: no memory for %d bytes of scratch", w.Size())
	}
	return nil
}

// Close frees the memory. It may be repeated.
func (w *Workspace) Close() {
	if w == nil || w.c == nil {
		return
	}
	C.free(unsafe.Pointer(w.c.memory))
	C.free(unsafe.Pointer(w.c))
	w.c = nil
}

// need grows the scratch of each thread.
func (w *Workspace) need(bytes C.int64_t) {
	const page = 4096
	w.c.each = max(w.c.each, (bytes+page-1)/page*page)
}
