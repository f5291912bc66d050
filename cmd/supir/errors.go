package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math"
	"net/http"
	"slices"
	"strings"

	"supir"
	"supir/internal/ggml"
	"supir/photo"
)

// The exit codes: see the package's documentation.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitWeights     = 3
	exitMemory      = 4
	exitInterrupted = 130
)

// A failure is an error with an exit code and a hint. Wording: the error says
// what is wrong with what, in lower case and without full stop; the hint says
// what would work.
type failure struct {
	err  error
	code int
	hint string
	told bool // the user knows already
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef reports a command line that cannot be carried out.
func usagef(hint, format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), code: exitUsage, hint: hint}
}

// classify finds an error's code and hint.
func classify(err error) *failure {
	var f *failure
	var option *supir.OptionError
	var weights *supir.WeightsError
	var memory *supir.MemoryError
	var allocation *ggml.MemoryError
	var status ggml.Status
	var endpoint *supir.EndpointError
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, context.Canceled), errors.As(err, &status) && status == ggml.Aborted:
		return &failure{err: errors.New("interrupted"), code: exitInterrupted}
	case errors.As(err, &option):
		return &failure{err: fmt.Errorf("%s: %s", flagOf(option.Option), option.Reason), code: exitUsage}
	case errors.As(err, &weights):
		return &failure{err: err, code: exitWeights, hint: weightsHint(weights)}
	case errors.Is(err, supir.ErrNumbers):
		return &failure{err: err, code: exitWeights, hint: "`supir convert --type f32` finds weights that are no numbers; --compute f32 helps where sound ones overflow"}
	case errors.As(err, &endpoint):
		return &failure{err: err, code: exitFailed, hint: endpointHint(endpoint)}
	case errors.As(err, &memory) && memory.Plan.WorkWidth == 0:
		return &failure{err: fmt.Errorf("LLaVA needs about %s of memory, %s may be used", size(memory.Plan.Peak), size(memory.Plan.Budget)),
			code: exitMemory, hint: "take a smaller model or type of LLaVA, or give more with --memory, if the machine has more"}
	case errors.As(err, &memory) && memory.Err != nil: // a device, or the disk for temporary files
		p := memory.Plan
		return &failure{err: fmt.Errorf("working at %d×%d: %w", p.WorkWidth, p.WorkHeight, memory.Err), code: exitMemory, hint: smaller}
	case errors.As(err, &memory):
		p := memory.Plan
		return &failure{
			err: fmt.Errorf("working at %d×%d needs about %s of memory, %s may be used",
				p.WorkWidth, p.WorkHeight, size(p.Peak), size(p.Budget)),
			code: exitMemory,
			hint: memoryHint(p),
		}
	case errors.As(err, &allocation), errors.As(err, &status) && status == ggml.AllocFailed:
		return &failure{err: err, code: exitMemory, hint: smaller + ", or --device cpu"}
	}
	return &failure{err: err, code: exitFailed, hint: pictureHint(err)}
}

// smaller is the hint for pictures that take too much of anything.
const smaller = "use a smaller --upscale or --min-size"

func endpointHint(e *supir.EndpointError) string {
	switch {
	case e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden:
		return "set the key in the environment: " + keyVariable
	case e.Status == http.StatusTooManyRequests || e.Status >= http.StatusInternalServerError:
		return "the server may have too much to do or too little memory; --caption-optional goes on without a caption"
	case e.Status/100 == 3:
		return "give --captioner that address, if the pictures may go there"
	case e.Status == 0:
		return "is the server running? --caption-optional goes on without a caption"
	}
	return "--caption-model names the model to ask; --caption-optional goes on without a caption"
}

