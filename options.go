package supir

import (
	"fmt"
	"image"
	"io/fs"
	"math"
	"time"

	"supir/internal/nn"
)

// Files names the weights of a model. Each is a file in one of the formats that
// docs/weights.md lists (safetensors, GGUF, PyTorch), told by what is in it, not
// by its name; or the index of a model in several files, or their folder.
type Files struct {
	// SDXL is any SDXL checkpoint (base, fine-tuned, distilled): VAE, U-Net and
	// both text encoders are taken from it. A folder in the layout of Hugging
	// Face's Diffusers will do as well.
	SDXL string
	// SUPIR holds the degradation-robust encoder, the adaptor and the
	// connectors: SUPIR-v0Q or v0F.
	SUPIR string
	// Model is one file that holds all of it, as Convert writes it: SDXL and SUPIR
	// are then empty.
	Model string
	// LoRAs are merged into SDXL's U-Net and text encoders as these are loaded.
	LoRAs []LoRA
	// FS is where the names are looked up; nil is the file system.
	FS fs.FS
	// LLaVA is the captioner, if there is one.
	LLaVA LLaVAFiles
}

// A LoRA is a file of low-rank changes to SDXL, with the names of either kohya's
// trainers or Diffusers.
type LoRA struct {
	Path string
	// Weight is how much of it is added. Default 1, range [-10, 10].
	Weight float64
}

const maxLoRAWeight = 10

