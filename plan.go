package supir

import (
	"context"
	"fmt"
	"image"
	"os"

	"supir/internal/memory"
	"supir/internal/nn"
	"supir/internal/vae"
)

// A Plan says beforehand what restoring a picture takes, and how it is fitted
// into memory.
type Plan struct {
	Width, Height         int     // of the result, in pixels
	WorkWidth, WorkHeight int     // of the picture while it is worked on
	Steps                 int     // of sampling, for each sample
	TileSize              int     // side of the windows of sampling, in pixels of the latent
	Windows               int     // of each step; 1 where the latent is not cut
	Strips                int     // most strips that the VAE cuts a picture's maps into; 1: none
	Compute               Compute // of sampling: what ComputeAuto has come to
	Stages                []StagePlan
	Keep                  bool  // the weights of all stages stay loaded between calls
	Overhead              int64 // of the process when New ended, of its libraries and Go's heap, in bytes
	Peak                  int64 // estimate of the most memory the process uses at once, in bytes
	Disk                  int64 // bytes of temporary files, in $TMPDIR
	DiskFree              int64 // bytes free there; 0 if unknown
	Budget                int64 // memory that may be used; 0 if unknown

	held held
}

// A StagePlan is one stage's part of a Plan, in bytes. Stages are loaded one
// after the other.
type StagePlan struct {
	Stage    Stage
	Weights  int64 // of its networks, as far as they are in memory at once
	Streamed bool  // the weights stay in their files and are read in every step
	Working  int64 // of its intermediate results
	Scratch  int64 // of maps that are kept in memory between strips
	Pictures int64 // of pictures and latents in memory meanwhile
}

// Sum is what the stage takes altogether.
func (s *StagePlan) Sum() int64 { return s.Weights + s.Working + s.Scratch + s.Pictures }

// A MemoryError says that a picture does not fit into memory.
type MemoryError struct {
	Plan Plan
	Err  error // what a device refused though it was planned for; nil if the plan says so
}

// Unwrap returns Err.
func (e *MemoryError) Unwrap() error { return e.Err }

func (e *MemoryError) Error() string {
	p := &e.Plan
	if e.Err != nil {
		return fmt.Sprintf("working at %d×%d: %v: ask for a smaller Upscale or MinSize", p.WorkWidth, p.WorkHeight, e.Err)
	}
	most := p.Stages[0]
	for _, s := range p.Stages {
		if s.Sum() > most.Sum() {
			most = s
		}
	}
	return fmt.Sprintf("working at %d×%d needs about %d MiB of memory (%d MiB in stage %s, of which %d for weights), %d MiB may be used: ask for a smaller Upscale or MinSize, give %d MiB of Memory, or take weights of a smaller type",
		p.WorkWidth, p.WorkHeight, p.Peak>>20, most.Sum()>>20, most.Stage, most.Weights>>20, p.Budget>>20, (p.Peak+1<<20-1)>>20)
}

func (p *Plan) fits() error {
	if p.DiskFree > 0 && p.Disk > p.DiskFree {
		return &MemoryError{Plan: *p, Err: fmt.Errorf("%d MiB of temporary files are needed, the disk of %s has %d MiB free (TMPDIR names another)", p.Disk>>20, os.TempDir(), p.DiskFree>>20)}
	}
	if p.overBudget() {
		return &MemoryError{Plan: *p}
	}
	return nil
}

func (p *Plan) overBudget() bool { return p.Budget > 0 && p.Peak > p.Budget }

// Plan tells what Restore would do with a picture of the given size, and what
// memory that takes, without loading weights.
//
// Within the budget (Options.Memory, or else what is free) it decides, in this
// order, that weights stay in their files and are read as they are used, that the
// VAE goes over its maps in strips and keeps these on disk in between, and, unless
// the options say otherwise, that windows of sampling are smaller; the last alone
// changes the result. It waits for work under way, so it
// must not be called from Progress or a Captioner. The error is an *OptionError
// or ErrClosed; a plan that exceeds its budget is no error here.
func (m *Model) Plan(size image.Point, opts Options) (*Plan, error) {
	if err := m.turn.Acquire(context.Background(), 1); err != nil {
		return nil, err
	}
	defer m.turn.Release(1)
	if m.networks == nil {
		return nil, ErrClosed
	}
	set, z, err := m.networks.settle(size, opts)
	if err != nil {
		return nil, err
	}
	return m.plan(set, z)
}

// keepShare is the part of the budget that weights may take and still stay
// loaded between calls, or be widened to F32.
const keepShare = 8

// overhead is what computing takes beside all that is counted and what the process
// held before: descriptions of graphs, stacks, libraries' pages, Go's heap.
const overhead = 9 << 20

// unknownBase stands for what the process held before where the system does not tell.
const unknownBase = 40 << 20

