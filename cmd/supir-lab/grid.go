package main

import (
	"context"
	"errors"
	"fmt"
	"image"
	"slices"

	"supir"
	"supir/internal/degrade"
	"supir/internal/metrics"
	"supir/photo"
)

// A grid is an experiment that tries every method on every photograph under
// every recipe.
type grid struct {
	id      about
	intro   string // what the paper does and finds, and what is done here
	recipes func() []string
	methods func(l *lab) []method
	// judge compares the outcome with the paper's; it and what follows may be nil.
	judge func(s *scores) []verdict
	// paper are the paper's own numbers, for the recipe or for all.
	paper func() []table
	// plots draws pictures of the outcome.
	plots func(s *scores) []plotted

	result *scores
	strips map[string][]strip // by recipe: the first photographs, for the sheets
}

// A method makes a picture of the true one's size from a degraded one.
type method struct {
	name  string
	file  string // its pictures' name, if it keeps them
	made  string // how: the same for every method of that file
	image func(ctx context.Context, l *lab, it *item, r degrade.Recipe) (image.Image, error)
}

// scores are those of all complete photographs.
type scores struct {
	recipes, methods []string
	of               map[[2]string][]metrics.Scores // by recipe and method, a photograph each
}

func (s *scores) mean(recipe, method string) metrics.Scores {
	return metrics.Mean(s.of[[2]string{recipe, method}])
}

// photographs is how many were complete for a recipe.
func (s *scores) photographs(recipe string) int { return len(s.of[[2]string{recipe, s.methods[0]}]) }

// sheetRows is how many photographs a sheet shows.
const sheetRows = 4

func (g *grid) about() about {
	g.id.photographs = true
	return g.id
}

func (g *grid) cases(l *lab) int { return len(l.items) }

// run restores and scores one photograph. A recipe counts when all methods are
// done; so that few complete recipes are better than none, the budget's end
// keeps those.
func (g *grid) run(ctx context.Context, l *lab, i int) error {
	it, methods := &l.items[i], g.methods(l)
	if g.result == nil {
		g.result = &scores{recipes: g.recipes(), of: map[[2]string][]metrics.Scores{}}
		for _, m := range methods {
			g.result.methods = append(g.result.methods, m.name)
		}
		g.strips = map[string][]strip{}
	}
	for _, name := range g.result.recipes {
		r, err := degrade.Find(name)
		if err != nil {
			return err
		}
		var row []metrics.Scores
		show := strip{name: it.name}
		for _, m := range methods {
			img, err := m.image(ctx, l, it, r)
			if err != nil {
				return err
			}
			s, err := metrics.Compare(it.truth, img)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", it.name, m.name, err)
			}
			row = append(row, s)
			show.pictures = append(show.pictures, img)
		}
		for j, m := range methods {
			key := [2]string{name, m.name}
			g.result.of[key] = append(g.result.of[key], row[j])
		}
		if len(g.strips[name]) < sheetRows {
			show.pictures = append(show.pictures, it.truth)
			show.at = busiest(it.truth)
			g.strips[name] = append(g.strips[name], show)
		}
	}
	return nil
}

func (g *grid) write(l *lab, s *section) error {
	s.text(g.intro)
	for _, name := range g.result.recipes {
		n := g.result.photographs(name)
		if n == 0 {
			continue
		}
		r, err := degrade.Find(name)
		if err != nil {
			return err
		}
		t := table{title: fmt.Sprintf("%s, %s", r.Title, meanOf(n)), columns: append([]string{"method"}, columns...)}
		for _, m := range g.result.methods {
			t.rows = append(t.rows, append([]string{m}, format(g.result.mean(name, m))...))
		}
		s.table(t)
		sheet := sheet(append(slices.Clone(g.result.methods), "truth"), g.strips[name])
		if err := s.picture(g.id.name+"-"+name+".jpg", "Details at 100 %, "+r.Title, sheet); err != nil {
			return err
		}
	}
	if g.plots != nil {
		for _, p := range g.plots(g.result) {
			if err := s.plot(g.id.name+"-"+p.file, p); err != nil {
				return err
			}
		}
	}
	if g.paper != nil {
		s.heading("The paper's numbers")
		for _, t := range g.paper() {
			s.table(t)
		}
	}
	if g.judge != nil {
		s.verdicts(g.judge(g.result))
	}
	return nil
}

func meanOf(n int) string {
	if n == 1 {
		return "one photograph"
	}
	return fmt.Sprintf("mean of %d photographs", n)
}

// bicubic is the degraded picture, enlarged.
func bicubic() method {
	return method{name: "bicubic", image: func(_ context.Context, _ *lab, it *item, r degrade.Recipe) (image.Image, error) {
		size := it.truth.Bounds().Size()
		return photo.Resize(it.low[r.Name], size.X, size.Y, photo.Bicubic), nil
	}}
}

// cleaned is the picture after the first stage: decoded from the latent of the
// degradation-robust encoder, or of the plain one.
func cleaned(name string, robust bool) method {
	return method{name: name, image: func(ctx context.Context, l *lab, it *item, r degrade.Recipe) (image.Image, error) {
		size := it.truth.Bounds().Size()
		s, err := l.models.stage1(l.flags)
		if err != nil {
			return nil, err
		}
		return s.clean(ctx, photo.Resize(it.low[r.Name], size.X, size.Y, photo.Bicubic), robust)
	}}
}

// restoring is the whole method with these options, of a variant of the model.
// Its pictures are in files of that name; the same name means the same options.
func restoring(name, file string, v variant, o supir.Options) method {
	made := fmt.Sprintf("%s %+v", v, o)
	return method{name, file, made, func(ctx context.Context, l *lab, it *item, r degrade.Recipe) (image.Image, error) {
		o.Upscale = float64(r.Scale)
		img, err := l.restored(ctx, v, o, it.low[r.Name], it.name+"/"+r.Name, file)
		if err != nil {
			return nil, err
		}
		if img.Bounds().Size() != it.truth.Bounds().Size() {
			return nil, errors.New("the result is not as large as the true picture")
		}
		return img, nil
	}}
}
