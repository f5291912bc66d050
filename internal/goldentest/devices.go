package goldentest

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"supir/internal/nn"
)

// Device is a device to test on.
type Device struct {
	Name string // for nn.Open
	// Tolerance is what to multiply a bound stated for F32 on the CPU by.
	Tolerance float64
}

// Devices lists the CPU and every graphics device found, software ones too:
// Mesa's, which ggml offers where GGML_VK_VISIBLE_DEVICES=0 is set, stands in
// for a GPU on machines without one.
func Devices(t testing.TB) []Device {
	t.Helper()
	os.Getenv("GGML_VK_VISIBLE_DEVICES") // C reads it; this tells go test's cache of it
	var list []Device
	for _, d := range nn.Devices() {
		switch d.Kind {
		case "CPU":
			list = append(list, Device{Name: d.Name, Tolerance: 1})
		case "GPU", "integrated GPU":
			tolerance := float64(graphicsTolerance)
			if d.Software { // which nn.Open keeps from using F16
				tolerance = 1
			}
			list = append(list, Device{Name: d.Name, Tolerance: tolerance})
		}
	}
	require.NotEmpty(t, list, "ggml has found no device")
	return list
}

// graphicsTolerance is for graphics drivers, which multiply matrices in F16 and
// add up in F32: NMSE about 1e-7 an operator, where the CPU has 1e-13.
const graphicsTolerance = 1e6

// Open opens the device until the test's end.
func (d Device) Open(t testing.TB) *nn.Engine {
	t.Helper()
	e, err := nn.Open(d.Name, 0)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}