func weightsHint(e *supir.WeightsError) string {
	text := e.Error()
	path := (*fs.PathError)(nil)
	isLoRA := func(l supir.LoRA) bool { return path.Path == l.Path }
	switch {
	case errors.As(e, &path) && slices.ContainsFunc(e.Files.LoRAs, isLoRA):
		return "--lora names a LoRA of SDXL, and how much of it is taken: FILE[:WEIGHT]"
	case e.Files.SDXL == "" && e.Files.LLaVA.String() != "":
		return "--llava takes the language model and the mmproj of LLaVA-1.5, 7B or 13B, as GGUF files; `supir convert --llava` makes one of the published folder"
	case strings.Contains(text, "are swapped"):
		return "use --sdxl " + e.Files.SUPIR + " --supir " + e.Files.SDXL
	case len(e.Files.LoRAs) > 0 && strings.Contains(text, "LoRA"):
		return "--lora takes LoRAs of SDXL, of kohya's trainers or of Diffusers"
	case errors.Is(e, fs.ErrNotExist) && e.Files.Model != "":
		return "--model names one file that holds all of a model, as supir convert writes it"
	case errors.Is(e, fs.ErrNotExist):
		return "--sdxl and --supir name the model's two files; without both, the embedded model is used"
	case errors.Is(e, fs.ErrPermission):
		return "the file may not be read: see its permissions"
	}
	if e.Files.Model != "" {
		return "--model takes a file that supir convert has written; damaged ones must be made anew"
	}
	return "--sdxl takes an SDXL checkpoint, --supir a SUPIR one (v0Q or v0F); damaged ones must be downloaded again"
}

// memoryHint is the hint for a picture that was not tried with less.
func memoryHint(p supir.Plan) string {
	hint := smaller
	for _, s := range p.Stages {
		if s.Weights > p.Budget {
			hint = fmt.Sprintf("the weights of one stage (%s) alone take %s", s.Stage, size(s.Weights))
		}
	}
	return hint + ", or give more with --memory, if the machine has more; `supir plan` tells what a picture takes"
}

// fittingHint is the hint that tells of settings with which a picture fits; "" if
// none are found.
func fittingHint(m *supir.Model, picture image.Point, opts supir.Options, plan supir.Plan) string {
	how := whatFits(m, picture, opts, plan)
	if how == "" {
		return ""
	}
	how += " would fit"
	if plan.Budget > 0 && plan.Peak > plan.Budget { // not the disk alone
		how += ", or give more with --memory, if the machine has more"
	}
	return how
}

// whatFits looks for settings with which a picture fits, and says how to ask for
// them; "" if it finds none.
func whatFits(m *supir.Model, picture image.Point, opts supir.Options, plan supir.Plan) string {
	const align, tries = 64, 8
	short := float64(min(picture.X, picture.Y))
	upscale := cmp.Or(opts.Upscale, 1)
	side := min(plan.WorkWidth, plan.WorkHeight)
	for range tries {
		side = side * 4 / 5 / align * align
		if side < align {
			return ""
		}
		less, how := opts, []string(nil)
		if short*upscale > float64(side) {
			less.Upscale = math.Floor(100*float64(side)/short) / 100
			how = append(how, fmt.Sprintf("--upscale %v", less.Upscale))
		}
		if less.MinSize >= 0 && (len(how) == 0 || less.MinSize == 0 || less.MinSize > side) {
			less.MinSize = side
			how = append(how, fmt.Sprintf("--min-size %d", side))
		}
		if less.Upscale < 0 || len(how) == 0 {
			return ""
		}
		if p, err := m.Plan(picture, less); err == nil && fits(p) {
			return strings.Join(how, " ")
		}
	}
	return ""
}

func pictureHint(err error) string {
	switch {
	case errors.Is(err, photo.ErrIsInput):
		return "choose another -o"
	case errors.Is(err, fs.ErrExist):
		return "--overwrite replaces it, --skip-existing leaves it out"
	case errors.Is(err, photo.ErrNotImage):
		return "JPEG, PNG, TIFF, WebP, GIF and BMP pictures can be read"
	case errors.Is(err, photo.ErrCorrupt):
		return "the file is damaged: look for another copy of it"
	}
	return ""
}
