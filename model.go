package supir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"supir/internal/clip"
	"supir/internal/llava"
	"supir/internal/memory"
	"supir/internal/nn"
	"supir/internal/unet"
	"supir/internal/vae"
	"supir/internal/weights"
)

// networks are a model's parts in main memory, as the files hold them.
type networks struct {
	set       *weights.Set
	more      []*weights.Set // the captioner's
	vae       vae.VAE
	clipL     clip.ClipL
	bigG      clip.BigG
	tokenizer *clip.Tokenizer
	diffusion diffusion
	llava     *llava.Model // nil if there is none
	// llavaIdentity tells its weights from others; nil where that cannot be told.
	llavaIdentity func() []byte
	defaults      defaults
	taken         []string // names of the tensors that a model needs
}

// close unmaps the files.
func (n *networks) close() error {
	errs := []error{n.set.Close()}
	for _, set := range n.more {
		errs = append(errs, set.Close())
	}
	return errors.Join(errs...)
}

// A WeightsError says that the weight files do not make a model.
type WeightsError struct {
	Files Files // LLaVA's alone where it is to blame
	Err   error // what does not fit
}

func (e *WeightsError) Error() string {
	switch f := e.Files; {
	case f.Model != "":
		return fmt.Sprintf("weights %s: %v", f.Model, e.Err)
	case f.SDXL == "" && f.SUPIR == "" && f.LLaVA != (LLaVAFiles{}):
		return fmt.Sprintf("weights of LLaVA, %s: %v", f.LLaVA, e.Err)
	}
	return fmt.Sprintf("weights %s and %s: %v", e.Files.SDXL, e.Files.SUPIR, e.Err)
}

func (e *WeightsError) Unwrap() error { return e.Err }

// openNetworks maps the files and takes every network from them.
func openNetworks(files Files) (n *networks, err error) {
	defer func() {
		if known := (*WeightsError)(nil); err != nil && !errors.As(err, &known) {
			err = &WeightsError{files, err}
		}
	}()
	paths, roles, err := files.paths()
	if err != nil {
		return nil, err
	}
	n = &networks{}
	if n.set, err = openSet(paths, files); err != nil {
		return nil, err
	}
	opened := n
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	if err := n.set.CheckRoles(roles...); err != nil {
		return nil, err
	}
	var r weights.Report
	n.vae.Load(n.set, &r)
	n.clipL.Load(n.set, &r)
	n.bigG.Load(n.set, &r)
	n.diffusion.fill(n.set, &r)
	n.set.Unexpected(&r, unetPrefix, adaptorPrefix)
	if err := r.Err(); err != nil {
		return nil, err
	}
	n.check(&r)
	if err := r.Err(); err != nil {
		return nil, err
	}
	n.taken = r.Taken()
	if n.tokenizer, err = n.openTokenizer(); err != nil {
		return nil, err
	}
	if err := n.openLLaVA(files.LLaVA); err != nil {
		return nil, err
	}
	return n, n.readMetadata()
}

// paths are the files that make the model, with what each must hold.
func (f Files) paths() (paths []string, roles []weights.Role, err error) {
	switch {
	case f.Model != "" && (f.SDXL != "" || f.SUPIR != ""):
		return nil, nil, errors.New("one file for the whole model, and others beside it")
	case f.Model != "":
		return []string{f.Model}, []weights.Role{weights.Whole}, nil
	case f.SDXL == "" || f.SUPIR == "":
		return nil, nil, errors.New("both an SDXL and a SUPIR file are needed, or one that holds the whole model")
	}
	return []string{f.SDXL, f.SUPIR}, []weights.Role{weights.SDXL, weights.SUPIR}, nil
}

// openSet maps the files and merges the LoRAs.
func openSet(paths []string, files Files) (set *weights.Set, err error) {
	var list []weights.File
	for _, path := range paths {
		list = append(list, weights.File{Path: path, FS: files.FS})
	}
	set, err = weights.OpenFiles(list...)
	if err != nil || len(files.LoRAs) == 0 {
		return set, err
	}
	loras := make([]weights.LoRA, len(files.LoRAs))
	for i, l := range files.LoRAs {
		weight := cmp.Or(l.Weight, 1)
		if !(math.Abs(weight) <= maxLoRAWeight) {
			return nil, errors.Join(fmt.Errorf("LoRA %s: weight %v, want one in [-%v, %[3]v]", l.Path, weight, maxLoRAWeight), set.Close())
		}
		loras[i] = weights.LoRA{File: weights.File{Path: l.Path, FS: files.FS}, Weight: weight}
	}
	if err := set.Merge(nn.Float32, loras...); err != nil {
		return nil, errors.Join(err, set.Close())
	}
	return set, nil
}

