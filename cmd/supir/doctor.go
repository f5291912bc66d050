package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/klauspost/cpuid/v2"
	"github.com/spf13/cobra"

	"supir/internal/ggml"
	"supir/internal/memory"
	"supir/internal/nn"
)

// A checkup is what the program finds about itself and the machine.
type checkup struct {
	Versions versions       `json:"versions"`
	GGML     string         `json:"ggml"`
	CPU      cpuReport      `json:"cpu"`
	Memory   memoryReport   `json:"memory"`
	Devices  []deviceReport `json:"devices"`
	Hints    []string       `json:"hints"`
}

type cpuReport struct {
	Name         string   `json:"name"`
	Cores        int      `json:"cores"`   // 0 if unknown
	Threads      int      `json:"threads"` // that supir would use
	Instructions []string `json:"instructions"`
	Kernels      string   `json:"kernels"` // instruction set of supir's own; "" where ggml's compute
	Compute      string   `json:"compute"` // what --compute auto takes
}

type memoryReport struct {
	Total     int64 `json:"total"` // bytes, 0 if unknown
	Available int64 `json:"available"`
}

type deviceReport struct {
	Name        string   `json:"name"` // for --device
	Description string   `json:"description"`
	Kind        string   `json:"kind"`
	Backend     string   `json:"backend"`
	Features    []string `json:"features"`
	Free        int64    `json:"free"` // bytes, 0 if unknown
	Total       int64    `json:"total"`
	Auto        bool     `json:"auto"` // what --device auto takes
	Used        bool     `json:"used"` // by --device auto; a CPU helper is used if it is the faster
}

func newDoctor(streams streams) *cobra.Command {
	asJSON := false
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Tell what this machine computes with",
		Long: `Tells versions, devices, instruction sets and memory, and what would make
supir faster here.`,
		Example: `  supir doctor
  supir doctor --json`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			c := examine()
			if asJSON {
				return printJSON(streams.out, c)
			}
			return c.print(streams.out)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

// printJSON prints a JSON object over several lines.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func examine() *checkup {
	c := &checkup{
		Versions: version(),
		GGML:     ggml.Version(),
		CPU:      cpuReport{Name: cpuid.CPU.BrandName, Cores: cpuid.CPU.PhysicalCores, Threads: runtime.GOMAXPROCS(0), Instructions: instructions()},
		Memory:   memoryReport{memory.Total(), memory.Available()},
		Hints:    []string{},
	}
	auto := ""
	if e, err := nn.Open("auto", 1); err == nil {
		auto = e.DeviceName()
		e.Close()
	} else {
		c.Hints = append(c.Hints, fmt.Sprintf("nothing to compute with: %v", err))
	}
	if e, err := nn.Open("cpu", 1); err == nil {
		c.CPU.Kernels, c.CPU.Compute = e.Kernels(), e.Fastest().String()
		e.Close()
	}
	helpers := nn.Helpers()
	onCPU := false
	for _, d := range nn.Devices() {
		r := deviceReport{Name: d.Name, Description: d.Description, Kind: d.Kind, Backend: d.Backend,
			Features: d.Features, Free: d.Free, Total: d.Total, Auto: d.Name == auto}
		if r.Features == nil {
			r.Features = []string{}
		}
		if d.Software {
			r.Kind += ", emulated"
		}
		if r.Auto && d.Kind == ggml.CPU.String() {
			onCPU = true
		}
		c.Devices = append(c.Devices, r)
	}
	for i := range c.Devices {
		d := &c.Devices[i]
		helper := d.Kind == ggml.Accel.String()
		d.Used = d.Auto || helper && onCPU && slices.Contains(helpers, d.Name)
		if helper && onCPU && !d.Used {
			c.Hints = append(c.Hints, d.Name+" is not used: behind it is no BLAS known to be fast, perhaps the reference one; OpenBLAS in its place multiplies matrices several times faster than ggml itself")
		}
	}
	graphics := func(d deviceReport) bool { return d.Kind == ggml.GPU.String() || d.Kind == ggml.IGPU.String() }
	if onCPU && !slices.ContainsFunc(c.Devices, graphics) {
		c.Hints = append(c.Hints, "no graphics device was found; ggml's modules for CUDA, Vulkan, HIP or Metal make one usable")
	}
	const full = 12 << 30
	if c.Memory.Total > 0 && c.Memory.Total < full {
		c.Hints = append(c.Hints, "the full model wants about 12 GiB of memory; `supir plan` tells what a picture takes")
	}
	return c
}

// instructions are the CPU's instruction sets that matter for computing with
// networks.
func instructions() []string {
	var sets []string
	for _, f := range cpuid.CPU.FeatureSet() {
		for _, start := range []string{"SSE4", "AVX", "FMA", "F16C", "AMX", "VNNI", "ASIMD", "SVE", "SME", "FP16", "FPHP", "BF16", "I8MM"} {
			if strings.HasPrefix(f, start) {
				sets = append(sets, f)
				break
			}
		}
	}
	slices.Sort(sets)
	return slices.Compact(sets)
}

func (c *checkup) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "supir\t%s\n", strings.TrimPrefix(c.Versions.String(), "supir "))
	fmt.Fprintf(t, "ggml\t%s\n", c.GGML)
	fmt.Fprintf(t, "CPU\t%s, %d threads\n", strings.TrimSpace(c.CPU.Name), c.CPU.Threads)
	if len(c.CPU.Instructions) > 0 {
		fmt.Fprintf(t, "\t%s\n", strings.Join(c.CPU.Instructions, " "))
	}
	kernels := "ggml's"
	if c.CPU.Kernels != "" {
		kernels = "supir's for " + c.CPU.Kernels
	}
	fmt.Fprintf(t, "kernels\t%s, sampling in %s\n", kernels, c.CPU.Compute)
	if c.Memory.Total > 0 {
		fmt.Fprintf(t, "memory\t%s, %s available\n", size(c.Memory.Total), size(c.Memory.Available))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(t, "\ndevices")
	for _, d := range c.Devices {
		mark := " "
		if d.Used {
			mark = "*"
		}
		mem := ""
		if d.Total > 0 {
			mem = fmt.Sprintf("%s, %s free", size(d.Total), size(d.Free))
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\t%s\n", mark, d.Name, d.Kind, d.Description, mem)
		if len(d.Features) > 0 {
			fmt.Fprintf(t, "  \t\t%s\n", strings.Join(d.Features, " "))
		}
	}
	fmt.Fprintln(t, "  * used by --device auto")
	for _, h := range c.Hints {
		fmt.Fprintf(t, "hint: %s\n", h)
	}
	return t.Flush()
}
