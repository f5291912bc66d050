package main

import (
	"context"
	"errors"
	"image"
	"io/fs"
	"math"

	"supir"
	"supir/internal/nn"
	"supir/internal/vae"
	"supir/internal/weights"
)

// stage1 encodes and decodes, with either encoder: what supir.Restore begins
// with, and what the paper compares it with.
type stage1 struct {
	set    *weights.Set
	vae    vae.VAE
	engine *nn.Engine
	params *nn.Params
}

// stage1 is that of the main model.
func (m *models) stage1(f *flags) (*stage1, error) {
	if m.stages != nil {
		return m.stages, nil
	}
	s := &stage1{}
	var err error
	if s.set, err = openSet(m.files[mainModel]); err != nil {
		return nil, err
	}
	var r weights.Report
	s.vae.Load(s.set, &r)
	if err = r.Err(); err == nil {
		s.engine, err = nn.Open(f.device, f.threads)
	}
	if err == nil {
		s.params, err = s.engine.Load(context.Background(), nn.F32, &s.vae)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	m.stages = s
	return s, nil
}

func openSet(files supir.Files) (*weights.Set, error) {
	if files.FS == nil {
		return weights.Open(names(files)...)
	}
	var list []weights.File
	for _, name := range names(files) {
		data, err := fs.ReadFile(files.FS, name)
		if err != nil {
			return nil, err
		}
		list = append(list, weights.File{Path: name, Data: data})
	}
	return weights.OpenFiles(list...)
}

func (s *stage1) close() error {
	if s.params != nil {
		s.params.Close()
	}
	if s.engine != nil {
		s.engine.Close()
	}
	return s.set.Close()
}

// clean is D(E(x)), with the robust encoder or the plain one. Both sides of the
// picture are multiples of 64.
func (s *stage1) clean(ctx context.Context, img image.Image, robust bool) (image.Image, error) {
	size := img.Bounds().Size()
	w, h, f := size.X, size.Y, s.vae.Factor()
	encoder := &s.vae.Encoder
	if robust {
		encoder = &s.vae.Robust
	}
	moments, err := s.run(ctx, planes(img), func(g *nn.Graph) nn.Map {
		return s.vae.Encode(g, encoder, g.InputMap("in", 3, h, w, 1))
	})
	if err != nil {
		return nil, err
	}
	pixels, err := s.run(ctx, vae.Mode(moments, 1), func(g *nn.Graph) nn.Map {
		return s.vae.Decode(g, g.InputMap("in", s.vae.LatentChannels(), h/f, w/f, 1))
	})
	if err != nil {
		return nil, err
	}
	return fromPlanes(pixels, w, h), nil
}

func (s *stage1) run(ctx context.Context, in []float32, forward func(g *nn.Graph) nn.Map) ([]float32, error) {
	p, err := s.engine.Build(s.params, nil, func(g *nn.Graph) { nn.Output(g, "out", forward(g)) })
	if err != nil {
		return nil, err
	}
	defer p.Close()
	if err := p.Set("in", in); err != nil {
		return nil, err
	}
	if err := p.Run(ctx); err != nil {
		return nil, err
	}
	return p.Get("out")
}

// planes are a picture's 3×H×W numbers in [-1, 1].
func planes(img image.Image) []float32 {
	m := nrgba(img, img.Bounds())
	n := m.Bounds().Dx() * m.Bounds().Dy()
	out := make([]float32, 3*n)
	for i := range n {
		for c := range 3 {
			out[c*n+i] = float32(m.Pix[4*i+c])/127.5 - 1
		}
	}
	return out
}

// fromPlanes is the picture of 3×H×W numbers, clamped to [-1, 1].
func fromPlanes(v []float32, w, h int) *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, w, h))
	n := w * h
	for i := range n {
		for c := range 3 {
			m.Pix[4*i+c] = uint8(math.Round(127.5 * (1 + min(max(float64(v[c*n+i]), -1), 1))))
		}
		m.Pix[4*i+3] = 255
	}
	return m
}
