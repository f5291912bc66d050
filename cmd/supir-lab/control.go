package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"image"
	"math"

	"supir"
	"supir/internal/degrade"
	"supir/internal/metrics"
	"supir/photo"
)

//go:embed textures/*.jpg
var textures embed.FS

// figure1b asks whether captions steer what a region becomes that is blurred
// beyond recognition.
func figure1b(f *flags) experiment {
	c := &control{f: f}
	texture := func(name string) target {
		return target{name: name, caption: "a photo of grey " + name + " background"}
	}
	shape := func(name, caption string, inside func(x, y float64) bool) target {
		return target{name: name, caption: "a photo of white " + caption + ", grey plain background", inside: inside}
	}
	c.pairs = [][2]target{
		{texture("bricks"), texture("grass")},
		{shape("disc", "circle", func(x, y float64) bool { return x*x+y*y < 0.36 }),
			shape("square", "box", func(x, y float64) bool { return max(math.Abs(x), math.Abs(y)) < 0.53 })},
		{texture("wood"), texture("fabric")},
		{texture("pebbles"), texture("stripes")},
		{shape("ring", "ring", func(x, y float64) bool { r := math.Hypot(x, y); return 0.4 < r && r < 0.62 }),
			shape("triangle", "triangle", func(x, y float64) bool { return y < 0.45 && y > 1.7*math.Abs(x)-0.6 })},
		{texture("fur"), texture("water")},
	}
	if f.quick {
		c.pairs = c.pairs[:2]
	}
	return c
}

// A control is that experiment: in each case two targets, one picture that
// tells neither, and the two captions.
type control struct {
	f       *flags
	pairs   [][2]target
	results []controlled
}

// A target is a texture or a shape and the caption that asks for it.
type target struct {
	name, caption string
	inside        func(x, y float64) bool // of a shape, in [-1, 1]²; nil for a texture
}

// A setting is how free the model is to follow a caption.
type setting struct {
	name    string
	options supir.Options
}

// controlSettings are preset quality, its colours fixed coarsely, and the same without restoration guidance.
func controlSettings() []setting {
	unguided := free()
	unguided.Restoration = -1
	return []setting{{"quality", free()}, {"unguided", unguided}}
}

// controlled is what became of one case.
type controlled struct {
	pair  [2]target
	moved []moved // by setting
	low   image.Image
	strip []image.Image
	apart float64 // the targets' distance from one another
}

// moved says how far captions moved the result: the distance of the result from
// each target under each caption, [caption][target].
type moved struct{ distance [2][2]float64 }

// pull is how much nearer captions bring a result to what they name than to the
// other, as a share of the targets' distance: 1 if each result is just what was
// asked for, 0 if captions change nothing.
func (m moved) pull(apart float64) float64 {
	return (m.distance[0][1] - m.distance[0][0] + m.distance[1][0] - m.distance[1][1]) / (2 * apart)
}

func (c *control) about() about {
	return about{name: "fig1b", title: "Fig. 1b: captions steer what was lost"}
}

func (c *control) cases(*lab) int { return len(c.pairs) }

const (
	controlSide  = 256 // of the pictures
	controlScale = 8   // by what they are made smaller
)

func (c *control) run(ctx context.Context, l *lab, i int) error {
	pair := c.pairs[i]
	a, err := pair[0].picture()
	if err != nil {
		return err
	}
	b, err := pair[1].picture()
	if err != nil {
		return err
	}
	// Half of each, under a wide blur: large masses are left, and nothing tells
	// which of the two it was.
	const sigma = 10
	r := degrade.Recipe{Name: "control", Blur: sigma, Scale: controlScale}
	low, err := r.Apply(blend(a, b), 0, "")
	if err != nil {
		return err
	}
	out := controlled{pair: pair, low: photo.Resize(low, controlSide, controlSide, photo.Bicubic)}
	out.strip = append(out.strip, out.low)
	for _, s := range controlSettings() {
		var m moved
		for j, t := range pair {
			o := s.options
			o.Prompt, o.Upscale = t.caption, controlScale
			img, err := l.restored(ctx, mainModel, o, low, "fig1b/"+pair[0].name+"-"+pair[1].name, s.name+"-"+t.name)
			if err != nil {
				return err
			}
			m.distance[j] = [2]float64{pair[0].distance(img, a), pair[1].distance(img, b)}
			out.strip = append(out.strip, img)
		}
		out.moved = append(out.moved, m)
	}
	out.strip = append(out.strip, a, b)
	out.apart = (pair[0].distance(b, a) + pair[1].distance(a, b)) / 2
	c.results = append(c.results, out)
	return nil
}