// Options say how to restore a picture. The zero value is the paper's automatic
// mode. Each field's zero is its default; where 0 itself makes sense, a negative
// number asks for it.
type Options struct {
	// Upscale is the size of the result over that of the picture. Default 1,
	// range (0, 16].
	Upscale float64
	// MinSize is what the short side is enlarged to, in pixels, while the
	// picture is worked on. Default: the model's (1024 for SDXL); negative:
	// the picture's own size.
	MinSize int

	// Sampler is EDM by default.
	Sampler Sampler
	// Steps is the number of sampling steps, range [1, 1000]. Default: the
	// model's (50 for SDXL), 8 for DPMPP2M.
	Steps int
	// Schedule is how the steps' noise levels are spaced. Default: the model's
	// (ScheduleEven for SDXL), ScheduleKarras for DPMPP2M.
	Schedule Schedule
	// Seed fixes all randomness, on every platform. Default 1234.
	Seed uint64
	// Samples is how many results are drawn, from Seed, Seed+1…. Default 1,
	// range [1, 64].
	Samples int
	// CFGStart and CFGEnd are the scale of classifier-free guidance at the first
	// and at the last step, D = D_neg + s·(D_pos - D_neg): the paper's λ_cfg is
	// s-1. Defaults: the model's, SDXL's being 4 and 7.5 (1.5 both for DPMPP2M); range
	// [0, 100]; negative: 0.
	// 1 all through costs half.
	CFGStart, CFGEnd float64
	// ControlStart and ControlEnd weigh the adaptor's control at the first and
	// at the last step. Defaults 1 (ControlEnd) and ControlEnd (ControlStart),
	// range [0, 2]; negative: 0.
	ControlStart, ControlEnd float64
	// Restoration is τ_r (Sec. 3.3): predictions are pulled to the low-quality
	// picture by (σ/σ_T)^τ_r, so that small values keep more of it. Default: the
	// model's (4 for SDXL; another with Fidelity where the model has one) for EDM,
	// off for DPMPP2M; range (0, 100]; negative: off.
	Restoration float64
	// SChurn is the share of noise added anew over all steps (EDM). Default: the
	// model's (5 for SDXL), range [0, 1000]; negative: 0.
	SChurn float64
	// SNoise scales that noise. Default 1.01 (1 for DPMPP2M), range (0, 2].
	SNoise float64
	// Eta makes DPMPP2M stochastic. Default 1, range [0, 1]; negative: 0.
	Eta float64

	// The five fields that follow save time and change the result; docs/speed.md
	// has what each costs and gains. All are off by default, but for CFGSigmaMax
	// where the model has one.

	// CFGSigmaMin and CFGSigmaMax are the noise levels σ between which there is
	// classifier-free guidance; steps outside take the positive prompt alone, at half
	// the cost (Kynkäänniemi et al. 2024). Defaults 0 and the model's (no limit for
	// SDXL, nor for DPMPP2M); range [0, 100], the latter above the former. Sampling
	// begins at σ 14.6, so that a larger one is no limit.
	CFGSigmaMin, CFGSigmaMax float64
	// GateStep is how many steps attend to the text; later ones take over what the
	// last of those found (T-GATE, Zhang et al. 2024). Default: all; range [1, 1000].
	GateStep int
	// DeepInterval computes the U-Net's levels below the first in every so manieth
	// step only, and takes over what came up from them in between (DeepCache, Ma et
	// al. 2023). Default 1: in every step; range [1, 1000].
	DeepInterval int
	// AdaptorInterval computes the adaptor in every so manieth step only. Default 1,
	// range [1, 1000]; a multiple of DeepInterval if both are more than 1.
	AdaptorInterval int

	// Prompt describes the picture; if it is empty, the Captioner does.
	Prompt string
	// Captioner describes the picture from its cleaned form. Default: LLaVA where
	// the model has it, else none.
	Captioner Captioner
	// CaptionTiles asks the Captioner about each window of a large picture.
	CaptionTiles bool
	// CaptionRaw shows the Captioner the picture as it is, not cleaned.
	CaptionRaw bool
	// CaptionCache is a folder where LLaVA's captions are kept, so that no picture
	// is described twice; it is made where it is missing, and nothing in it is ever
	// removed. Default: none; captions are kept while the model is open.
	CaptionCache string
	// CaptionOptional does without a caption where the Captioner fails; the result
	// tells why. Otherwise that is an error.
	CaptionOptional bool
	// TileCaptions describe the windows of a large picture, row by row, in turn
	// where they are fewer; they replace the prompt.
	TileCaptions []string
	// PositiveWords follow the caption; NegativeWords are the whole negative
	// prompt. Defaults DefaultPositive and DefaultNegative; "-" for none.
	PositiveWords, NegativeWords string

	// ColorFix takes the colours from the cleaned picture. Default Wavelet, of
	// which ColorFixLevels makes what is coarser than about 2^levels pixels the
	// cleaned picture's; 1 to 6, default the model's (5 for SDXL).
	ColorFix       ColorFix
	ColorFixLevels int

	// TileSize and TileStride are the window of sampling and the distance of
	// windows, in pixels of the latent. Defaults 128, or less where that does not
	// fit into memory (see Plan.TileSize), and half of TileSize;
	// multiples of 8; negative TileSize: no windows.
	TileSize, TileStride int

	// Precision is how weights are kept in memory. Default PrecisionAuto.
	Precision Precision
	// Compute is the type in which the CPU multiplies matrices while sampling.
	// Default ComputeAuto.
	Compute Compute
	// Device is "auto" (default), "cpu", "gpu", or a device that `supir doctor`
	// lists.
	Device string
	// Threads that compute on the CPU. Default: as many as Go may use.
	Threads int
	// Memory is the most to use, in bytes. Default: what the system, or the
	// graphics device, has free.
	Memory int64

	// Progress, if set, is called from Restore's goroutine as work goes on. It must not
	// call the same Model's Restore, Plan or Close, which wait for that Restore to end.
	Progress func(Progress)
	// Trace, if set, is told of every stage and operator, for profiling.
	Trace *Trace

	faithful bool // of the model's defaults, those for fidelity
}

// The presets. Copy one and change it: opt := supir.Fidelity; opt.Upscale = 4.
var (
	// Quality asks for the most detail. It is what zero Options mean.
	Quality = Options{}
	// Fidelity stays closest to the picture.
	Fidelity = Options{CFGStart: 1, CFGEnd: 4, faithful: true}
	// Fast takes few steps; best with distilled (Lightning) weights.
	Fast = Options{Sampler: DPMPP2M, Steps: 8, CFGStart: 1.5, CFGEnd: 1.5}
)

// A Sampler is a way from noise to a picture.
type Sampler int

// The samplers.
const (
	EDM     Sampler = iota // restoration-guided EDM, the paper's Algorithm 1
	DPMPP2M                // restoration DPM++ 2M SDE
)

