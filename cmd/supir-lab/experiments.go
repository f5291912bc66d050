package main

import (
	"fmt"
	"math"

	"supir"
	"supir/internal/degrade"
	"supir/internal/metrics"
)

// experiments are all, in the report's order.
func experiments(f *flags) []experiment {
	return []experiment{table1(), encoders(), figure8a(f), table2b(f), figure4(f), table2c(f), figure1b(f), captions(f), newSpeed()}
}

func allRecipes() []string {
	var names []string
	for _, r := range degrade.Recipes {
		names = append(names, r.Name)
	}
	return names
}

// free is preset quality with what is coarser than 32 pixels alone fixed by the cleaned picture, as the paper's model does
// it: what the sampler makes of a picture is seen at more scales.
func free() supir.Options {
	o := supir.Quality
	o.ColorFixLevels = 5
	return o
}

// table1 compares restorations under five degradations.
func table1() experiment {
	const bicubicName, stage1Name, fidelityName, qualityName = "bicubic", "stage 1", "fidelity", "quality"
	return &grid{
		id: about{name: "table1", title: "Table 1: five degradations"},
		intro: `The paper restores photographs under five degradations and finds SUPIR best by metrics of quality without
reference, below smoother methods by PSNR and SSIM. Here: bicubic enlargement, the picture after the first stage
(decoded from the degradation-robust encoder's latent), and the presets fidelity and quality. Quality is judged by
sharpness, for want of metrics with learned weights.`,
		recipes: allRecipes,
		methods: func(*lab) []method {
			return []method{
				bicubic(), cleaned(stage1Name, true),
				restoring(fidelityName, "fidelity", mainModel, supir.Fidelity),
				restoring(qualityName, "quality", mainModel, supir.Quality),
			}
		},
		paper: paperTables1,
		plots: func(s *scores) []plotted {
			var out []plotted
			for _, m := range []struct {
				file, name string
				of         func(metrics.Scores) float64
			}{
				{"haarpsi.png", "HaarPSI", func(s metrics.Scores) float64 { return s.HaarPSI }},
				{"sharpness.png", "Sharpness", func(s metrics.Scores) float64 { return s.Sharpness }},
			} {
				p := plotted{file: m.file, title: m.name + " under five degradations", y: m.name, bars: true}
				for _, r := range degrade.Recipes {
					p.places = append(p.places, shortName(r.Name))
				}
				for _, method := range s.methods {
					l := line{name: method}
					for _, r := range s.recipes {
						l.values = append(l.values, m.of(s.mean(r, method)))
					}
					p.lines = append(p.lines, l)
				}
				out = append(out, p)
			}
			return out
		},
		judge: func(s *scores) []verdict {
			all := len(s.recipes)
			say := func(claim string, holds func(recipe string) bool) verdict {
				n, detail := count(s.recipes, holds)
				return verdict{claim, n == all, detail}
			}
			return []verdict{
				say("the paper: generated detail costs PSNR and SSIM against smoother results (quality under stage 1)", func(r string) bool {
					q, c := s.mean(r, qualityName), s.mean(r, stage1Name)
					return q.PSNR < c.PSNR && q.SSIM < c.SSIM
				}),
				say("the paper: results are visibly richer in detail (quality sharper than stage 1 and than fidelity)", func(r string) bool {
					q := s.mean(r, qualityName).Sharpness
					return q > s.mean(r, stage1Name).Sharpness && q > s.mean(r, fidelityName).Sharpness
				}),
				say("ours: fidelity has a higher HaarPSI and a lower GMSD than bicubic", func(r string) bool {
					f, b := s.mean(r, fidelityName), s.mean(r, bicubicName)
					return f.HaarPSI > b.HaarPSI && f.GMSD < b.GMSD
				}),
				say("ours: fidelity's PSNR is at most 0.5 dB under bicubic's", func(r string) bool {
					return s.mean(r, fidelityName).PSNR > s.mean(r, bicubicName).PSNR-0.5
				}),
				say("ours: quality is as sharp as the true pictures within 20 %", func(r string) bool {
					return math.Abs(s.mean(r, qualityName).Sharpness-1) <= 0.2
				}),
				say("ours: quality keeps colours within 3 levels", func(r string) bool { return s.mean(r, qualityName).Shift < 3 }),
			}
		},
	}
}

// shortName fits under a group of bars.
func shortName(recipe string) string {
	if len(recipe) > 14 {
		return recipe[:14] + "…"
	}
	return recipe
}