// wholeMaps is up to how much memory the VAE works on whole maps, or keeps them
// in memory between strips, even if no other stage needs as much: neither is
// worth more than that.
const wholeMaps = 2 << 30

// A planner makes a plan.
type planner struct {
	*Plan
	n       *networks
	engine  *nn.Engine
	set     *settings
	z       sizes
	prompts int // that the text encoders encode at once
}

// plan records every program the picture needs, on weights without memory, and
// chooses how to fit what each would take into the budget. It may choose the
// size of set's windows.
func (m *Model) plan(set *settings, z sizes) (*Plan, error) {
	if err := m.machine.open(set.Device, set.Threads); err != nil {
		return nil, err
	}
	first := *set // which planning changes
	p, err := m.planKeeping(true, &first, z)
	if err == nil && p.Keep && p.overBudget() {
		return m.planKeeping(false, set, z)
	}
	*set = first
	return p, err
}

// planKeeping is a plan in which small models may stay loaded, or not.
func (m *Model) planKeeping(may bool, set *settings, z sizes) (*Plan, error) {
	p := &planner{n: m.networks, engine: m.machine.engine, set: set, z: z, Plan: &Plan{Width: z.outW, Height: z.outH,
		WorkWidth: z.workW, WorkHeight: z.workH, Steps: set.Steps, Budget: set.Memory, Overhead: m.base + m.machine.driver + overhead, DiskFree: memory.DiskFree(os.TempDir())}}
	if p.Budget == 0 {
		if p.Budget = p.engine.FreeMemory(); p.Budget == 0 { // the CPU's
			p.Budget = memory.Available() + m.machine.loaded()
		}
	}
	p.Keep = may && p.engine.WeightBytes(nn.F32, p.n.all()...) <= p.Budget/keepShare
	p.held = held{precision: nn.Stored, keep: p.Keep, mapped: map[Stage]bool{}}
	if set.Precision == PrecisionF32 || set.Precision == PrecisionAuto && p.Keep {
		p.held.precision = nn.F32
	}
	if err := p.compute(); err != nil {
		return nil, err
	}
	caption, err := m.planCaption(set)
	if err != nil {
		return nil, err
	}
	sample, err := p.sample()
	if err != nil {
		return nil, err
	}
	p.prompts = 1 + max(1, len(set.TileCaptions))
	if set.wantsCaption() && set.CaptionTiles {
		p.prompts = 1 + p.Windows
	}
	text, err := p.text()
	if err != nil {
		return nil, err
	}
	v, err := p.vae(max(sample.Sum(), text.Sum()))
	if err != nil {
		return nil, err
	}
	for _, s := range v.stages {
		if s.Stage == StageDecode { // which comes last
			if caption != nil {
				caption.Pictures = p.pictures(StageCaption)
				p.Stages = append(p.Stages, *caption)
			}
			text.Pictures, sample.Pictures = p.pictures(StageText), p.pictures(StageSample)
			p.Stages = append(p.Stages, *text, *sample)
		}
		p.Stages = append(p.Stages, s)
	}
	p.addUp()
	return p.Plan, nil
}

// addUp finds the peak.
func (p *planner) addUp() {
	var kept int64
	if p.Keep {
		kept = p.engine.WeightBytes(p.held.precision, &p.n.clipL, &p.n.bigG) +
			p.engine.WeightBytes(p.held.of(StageSample, false), p.n.diffusion.networks()...) +
			p.engine.WeightBytes(p.held.vae, &p.n.vae)
	}
	for _, s := range p.Stages {
		sum := s.Sum()
		if p.Keep && s.Stage != StageCaption { // whose weights never stay
			sum -= s.Weights
		}
		p.Peak = max(p.Peak, p.Overhead+kept+sum)
	}
}

// latents is what latents, and what windows of them leave behind, take in memory
// during a stage.
func (p *planner) latents(stage Stage) int64 {
	f := p.n.vae.Factor()
	one := int64(4 * p.n.vae.LatentChannels() * (p.z.workH / f) * (p.z.workW / f))
	held := one // the picture's, and the cleaned picture's
	if p.set.guided {
		held += one
	}
	const moments = 2
	switch stage {
	case StageEncode:
		return (moments + 1) * one
	case StageClean:
		return held + moments*one
	case StageSample: // all samples, noise, two predictions
		n := held + int64(p.set.Samples+3)*one
		if needsTiles(p.z.workH/f, p.z.workW/f, p.set.TileSize) {
			n += litter
		}
		return n
	case StageDecode:
		return held + int64(p.set.Samples)*one
	}
	return held
}