// String is the sampler's name on a command line.
func (s Sampler) String() string { return nameIn(samplerNames[:], int(s)) }

// A Schedule is how the noise levels of sampling are spaced.
type Schedule int

// The schedules, of n steps.
const (
	ScheduleAuto   Schedule = iota // what the model and the sampler default to
	ScheduleEven                   // even steps of the training's grid, as the released SUPIR has it
	ScheduleKarras                 // even steps of σ^⅐: many small ones at the end (Karras et al. 2022, Eq. 5)
)

// String is the schedule's name on a command line.
func (s Schedule) String() string { return nameIn(scheduleNames[:], int(s)) }

// A ColorFix is a way to keep a picture's colours.
type ColorFix int

// The colour fixes.
const (
	Wavelet      ColorFix = iota // low frequencies from the cleaned picture
	AdaIN                        // mean and spread of each channel from it
	ColorFixNone                 // as the model gives them
)

// String is the fix's name on a command line.
func (c ColorFix) String() string { return nameIn(colorFixNames[:], int(c)) }

// A Precision is how weights are kept.
type Precision int

// The precisions. The VAE's weights are never as stored.
const (
	PrecisionAuto   Precision = iota // PrecisionF32 where it takes little memory, else PrecisionStored
	PrecisionF32                     // as 32-bit numbers
	PrecisionStored                  // as the files hold them
)

// String is the precision's name on a command line.
func (p Precision) String() string { return nameIn(precisionNames[:], int(p)) }

// A Compute is a type in which matrices are multiplied: linear layers,
// convolutions and attention of the diffusion networks, by supir's own kernels for
// CPUs. The VAE computes in BF16 where sampling does in that or in int8 and the
// processor multiplies BF16 itself, else in F32. Text encoders compute in F32
// always, and so do the first and the last convolution, norms, and the time's
// embedding.
type Compute int

// The types.
const (
	ComputeAuto Compute = iota // the fastest: int8 where the CPU has VNNI or AMX; F32 else, and with PrecisionF32
	ComputeF32                 // 32-bit numbers
	ComputeBF16                // 16-bit numbers with F32's range
	ComputeInt8                // bytes: rows of activations quantised as they come, weights once
)

// String is the type's name on a command line.
func (c Compute) String() string { return nameIn(computeNames[:], int(c)) }

// precision is how nn keeps weights for the type, packed or as stored.
func (c Compute) precision(stored bool) nn.Precision {
	switch {
	case c == ComputeInt8 && stored:
		return nn.StoredInt8
	case c == ComputeInt8:
		return nn.Int8
	case c == ComputeBF16 && stored:
		return nn.StoredBF16
	case c == ComputeBF16:
		return nn.BF16
	case stored:
		return nn.Stored
	}
	return nn.F32
}

// computeOf is the type of products in one of nn's precisions.
func computeOf(p nn.Precision) Compute {
	switch p {
	case nn.Int8, nn.StoredInt8:
		return ComputeInt8
	case nn.BF16, nn.StoredBF16:
		return ComputeBF16
	}
	return ComputeF32
}

var (
	computeNames = [...]string{ComputeAuto: "auto", ComputeF32: "f32", ComputeBF16: "bf16", ComputeInt8: "int8"}

	samplerNames   = [...]string{EDM: "edm", DPMPP2M: "dpmpp2m"}
	scheduleNames  = [...]string{ScheduleAuto: "auto", ScheduleEven: "even", ScheduleKarras: "karras"}
	colorFixNames  = [...]string{Wavelet: "wavelet", AdaIN: "adain", ColorFixNone: "none"}
	precisionNames = [...]string{PrecisionAuto: "auto", PrecisionF32: "f32", PrecisionStored: "stored"}
)

func nameIn(names []string, i int) string {
	if i < 0 || i >= len(names) {
		return fmt.Sprint(i)
	}
	return names[i]
}

// Progress tells how far Restore is.
type Progress struct {
	Stage    Stage
	Step, Of int           // within the stage: Step of Of are done
	Elapsed  time.Duration // since Restore began
	Left     time.Duration // estimate for what is left; 0 while unknown
	// Preview is a rough picture of the latent, as small as it, made when
	// called; nil outside sampling. It must not be called later.
	Preview func() image.Image
}

