package main

import (
	"image"
	"image/color"
	"image/draw"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"supir/internal/metrics"
)

// A strip is one row of a sheet: pictures of one size, and where to look.
type strip struct {
	name     string
	pictures []image.Image
	at       image.Point // of the detail
}

// detail is the side of what a sheet shows of each picture, at 100 %.
const detail = 192

// sheet puts pictures side by side, the same detail of each, under the names of
// their columns.
func sheet(columns []string, rows []strip) image.Image {
	const gap, line = 4, 16
	w, h := len(columns)*(detail+gap)-gap, line+len(rows)*(detail+gap+line)
	out := image.NewNRGBA(image.Rect(0, 0, w, h))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	for i, c := range columns {
		label(out, c, i*(detail+gap)+2, 12)
	}
	for j, row := range rows {
		y := line + j*(detail+gap+line)
		for i, p := range row.pictures {
			x := i * (detail + gap)
			draw.Draw(out, image.Rect(x, y, x+detail, y+detail), p, p.Bounds().Min.Add(row.at), draw.Src)
		}
		label(out, row.name, 2, y+detail+12)
	}
	return out
}

// label writes small letters; y is their base line.
func label(dst draw.Image, text string, x, y int) {
	d := font.Drawer{Dst: dst, Src: image.NewUniform(color.Black), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
	d.DrawString(text)
}

// busiest is where a picture has the most detail: where restorations differ.
func busiest(img image.Image) image.Point {
	p := metrics.Luma(img)
	best, at := -1.0, image.Point{}
	const step = 32
	for y := 0; y == 0 || y+detail <= p.H; y += step {
		for x := 0; x == 0 || x+detail <= p.W; x += step {
			if e := p.Part(x, y, detail, detail).GradientEnergy(); e > best {
				best, at = e, image.Pt(x, y)
			}
		}
	}
	return at
}