func (c *control) write(_ *lab, s *section) error {
	s.text(`The paper turns a blurred hat into one of another material by naming that. Here each low-quality picture is half one
texture or shape and half another, blurred and made eight times smaller, so that nothing tells which it was; two captions name
one each. The distance of a result from a texture is that of their energies in Haar wavelets of four scales (root
mean square of base-2 logarithms: 1 is a factor of two); from a shape it is that of pixels, in levels. Pull is how
much nearer the captions bring the result to what they name than to the other, over the distance of A and B: 100 % if
each result is just what was asked for, 0 if captions change nothing. The paper's setting (quality) and one without restoration guidance, which otherwise holds to the blurred picture.`)
	settings := controlSettings()
	t := table{title: "Distances under each caption", columns: []string{"A / B", "setting", "caption A: to A", "to B", "caption B: to A", "to B", "pull"}}
	var rows []strip
	for _, r := range c.results {
		for j, m := range r.moved {
			d := m.distance
			t.rows = append(t.rows, []string{r.pair[0].name + " / " + r.pair[1].name, settings[j].name,
				number(d[0][0]), number(d[0][1]), number(d[1][0]), number(d[1][1]), fmt.Sprintf("%+.1f %%", 100*m.pull(r.apart))})
		}
		const middle = (controlSide - detail) / 2
		rows = append(rows, strip{r.pair[0].name + ", " + r.pair[1].name, r.strip, image.Pt(middle, middle)})
	}
	s.table(t)
	columns := []string{"given"}
	for _, set := range settings {
		columns = append(columns, set.name+": caption A", set.name+": caption B")
	}
	if err := s.picture("fig1b.jpg", "One blurred picture, two captions", sheet(append(columns, "A", "B"), rows)); err != nil {
		return err
	}
	var verdicts []verdict
	for j, set := range settings {
		n, mean := 0, 0.0
		for _, r := range c.results {
			pull := r.moved[j].pull(r.apart)
			mean += pull / float64(len(c.results))
			if pull > 0 {
				n++
			}
		}
		verdicts = append(verdicts, verdict{"captions steer, " + set.name, mean >= 0.05 && 4*n >= 3*len(c.results),
			fmt.Sprintf("The mean pull is %+.1f %%, positive in %d of %d cases (wanted: 5 %%, three quarters).", 100*mean, n, len(c.results))})
	}
	s.verdicts(verdicts)
	return nil
}

func number(v float64) string { return fmt.Sprintf("%.3f", v) }

// picture is the target as it should look.
func (t target) picture() (*image.NRGBA, error) {
	if t.inside == nil {
		data, err := textures.ReadFile("textures/" + t.name + ".jpg")
		if err != nil {
			return nil, err
		}
		p, err := photo.Decode(bytes.NewReader(data), photo.ReadOptions{})
		if err != nil {
			return nil, err
		}
		return nrgba(p.Image, p.Image.Bounds()), nil
	}
	const light, dark, fine = 220, 110, 4
	m := image.NewNRGBA(image.Rect(0, 0, controlSide, controlSide))
	for y := range controlSide {
		for x := range controlSide {
			in := 0 // of 4×4 points of the pixel
			for k := range fine * fine {
				u := (float64(x)+(float64(k%fine)+0.5)/fine)*2/controlSide - 1
				v := (float64(y)+(float64(k/fine)+0.5)/fine)*2/controlSide - 1
				if t.inside(u, v) {
					in++
				}
			}
			p, level := m.Pix[m.PixOffset(x, y):], uint8(dark+(light-dark)*in/(fine*fine))
			p[0], p[1], p[2], p[3] = level, level, level, 255
		}
	}
	return m, nil
}

// blend is the mean of two pictures.
func blend(a, b *image.NRGBA) *image.NRGBA {
	out := image.NewNRGBA(a.Bounds())
	for i, v := range a.Pix {
		out.Pix[i] = uint8((int(v) + int(b.Pix[i]) + 1) / 2)
	}
	return out
}

// distance of a result from the target, whose picture want is.
func (t target) distance(img image.Image, want image.Image) float64 {
	p, q := metrics.Luma(img), metrics.Luma(want)
	sum, n := 0.0, 0
	add := func(d float64) { sum, n = sum+d*d, n+1 }
	if t.inside != nil {
		for i, v := range p.Pix {
			add(v - q.Pix[i])
		}
	} else {
		a, b := metrics.TextureEnergies(p), metrics.TextureEnergies(q)
		for i := range a {
			add(a[i] - b[i])
		}
	}
	return math.Sqrt(sum / float64(n))
}
