package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"slices"
	"time"

	"github.com/shirou/gopsutil/v4/process"

	"supir"
	"supir/internal/degrade"
	"supir/internal/metrics"
)

// speed measures what each way to leave work out saves, and what it costs against
// the picture that all the work makes. Nothing is taken from the ledger, since
// time is measured.
type speed struct {
	ways   []faster
	scores []fasterScores // a way each
	warm   bool
}

// A faster way changes the options of the full run.
type faster struct {
	name   string
	change func(o *supir.Options)
}

type fasterScores struct {
	seconds []float64 // of the processors, in sampling
	full    []metrics.Scores
	truth   []metrics.Scores
}

// noLimit of guidance, whatever the model's is: sampling begins with less noise.
const noLimit = 100

func newSpeed() *speed {
	s := &speed{ways: []faster{
		{"everything", func(*supir.Options) {}},
		{"guidance where σ is below 3", func(o *supir.Options) { o.CFGSigmaMax = 3 }},
		{"guidance where σ is 0.28 to 5.42", func(o *supir.Options) { o.CFGSigmaMin, o.CFGSigmaMax = 0.28, 5.42 }},
		{"guidance where σ is above 1", func(o *supir.Options) { o.CFGSigmaMin = 1 }},
		{"no guidance", func(o *supir.Options) { *o = unguided(*o) }},
		{"text in the first half of the steps", func(o *supir.Options) { o.GateStep = max(1, o.Steps/2) }},
		{"adaptor in every 2nd step", func(o *supir.Options) { o.AdaptorInterval = 2 }},
		{"deep levels in every 2nd step", func(o *supir.Options) { o.DeepInterval = 2 }},
		{"deep levels in every 3rd step", func(o *supir.Options) { o.DeepInterval = 3 }},
		{"deep levels in every 2nd step, guidance where σ is 0.28 to 5.42", func(o *supir.Options) {
			o.DeepInterval, o.CFGSigmaMin, o.CFGSigmaMax = 2, 0.28, 5.42
		}},
		{"half of the steps", func(o *supir.Options) { o.Steps = max(1, o.Steps/2) }},
		{"DPM++ 2M SDE, 8 steps, τ_r 0.1", func(o *supir.Options) {
			o.Sampler, o.Steps, o.Restoration = supir.DPMPP2M, 8, 0.1
		}},
		{"preset fast", func(o *supir.Options) { *o = supir.Fast }},
	}}
	s.scores = make([]fasterScores, len(s.ways))
	return s
}

func (s *speed) about() about {
	return about{name: "speed", title: "Fewer steps, fewer operations", photographs: true, alone: true}
}

func (s *speed) cases(l *lab) int { return len(l.items) }

func (s *speed) run(ctx context.Context, l *lab, i int) error {
	it := &l.items[i]
	recipe, err := degrade.Find(l.recipe)
	if err != nil {
		return err
	}
	low := it.low[recipe.Name]
	base := supir.Quality
	base.Steps = l.steps
	m, err := l.models.use(mainModel)
	if err != nil {
		return err
	}
	plan, err := m.Plan(low.Bounds().Size(), base)
	if err != nil {
		return err
	}
	base.Steps, base.CFGSigmaMax = plan.Steps, noLimit
	if !s.warm { // weights are loaded by then
		if _, _, err := l.timed(ctx, m, supir.Fast, low, recipe); err != nil {
			return err
		}
		s.warm = true
	}
	var full image.Image
	for j, way := range s.ways {
		o := base
		way.change(&o)
		img, seconds, err := l.timed(ctx, m, o, low, recipe)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if j == 0 {
			full = img
		}
		fmt.Fprintf(l.log, "%s, %s: %.1f s\n", it.name, way.name, seconds)
		same, err := metrics.Compare(full, img)
		if err != nil {
			return err
		}
		real, err := metrics.Compare(it.truth, img)
		if err != nil {
			return err
		}
		sc := &s.scores[j]
		sc.seconds, sc.full, sc.truth = append(sc.seconds, seconds), append(sc.full, same), append(sc.truth, real)
	}
	return nil
}

// timed restores a picture and tells how many seconds of the processors sampling
// took, which other programs disturb less than the time that passes.
func (l *lab) timed(ctx context.Context, m *supir.Model, o supir.Options, low image.Image, r degrade.Recipe) (image.Image, float64, error) {
	o.Upscale, o.Seed, o.Device, o.Threads = float64(r.Scale), uint64(l.seed), l.device, l.threads
	o.Captioner = supir.FixedCaption("")
	me, err := process.NewProcess(int32(os.Getpid()))
	if err != nil {
		return nil, 0, err
	}
	var first, last float64
	o.Progress = func(p supir.Progress) {
		if p.Stage == supir.StageSample {
			spent, err := me.Times()
			if err != nil {
				return
			}
			if last = spent.User + spent.System; p.Step == 0 {
				first = last
			}
		}
	}
	if !l.deadline.IsZero() && time.Now().After(l.deadline) {
		return nil, 0, errBudget
	}
	result, err := m.Restore(ctx, low, o)
	if err != nil {
		return nil, 0, err
	}
	if last <= first {
		return nil, 0, errors.New("no time was measured")
	}
	return result.Image, last - first, nil
}

func (s *speed) write(_ *lab, out *section) error {
	out.text(`Preset quality in full, and with work left out. Time is that of all processors together in sampling, the least of all
photographs. PSNR and HaarPSI against the full run say how much the result changes; against the true picture, whether
that is for the worse. "Half of the steps" is what all else has to beat.`)
	t := table{columns: []string{"what is computed", "time", "of the full run's", "PSNR to full", "HaarPSI to full", "PSNR to truth", "HaarPSI to truth", "Sharpness →1"}}
	whole := slices.Min(s.scores[0].seconds)
	for j, way := range s.ways {
		sc := &s.scores[j]
		least := slices.Min(sc.seconds)
		same, truth := metrics.Mean(sc.full), metrics.Mean(sc.truth)
		to := []string{fmt.Sprintf("%.1f", same.PSNR), fmt.Sprintf("%.3f", same.HaarPSI)}
		if j == 0 {
			to = []string{"–", "–"}
		}
		t.rows = append(t.rows, slices.Concat([]string{way.name, fmt.Sprintf("%.1f s", least), fmt.Sprintf("%.0f %%", 100*least/whole)}, to,
			[]string{fmt.Sprintf("%.2f", truth.PSNR), fmt.Sprintf("%.3f", truth.HaarPSI), fmt.Sprintf("%.2f", truth.Sharpness)}))
	}
	out.table(t)
	return nil
}
