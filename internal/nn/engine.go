// Package nn holds the layers that the networks are made of, over ggml's
// graphs. A network sees feature maps and tokens (Map, Tokens) whose layout in
// memory only a lowering knows, and a Graph on which its layers record their
// work; package ggml and its tensors stay behind this package.
//
// The way through it: Open an Engine on a device, Load a network's weights,
// Build a Program from a function that calls the network's Forward, then Set
// inputs, Run, Get outputs, as often as wanted.
package nn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"supir/csrc"
	"supir/internal/ggml"
)

// An Engine computes on one device, with the CPU for what the device cannot do.
// Not safe for concurrent use. Close it after all that was made from it.
type Engine struct {
	device   ggml.Device
	backends []*ggml.Backend // in order of preference; the last is the CPU
	abort    *ggml.AbortFlag
	low      lowering
	tracer   func(Span)
	threads  int
}

// A DeviceInfo describes a device for choosing and for reports.
type DeviceInfo struct {
	Name        string // ggml's name, such as "CPU" or "CUDA0"
	Description string // the hardware
	Kind        string // "CPU", "GPU", "integrated GPU", "CPU helper"
	Backend     string // the driver, such as "CPU", "Vulkan"
	Features    []string
	Free, Total int64 // memory in bytes, 0 if unknown
	Software    bool  // a graphics device that is really the CPU
}

// Devices lists what ggml has found.
func Devices() []DeviceInfo {
	var list []DeviceInfo
	for _, d := range ggml.Devices() {
		free, total := d.Memory()
		list = append(list, DeviceInfo{Name: d.Name(), Description: d.Description(), Kind: d.Type().String(),
			Backend: d.Backend(), Features: d.Features(), Free: free, Total: total, Software: software(d)})
	}
	return list
}

// software tells a graphics driver that computes on the CPU.
func software(d ggml.Device) bool {
	text := strings.ToLower(d.Description())
	return d.Type() == ggml.GPU && (strings.Contains(text, "llvmpipe") || strings.Contains(text, "swiftshader"))
}

// openBackend opens a device; a software one without cooperative matrices, which come
// out wrong there where a side is no multiple of eight (Mesa 25, ggml 0.27), and
// without half precision, so that it can stand in for the CPU in tests. ggml's
// Vulkan backend reads the environment when a device is first used.
func openBackend(d ggml.Device) (*ggml.Backend, error) {
	if software(d) {
		for _, name := range []string{"GGML_VK_DISABLE_COOPMAT", "GGML_VK_DISABLE_F16"} {
			if _, set := os.LookupEnv(name); !set {
				os.Setenv(name, "1")
				defer os.Unsetenv(name)
			}
		}
	}
	return d.Open()
}

// A DeviceError says that the device asked for is not there.
type DeviceError struct {
	Name string
	Have []string
}

func (e *DeviceError) Error() string {
	return fmt.Sprintf("no device %q; there are: %s, or auto", e.Name, strings.Join(e.Have, ", "))
}

// pick finds a device: "" and "auto" mean the first real GPU, else the CPU; "gpu"
// and "cpu" the first of the kind; anything else is a device's name. Case does
// not matter.
func pick(name string) (ggml.Device, error) {
	devices := ggml.Devices()
	first := func(ok func(ggml.Device) bool) (ggml.Device, bool) {
		for _, d := range devices {
			if d.Type() != ggml.Accel && ok(d) {
				return d, true
			}
		}
		return ggml.Device{}, false
	}
	isGPU := func(d ggml.Device) bool { return d.Type() == ggml.GPU && !software(d) }
	isCPU := func(d ggml.Device) bool { return d.Type() == ggml.CPU }
	var d ggml.Device
	var ok bool
	switch strings.ToLower(name) {
	case "", "auto":
		if d, ok = first(isGPU); !ok {
			d, ok = first(isCPU)
		}
	case "gpu":
		if d, ok = first(isGPU); !ok {
			d, ok = first(func(d ggml.Device) bool { return d.Type() == ggml.IGPU || d.Type() == ggml.GPU })
		}
	case "cpu":
		d, ok = first(isCPU)
	default:
		d, ok = first(func(d ggml.Device) bool { return strings.EqualFold(d.Name(), name) })
	}
	if !ok {
		e := &DeviceError{Name: name}
		for _, d := range devices {
			if d.Type() != ggml.Accel {
				e.Have = append(e.Have, d.Name())
			}
		}
		return d, e
	}
	return d, nil
}

