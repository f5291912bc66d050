package ggml

/*
#include <ggml.h>
#include <ggml-backend.h>

static ggml_backend_buffer_t supir_pretend(struct ggml_context * ctx, size_t size) {
	ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
	ggml_backend_buffer_t buffer = ggml_backend_dev_buffer_from_host_ptr(cpu, (void *) 4096, size, size);
	struct ggml_tallocr alloc = ggml_tallocr_new(buffer);
	for (struct ggml_tensor * t = ggml_get_first_tensor(ctx); t != NULL; t = ggml_get_next_tensor(ctx, t)) {
		ggml_tallocr_alloc(&alloc, t);
	}
	return buffer;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// A Buffer is memory of a device that holds tensors' data.
type Buffer struct{ c C.ggml_backend_buffer_t }

// Alloc gives every tensor of ctx that has no memory yet a place in a new
// buffer of the backend's device. A context without such tensors gives an
// empty buffer.
func (b *Backend) Alloc(ctx *Context) (*Buffer, error) {
	buft := C.ggml_backend_get_default_buffer_type(b.c)
	size := C.ggml_backend_alloc_ctx_tensors_from_buft_size(ctx.c, buft)
	if size == 0 {
		return &Buffer{}, nil
	}
	c := C.ggml_backend_alloc_ctx_tensors_from_buft(ctx.c, buft)
	if c == nil {
		return nil, &MemoryError{What: "tensors on " + b.Device.Name(), Bytes: int64(size)}
	}
	live.Add(1)
	return &Buffer{c: c}, nil
}

// Pretend gives every tensor of ctx an address that has no memory behind it, as
// if it lay in the CPU's: graphs that read them can be measured, not computed.
func Pretend(ctx *Context) *Buffer {
	buft := C.ggml_backend_dev_buffer_type(C.ggml_backend_dev_by_type(C.GGML_BACKEND_DEVICE_TYPE_CPU))
	size := C.ggml_backend_alloc_ctx_tensors_from_buft_size(ctx.c, buft)
	if size == 0 {
		return &Buffer{}
	}
	b := &Buffer{c: C.supir_pretend(ctx.c, size)}
	live.Add(1)
	return b
}

// AllocSize is the number of bytes that Alloc would take.
func (b *Backend) AllocSize(ctx *Context) int64 {
	return int64(C.ggml_backend_alloc_ctx_tensors_from_buft_size(ctx.c, C.ggml_backend_get_default_buffer_type(b.c)))
}

// SetWeights marks the buffer as holding weights: the scheduler then prefers to
// compute where they are.
func (b *Buffer) SetWeights() {
	if b.c != nil {
		C.ggml_backend_buffer_set_usage(b.c, C.GGML_BACKEND_BUFFER_USAGE_WEIGHTS)
	}
}

// Clear sets all bytes of the buffer to zero.
func (b *Buffer) Clear() {
	if b.c != nil {
		C.ggml_backend_buffer_clear(b.c, 0)
	}
}

// Size is the buffer's size in bytes.
func (b *Buffer) Size() int64 {
	if b.c == nil {
		return 0
	}
	return int64(C.ggml_backend_buffer_get_size(b.c))
}

// Close frees the memory; the tensors in it must not be used any more.
func (b *Buffer) Close() {
	if b == nil || b.c == nil {
		return
	}
	C.ggml_backend_buffer_free(b.c)
	b.c = nil
	live.Add(-1)
}

// SetBytes copies data to the tensor's memory, from its first byte on. It
// panics with a *ShapeError if the tensor is smaller.
func (t Tensor) SetBytes(data []byte) { t.SetBytesAt(0, data) }

// SetBytesAt copies data to the tensor's memory, from byte at on.
func (t Tensor) SetBytesAt(at int, data []byte) {
	if len(data) == 0 {
		return
	}
	t.mustHold(at, len(data))
	C.ggml_backend_tensor_set(t.c, unsafe.Pointer(unsafe.SliceData(data)), C.size_t(at), C.size_t(len(data)))
}

// SetFloat32 copies data to the memory of an F32 tensor.
func (t Tensor) SetFloat32(data []float32) { setData(t, F32, 0, data) }

// SetFloat32At copies data to the memory of an F32 tensor, from element at on.
func (t Tensor) SetFloat32At(at int, data []float32) { setData(t, F32, at, data) }

// SetInt32 copies data to the memory of an I32 tensor.
func (t Tensor) SetInt32(data []int32) { setData(t, I32, 0, data) }

// GetFloat32 copies the memory of an F32 tensor to data.
func (t Tensor) GetFloat32(data []float32) { t.GetFloat32At(0, data) }

// GetFloat32At copies the memory of an F32 tensor to data, from element at on.
func (t Tensor) GetFloat32At(at int, data []float32) {
	if t.Type() != F32 {
		panic(&ShapeError{Op: "get", Reason: fmt.Sprintf("%v is not F32", t)})
	}
	if len(data) == 0 {
		return
	}
	t.mustHold(4*at, 4*len(data))
	C.ggml_backend_tensor_get(t.c, unsafe.Pointer(unsafe.SliceData(data)), C.size_t(4*at), C.size_t(4*len(data)))
}

func setData[E float32 | int32](t Tensor, want Type, at int, data []E) {
	if t.Type() != want {
		panic(&ShapeError{Op: "set", Reason: fmt.Sprintf("%v is not %v", t, want)})
	}
	if len(data) > 0 {
		t.SetBytesAt(4*at, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data)))
	}
}

// Data is where the tensor's data lie, for memory that the CPU reads.
func (t Tensor) Data() unsafe.Pointer { return unsafe.Pointer(t.c.data) }

func (t Tensor) mustHold(at, bytes int) {
	if t.c.buffer == nil && (t.c.view_src == nil || t.c.view_src.buffer == nil) {
		panic(&ShapeError{Op: "copy", Reason: fmt.Sprintf("%v has no memory", t)})
	}
	if at < 0 || int64(at)+int64(bytes) > t.Bytes() {
		panic(&ShapeError{Op: "copy", Reason: fmt.Sprintf("%d bytes at %d for %v of %d", bytes, at, t, t.Bytes())})
	}
}
