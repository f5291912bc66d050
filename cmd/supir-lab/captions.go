package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"supir"
	"supir/internal/degrade"
	"supir/internal/metrics"
)

// captions asks how much of a picture its captioner names, with and without
// cleaning, and what true and other captions do to the restoration.
func captions(f *flags) experiment {
	return &described{f: f, said: map[view][]string{}, scores: map[string][]metrics.Scores{}}
}

// A described is that experiment. It takes the photographs that have a true
// caption beside them, in NAME.txt.
type described struct {
	f      *flags
	truth  []string
	said   map[view][]string           // by the captioner, a picture each
	scores map[string][]metrics.Scores // of restorations, by the kind of caption
	over   bool                        // the time for restorations
}

// mostRestored is how many pictures are restored; captions are told of all.
const mostRestored = 48

// A view is how the captioner sees a picture.
type view struct{ degraded, cleaned bool }

// views are all, in the table's order.
var views = []view{{false, false}, {false, true}, {true, false}, {true, true}}

func (v view) String() string {
	name := "as it is"
	if v.cleaned {
		name = "cleaned"
	}
	if v.degraded {
		return "degraded, " + name
	}
	return "true, " + name
}

func (d *described) about() about {
	return about{name: "captions", title: "Captions: what is named, and what they do (Sec. 3.2)", photographs: true}
}

// caption is the text beside a photograph, or "".
func (l *lab) caption(it *item) string {
	folder := l.photos
	if folder == "" {
		folder = filepath.Join(l.degraded, "gt")
	}
	data, _ := os.ReadFile(filepath.Join(folder, it.name+".txt"))
	return strings.Join(strings.Fields(string(data)), " ")
}

// with are the photographs that have a caption.
func (d *described) with(l *lab) []*item {
	var list []*item
	for i := range l.items {
		if l.caption(&l.items[i]) != "" {
			list = append(list, &l.items[i])
		}
	}
	return list
}

func (d *described) cases(l *lab) int {
	if l.models.files[mainModel].LLaVA.Text == "" {
		return 0
	}
	return len(d.with(l))
}

// captionKinds are the captions that restorations are compared by.
var captionKinds = []string{"true", "generated", "empty", "another picture's"}

func (d *described) run(ctx context.Context, l *lab, i int) error {
	list := d.with(l)
	it := list[i]
	low := it.low[d.f.recipe]
	recipe, err := degrade.Find(d.f.recipe)
	if err != nil {
		return err
	}
	said := map[view]string{}
	for _, v := range views {
		var img image.Image = it.truth
		upscale := 1
		if v.degraded {
			img, upscale = low, recipe.Scale
		}
		if said[v], err = d.describe(ctx, l, img, upscale, v); err != nil {
			return err
		}
	}
	d.truth = append(d.truth, l.caption(it))
	for v, text := range said {
		d.said[v] = append(d.said[v], text)
	}
	if i >= mostRestored || d.over {
		return nil
	}
	other := list[(i+1)%len(list)]
	texts := []string{l.caption(it), said[view{true, true}], "", l.caption(other)}
	var row []metrics.Scores
	for j, text := range texts {
		o := free()
		o.Prompt, o.Captioner, o.Upscale = text, supir.FixedCaption(""), float64(recipe.Scale)
		img, err := l.restored(ctx, mainModel, o, low, it.name+"/"+recipe.Name, "caption-"+strings.Fields(captionKinds[j])[0])
		if d.over = errors.Is(err, errBudget); d.over {
			return nil
		}
		if err != nil {
			return err
		}
		s, err := metrics.Compare(it.truth, img)
		if err != nil {
			return fmt.Errorf("%s: %w", it.name, err)
		}
		row = append(row, s)
	}
	for j, kind := range captionKinds {
		d.scores[kind] = append(d.scores[kind], row[j])
	}
	return nil
}

func (d *described) describe(ctx context.Context, l *lab, img image.Image, upscale int, v view) (string, error) {
	m, err := l.models.use(mainModel)
	if err != nil {
		return "", err
	}
	return m.Caption(ctx, img, supir.Options{
		Captioner: supir.LLaVA{Temperature: -1}, CaptionRaw: !v.cleaned, Upscale: float64(upscale),
		Device: l.device, Threads: l.threads})
}

// The scenes' own vocabulary, as train/scenes.py writes captions.
var (
	colourWords = strings.Fields("red orange yellow green cyan blue purple pink black white grey brown")
	shapeWords  = strings.Fields("circle oval bar box ring triangle polygon leaf blob")
)

// wordKinds are what words of a caption are about.
var wordKinds = []string{"colour", "shape", "texture and the rest"}

