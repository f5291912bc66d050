// Package ggml binds the public C interface of ggml, the tensor library, and
// decides nothing: names and meanings are those of ggml.h and ggml-backend.h.
// It is one of the two packages that touch C (the other is csrc).
//
// Ownership: whatever has a Close method is owned by who made it and must be
// closed by them, after everything made from it. Close may be repeated. Live
// tells how many handles are open, so that tests can end at zero.
//
// ggml ends the process on misuse. Operators here check their operands' shapes
// first and panic with a *ShapeError, which package nn turns into an error once.
package ggml

/*
#cgo pkg-config: ggml
#cgo LDFLAGS: -lggml-base
#include <ggml.h>
#include <ggml-backend.h>

static void supir_log_quiet(enum ggml_log_level level, const char * text, void * data) {
	(void) level; (void) text; (void) data;
}
static void supir_log_off(void) { ggml_log_set(supir_log_quiet, NULL); }
*/
import "C"

import (
	"fmt"
	"sync"
	"sync/atomic"
)

var live atomic.Int64

// Live is the number of open handles: backends, buffers, contexts, schedulers
// and abort flags.
func Live() int { return int(live.Load()) }

// Version is the version of the ggml library in use, such as "0.27.0".
func Version() string { return C.GoString(C.ggml_version()) }

// LoadAll finds and loads the backends installed as shared modules, once; ggml
// itself then prints nothing. Later calls return at once.
var LoadAll = sync.OnceFunc(func() {
	tuneMalloc()
	C.supir_log_off()
	waitPassively()
	C.ggml_backend_load_all()
})

// Type is the type of a tensor's elements.
type Type int32

// The types used here; the quantised ones are blocks of several elements.
const (
	F32  Type = C.GGML_TYPE_F32
	F16  Type = C.GGML_TYPE_F16
	BF16 Type = C.GGML_TYPE_BF16
	I8   Type = C.GGML_TYPE_I8
	I32  Type = C.GGML_TYPE_I32
	Q8_0 Type = C.GGML_TYPE_Q8_0
	Q6_K Type = C.GGML_TYPE_Q6_K
	Q5_K Type = C.GGML_TYPE_Q5_K
	Q4_K Type = C.GGML_TYPE_Q4_K
	Q4_0 Type = C.GGML_TYPE_Q4_0
)

func (t Type) String() string { return C.GoString(C.ggml_type_name(C.enum_ggml_type(t))) }

// BlockSize is the number of elements in one block of the type, 1 for plain types.
func (t Type) BlockSize() int64 { return int64(C.ggml_blck_size(C.enum_ggml_type(t))) }

// RowSize is the number of bytes of a row of n elements; n is a multiple of BlockSize.
func (t Type) RowSize(n int64) int64 {
	return int64(C.ggml_row_size(C.enum_ggml_type(t), C.int64_t(n)))
}

// A Status is a failed computation's reason, as ggml reports it.
type Status int32

// The reasons.
const (
	AllocFailed Status = C.GGML_STATUS_ALLOC_FAILED
	Failed      Status = C.GGML_STATUS_FAILED
	Aborted     Status = C.GGML_STATUS_ABORTED
)

func (s Status) Error() string {
	return "ggml: " + C.GoString(C.ggml_status_to_string(C.enum_ggml_status(s)))
}

func status(s C.enum_ggml_status) error {
	if s == C.GGML_STATUS_SUCCESS {
		return nil
	}
	return Status(s)
}

// A MemoryError says that a device could not give the memory asked for.
type MemoryError struct {
	What  string // what the memory was for
	Bytes int64  // how much was asked for, 0 if unknown
}

func (e *MemoryError) Error() string {
	if e.Bytes == 0 {
		return fmt.Sprintf("ggml: no memory for %s", e.What)
	}
	return fmt.Sprintf("ggml: no memory for %s (%d MiB)", e.What, e.Bytes>>20)
}
