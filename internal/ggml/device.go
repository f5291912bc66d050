package ggml

/*
#include <stdlib.h>
#include <ggml.h>
#include <ggml-backend.h>

static void supir_set_n_threads(ggml_backend_t backend, int n) {
	ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
	ggml_backend_set_n_threads_t set = (ggml_backend_set_n_threads_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads");
	if (set) set(backend, n);
}

static bool supir_aborted(void * data) { return __atomic_load_n((int *) data, __ATOMIC_RELAXED) != 0; }
static void supir_abort_set(int * flag, int value) { __atomic_store_n(flag, value, __ATOMIC_RELAXED); }

static void supir_set_abort(ggml_backend_t backend, int * flag) {
	ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(ggml_backend_get_device(backend));
	ggml_backend_set_abort_callback_t set = (ggml_backend_set_abort_callback_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_abort_callback");
	if (set) set(backend, flag ? supir_aborted : NULL, flag);
}

static struct ggml_backend_feature * supir_features(ggml_backend_reg_t reg) {
	ggml_backend_get_features_t get = (ggml_backend_get_features_t) ggml_backend_reg_get_proc_address(reg, "ggml_backend_get_features");
	return get ? get(reg) : NULL;
}
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// DeviceType is the kind of a device.
type DeviceType int32

// The kinds of device.
const (
	CPU   DeviceType = C.GGML_BACKEND_DEVICE_TYPE_CPU
	GPU   DeviceType = C.GGML_BACKEND_DEVICE_TYPE_GPU
	IGPU  DeviceType = C.GGML_BACKEND_DEVICE_TYPE_IGPU
	Accel DeviceType = C.GGML_BACKEND_DEVICE_TYPE_ACCEL // helps the CPU, such as BLAS
	Meta  DeviceType = C.GGML_BACKEND_DEVICE_TYPE_META
)

func (t DeviceType) String() string {
	switch t {
	case CPU:
		return "CPU"
	case GPU:
		return "GPU"
	case IGPU:
		return "integrated GPU"
	case Accel:
		return "CPU helper"
	case Meta:
		return "several devices"
	}
	return fmt.Sprintf("DeviceType(%d)", int32(t))
}

// A Device is something that computes. It belongs to ggml and is never closed.
type Device struct{ c C.ggml_backend_dev_t }

// Devices are all devices of all backends loaded, in ggml's order.
func Devices() []Device {
	LoadAll()
	devices := make([]Device, C.ggml_backend_dev_count())
	for i := range devices {
		devices[i] = Device{C.ggml_backend_dev_get(C.size_t(i))}
	}
	return devices
}

// Name is ggml's short name of the device, such as "CPU" or "Vulkan0".
func (d Device) Name() string { return C.GoString(C.ggml_backend_dev_name(d.c)) }

// Description is the name of the hardware.
func (d Device) Description() string { return C.GoString(C.ggml_backend_dev_description(d.c)) }

// Type is the kind of the device.
func (d Device) Type() DeviceType { return DeviceType(C.ggml_backend_dev_type(d.c)) }

// Memory is the device's free and total memory in bytes; both 0 for helpers
// that use the CPU's.
func (d Device) Memory() (free, total int64) {
	var f, t C.size_t
	C.ggml_backend_dev_memory(d.c, &f, &t)
	return int64(f), int64(t)
}

// Backend is the name of the backend that drives the device, such as "CPU" or "Vulkan".
func (d Device) Backend() string {
	return C.GoString(C.ggml_backend_reg_name(C.ggml_backend_dev_backend_reg(d.c)))
}

// Features are the instruction sets and options that the device's backend was
// built for and uses, as name=value.
func (d Device) Features() []string {
	var features []string
	f := C.supir_features(C.ggml_backend_dev_backend_reg(d.c))
	for ; f != nil && f.name != nil; f = (*C.struct_ggml_backend_feature)(unsafe.Add(unsafe.Pointer(f), unsafe.Sizeof(*f))) {
		features = append(features, C.GoString(f.name)+"="+C.GoString(f.value))
	}
	return features
}

// SupportsOp says whether the device can compute the node t.
func (d Device) SupportsOp(t Tensor) bool { return bool(C.ggml_backend_dev_supports_op(d.c, t.c)) }

// Open starts a stream of work on the device.
func (d Device) Open() (*Backend, error) {
	c := C.ggml_backend_dev_init(d.c, nil)
	if c == nil {
		return nil, fmt.Errorf("ggml: device %s (%s) cannot be opened", d.Name(), d.Description())
	}
	live.Add(1)
	return &Backend{c: c, Device: d}, nil
}

// A Backend is a stream of work on a device. Not safe for concurrent use.
type Backend struct {
	c      C.ggml_backend_t
	Device Device
}

// Close ends the stream. Buffers and schedulers made from it are closed before.
func (b *Backend) Close() {
	if b == nil || b.c == nil {
		return
	}
	C.ggml_backend_free(b.c)
	b.c = nil
	live.Add(-1)
}

// SetThreads sets how many threads compute, where the backend knows threads.
func (b *Backend) SetThreads(n int) { C.supir_set_n_threads(b.c, C.int(n)) }

// SetAbort makes computing stop early, with status Aborted, while the flag is
// set, where the backend can; nil ends that. The flag outlives the backend.
func (b *Backend) SetAbort(flag *AbortFlag) {
	if flag == nil {
		C.supir_set_abort(b.c, nil)
		return
	}
	C.supir_set_abort(b.c, flag.c)
}

// An AbortFlag stops computations from another goroutine. Set may be called at
// any time and from anywhere until Close.
type AbortFlag struct{ c *C.int }

// NewAbortFlag makes a flag that is not set.
func NewAbortFlag() *AbortFlag {
	live.Add(1)
	return &AbortFlag{c: (*C.int)(C.calloc(1, C.sizeof_int))}
}

// Set sets or clears the flag.
func (f *AbortFlag) Set(on bool) {
	v := C.int(0)
	if on {
		v = 1
	}
	C.supir_abort_set(f.c, v)
}

// IsSet tells whether the flag is set.
func (f *AbortFlag) IsSet() bool { return bool(C.supir_aborted(unsafe.Pointer(f.c))) }

// Close frees the flag.
func (f *AbortFlag) Close() {
	if f == nil || f.c == nil {
		return
	}
	C.free(unsafe.Pointer(f.c))
	f.c = nil
	live.Add(-1)
}
