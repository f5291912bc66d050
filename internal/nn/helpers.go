package nn

import (
	"os"
	"regexp"
	"sync"

	"supir/internal/ggml"
)

// helpers are the devices that multiply matrices several times faster than
// ggml's own CPU kernels do: ggml's BLAS backend, unless the BLAS behind it is
// the slow reference one. That is read off what the process has loaded; timing
// the two would be more general, but on a busy machine it comes out now so, now
// so, and with it the last bits of every result.
var helpers = sync.OnceValue(func() []ggml.Device {
	var out []ggml.Device
	for _, d := range ggml.Devices() {
		if d.Type() != ggml.Accel {
			continue
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil || fastBLAS(string(maps)) { // where there are no maps, BLAS is the system's own
			out = append(out, d)
		}
	}
	return out
})

var tuned = regexp.MustCompile(`(?i)/[^\n]*(openblas|mkl|blis|atlas|armpl|nvpl)[^\n]*\.so`)

// fastBLAS tells from the files mapped into a process whether one of them is a
// BLAS that is tuned to processors.
func fastBLAS(maps string) bool { return tuned.MatchString(maps) }

// Helpers names the helpers that computing on the CPU uses.
func Helpers() []string {
	var names []string
	for _, d := range helpers() {
		names = append(names, d.Name())
	}
	return names
}