// pictures is what pictures take in memory during a stage: the one given, those
// made so far, the working one. Latents are with them.
func (p *planner) pictures(stage Stage) int64 {
	const numbers = 3 * 4
	pixel := int64(4)
	if p.z.deep {
		pixel = 8
	}
	in, work, out := int64(p.z.inW)*int64(p.z.inH), int64(p.z.workW)*int64(p.z.workH), int64(p.z.outW)*int64(p.z.outH)
	raster := numbers * work
	if p.held.layout.OnDisk {
		raster = 0
	}
	var cleaned int64 // as numbers and as a picture
	if p.set.wantsStage1() {
		cleaned = raster + pixel*work
	}
	latents := p.latents(stage)
	switch stage {
	case StageEncode:
		return pixel*(in+work) + latents
	case StageClean:
		return pixel*(in+work) + cleaned + latents
	case StageDecode: // the raster, then the picture of it and the result
		return pixel*in + cleaned + int64(p.set.Samples-1)*pixel*out + max(raster, pixel*(work+out)) + latents
	}
	return pixel*in + cleaned + latents
}

// compute decides in what sampling computes, and whether its weights stay as
// stored for that, to be unpacked at every use. That is hardly slower and loads
// sooner, but packed they take less memory than most files' types.
func (p *planner) compute() error {
	c, e := p.set.Compute, p.engine
	if c == ComputeAuto && p.set.Precision == PrecisionF32 {
		c = ComputeF32
	}
	c, err := c.on(e)
	if err != nil {
		return err
	}
	p.Compute, p.held.compute, p.held.vae = c, c, vaeIn(c, e)
	if c > ComputeF32 {
		networks := p.n.diffusion.networks()
		packed, stored := e.WeightBytes(c.precision(false), networks...), e.WeightBytes(c.precision(true), networks...)
		small, tight := stored < packed/4*3, stored < packed && p.Budget > 0 && packed > p.Budget/2
		p.held.stored = p.set.Precision == PrecisionStored || p.set.Precision == PrecisionAuto && (small || tight)
	}
	return nil
}

// measure tells what a stage takes whose intermediate results are what working
// says; mapped weights stay in their files.
func (p *planner) measure(stage Stage, mapped bool, networks []any, working func(*nn.Params) (int64, error)) (*StagePlan, error) {
	precision := p.held.of(stage, mapped)
	s := &StagePlan{Stage: stage, Weights: p.engine.WeightBytes(precision, networks...), Streamed: mapped, Pictures: p.pictures(stage)}
	params, err := p.engine.Describe(precision, networks...)
	if err != nil {
		return nil, err
	}
	defer params.Close()
	s.Working, err = working(params)
	return s, err
}

// fit measures a stage with its weights loaded and, if that is too much, left in
// their files.
func (p *planner) fit(stage Stage, networks []any, working func(*nn.Params) (int64, error)) (*StagePlan, error) {
	loaded, err := p.measure(stage, false, networks, working)
	if err != nil || p.Keep || p.fits(loaded) {
		return loaded, err
	}
	mapped, err := p.measure(stage, true, networks, working)
	if err != nil || mapped.Weights >= loaded.Weights { // a graphics device, or files of another type
		return loaded, err
	}
	return mapped, nil
}

func (p *planner) fits(s *StagePlan) bool { return p.Budget <= 0 || p.Overhead+s.Sum() <= p.Budget }

func (p *planner) text() (*StagePlan, error) {
	s, err := p.fit(StageText, []any{&p.n.clipL, &p.n.bigG}, func(params *nn.Params) (int64, error) {
		return p.engine.Measure(params, p.n.textProgram(p.prompts))
	})
	if err == nil {
		p.held.mapped[StageText] = s.Streamed
	}
	return s, err
}

// sample plans the sampling, in smaller windows where it would not fit otherwise
// and the options leave it open.
func (p *planner) sample() (*StagePlan, error) {
	f := p.n.vae.Factor()
	h, w := p.z.workH/f, p.z.workW/f
	both := 2
	if p.set.cfg().off() {
		both = 1
	}
	given := p.set.TileSize
	count := func(size int) int { // of windows
		stride := p.set.TileStride
		if size != given {
			stride = strideFor(size)
		}
		if !needsTiles(h, w, size) {
			return 1
		}
		return len(windows(h, w, size, stride))
	}
	ways, parts := p.set.reuse().ways(p.set.Steps)
	var s *StagePlan
	for _, size := range []int{given, 96, 64, 48, 32} {
		if size > given || size%p.n.diffusion.UNet.Factor() != 0 {
			continue
		}
		p.set.TileSize = size // which latents in memory depend on
		next, err := p.fit(StageSample, p.n.diffusion.networks(), func(params *nn.Params) (int64, error) {
			all, kept, err := p.engine.MeasureReusing(params, parts, ways, func(g *nn.Graph) {
				nn.Output(g, noiseOutput, p.n.diffusion.forward(g, min(h, size), min(w, size), both, p.n.clipL.Length(), true))
			})
			if n := count(size); n > 1 { // each has a copy
				all += kept * int64(n)
			}
			return all, err
		})
		if err != nil {
			return nil, err
		}
		if s == nil || p.fits(next) || next.Sum() < s.Sum() {
			s, p.TileSize = next, size
		}
		if !p.set.anyTile || p.fits(next) {
			break
		}
	}
	if p.set.TileSize = p.TileSize; p.TileSize != given {
		p.set.TileStride = strideFor(p.TileSize)
	}
	p.held.mapped[StageSample] = s.Streamed
	p.Windows = count(p.TileSize)
	return s, nil
}