// A Stage is a part of the pipeline (paper Fig. 2).
type Stage string

// The stages, in order. Those that the options don't need are left out.
const (
	StageEncode  Stage = "encode"  // degradation-robust encoder
	StageClean   Stage = "clean"   // decoded stage-1 picture and its re-encoding
	StageCaption Stage = "caption" // the Captioner
	StageText    Stage = "text"    // text encoders
	StageSample  Stage = "sample"  // diffusion
	StageDecode  Stage = "decode"  // decoder and colours
)

// An OptionError says which option cannot be, and what would be.
type OptionError struct {
	Option string // the field's name
	Reason string
}

func (e *OptionError) Error() string { return fmt.Sprintf("option %s: %s", e.Option, e.Reason) }

// settings are Options with every default filled in.
type settings struct {
	Options
	guided  bool // restoration guidance is on
	anyTile bool // the windows' size may be chosen to fit into memory
}

// defaults are what a model itself sets.
type defaults struct {
	minSize, steps        int
	schedule              Schedule
	restoration, faithful float64 // τ_r, and that of Fidelity
	sChurn                float64
	cfgStart, cfgEnd      float64
	cfgSigmaMax           float64 // 0: no limit
	colorFixLevels        int
}

// resolve fills in the defaults and checks everything that needs no weights.
func (o Options) resolve(d defaults) (settings, error) {
	s := settings{Options: o}
	var err error
	number := func(name string, v *float64, byDefault, least, most float64) {
		switch {
		case *v == 0:
			*v = byDefault
		case *v < 0 && least == 0:
			*v = 0
		}
		if err == nil && !(*v >= least && *v <= most) {
			err = &OptionError{name, fmt.Sprintf("%v is not in [%v, %v]", *v, least, most)}
		}
	}
	integer := func(name string, v *int, byDefault, least, most int) {
		if *v == 0 {
			*v = byDefault
		}
		if err == nil && (*v < least || *v > most) {
			err = &OptionError{name, fmt.Sprintf("%d is not in [%d, %d]", *v, least, most)}
		}
	}
	oneOf := func(name string, i, n int) {
		if err == nil && (i < 0 || i >= n) {
			err = &OptionError{name, fmt.Sprintf("%d is no %s", i, name)}
		}
	}
	oneOf("Sampler", int(o.Sampler), len(samplerNames))
	oneOf("Schedule", int(o.Schedule), len(scheduleNames))
	oneOf("ColorFix", int(o.ColorFix), len(colorFixNames))
	oneOf("Precision", int(o.Precision), len(precisionNames))
	oneOf("Compute", int(o.Compute), len(computeNames))

	distilled := o.Sampler == DPMPP2M
	pick := func(edm, dpm float64) float64 {
		if distilled {
			return dpm
		}
		return edm
	}
	number("Upscale", &s.Upscale, 1, tiny, 16)
	if s.MinSize < 0 {
		s.MinSize = 1
	}
	integer("MinSize", &s.MinSize, d.minSize, 1, 8192)
	integer("Steps", &s.Steps, int(pick(float64(d.steps), 8)), 1, trainingSteps)
	if s.Seed == 0 {
		s.Seed = 1234
	}
	integer("Samples", &s.Samples, 1, 1, 64)
	number("CFGStart", &s.CFGStart, pick(d.cfgStart, 1.5), 0, 100)
	number("CFGEnd", &s.CFGEnd, pick(d.cfgEnd, 1.5), 0, 100)
	number("ControlEnd", &s.ControlEnd, 1, 0, 2)
	if s.ControlStart == 0 {
		s.ControlStart = s.ControlEnd
	} else {
		number("ControlStart", &s.ControlStart, 0, 0, 2)
	}
	if s.Restoration == 0 && distilled {
		s.Restoration = -1
	}
	if s.Schedule == ScheduleAuto && distilled {
		s.Schedule = ScheduleKarras
	} else if s.Schedule == ScheduleAuto {
		s.Schedule = d.schedule
	}
	if o.faithful {
		d.restoration = d.faithful
	}
	if s.guided = !(s.Restoration < 0); s.guided { // NaN is refused below
		number("Restoration", &s.Restoration, d.restoration, tiny, 100)
	}
	number("SChurn", &s.SChurn, d.sChurn, 0, 1000)
	number("SNoise", &s.SNoise, pick(1.01, 1), tiny, 2)
	number("Eta", &s.Eta, 1, 0, 1)
	number("CFGSigmaMin", &s.CFGSigmaMin, 0, 0, maxSigma)
	if d.cfgSigmaMax <= s.CFGSigmaMin { // the model's is none to be refused for
		d.cfgSigmaMax = 0
	}
	number("CFGSigmaMax", &s.CFGSigmaMax, pick(d.cfgSigmaMax, 0), 0, maxSigma)
	if err == nil && s.CFGSigmaMax > 0 && s.CFGSigmaMax <= s.CFGSigmaMin {
		err = &OptionError{"CFGSigmaMax", fmt.Sprintf("%v is not above the interval's lower end, %v", s.CFGSigmaMax, s.CFGSigmaMin)}
	}
	integer("GateStep", &s.GateStep, trainingSteps, 1, trainingSteps)
	integer("DeepInterval", &s.DeepInterval, 1, 1, trainingSteps)
	integer("AdaptorInterval", &s.AdaptorInterval, 1, 1, trainingSteps)
	if err == nil && s.AdaptorInterval > 1 && s.AdaptorInterval%s.DeepInterval > 0 {
		err = &OptionError{"AdaptorInterval", fmt.Sprintf("%d is no multiple of the deep interval, %d: the adaptor is computed in steps that compute the deep levels", s.AdaptorInterval, s.DeepInterval)}
	}
	integer("ColorFixLevels", &s.ColorFixLevels, d.colorFixLevels, 1, maxColorFixLevels)
	if s.PositiveWords == "" {
		s.PositiveWords = DefaultPositive
	}
	if s.NegativeWords == "" {
		s.NegativeWords = DefaultNegative
	}
	for _, words := range []*string{&s.PositiveWords, &s.NegativeWords} {
		if *words == "-" {
			*words = ""
		}
	}
	s.anyTile = o.TileSize == 0 && o.TileStride == 0 && len(o.TileCaptions) == 0 && !o.CaptionTiles
	if s.TileSize < 0 {
		s.TileSize = math.MaxInt32 &^ 7
	}
	integer("TileSize", &s.TileSize, 128, 8, math.MaxInt32)
	integer("TileStride", &s.TileStride, strideFor(s.TileSize), 8, s.TileSize)
	multiple := func(name string, v int) {
		if err == nil && v%8 != 0 {
			err = &OptionError{name, fmt.Sprintf("%d is not a multiple of 8", v)}
		}
	}
	multiple("TileSize", s.TileSize)
	multiple("TileStride", s.TileStride)
	integer("Threads", &s.Threads, 0, 0, 1024)
	if err == nil && s.Memory < 0 {
		err = &OptionError{"Memory", "a budget in bytes cannot be negative"}
	}
	if err == nil {
		if deviceErr := nn.CheckDevice(s.Device); deviceErr != nil {
			err = &OptionError{"Device", deviceErr.Error()}
		}
	}
	return s, err
}

// maxColorFixLevels bounds what the wavelet fix reads beyond a band of rows.
const maxColorFixLevels = 6

// maxSigma bounds options that are noise levels, tiny those that must not be zero.
const (
	maxSigma = 100
	tiny     = 1e-6
)

// cfg is the scale of classifier-free guidance.
func (s *settings) cfg() cfgScale {
	return cfgScale{linear{s.CFGStart, s.CFGEnd}, s.CFGSigmaMin, s.CFGSigmaMax}
}

// strideFor is the distance of windows by default: half of them overlaps.
func strideFor(tileSize int) int { return max(tileSize/2&^7, 8) }

// wantsStage1 tells whether anything needs the cleaned picture at the size worked on.
func (s *settings) wantsStage1() bool {
	return s.guided || s.ColorFix != ColorFixNone || s.wantsCaption() && s.CaptionTiles && !s.CaptionRaw
}