// check compares the networks with one another.
func (n *networks) check(r *weights.Report) {
	same := func(what string, a, b int) {
		if a > 0 && b > 0 && a != b {
			r.Invalid("%s: %d and %d", what, a, b)
		}
	}
	u := &n.diffusion.UNet
	same("channels of the VAE's and of the U-Net's latent", n.vae.LatentChannels(), u.LatentChannels())
	same("width of the text encoders together and of the U-Net's context", n.clipL.Width()+n.bigG.Width(), u.ContextFeatures())
	if rest := u.VectorFeatures() - n.bigG.PooledWidth(); rest <= 0 || rest%12 != 0 {
		r.Invalid("the U-Net's vector has %d features: not the text's %d and six sinusoids", u.VectorFeatures(), n.bigG.PooledWidth())
	}
	same("length of a prompt", n.clipL.Length(), n.bigG.Length())
	same("channels of a picture", n.vae.Encoder.ConvIn.In(), 3)
	nn.CheckTypes(r, n.all()...)
}

// all are the networks.
func (n *networks) all() []any {
	return append([]any{&n.clipL, &n.bigG, &n.vae}, n.diffusion.networks()...)
}

// mergesKey is the metadata that holds the tokenizer's table.
const mergesKey = "supir.tokenizer.merges"

func (n *networks) openTokenizer() (*clip.Tokenizer, error) {
	var t *clip.Tokenizer
	var err error
	if merges, ok := n.set.Metadata(mergesKey); ok {
		t, err = clip.NewTokenizer(strings.NewReader(merges))
	} else {
		t, err = clip.DefaultTokenizer()
	}
	if err != nil {
		return nil, err
	}
	for name, rows := range map[string]int{"CLIP-L": n.clipL.Ids(), "bigG": n.bigG.Ids()} {
		if rows < t.Size() {
			return nil, fmt.Errorf("the tokenizer has %d tokens, %s's table only %d", t.Size(), name, rows)
		}
	}
	return t, nil
}

// readMetadata takes a model's own defaults.
func (n *networks) readMetadata() error {
	n.defaults = defaults{minSize: 1024, steps: 50, schedule: ScheduleEven, restoration: 4, sChurn: 5, cfgStart: 4, cfgEnd: 7.5, colorFixLevels: 5}
	d := &n.defaults
	steps, minSize, levels := float64(d.steps), float64(d.minSize), float64(d.colorFixLevels)
	for name, number := range map[string]struct {
		v           *float64
		least, most float64
	}{
		"min_size": {&minSize, 0, 8192}, "steps": {&steps, 1, trainingSteps}, "s_churn": {&d.sChurn, 0, 1000},
		"restoration": {&d.restoration, tiny, 100}, "fidelity.restoration": {&d.faithful, tiny, 100},
		"cfg_start": {&d.cfgStart, 0, 100}, "cfg_end": {&d.cfgEnd, 0, 100}, "cfg_sigma_max": {&d.cfgSigmaMax, 0, maxSigma},
		"color_fix_levels": {&levels, 1, maxColorFixLevels},
	} {
		text, ok := n.set.Metadata("supir." + name)
		if !ok {
			continue
		}
		x, err := strconv.ParseFloat(text, 64)
		if err != nil || !(x >= number.least && x <= number.most) {
			return fmt.Errorf("metadata supir.%s: %.100q is not a number in [%v, %v]", name, text, number.least, number.most)
		}
		*number.v = x
	}
	d.minSize, d.steps, d.colorFixLevels = max(1, int(minSize)), int(steps), int(levels)
	if d.faithful == 0 {
		d.faithful = d.restoration
	}
	if name, ok := n.set.Metadata("supir.schedule"); ok {
		i := slices.Index(scheduleNames[:], name)
		if i < 1 {
			return fmt.Errorf("metadata supir.schedule: %.100q is neither even nor karras", name)
		}
		d.schedule = Schedule(i)
	}
	return nil
}

