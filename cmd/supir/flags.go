package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"supir"
	"supir/internal/nn"
)

// optionFlags are the flags that make supir.Options, shared by the commands.
// What a user gives is applied on top of the preset, whatever the order.
type optionFlags struct {
	flags []*optionFlag
}

// An optionFlag is one flag. It checks a value as it is given, so that
// everything about a command line is known before any work begins.
type optionFlag struct {
	name   string
	option string // the field of supir.Options it sets
	kind   string // shown in help
	usage  string
	parse  func(text string) (apply func(*supir.Options), err error)
	values []string // what it can be, if that can be listed

	text  string
	apply func(*supir.Options) // nil while not given
}

// String is the text given; part of pflag.Value.
func (f *optionFlag) String() string { return f.text }

// Type names the value in help; part of pflag.Value.
func (f *optionFlag) Type() string { return f.kind }

// Set takes a value; part of pflag.Value.
func (f *optionFlag) Set(text string) error {
	apply, err := f.parse(text)
	if err != nil {
		return err
	}
	f.text, f.apply = text, apply
	return nil
}

// zero says what an explicit 0 on the command line means. In supir.Options, 0
// is the default and a negative value means 0 (or off).
type zero bool

const (
	zeroAllowed   zero = true
	zeroForbidden zero = false
)

// number is a flag for a real number up to most.
func number(name, option string, z zero, most float64, usage string, field func(*supir.Options) *float64) *optionFlag {
	return &optionFlag{name: name, option: option, kind: "X", usage: usage, parse: func(text string) (func(*supir.Options), error) {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, errors.New("not a number")
		}
		if !(v >= 0 && v <= most) || v == 0 && z == zeroForbidden {
			return nil, outOfRange(z, most)
		}
		if v == 0 {
			v = -1
		}
		return func(o *supir.Options) { *field(o) = v }, nil
	}}
}

func outOfRange(z zero, most float64) error {
	if z == zeroForbidden {
		return fmt.Errorf("must be more than 0, at most %v", most)
	}
	return fmt.Errorf("must be in 0 to %v", most)
}

// integer is a flag for a whole number of a multiple of step up to most.
func integer(name, option string, z zero, most, step int, usage string, field func(*supir.Options) *int) *optionFlag {
	return &optionFlag{name: name, option: option, kind: "N", usage: usage, parse: func(text string) (func(*supir.Options), error) {
		v, err := strconv.Atoi(text)
		if err != nil {
			return nil, errors.New("not a whole number")
		}
		if v < 0 || v > most || v == 0 && z == zeroForbidden {
			least := 1
			if z == zeroAllowed {
				least = 0
			}
			return nil, fmt.Errorf("must be in %d to %d", least, most)
		}
		if v%step != 0 {
			return nil, fmt.Errorf("must be a multiple of %d", step)
		}
		if v == 0 {
			v = -1
		}
		return func(o *supir.Options) { *field(o) = v }, nil
	}}
}

// words is a flag for a text; an empty one means none, "-" in supir.Options.
func words(name, option, usage string, field func(*supir.Options) *string) *optionFlag {
	return &optionFlag{name: name, option: option, kind: "TEXT", usage: usage, parse: func(text string) (func(*supir.Options), error) {
		if strings.TrimSpace(text) == "" {
			text = "-"
		}
		return func(o *supir.Options) { *field(o) = text }, nil
	}}
}

// choice is a flag for one of a few values, which are named by their String.
func choice[T fmt.Stringer](name, option, usage string, field func(*supir.Options) *T, values ...T) *optionFlag {
	var names []string
	for _, v := range values {
		names = append(names, v.String())
	}
	return &optionFlag{name: name, option: option, kind: strings.Join(names, "|"), usage: usage, values: names, parse: func(text string) (func(*supir.Options), error) {
		i := slices.Index(names, strings.ToLower(text))
		if i < 0 {
			return nil, fmt.Errorf("must be %s", list(names))
		}
		return func(o *supir.Options) { *field(o) = values[i] }, nil
	}}
}

// list joins words as in "a, b or c".
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

var presets = map[string]supir.Options{"quality": supir.Quality, "fidelity": supir.Fidelity, "fast": supir.Fast}

