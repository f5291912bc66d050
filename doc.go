// Package supir restores photographs: blurred, noisy, small or badly compressed
// ones. It implements SUPIR ("Scaling Up to Excellence", CVPR 2024) over ggml.
//
//	m, err := supir.New(embedded.Files()) // or Files{SDXL: "...", SUPIR: "..."}
//	defer m.Close()
//	r, err := m.Restore(ctx, img, supir.Options{Upscale: 2}) // r.Image
//
// Restore is the paper's Fig. 2, top to bottom, in supir.go. Its parts:
//
//	encoders, decoder         internal/vae
//	captions, quality words   caption.go, prompt.go, internal/clip
//	U-Net, adaptor, ZeroSFT   internal/unet, adaptor.go, zerosft.go (Fig. 3)
//	sampling (Algorithm 1)    sampler.go, schedule.go, guidance.go, noise.go
//	large latents, colours    tiles.go, colorfix.go
//
// A [Model] may be used by many goroutines, which take turns: Progress and a
// Captioner must not call it. Before it loads weights, Restore estimates the
// memory it needs and returns a [*MemoryError] where that is too much;
// [Model.Plan] tells it beforehand. [Options].Seed fixes the noise on every
// machine; the networks' last digits differ between devices.
//
// Errors have types, for errors.As; their texts may change. Before version 1
// names and defaults may too: CHANGELOG.md tells. Set fields by their names.
package supir