// align is what both sides of a working picture are a multiple of.
func (n *networks) align() int { return max(64, n.vae.Factor()*n.diffusion.UNet.Factor()) }

// A machine is an engine with what is loaded on it.
type machine struct {
	engine  *nn.Engine
	device  string
	threads int
	driver  int64 // bytes that opening the device has taken
	held

	robust, encoder, decoder, text, diffusion stage
}

// held is how weights and maps are kept while a picture is worked on.
type held struct {
	precision nn.Precision
	compute   Compute        // of sampling; ComputeAuto: as precision has it
	vae       nn.Precision   // of both encoders and the decoder
	stored    bool           // sampling's weights stay as stored, whatever it computes in
	keep      bool           // stages stay loaded between calls
	mapped    map[Stage]bool // weights of stages that stay in their files
	layout    vae.Layout
}

// of is a stage's precision, with its weights left in their files if mapped.
func (h *held) of(stage Stage, mapped bool) nn.Precision {
	p := h.precision
	if stage == StageSample && h.compute > ComputeF32 {
		p = h.compute.precision(h.stored || mapped)
	}
	if mapped {
		p |= nn.Mapped
	}
	return p
}

// on is the type on an engine: what ComputeAuto comes to there.
func (c Compute) on(e *nn.Engine) (Compute, error) {
	if c == ComputeAuto {
		return computeOf(e.Fastest()), nil
	}
	if c != ComputeF32 && e.Kernels() == "" {
		return c, &OptionError{"Compute", fmt.Sprintf("%v: device %s computes with ggml's operators, which choose for themselves; take f32 or auto", c, e.DeviceName())}
	}
	return c, nil
}

// vaeIn is the VAE's precision where sampling computes in c. Its activations go
// beyond what F16 holds, bytes cost much more than BF16 does (docs/speed.md), and it
// is small: so its weights are never as stored.
func vaeIn(c Compute, e *nn.Engine) nn.Precision {
	if c == ComputeF32 {
		return nn.F32
	}
	return e.Fast16()
}

// A stage is a set of networks that is loaded onto the device together.
type stage struct{ params *nn.Params }

// open makes the machine ready; what is loaded on another device goes.
func (m *machine) open(device string, threads int) (err error) {
	if m.engine != nil && (m.device != device || m.threads != threads) {
		m.close()
	}
	if m.engine == nil {
		m.device, m.threads = device, threads
		before := memory.Resident()
		m.engine, err = nn.Open(device, threads)
		m.driver = max(0, memory.Resident()-before)
	}
	return err
}

// hold says how all is kept from now on.
func (m *machine) hold(h held) {
	if m.precision != h.precision || m.compute != h.compute || m.vae != h.vae || m.stored != h.stored || m.keep && !h.keep {
		m.release()
	}
	m.held = h
}

// load loads a stage's networks, unless they are loaded.
func (m *machine) load(ctx context.Context, st *stage, networks []any) (err error) {
	if st.params != nil {
		return nil
	}
	precision := m.precision
	switch st {
	case &m.robust, &m.encoder, &m.decoder:
		precision = m.vae
	case &m.text:
		precision = m.of(StageText, m.mapped[StageText])
	case &m.diffusion:
		precision = m.of(StageSample, m.mapped[StageSample])
	}
	st.params, err = m.engine.Load(ctx, precision, networks...)
	return err
}

// build loads a stage's networks, unless they are loaded, and builds a program
// from them, which the caller closes.
func (m *machine) build(ctx context.Context, st *stage, networks []any, f func(g *nn.Graph)) (p *nn.Program, err error) {
	if err := m.load(ctx, st, networks); err != nil {
		return nil, err
	}
	return m.engine.Build(st.params, nil, f)
}

// done ends the use of a stage; its weights go unless they are to stay.
func (m *machine) done(st *stage) {
	if !m.keep {
		st.params.Close()
		st.params = nil
	}
}

// loaded is the bytes of weights in memory.
func (m *machine) loaded() (n int64) {
	for _, st := range []*stage{&m.robust, &m.encoder, &m.decoder, &m.text, &m.diffusion} {
		if st.params != nil {
			n += st.params.Size()
		}
	}
	return n
}

// release frees all weights.
func (m *machine) release() {
	m.keep = false
	for _, st := range []*stage{&m.robust, &m.encoder, &m.decoder, &m.text, &m.diffusion} {
		m.done(st)
	}
}