// add adds the flags to a command, or only those named. Those that set a default
// for others come before them in the list.
func (f *optionFlags) add(cmd *cobra.Command, only ...string) {
	f.flags = []*optionFlag{
		{name: "preset", kind: "quality|fidelity|fast", values: []string{"quality", "fidelity", "fast"},
			usage: "what other flags then change: most detail, closest to the picture, or few steps for distilled (Lightning) weights",
			parse: func(text string) (func(*supir.Options), error) {
				p, ok := presets[strings.ToLower(text)]
				if !ok {
					return nil, errors.New("must be quality, fidelity or fast")
				}
				return func(o *supir.Options) { *o = p }, nil
			}},
		number("upscale", "Upscale", zeroForbidden, 16, "size of the result over that of the picture (1)",
			func(o *supir.Options) *float64 { return &o.Upscale }),
		integer("min-size", "MinSize", zeroAllowed, 8192, 1, "work at this many pixels at least on the short side (the model's: 1024 for SDXL); 0: the picture's own size",
			func(o *supir.Options) *int { return &o.MinSize }),
		{name: "prompt", option: "Prompt", kind: "TEXT", usage: "describes the picture", parse: func(text string) (func(*supir.Options), error) {
			return func(o *supir.Options) { o.Prompt = text }, nil
		}},
		words("positive", "PositiveWords", `words of quality that follow the prompt; "" for none`,
			func(o *supir.Options) *string { return &o.PositiveWords }),
		words("negative", "NegativeWords", `what the result should not be; "" for nothing`,
			func(o *supir.Options) *string { return &o.NegativeWords }),
		{name: "tile-captions", option: "TileCaptions", kind: "FILE", usage: "describe the windows of a large picture: a text file, one line each, row by row, in turn where they are fewer",
			parse: func(text string) (func(*supir.Options), error) {
				captions, err := readLines(text)
				if err != nil {
					return nil, err
				}
				return func(o *supir.Options) { o.TileCaptions = captions }, nil
			}},
		choice("color-fix", "ColorFix", "how the picture's colours are kept (wavelet)",
			func(o *supir.Options) *supir.ColorFix { return &o.ColorFix }, supir.Wavelet, supir.AdaIN, supir.ColorFixNone),
		integer("color-fix-levels", "ColorFixLevels", zeroForbidden, 6, 1, "of the wavelet: details coarser than about 2^N pixels are the cleaned picture's (the model's: 5 for SDXL)",
			func(o *supir.Options) *int { return &o.ColorFixLevels }),
		{name: "seed", option: "Seed", kind: "N", usage: "fixes all randomness (1234)", parse: func(text string) (func(*supir.Options), error) {
			v, err := strconv.ParseUint(text, 10, 64)
			if err != nil || v == 0 {
				return nil, errors.New("must be a whole number, 1 or more")
			}
			return func(o *supir.Options) { o.Seed = v }, nil
		}},
		integer("samples", "Samples", zeroForbidden, 64, 1, "results to draw, from as many seeds (1)",
			func(o *supir.Options) *int { return &o.Samples }),
		choice("sampler", "Sampler", "the way from noise to a picture (edm)",
			func(o *supir.Options) *supir.Sampler { return &o.Sampler }, supir.EDM, supir.DPMPP2M),
		integer("steps", "Steps", zeroForbidden, 1000, 1, "sampling steps (the model's: 50 for SDXL; 8 for dpmpp2m)",
			func(o *supir.Options) *int { return &o.Steps }),
		choice("schedule", "Schedule", "spacing of the steps' noise levels: even in the training's steps, or most of them at the end (the model's: even for SDXL; karras for dpmpp2m)",
			func(o *supir.Options) *supir.Schedule { return &o.Schedule }, supir.ScheduleEven, supir.ScheduleKarras),
		number("cfg-start", "CFGStart", zeroAllowed, 100, "scale of guidance by the prompt at the first step (the model's: SDXL 4; dpmpp2m 1.5)",
			func(o *supir.Options) *float64 { return &o.CFGStart }),
		number("cfg-end", "CFGEnd", zeroAllowed, 100, "and at the last (SDXL 7.5; dpmpp2m 1.5); 1 all through takes half the time",
			func(o *supir.Options) *float64 { return &o.CFGEnd }),
		bothControls(),
		number("control-start", "ControlStart", zeroAllowed, 2, "weight of the picture's control at the first step (that of --control-end)",
			func(o *supir.Options) *float64 { return &o.ControlStart }),
		number("control-end", "ControlEnd", zeroAllowed, 2, "and at the last (1)",
			func(o *supir.Options) *float64 { return &o.ControlEnd }),
		number("restoration", "Restoration", zeroAllowed, 100, "how soon sampling stops being pulled to the picture, τ_r: small values keep more of it (4; dpmpp2m off); 0: off",
			func(o *supir.Options) *float64 { return &o.Restoration }),
		number("s-churn", "SChurn", zeroAllowed, 1000, "noise added anew over all steps, for edm (5)",
			func(o *supir.Options) *float64 { return &o.SChurn }),
		number("s-noise", "SNoise", zeroForbidden, 2, "scale of that noise (1.01; dpmpp2m 1)",
			func(o *supir.Options) *float64 { return &o.SNoise }),
		number("eta", "Eta", zeroAllowed, 1, "randomness of dpmpp2m (1)",
			func(o *supir.Options) *float64 { return &o.Eta }),
		number("cfg-sigma-min", "CFGSigmaMin", zeroAllowed, 100, "no guidance, so half the time, in steps whose noise σ is below (0)",
			func(o *supir.Options) *float64 { return &o.CFGSigmaMin }),
		number("cfg-sigma-max", "CFGSigmaMax", zeroForbidden, 100, "nor in those whose noise is above (the model's: no limit for SDXL); sampling begins at 14.6",
			func(o *supir.Options) *float64 { return &o.CFGSigmaMax }),
		integer("gate-step", "GateStep", zeroForbidden, 1000, 1, "attend to the text in so many steps, then use again what the last one found (all)",
			func(o *supir.Options) *int { return &o.GateStep }),
		integer("deep-interval", "DeepInterval", zeroForbidden, 1000, 1, "compute the U-Net's lower levels in every so manieth step only (1)",
			func(o *supir.Options) *int { return &o.DeepInterval }),
		integer("adaptor-interval", "AdaptorInterval", zeroForbidden, 1000, 1, "compute the adaptor in every so manieth step only (1)",
			func(o *supir.Options) *int { return &o.AdaptorInterval }),
		integer("tile-size", "TileSize", zeroAllowed, math.MaxInt32, 8, "side of sampling's windows in latent pixels, a multiple of 8 (128); 0: no windows",
			func(o *supir.Options) *int { return &o.TileSize }),
		integer("tile-stride", "TileStride", zeroForbidden, math.MaxInt32, 8, "distance of windows, a multiple of 8 (half of --tile-size)",
			func(o *supir.Options) *int { return &o.TileStride }),
		choice("precision", "Precision", "how weights are kept in memory (auto)",
			func(o *supir.Options) *supir.Precision { return &o.Precision }, supir.PrecisionAuto, supir.PrecisionF32, supir.PrecisionStored),
		choice("compute", "Compute", "type that a CPU multiplies matrices in while sampling (auto: the fastest here, see supir doctor)",
			func(o *supir.Options) *supir.Compute { return &o.Compute }, computeTypes...),
		{name: "device", option: "Device", kind: "NAME", usage: "auto, cpu, gpu, or a device that supir doctor lists (auto)", parse: func(text string) (func(*supir.Options), error) {
			if err := nn.CheckDevice(text); err != nil {
				return nil, err
			}
			return func(o *supir.Options) { o.Device = text }, nil
		}},
		integer("threads", "Threads", zeroForbidden, 1024, 1, "threads that compute on the CPU (one a processor)",
			func(o *supir.Options) *int { return &o.Threads }),
		{name: "memory", option: "Memory", kind: "SIZE", usage: "the most memory to use, such as 6GiB (what is free)", parse: func(text string) (func(*supir.Options), error) {
			v, err := parseSize(text)
			return func(o *supir.Options) { o.Memory = v }, err
		}},
	}
	group := resultFlags
	for _, o := range f.flags {
		switch o.name { // where the next group begins
		case "sampler":
			group = samplingFlags
		case "cfg-sigma-min":
			group = fasterFlags
		case "tile-size":
			group = machineFlags
		}
		if len(only) > 0 && !slices.Contains(only, o.name) {
			continue
		}
		cmd.Flags().Var(o, o.name, o.usage)
		inGroup(cmd, group, o.name)
		if o.values != nil {
			_ = cmd.RegisterFlagCompletionFunc(o.name, cobra.FixedCompletions(o.values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
}

// exclude makes sure that not both flags are given.
func exclude(cmd *cobra.Command, a, b string) error {
	if cmd.Flags().Changed(a) && cmd.Flags().Changed(b) {
		return usagef("leave one of them out", "--%s and --%s exclude each other", a, b)
	}
	return nil
}

// bothControls sets what --control-start and --control-end then change.
func bothControls() *optionFlag {
	both := number("control-scale", "", zeroAllowed, 2, "both --control-start and --control-end (1)", nil)
	one := number("", "", zeroAllowed, 2, "", func(o *supir.Options) *float64 { return &o.ControlEnd })
	both.parse = func(text string) (func(*supir.Options), error) {
		set, err := one.parse(text)
		if err != nil {
			return nil, err
		}
		return func(o *supir.Options) { set(o); o.ControlStart = o.ControlEnd }, nil
	}
	return both
}

// options are what the command line asks for.
func (f *optionFlags) options() (supir.Options, error) {
	var o supir.Options
	for _, flag := range f.flags {
		if flag.apply != nil {
			flag.apply(&o)
		}
	}
	if size := cmp.Or(o.TileSize, 128); size > 0 && o.TileStride > size {
		return o, usagef("", "--tile-stride %d: larger than --tile-size %d would leave gaps between windows", o.TileStride, size)
	}
	return o, nil
}

// flagOf is the flag that sets an option, or the option's own name.
func flagOf(option string) string {
	var f optionFlags
	f.add(&cobra.Command{})
	for _, flag := range f.flags {
		if flag.option == option {
			return "--" + flag.name
		}
	}
	if option == "Endpoint.Key" {
		return keyVariable
	}
	return option
}

// readLines reads a text file, without empty lines at its end.
func readLines(name string) ([]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	const most = 1 << 20
	scanner := bufio.NewScanner(io.LimitReader(file, most))
	var lines []string
	for scanner.Scan() {
		lines = append(lines, strings.TrimSpace(scanner.Text()))
	}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("%s: no captions in it", name)
	}
	return lines, nil
}

// size is a number of bytes for people.
func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// modelFlags are those of commands that look at pictures with a model.
type modelFlags struct {
	captions captionFlags
	flags    optionFlags
	weights  weightFlags
}

// add adds all that matter for restoring.
func (f *modelFlags) add(cmd *cobra.Command) {
	f.captions.add(cmd)
	f.captions.addTiles(cmd)
	f.flags.add(cmd)
	f.weights.add(cmd)
}

// read is what the command line asks for, and by which model.
func (f *modelFlags) read() (opts supir.Options, files supir.Files, model string, err error) {
	if opts, err = f.flags.options(); err != nil {
		return opts, files, "", err
	}
	if files, model, err = f.weights.files(); err != nil {
		return opts, files, "", err
	}
	f.captions.files(&files)
	return opts, files, model, f.captions.check(files)
}

// weightFlags name the model.
type weightFlags struct {
	sdxl, supir, model string
	loras              []string
}

func (f *weightFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags() // an empty name, as of a shell's variable that nobody set, must not mean the embedded model
	flags.Var(text(&f.sdxl, "FILE"), "sdxl", "SDXL checkpoint, a `FILE` (.safetensors, .gguf, .ckpt…) or folder (the embedded model)")
	flags.Var(text(&f.supir, "FILE"), "supir", "SUPIR checkpoint, a `FILE` of the same kinds")
	flags.Var(text(&f.model, "FILE"), "model", "one `FILE` instead of the two, as supir convert writes it")
	flags.StringArrayVar(&f.loras, "lora", nil, "merge a LoRA into SDXL, `FILE[:WEIGHT]`; may be repeated (weight 1)")
	inGroup(cmd, machineFlags, "sdxl", "supir", "model", "lora")
}

// files are the weights to use.
func (f *weightFlags) files() (files supir.Files, name string, err error) {
	switch {
	case f.model != "" && (f.sdxl != "" || f.supir != ""):
		return files, "", usagef("--model names a file that holds all", "--model beside --sdxl or --supir")
	case f.model != "":
		files, name = supir.Files{Model: f.model}, f.model
	case f.sdxl == "" && f.supir == "" && len(f.loras) > 0:
		return files, "", usagef("a LoRA changes SDXL: add --sdxl FILE --supir FILE", "--lora without --sdxl")
	case f.sdxl == "" && f.supir == "":
		return embeddedFiles(), "embedded", nil
	case f.sdxl == "":
		return files, "", usagef("a model is two files: add --sdxl FILE", "--supir without --sdxl")
	case f.supir == "":
		return files, "", usagef("a model is two files: add --supir FILE", "--sdxl without --supir")
	default:
		files, name = supir.Files{SDXL: f.sdxl, SUPIR: f.supir}, f.sdxl+" and "+f.supir
	}
	for _, text := range f.loras {
		lora, err := loraOf(text)
		if err != nil {
			return files, "", err
		}
		files.LoRAs = append(files.LoRAs, lora)
		name += ", " + text
	}
	return files, name, nil
}

// loraOf reads FILE[:WEIGHT]. Names may hold colons themselves.
func loraOf(text string) (supir.LoRA, error) {
	if text == "" {
		return supir.LoRA{}, usagef("name a file, or leave the flag out", "--lora must not be empty")
	}
	i := strings.LastIndexByte(text, ':')
	if i < 0 {
		return supir.LoRA{Path: text}, nil
	}
	weight, err := strconv.ParseFloat(text[i+1:], 64)
	switch {
	case err != nil:
		return supir.LoRA{Path: text}, nil
	case !(weight >= -10 && weight <= 10) || weight == 0:
		return supir.LoRA{}, usagef("give a weight from -10 to 10, such as 0.8; leave the file out for none", "--lora %s: weight %v", text, weight)
	}
	return supir.LoRA{Path: text[:i], Weight: weight}, nil
}