// encoders compares the degradation-robust encoder with the plain one.
func encoders() experiment {
	const plain, robust = "plain encoder", "robust encoder"
	return &grid{
		id: about{name: "encoder", title: "Degradation-robust against plain encoder (Sec. 3.1)"},
		intro: `The paper fine-tunes the encoder so that artefacts of the degraded picture are not taken for its content, and gives
no numbers. Here: what the decoder makes of either encoder's latent of the same degraded picture. The plain encoder
gives back about what went in; the robust one should come nearer to the true picture.`,
		recipes: allRecipes,
		methods: func(*lab) []method { return []method{bicubic(), cleaned(plain, false), cleaned(robust, true)} },
		judge: func(s *scores) []verdict {
			n, detail := count(s.recipes, func(r string) bool {
				p, q := s.mean(r, plain), s.mean(r, robust)
				return q.PSNR > p.PSNR && q.HaarPSI > p.HaarPSI
			})
			return []verdict{{"the robust encoder is nearer to the true picture by PSNR and HaarPSI", n == len(s.recipes), detail}}
		},
	}
}

// figure8a sweeps the strength of restoration guidance.
func figure8a(f *flags) experiment {
	taus := []float64{0.05, 0.1, 0.25, 0.5, 1, 2, 4, 6, -1}
	if f.quick {
		taus = []float64{0.1, 1, 4, -1}
	}
	name := func(tau float64) string {
		if tau < 0 {
			return "none"
		}
		return fmt.Sprintf("%v", tau)
	}
	return &grid{
		id: about{name: "fig8a", title: "Fig. 8a: restoration guidance τ_r"},
		intro: `Small τ_r pulls every prediction to the low-quality picture, large τ_r leaves the model free ("none": no guidance).
The paper's plots (no numbers in the text): as τ_r falls PSNR rises and detail is lost; it settles on 4, and shows 0.5
as blurry, 6 as full of texture that is not there.`,
		recipes: func() []string { return []string{f.recipe} },
		methods: func(*lab) []method {
			var out []method
			for _, tau := range taus {
				o := free()
				o.Restoration = tau
				out = append(out, restoring(name(tau), "free-tau-"+name(tau), mainModel, o))
			}
			return out
		},
		plots: func(s *scores) []plotted {
			var out []plotted
			for i, metric := range metrics.Names {
				if metric != "PSNR" && metric != "HaarPSI" && metric != "Sharpness" {
					continue
				}
				p := plotted{file: fmt.Sprintf("%d.png", i), title: metric + " by τ_r", x: "τ_r", y: metric, places: s.methods}
				l := line{name: metric}
				for _, m := range s.methods {
					l.values = append(l.values, s.mean(f.recipe, m).Values()[i])
				}
				p.lines = []line{l}
				out = append(out, p)
			}
			return out
		},
		judge: func(s *scores) []verdict {
			var psnr, sharp []float64
			for _, m := range s.methods {
				v := s.mean(f.recipe, m)
				psnr, sharp = append(psnr, v.PSNR), append(sharp, v.Sharpness)
			}
			// Where nothing much changes, the order of the values says nothing.
			const decibels, share = 0.1, 1.02
			last := len(psnr) - 1
			a, b := rankCorrelation(psnr), rankCorrelation(sharp)
			return []verdict{
				{"fidelity falls as τ_r grows", a <= -0.7 && psnr[0]-psnr[last] >= decibels,
					fmt.Sprintf("Rank correlation of PSNR with τ_r: %.2f; from %.2f to %.2f dB.", a, psnr[0], psnr[last])},
				{"detail rises as τ_r grows", b >= 0.7 && sharp[last] >= share*sharp[0],
					fmt.Sprintf("Rank correlation of sharpness with τ_r: %.2f; from %.2f to %.2f.", b, sharp[0], sharp[last])},
			}
		},
	}
}

// rankCorrelation is Spearman's, of values with their places: 1 where they rise
// all through, -1 where they fall.
func rankCorrelation(v []float64) float64 {
	n, sum := float64(len(v)), 0.0
	for i, x := range v {
		rank := 0.0
		for j, y := range v {
			if y < x || y == x && j < i {
				rank++
			}
		}
		sum += (rank - float64(i)) * (rank - float64(i))
	}
	return 1 - 6*sum/(n*(n*n-1))
}

// unguided are options without classifier-free guidance: the positive prompt
// alone.
func unguided(o supir.Options) supir.Options {
	o.CFGStart, o.CFGEnd = 1, 1
	return o
}