func (m *machine) close() {
	m.release()
	m.engine.Close()
	m.engine = nil
}

// textProgram is both text encoders for so many prompts.
func (n *networks) textProgram(prompts int) func(g *nn.Graph) {
	return func(g *nn.Graph) {
		l := n.clipL.Forward(g, g.InputIDs("ids L", n.clipL.Length(), prompts))
		h, pooled := n.bigG.Forward(g, g.InputIDs("ids G", n.bigG.Length(), prompts), g.InputIDs("ends", 1, prompts))
		nn.Output(g, "hidden", g.ConcatFeatures(l, h))
		nn.Output(g, "pooled", pooled)
	}
}

// encodeText turns prompts into the U-Net's context, N×77×C, and the pooled
// vectors, N×C.
func (m *machine) encodeText(ctx context.Context, n *networks, prompts []string) (hidden, pooled []float32, err error) {
	defer m.done(&m.text)
	tok := n.tokenizer
	var idsL, idsG []int32
	for _, prompt := range prompts {
		idsL = append(idsL, tok.Prompt(prompt, n.clipL.Length(), tok.End())...)
		idsG = append(idsG, tok.Prompt(prompt, n.bigG.Length(), 0)...)
	}
	p, err := m.build(ctx, &m.text, []any{&n.clipL, &n.bigG}, n.textProgram(len(prompts)))
	if err != nil {
		return nil, nil, err
	}
	defer p.Close()
	for name, ids := range map[string][]int32{"ids L": idsL, "ids G": idsG, "ends": clip.Ends(idsG, len(prompts))} {
		if err := p.SetInts(name, ids); err != nil {
			return nil, nil, err
		}
	}
	if err := p.Run(ctx); err != nil {
		return nil, nil, err
	}
	if hidden, err = p.Get("hidden"); err != nil {
		return nil, nil, err
	}
	pooled, err = p.Get("pooled")
	return hidden, pooled, err
}

// vector is y: pooled text and the sinusoids of the sizes that SUPIR always
// tells, original, crop and target: (1024, 1024), (0, 0), (1024, 1024).
func vector(pooled []float32, features int) []float32 {
	y := make([]float32, features)
	copy(y, pooled)
	rest := y[len(pooled):]
	d := len(rest) / 6
	for i, v := range []float64{1024, 1024, 0, 0, 1024, 1024} {
		unet.Timestep(rest[i*d:(i+1)*d], v)
	}
	return y
}

// encode gives the mode of a picture's latent; image is 3×h×w in [-1, 1].
// progress may be nil.
func (m *machine) encode(ctx context.Context, n *networks, encoder *vae.Encoder, image vae.Source, h, w int, progress func(done, of int)) ([]float32, error) {
	st := &m.encoder
	if encoder == &n.vae.Robust {
		st = &m.robust
	}
	network := n.vae.EncoderFor(encoder, h, w)
	c, lh, lw := network.Size()
	moments := make(vae.Slice, c*lh*lw)
	if err := m.runVAE(ctx, st, n.encoderNetworks(encoder), network, image, moments, progress); err != nil {
		return nil, err
	}
	latent := vae.Mode(moments, 1)
	return latent, finite(latent)
}

// decode writes the picture of a latent, 3×h×w, which may go beyond [-1, 1].
func (m *machine) decode(ctx context.Context, n *networks, latent []float32, h, w int, image vae.Sink, progress func(done, of int)) error {
	return m.runVAE(ctx, &m.decoder, n.decoderNetworks(), n.vae.DecoderFor(h, w), vae.Slice(latent), image, progress)
}

func (m *machine) runVAE(ctx context.Context, st *stage, parts []any, network *vae.Network, src vae.Source, dst vae.Sink, progress func(done, of int)) error {
	defer m.done(st)
	if err := m.load(ctx, st, parts); err != nil {
		return err
	}
	return network.Run(ctx, m.engine, st.params, m.layout, src, dst, progress)
}

// encoderNetworks and decoderNetworks are what the halves of the VAE need.
func (n *networks) encoderNetworks(e *vae.Encoder) []any { return []any{e, &n.vae.Quant} }
func (n *networks) decoderNetworks() []any               { return []any{&n.vae.Decoder, &n.vae.PostQuant} }
