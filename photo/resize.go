package photo

import (
	"image"
	"math"
)

// Filter is a resampling kernel for [Resize].
type Filter int

const (
	// Bicubic is Keys' cubic convolution with a = -0.5: sharp enough for
	// pictures a network will see, with little ringing. It is the default.
	Bicubic Filter = iota
	// Lanczos3 is the sinc windowed by its own three lobes: the sharpest, with
	// faint halos along hard edges.
	Lanczos3
)

// at returns the kernel's value at distance x, and support its reach, both in
// samples.
func (f Filter) at(x float64) float64 {
	x = math.Abs(x)
	if f == Lanczos3 {
		switch {
		case x == 0:
			return 1
		case x >= 3:
			return 0
		}
		px := math.Pi * x
		return 3 * math.Sin(px) * math.Sin(px/3) / (px * px)
	}
	const a = -0.5
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

func (f Filter) support() float64 {
	if f == Lanczos3 {
		return 3
	}
	return 2
}

// Resize returns img scaled to w x h pixels. Sizes below 1 count as 1. The
// result shares img's pixels if that has the size already. When shrinking,
// the kernel is widened by the factor of shrinking, which keeps fine patterns
// from turning into coarse ones.
//
// The result has img's type for image.Gray, Gray16, Alpha, Alpha16, NRGBA and
// NRGBA64, and the nearest of [Photo.Image]'s types for any other, without
// its transparency. Channels are resized each by itself, alpha too: that is
// why a [Photo] keeps colours and alpha apart.
//
// The horizontal pass comes first, and each pass rounds and clamps to the
// samples' range. With 8 bits a sample the results are, to the bit, those of
// Pillow (whose latest versions start with the cheaper pass), by which the
// networks' training pictures were resized. Other Go libraries, such as
// golang.org/x/image/draw, keep more bits between the passes.
func Resize(img image.Image, w, h int, f Filter) image.Image {
	w, h = max(w, 1), max(h, 1)
	r, b := image.Rect(0, 0, w, h), img.Bounds()
	if b.Empty() {
		return image.NewNRGBA(r)
	}
	switch m := img.(type) {
	case *image.Gray:
		pix, stride := resize8(m.Pix, m.Stride, b, r, 1, f)
		return &image.Gray{Pix: pix, Stride: stride, Rect: r}
	case *image.Alpha:
		pix, stride := resize8(m.Pix, m.Stride, b, r, 1, f)
		return &image.Alpha{Pix: pix, Stride: stride, Rect: r}
	case *image.NRGBA:
		pix, stride := resize8(m.Pix, m.Stride, b, r, 4, f)
		return &image.NRGBA{Pix: pix, Stride: stride, Rect: r}
	case *image.Gray16:
		pix, stride := resize16(m.Pix, m.Stride, b, r, 1, f)
		return &image.Gray16{Pix: pix, Stride: stride, Rect: r}
	case *image.Alpha16:
		pix, stride := resize16(m.Pix, m.Stride, b, r, 1, f)
		return &image.Alpha16{Pix: pix, Stride: stride, Rect: r}
	case *image.NRGBA64:
		pix, stride := resize16(m.Pix, m.Stride, b, r, 4, f)
		return &image.NRGBA64{Pix: pix, Stride: stride, Rect: r}
	}
	return Resize(opaque(img), w, h, f)
}

// resize8 resizes bytes of n interleaved channels from size b to size r. It
// returns them with their stride.
func resize8(pix []byte, stride int, b, r image.Rectangle, n int, f Filter) ([]byte, int) {
	src := plane[uint8]{pix, stride, b.Dx(), b.Dy(), n}
	dst := resample[uint8, int32](src, r.Dx(), r.Dy(), f)
	return dst.pix, dst.stride
}

// resize16 is resize8 for 16-bit samples stored high byte first.
func resize16(pix []byte, stride int, b, r image.Rectangle, n int, f Filter) ([]byte, int) {
	src := newPlane[uint16](b.Dx(), b.Dy(), n)
	rows(src.h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row, bytes := src.row(y), pix[y*stride:]
			for i := range row {
				row[i] = get16(bytes[2*i:])
			}
		}
	})
	dst := resample[uint16, int64](src, r.Dx(), r.Dy(), f)
	out := make([]byte, 2*len(dst.pix))
	rows(dst.h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			bytes := out[2*y*dst.stride:]
			for i, v := range dst.row(y) {
				put16(bytes[2*i:], v)
			}
		}
	})
	return out, 2 * dst.stride
}

// plane holds h rows of w pixels of n interleaved samples.
type plane[T uint8 | uint16] struct {
	pix          []T
	stride, w, h int // stride in samples
	n            int
}

