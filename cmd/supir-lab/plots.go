package main

import (
	"fmt"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// A plotted is a plot of lines over named places.
type plotted struct {
	file, title, x, y string
	places            []string
	lines             []line
	bars              bool
}

// A line has a value at every place; NaN where there is none.
type line struct {
	name   string
	values []float64
}

// plot draws a plot beside the report and shows it there.
func (s *section) plot(file string, d plotted) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = d.title, d.x, d.y
	p.NominalX(d.places...)
	p.Legend.Top = true
	for i, l := range d.lines {
		if d.bars {
			const group = 0.8 // of the distance of places
			width := vg.Points(420 * group / float64(len(d.places)*len(d.lines)))
			values := plotter.Values(l.values)
			bar, err := plotter.NewBarChart(values, width)
			if err != nil {
				return err
			}
			bar.Color, bar.LineStyle.Width = plotutil.Color(i), 0
			bar.Offset = width * vg.Length(float64(i)-float64(len(d.lines)-1)/2)
			p.Add(bar)
			p.Legend.Add(l.name, bar)
			continue
		}
		var points plotter.XYs
		for x, y := range l.values {
			if !math.IsNaN(y) && !math.IsInf(y, 0) {
				points = append(points, plotter.XY{X: float64(x), Y: y})
			}
		}
		curve, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return err
		}
		curve.Color, dots.Color, dots.Shape = plotutil.Color(i), plotutil.Color(i), plotutil.Shape(i)
		p.Add(curve, dots)
		if len(d.lines) > 1 {
			p.Legend.Add(l.name, curve, dots)
		}
	}
	if d.bars {
		p.X.Tick.Label.Font.Size = vg.Points(8)
	}
	name := filepath.Join(s.folder, figures, file)
	if err := p.Save(16*vg.Centimeter, 9*vg.Centimeter, name); err != nil {
		return err
	}
	fmt.Fprintf(&s.buf, "![%s](%s/%s)\n\n", d.title, figures, file)
	return nil
}