// words are what a caption says of a kind: all of its words but those that each has.
func words(caption, kind string) map[string]bool {
	out := map[string]bool{}
	for _, w := range strings.Fields(strings.ToLower(strings.NewReplacer(",", " ", ".", " ").Replace(caption))) {
		is := wordKinds[2]
		switch {
		case slices.Contains([]string{"a", "an", "and", "the", "of", "photo", "background", "with"}, w):
			continue
		case slices.Contains(colourWords, w):
			is = wordKinds[0]
		case slices.Contains(shapeWords, w):
			is = wordKinds[1]
		}
		if is == kind {
			out[w] = true
		}
	}
	return out
}

// An agreement counts words that were said, that are true, and that are both.
type agreement struct{ said, truth, both int }

// agree compares captions in words of a kind.
func agree(said, truth []string, kind string) (a agreement) {
	for i := range said {
		s, t := words(said[i], kind), words(truth[i], kind)
		a.said += len(s)
		a.truth += len(t)
		for w := range s {
			if t[w] {
				a.both++
			}
		}
	}
	return a
}

// f1 is the harmonic mean of precision and recall, from 0 to 1.
func (a agreement) f1() float64 { return 2 * float64(a.both) / float64(max(1, a.said+a.truth)) }

func (a agreement) String() string {
	share := func(of int) string { return fmt.Sprintf("%.0f %%", 100*float64(a.both)/float64(max(1, of))) }
	return share(a.said) + " / " + share(a.truth)
}

// total is the agreement in words of all kinds.
func total(said, truth []string) (a agreement) {
	for _, kind := range wordKinds {
		k := agree(said, truth, kind)
		a = agreement{a.said + k.said, a.truth + k.truth, a.both + k.both}
	}
	return a
}

// constant is the caption that agrees best with all, if each were given the same:
// what is reached without looking.
func constant(truth []string) []string {
	var best []string
	for _, c := range truth {
		same := slices.Repeat([]string{c}, len(truth))
		if best == nil || total(same, truth).f1() > total(best, truth).f1() {
			best = same
		}
	}
	return best
}

func (d *described) write(l *lab, s *section) error {
	s.text(`The paper describes the picture by LLaVA after the degradation-robust encoder has cleaned it, because degradation
misleads a captioner, and restores by that text. Here: the captioner of the model on the true and on the degraded
picture, each as it is and cleaned; precision / recall of its words against the true caption (NAME.txt beside the
photograph), over the words of all pictures. The constant caption is that of the true ones which suits all best.`)
	t := table{title: fmt.Sprintf("Words right, %s", meanOf(len(d.truth))), columns: append(append([]string{"picture"}, wordKinds...), "all", "F1")}
	add := func(name string, said []string) {
		row := []string{name}
		for _, kind := range wordKinds {
			row = append(row, agree(said, d.truth, kind).String())
		}
		all := total(said, d.truth)
		t.rows = append(t.rows, append(row, all.String(), fmt.Sprintf("%.2f", all.f1())))
	}
	for _, v := range views {
		add(v.String(), d.said[v])
	}
	add("a constant caption", constant(d.truth))
	s.table(t)

	restored := len(d.scores[captionKinds[0]])
	if restored > 0 {
		t = table{title: fmt.Sprintf("Restored by captions of different kinds, preset quality, %s, %s", d.f.recipe, meanOf(restored)),
			columns: append([]string{"caption"}, columns...)}
		for _, kind := range captionKinds {
			t.rows = append(t.rows, append([]string{kind}, format(metrics.Mean(d.scores[kind]))...))
		}
		s.table(t)
	}

	t = table{title: "The first captions", columns: []string{"true", "said of the degraded, cleaned picture"}}
	for i := range min(len(d.truth), 8) {
		t.rows = append(t.rows, []string{d.truth[i], d.said[view{true, true}][i]})
	}
	s.table(t)

	f1 := func(v view) float64 { return total(d.said[v], d.truth).f1() }
	raw, cleaned, blind := f1(view{true, false}), f1(view{true, true}), total(constant(d.truth), d.truth).f1()
	haar := func(kind string) float64 { return metrics.Mean(d.scores[kind]).HaarPSI }
	found := []verdict{
		{"the captioner sees: better than a constant caption", cleaned > blind, fmt.Sprintf("F1 %.2f, constant %.2f.", cleaned, blind)},
		{"cleaning helps it to understand degraded pictures", cleaned > raw, fmt.Sprintf("F1 %.2f cleaned, %.2f as it is.", cleaned, raw)},
	}
	if restored > 0 {
		found = append(found, verdict{"true captions restore better than another picture's", haar("true") > haar(captionKinds[3]), fmt.Sprintf("HaarPSI %.4f, %.4f; generated %.4f, empty %.4f.",
			haar("true"), haar(captionKinds[3]), haar("generated"), haar("empty"))})
	}
	s.verdicts(found)
	return nil
}