// vae plans encoding and decoding: whole pictures where that takes no more than
// the other stages do, or than wholeMaps; else in strips as large as can be, or
// half as large if that makes them no more than the others.
func (p *planner) vae(others int64) (*vaePlan, error) {
	most := max(others, wholeMaps)
	if p.Budget > 0 {
		most = min(most, p.Budget-p.Overhead)
	}
	var best *vaePlan
	for _, layout := range vaeLayouts(p.held.vae) {
		if best != nil && !layout.OnDisk && p.n.vae.DecoderFor(p.z.workH, p.z.workW).Between(layout) > most {
			continue
		}
		next, err := p.vaeIn(layout)
		if err != nil {
			return nil, err
		}
		fits := next.peak() <= most
		if layout.OnDisk && layout.Map == onDisk {
			fits = next.peak() <= min(most, others)
		}
		if best == nil || fits || next.peak() < best.peak() {
			best = next
		}
		if fits {
			break
		}
	}
	p.held.layout, p.Strips, p.Disk = best.layout, best.strips, best.disk
	return best, nil
}

// onDisk is the largest of the strips whose other maps lie on disk.
const onDisk = 128 << 20

// vaeLayouts are the ways over a picture, from the quickest to the one that takes
// the least memory, for a VAE that computes in a precision.
func vaeLayouts(in nn.Precision) []vae.Layout {
	layouts := []vae.Layout{{}}
	short := in != nn.F32
	for strip := int64(256 << 20); strip >= 64<<20; strip /= 2 { // thin strips cost more than a disk
		layouts = append(layouts, vae.Layout{Map: strip, Short: short})
	}
	for strip := int64(onDisk); strip >= 8<<20; strip /= 2 {
		layouts = append(layouts, vae.Layout{Map: strip, Short: short, OnDisk: true})
	}
	return layouts
}

// A vaePlan is how the VAE goes over a picture.
type vaePlan struct {
	layout vae.Layout
	stages []StagePlan
	strips int
	disk   int64
}

func (v *vaePlan) peak() (most int64) {
	for _, s := range v.stages {
		most = max(most, s.Sum())
	}
	return most
}

// vaeIn measures the VAE's stages in a layout.
func (p *planner) vaeIn(layout vae.Layout) (*vaePlan, error) {
	p.held.layout = layout
	h, w := p.z.workH, p.z.workW
	v := &vaePlan{layout: layout}
	part := func(s *StagePlan, networks []any, network *vae.Network) error {
		params, err := p.engine.Describe(p.held.vae, networks...)
		if err != nil {
			return err
		}
		defer params.Close()
		cost, err := network.Measure(p.engine, params, layout)
		if err != nil {
			return err
		}
		s.Weights = p.engine.WeightBytes(p.held.vae, networks...)
		s.Working, s.Scratch = cost.Working, cost.Between
		v.disk, v.strips = max(v.disk, cost.Disk), max(v.strips, cost.Strips)
		return nil
	}
	var encode, decode StagePlan // of either encoder, of the decoder
	if err := part(&encode, p.n.encoderNetworks(&p.n.vae.Robust), p.n.vae.EncoderFor(&p.n.vae.Robust, h, w)); err != nil {
		return nil, err
	}
	if err := part(&decode, p.n.decoderNetworks(), p.n.vae.DecoderFor(h, w)); err != nil {
		return nil, err
	}
	clean := decode
	if encode.Sum() > decode.Sum() && p.set.guided {
		clean = encode
	}
	rasters := int64(1)
	encode.Stage, clean.Stage, decode.Stage = StageEncode, StageClean, StageDecode
	v.stages = []StagePlan{encode, clean, decode}
	if !p.set.wantsStage1() {
		v.stages = []StagePlan{encode, decode}
	} else {
		rasters++
	}
	for i := range v.stages {
		v.stages[i].Pictures = p.pictures(v.stages[i].Stage)
	}
	if layout.OnDisk {
		v.disk += rasters * 3 * 4 * int64(h) * int64(w)
	}
	return v, nil
}