// table2b compares prompts of quality words, and training with and without
// negative samples.
func table2b(f *flags) experiment {
	const none, positive, negative, both, without = "with, none", "with, positive", "with, negative", "with, both", "without, both"
	return &grid{
		id: about{name: "table2b", title: "Table 2b: quality prompts and negative samples", needs: []variant{noNegatives}},
		intro: `Positive quality words follow the (here empty) caption; the negative ones are what classifier-free guidance turns away
from. In the paper both alone raise quality, together they are best, and without negative samples in training they do
not help. PSNR falls as quality rises. Preset quality; no guidance where there is no negative prompt.`,
		recipes: func() []string { return []string{f.recipe} },
		methods: func(*lab) []method {
			bare := free()
			bare.PositiveWords = "-"
			return []method{
				restoring(none, "free-none", mainModel, unguided(bare)),
				restoring(positive, "free-positive", mainModel, unguided(free())),
				restoring(negative, "free-negative", mainModel, bare),
				restoring(both, "free", mainModel, free()),
				restoring(without, "free-without-negatives", noNegatives, free()),
			}
		},
		paper: paperTable2b,
		judge: func(s *scores) []verdict {
			at := func(m string) metrics.Scores { return s.mean(f.recipe, m) }
			numbers := fmt.Sprintf("Sharpness: none %.2f, positive %.2f, negative %.2f, both %.2f; without negative samples %.2f.",
				at(none).Sharpness, at(positive).Sharpness, at(negative).Sharpness, at(both).Sharpness, at(without).Sharpness)
			return []verdict{
				{"each prompt alone adds detail", at(positive).Sharpness > at(none).Sharpness && at(negative).Sharpness > at(none).Sharpness, numbers},
				{"both together add most", at(both).Sharpness >= max(at(positive).Sharpness, at(negative).Sharpness), ""},
				{"detail costs PSNR", at(both).PSNR < at(none).PSNR, fmt.Sprintf("%.2f dB with both, %.2f with none.", at(both).PSNR, at(none).PSNR)},
				{"without negative samples the prompts add less", at(without).Sharpness < at(both).Sharpness, ""},
			}
		},
	}
}

// figure4 raises classifier-free guidance on models trained with and without
// negative samples.
func figure4(f *flags) experiment {
	scales := []float64{1, 2, 4, 7.5}
	if f.quick {
		scales = []float64{1, 4}
	}
	name := func(v variant, scale float64) string {
		if v == noNegatives {
			return fmt.Sprintf("without, %v", scale)
		}
		return fmt.Sprintf("with, %v", scale)
	}
	return &grid{
		id: about{name: "fig4", title: "Fig. 4: guidance with and without negative samples", needs: []variant{noNegatives}},
		intro: `The paper shows artefacts where classifier-free guidance meets a model that has never seen negative samples. Here the
scale grows on both models, the same at every step; artefacts show as likeness lost (HaarPSI) while sharpness grows.`,
		recipes: func() []string { return []string{f.recipe} },
		methods: func(*lab) []method {
			var out []method
			for _, v := range []variant{mainModel, noNegatives} {
				for _, scale := range scales {
					o := free()
					o.CFGStart, o.CFGEnd, o.CFGSigmaMax = scale, scale, noLimit
					file := fmt.Sprintf("free-cfg-%v", scale)
					if v == noNegatives {
						file += "-without-negatives"
					}
					out = append(out, restoring(name(v, scale), file, v, o))
				}
			}
			return out
		},
		judge: func(s *scores) []verdict {
			change := func(v variant) (haar, gmsd float64) {
				a, b := s.mean(f.recipe, name(v, scales[0])), s.mean(f.recipe, name(v, scales[len(scales)-1]))
				return b.HaarPSI - a.HaarPSI, b.GMSD - a.GMSD
			}
			h1, g1 := change(mainModel)
			h2, g2 := change(noNegatives)
			return []verdict{{"guidance harms the model without negative samples more", h2 < h1 && g2 > g1,
				fmt.Sprintf("From scale %v to %v, HaarPSI changes by %+.4f with negative samples, %+.4f without; GMSD by %+.4f and %+.4f.",
					scales[0], scales[len(scales)-1], h1, h2, g1, g2)}}
		},
	}
}

// table2c compares connectors.
func table2c(f *flags) experiment {
	const zero, sft = "zero convolution", "ZeroSFT"
	return &grid{
		id: about{name: "table2c", title: "Table 2c: ZeroSFT against zero convolution", needs: []variant{zeroConvolution}},
		intro: `The paper's connector adds a spatial feature transfer to ControlNet's zero convolution. It finds much better fidelity
at about the same quality: what the zero convolution adds is detail that is not there. Preset quality.`,
		recipes: func() []string { return []string{f.recipe} },
		methods: func(*lab) []method {
			return []method{
				restoring(zero, "free-zero-convolution", zeroConvolution, free()),
				restoring(sft, "free", mainModel, free()),
			}
		},
		paper: paperTable2c,
		judge: func(s *scores) []verdict {
			z, t := s.mean(f.recipe, zero), s.mean(f.recipe, sft)
			return []verdict{
				{"ZeroSFT is more faithful", t.PSNR > z.PSNR && t.SSIM > z.SSIM,
					fmt.Sprintf("PSNR %+.2f dB, SSIM %+.4f, HaarPSI %+.4f (the paper: %+.2f dB, %+.4f).", t.PSNR-z.PSNR, t.SSIM-z.SSIM, t.HaarPSI-z.HaarPSI, 20.66-19.47, 0.4763-0.4261)},
				{"zero convolution generates at least as much detail", z.Sharpness >= t.Sharpness,
					fmt.Sprintf("Sharpness %.2f, ZeroSFT %.2f.", z.Sharpness, t.Sharpness)},
			}
		},
	}
}