func newPlane[T uint8 | uint16](w, h, n int) plane[T] {
	return plane[T]{make([]T, w*h*n), w * n, w, h, n}
}

func (p plane[T]) row(y int) []T { return p.pix[y*p.stride:][:p.w*p.n] }

// weights says which source samples each destination sample is made of.
type weights struct {
	start []int32   // first source sample
	w     [][]int32 // weights of it and those after it, adding up to 1<<weightBits
}

const weightBits = 22 // 255 times the weights' absolute sum still fits 32 bits

// newWeights returns the weights for resizing in samples to out.
func newWeights(in, out int, f Filter) weights {
	scale := float64(in) / float64(out)
	widen := math.Max(scale, 1)
	reach := f.support() * widen
	wt := weights{make([]int32, out), make([][]int32, out)}
	k := make([]float64, 0, 2*int(math.Ceil(reach))+1)
	for i := range out {
		centre := (float64(i) + 0.5) * scale
		first := max(int(centre-reach+0.5), 0)
		last := min(int(centre+reach+0.5), in)
		k = k[:0]
		sum := 0.0
		for j := first; j < last; j++ {
			v := f.at((float64(j) - centre + 0.5) / widen)
			k = append(k, v)
			sum += v
		}
		wt.start[i] = int32(first)
		wt.w[i] = make([]int32, len(k))
		for j, v := range k {
			wt.w[i][j] = int32(math.Round(v / sum * (1 << weightBits)))
		}
	}
	return wt
}

// resample resizes to w x h. A is what sums of samples times weights fit.
func resample[T uint8 | uint16, A int32 | int64](src plane[T], w, h int, f Filter) plane[T] {
	if w != src.w {
		dst := newPlane[T](w, src.h, src.n)
		wt := newWeights(src.w, w, f)
		rows(src.h, func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				if src.n == 4 {
					acrossRow4[T, A](dst.row(y), src.row(y), wt)
				} else {
					acrossRow1[T, A](dst.row(y), src.row(y), wt)
				}
			}
		})
		src = dst
	}
	if h != src.h {
		dst := newPlane[T](w, h, src.n)
		wt := newWeights(src.h, h, f)
		rows(h, func(y0, y1 int) {
			sums := make([]A, min(w*src.n, sumBlock))
			for y := y0; y < y1; y++ {
				downRow(dst.row(y), src, int(wt.start[y]), wt.w[y], sums)
			}
		})
		src = dst
	}
	return src
}

const half = 1 << (weightBits - 1)

// toSample rounds a sum and clamps it to T's range.
func toSample[T uint8 | uint16, A int32 | int64](sum A) T {
	return T(max(0, min(sum>>weightBits, A(^T(0)))))
}

// acrossRow1 resizes a row of one channel.
func acrossRow1[T uint8 | uint16, A int32 | int64](dst, src []T, wt weights) {
	for x := range dst {
		k := wt.w[x]
		s := src[wt.start[x]:][:len(k)]
		sum := A(half)
		for i, v := range k {
			sum += A(v) * A(s[i])
		}
		dst[x] = toSample[T](sum)
	}
}

// acrossRow4 resizes a row of four interleaved channels.
func acrossRow4[T uint8 | uint16, A int32 | int64](dst, src []T, wt weights) {
	for x, k := range wt.w {
		s := src[4*wt.start[x]:][:4*len(k)]
		s0, s1, s2, s3 := A(half), A(half), A(half), A(half)
		for i, v := range k {
			p := s[4*i : 4*i+4]
			s0 += A(v) * A(p[0])
			s1 += A(v) * A(p[1])
			s2 += A(v) * A(p[2])
			s3 += A(v) * A(p[3])
		}
		d := dst[4*x : 4*x+4]
		d[0], d[1], d[2], d[3] = toSample[T](s0), toSample[T](s1), toSample[T](s2), toSample[T](s3)
	}
}

const sumBlock = 4096 // sums kept at a time: few enough for the nearest cache

// downRow fills dst with the rows of src from first on, weighted by k.
func downRow[T uint8 | uint16, A int32 | int64](dst []T, src plane[T], first int, k []int32, sums []A) {
	for x0 := 0; x0 < len(dst); x0 += sumBlock {
		out := dst[x0:min(x0+sumBlock, len(dst))]
		s := sums[:len(out)]
		for i := range s {
			s[i] = half
		}
		for j, v := range k {
			row := src.row(first + j)[x0:][:len(s)]
			for i, p := range row {
				s[i] += A(v) * A(p)
			}
		}
		for i, v := range s {
			out[i] = toSample[T](v)
		}
	}
}
