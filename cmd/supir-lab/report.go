package main

import (
	"bytes"
	"fmt"
	"image"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"supir/internal/metrics"
)

// The report and its parts, in the output folder.
const (
	reportName = "report.md"
	sections   = "sections" // a file for each experiment
	figures    = "figures"  // plots and sheets
)

// report writes an experiment's section, and the report of all sections that
// there are, from this run and from earlier ones.
func (l *lab) report(e experiment, done int) error {
	s := &section{folder: l.out}
	about := e.about()
	fmt.Fprintf(&s.buf, "## %s\n\n", about.title)
	if err := e.write(l, s); err != nil {
		return err
	}
	s.text(fmt.Sprintf("*%d of %d cases; %s.*", done, e.cases(l), l.settings(e)))
	if err := writeText(filepath.Join(l.out, sections, about.name+".md"), s.buf.Bytes()); err != nil {
		return err
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, `# The paper's experiments in miniature

Made by supir-lab with this library. "The paper" is Yu et al., "Scaling Up to Excellence", CVPR 2024; its numbers are
of its own model and photographs, and are here to compare directions with, not sizes. All metrics are of whole 8-bit
pictures: PSNR, SSIM, MS-SSIM and HaarPSI are better when higher, GMSD when lower; Sharpness is the energy of gradients
over the true picture's, best at 1; Shift is how far colours are off in blocks of 16 pixels, in levels of 255.
Table 1 has the presets as they are. Where one thing is compared, colours are fixed as coarsely as the paper does it
(Options.ColorFixLevels 5), so that the sampler's work is seen at all finer scales.

`)
	for _, e := range experiments(l.flags) {
		data, err := os.ReadFile(filepath.Join(l.out, sections, e.about().name+".md"))
		if err == nil {
			all.Write(data)
		} else if !os.IsNotExist(err) {
			return err
		}
	}
	if len(l.skipped) > 0 {
		fmt.Fprintf(&all, "## Pictures not used\n\n%d were skipped:\n\n", len(l.skipped))
		for _, s := range l.skipped {
			fmt.Fprintf(&all, "- %s\n", s)
		}
	}
	return writeText(filepath.Join(l.out, reportName), all.Bytes())
}

// settings are what the numbers depend on.
func (l *lab) settings(e experiment) string {
	model := "embedded model"
	if l.sdxl != "" {
		model = filepath.Base(l.supir)
	}
	steps := "the model's steps"
	if l.steps > 0 {
		steps = fmt.Sprintf("%d steps", l.steps)
	}
	text := fmt.Sprintf("%s, %s, seed %d", model, steps, l.seed)
	if e.about().photographs {
		size := l.items[0].truth.Bounds().Size()
		text += fmt.Sprintf(", true pictures of %d×%d", size.X, size.Y)
	}
	return text
}

// writeText replaces a file, whole or not at all.
func writeText(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	tmp := name + ".tmp"
	if err := os.WriteFile(tmp, data, 0o666); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

// A section is an experiment's part of the report.
type section struct {
	buf    bytes.Buffer
	folder string
}

func (s *section) text(t string)    { fmt.Fprintf(&s.buf, "%s\n\n", strings.TrimSpace(t)) }
func (s *section) heading(t string) { fmt.Fprintf(&s.buf, "### %s\n\n", t) }

// A table has a first column of names and right-aligned others.
type table struct {
	title   string
	columns []string
	rows    [][]string
}

func (s *section) table(t table) {
	if t.title != "" {
		fmt.Fprintf(&s.buf, "**%s**\n\n", t.title)
	}
	fmt.Fprintf(&s.buf, "| %s |\n|---|%s\n", strings.Join(t.columns, " | "), strings.Repeat("---:|", len(t.columns)-1))
	for _, row := range t.rows {
		fmt.Fprintf(&s.buf, "| %s |\n", strings.Join(row, " | "))
	}
	fmt.Fprintln(&s.buf)
}

// picture writes a picture beside the report and shows it there.
func (s *section) picture(file, caption string, img image.Image) error {
	if err := write(filepath.Join(s.folder, figures, file), img); err != nil {
		return err
	}
	fmt.Fprintf(&s.buf, "![%s](%s/%s)\n\n", caption, figures, file)
	return nil
}

// A verdict says whether what the paper claims is seen here.
type verdict struct {
	claim  string
	holds  bool
	detail string // the numbers
}

func (s *section) verdicts(list []verdict) {
	s.heading("Does it agree?")
	for _, v := range list {
		word := "**Yes**"
		if !v.holds {
			word = "**No**"
		}
		fmt.Fprintf(&s.buf, "- %s: %s. %s\n", word, v.claim, v.detail)
	}
	fmt.Fprintln(&s.buf)
}

// columns are the metrics', with the direction that is better.
var columns = []string{"PSNR ↑", "SSIM ↑", "MS-SSIM ↑", "GMSD ↓", "HaarPSI ↑", "Sharpness →1", "Shift ↓"}

// format writes scores in the order of the columns.
func format(s metrics.Scores) []string {
	digits := []int{2, 4, 4, 4, 4, 2, 2}
	var out []string
	for i, v := range s.Values() {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			out = append(out, "–")
			continue
		}
		out = append(out, fmt.Sprintf("%.*f", digits[i], v))
	}
	return out
}

// count tells of how many recipes something is true.
func count(recipes []string, holds func(recipe string) bool) (n int, detail string) {
	var not []string
	for _, r := range recipes {
		if holds(r) {
			n++
		} else {
			not = append(not, r)
		}
	}
	detail = fmt.Sprintf("On %d of %d degradations", n, len(recipes))
	if len(not) > 0 {
		detail += ", not on " + strings.Join(slices.Clip(not), ", ")
	}
	return n, detail + "."
}