// CheckDevice reports, without opening it, whether a device of that name exists.
func CheckDevice(name string) error {
	_, err := pick(name)
	return err
}

// Open makes an engine on the device of that name ("auto", "cpu", "gpu", or one
// of Devices) with so many threads (0: one per processor that Go uses).
func Open(device string, threads int) (*Engine, error) {
	d, err := pick(device)
	if err != nil {
		return nil, err
	}
	var extra []ggml.Device
	if d.Type() == ggml.CPU {
		extra = helpers()
	}
	return open(d, threads, extra)
}

// open makes an engine on a device, of which the extra ones help the CPU.
func open(d ggml.Device, threads int, extra []ggml.Device) (*Engine, error) {
	if threads <= 0 {
		threads = runtime.GOMAXPROCS(0)
	}
	cpu, err := pick("cpu")
	if err != nil {
		return nil, err
	}
	e := &Engine{device: d, abort: ggml.NewAbortFlag(), threads: threads}
	wanted := append(slices.Clone(extra), d)
	if d.Type() != ggml.CPU {
		wanted = append(wanted, cpu)
	}
	for _, d := range wanted {
		b, err := openBackend(d)
		if err != nil {
			e.Close()
			return nil, err
		}
		b.SetThreads(threads)
		b.SetAbort(e.abort)
		e.backends = append(e.backends, b)
	}
	e.low = lower(d)
	return e, nil
}

// lower chooses the lowering for a device: our own kernels on processors that
// they are made for. SUPIR_ENGINE=ggml in the environment asks for ggml's own
// operators alone.
func lower(d ggml.Device) lowering {
	p := portable{cpu: d.Type() == ggml.CPU, scratch: scratchBytes}
	if p.cpu && csrc.ISA() != "portable" && os.Getenv("SUPIR_ENGINE") != "ggml" {
		return &native{portable: p, rotate: true}
	}
	return &p
}

// Kernels names the instruction sets that the engine's own kernels use; "" says
// that it computes with ggml's operators.
func (e *Engine) Kernels() string {
	switch _, ok := e.low.(*native); {
	case !ok:
		return ""
	case csrc.OnTiles(csrc.Int8):
		return csrc.ISA() + ", AMX"
	}
	return csrc.ISA()
}

// Fastest is the precision whose products this processor computes fastest.
func (e *Engine) Fastest() Precision {
	if e.Kernels() == "" {
		return F32
	}
	switch csrc.BestType() {
	case csrc.Int8:
		return Int8
	case csrc.BF16:
		return BF16
	}
	return F32
}

// Fast16 is the precision for networks that bytes are too coarse for: BF16 where
// this processor multiplies it itself.
func (e *Engine) Fast16() Precision {
	if e.Kernels() != "" && csrc.FastBF16() {
		return BF16
	}
	return F32
}

// Close frees the device. It may be repeated.
func (e *Engine) Close() {
	if e == nil {
		return
	}
	for _, b := range e.backends {
		b.Close()
	}
	e.backends = nil
	e.abort.Close()
}

// DeviceName is the name of the device that the engine computes on.
func (e *Engine) DeviceName() string { return e.device.Name() }

// FreeMemory is what a graphics device has free, in bytes; 0 if the engine
// computes on the CPU.
func (e *Engine) FreeMemory() int64 {
	if e.low.onCPU() {
		return 0
	}
	free, _ := e.device.Memory()
	return free
}

// home is where weights and inputs live.
func (e *Engine) home() *ggml.Backend {
	if e.low.onCPU() {
		return e.backends[len(e.backends)-1]
	}
	return e.backends[0]
}

// stopWith makes the computation under way stop soon when ctx ends; the
// function returned ends that, and leaves nothing behind that could stop the
// next one.
func (e *Engine) stopWith(ctx context.Context) (end func()) {
	e.abort.Set(false)
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		e.abort.Set(true)
		close(set)
	})
	return func() {
		if !stop() {
			<-set
		}
	}
}

// recovered turns the panics that building or allocating a graph may raise into
// errors, and lets every other panic through.
func recovered(err *error) {
	switch r := recover().(type) {
	case nil:
	case *ggml.ShapeError:
		*err = fmt.Errorf("nn: %w", r)
	case *ggml.MemoryError:
		*err = fmt.Errorf("nn: %w", r)
	case buildError:
		*err = errors.New(string(r))
	default:
		panic(r)
	}
}

// A buildError is what graph building panics with where a network is misused.
type buildError string

func failf(format string, args ...any) { panic(buildError("nn: " + fmt.Sprintf(format, args...))) }
