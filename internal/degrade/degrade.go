// Package degrade spoils pictures in the ways of the paper's Table 1, so that
// what a restoration makes of them can be compared with what they were.
//
// The order is blur, resizing, noise, JPEG. Values keep more than eight bits and
// may go beyond black and white until noise has been added.
package degrade

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"image"
	"image/jpeg"
	"math"
	"math/rand/v2"

	"supir/photo"
)

// A Recipe is a way to degrade a picture.
type Recipe struct {
	Name  string  // short, as folders are named
	Title string  // as the paper has it
	Blur  float64 // sigma of a Gaussian in pixels of the true picture; 0 for none
	Scale int     // how many times smaller the result is
	Noise float64 // sigma of white noise, the same in every channel, in levels of 0…255
	JPEG  int     // quality, 0 for none
}

// Recipes are those of the paper's Table 1, in its order.
var Recipes = []Recipe{
	{Name: "sr4", Title: "SR (×4)", Scale: 4},
	{Name: "sr8", Title: "SR (×8)", Scale: 8},
	{Name: "blur2_sr4", Title: "Blur (σ=2) + SR (×4)", Blur: 2, Scale: 4},
	{Name: "sr4_noise40", Title: "SR (×4) + noise (σ=40)", Scale: 4, Noise: 40},
	{Name: "blur2_sr4_noise20_jpeg50", Title: "Blur (σ=2) + SR (×4) + noise (σ=20) + JPEG (q=50)",
		Blur: 2, Scale: 4, Noise: 20, JPEG: 50},
}

// Find is the recipe of that name.
func Find(name string) (Recipe, error) {
	var names []string
	for _, r := range Recipes {
		if r.Name == name {
			return r, nil
		}
		names = append(names, r.Name)
	}
	return Recipe{}, fmt.Errorf("no recipe %q; there are %q", name, names)
}

// Apply degrades a picture, which it doesn't change. The noise depends on seed,
// on the recipe and on the picture's name alone: the same on every machine.
func (r Recipe) Apply(img image.Image, seed uint64, name string) (*image.NRGBA, error) {
	size := img.Bounds().Size()
	if r.Scale < 1 || size.X < r.Scale || size.Y < r.Scale {
		return nil, fmt.Errorf("degrade: a picture of %d×%d cannot be made %d times smaller", size.X, size.Y, r.Scale)
	}
	p := fromPicture(img)
	if r.Blur > 0 {
		p = p.blur(r.Blur)
	}
	p = p.resize(size.X/r.Scale, size.Y/r.Scale)
	if r.Noise > 0 {
		source := rand.New(rand.NewPCG(seed, uint64(crc32.ChecksumIEEE([]byte(r.Name+"\x00"+name)))))
		for i := range p.pix {
			p.pix[i] += r.Noise * source.NormFloat64()
		}
	}
	out := p.picture()
	if r.JPEG == 0 {
		return out, nil
	}
	var file bytes.Buffer
	if err := jpeg.Encode(&file, out, &jpeg.Options{Quality: r.JPEG}); err != nil {
		return nil, fmt.Errorf("degrade: %w", err)
	}
	back, err := photo.Decode(&file, photo.ReadOptions{})
	if err != nil {
		return nil, fmt.Errorf("degrade: %w", err)
	}
	return fromPicture(back.Image).picture(), nil
}

// Blur is a picture under a Gaussian of sigma pixels.
func Blur(img image.Image, sigma float64) *image.NRGBA { return fromPicture(img).blur(sigma).picture() }

// pixels are three channels of numbers, interleaved.
type pixels struct {
	w, h int
	pix  []float64
}

func fromPicture(img image.Image) pixels {
	b := img.Bounds()
	p := pixels{b.Dx(), b.Dy(), make([]float64, 0, 3*b.Dx()*b.Dy())}
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, _ := img.At(x, y).RGBA()
			p.pix = append(p.pix, float64(r)/257, float64(g)/257, float64(bl)/257)
		}
	}
	return p
}

// picture rounds to eight bits.
func (p pixels) picture() *image.NRGBA {
	m := image.NewNRGBA(image.Rect(0, 0, p.w, p.h))
	for i := range p.w * p.h {
		for c := range 3 {
			m.Pix[4*i+c] = uint8(min(max(math.RoundToEven(p.pix[3*i+c]), 0), 255))
		}
		m.Pix[4*i+3] = 255
	}
	return m
}

// blur is a Gaussian cut off at four sigma; beyond the border the picture is
// mirrored, its last pixel twice.
func (p pixels) blur(sigma float64) pixels {
	r := int(4*sigma + 0.5)
	k, sum := make([]float64, 2*r+1), 0.0
	for i := range k {
		t := float64(i - r)
		k[i] = math.Exp(-t * t / (2 * sigma * sigma))
		sum += k[i]
	}
	for i := range k {
		k[i] /= sum
	}
	across := pixels{p.w, p.h, make([]float64, len(p.pix))}
	down := pixels{p.w, p.h, make([]float64, len(p.pix))}
	for y := range p.h {
		for x := range p.w {
			for i, v := range k {
				j := mirror(x-r+i, p.w)
				for c := range 3 {
					across.pix[(y*p.w+x)*3+c] += v * p.pix[(y*p.w+j)*3+c]
				}
			}
		}
	}
	for y := range p.h {
		dst := down.pix[y*p.w*3:][:p.w*3]
		for i, v := range k {
			src := across.pix[mirror(y-r+i, p.h)*p.w*3:][:p.w*3]
			for x := range dst {
				dst[x] += v * src[x]
			}
		}
	}
	return down
}

// mirror folds an index into 0…n-1: … 1 0 | 0 1 … n-1 | n-1 n-2 …
func mirror(i, n int) int {
	i %= 2 * n
	if i < 0 {
		i += 2 * n
	}
	return min(i, 2*n-1-i)
}

// Sixteen bits hold a level in 128 steps, and room for what bicubic kernels
// overshoot black and white by.
const (
	steps = 128
	black = 128 * steps
)

// resize is photo's bicubic with seven bits more than a picture has.
func (p pixels) resize(w, h int) pixels {
	m := image.NewNRGBA64(image.Rect(0, 0, p.w, p.h))
	for i := range p.w * p.h {
		for c := range 3 {
			v := uint16(math.Round(p.pix[3*i+c]*steps) + black)
			m.Pix[8*i+2*c], m.Pix[8*i+2*c+1] = byte(v>>8), byte(v)
		}
	}
	small := photo.Resize(m, w, h, photo.Bicubic).(*image.NRGBA64)
	out := pixels{w, h, make([]float64, 3*w*h)}
	for i := range w * h {
		for c := range 3 {
			v := int(small.Pix[8*i+2*c])<<8 | int(small.Pix[8*i+2*c+1])
			out.pix[3*i+c] = float64(v-black) / steps
		}
	}
	return out
}
