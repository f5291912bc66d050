package supir

import (
	"image"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// Measures of how alike two pictures of the same size are.

// luma is a picture's brightness, 0 to 255, row by row.
func luma(img image.Image) (y []float64, w, h int) {
	b := img.Bounds()
	for v := b.Min.Y; v < b.Max.Y; v++ {
		for u := b.Min.X; u < b.Max.X; u++ {
			r, g, bl, _ := img.At(u, v).RGBA()
			y = append(y, (0.299*float64(r)+0.587*float64(g)+0.114*float64(bl))/257)
		}
	}
	return y, b.Dx(), b.Dy()
}

// psnr is 10·log₁₀ of 255² over the mean squared error of all channels; infinite
// for equal pictures.
func psnr(a, b image.Image) float64 {
	size, sum := a.Bounds(), 0.0
	for y := size.Min.Y; y < size.Max.Y; y++ {
		for x := size.Min.X; x < size.Max.X; x++ {
			r, g, bl, _ := a.At(x, y).RGBA()
			r2, g2, b2, _ := b.At(x, y).RGBA()
			for _, d := range []float64{float64(r) - float64(r2), float64(g) - float64(g2), float64(bl) - float64(b2)} {
				sum += d * d / (257 * 257)
			}
		}
	}
	return 10 * math.Log10(255*255*float64(3*size.Dx()*size.Dy())/sum)
}

// haarPSI is the Haar wavelet-based perceptual similarity index of Reisenhofer
// et al. (2018) of the brightness, 1 for equal pictures.
func haarPSI(a, b image.Image) float64 {
	const c, alpha = 30, 4.2
	ya, w, h := halved(luma(a))
	yb, _, _ := halved(luma(b))
	sum, total := 0.0, 0.0
	for _, vertical := range []bool{false, true} {
		var ca, cb [3][]float64
		for s := range 3 {
			ca[s], cb[s] = haar(ya, w, h, s+1, vertical), haar(yb, w, h, s+1, vertical)
		}
		for i := range ya {
			similar := 0.0
			for s := range 2 {
				x, y := math.Abs(ca[s][i]), math.Abs(cb[s][i])
				similar += (2*x*y + c) / (x*x + y*y + c) / 2
			}
			weight := max(math.Abs(ca[2][i]), math.Abs(cb[2][i]))
			sum += weight / (1 + math.Exp(-alpha*similar))
			total += weight
		}
	}
	if total == 0 {
		return 1
	}
	mean := sum / total
	root := math.Log(mean/(1-mean)) / alpha
	return root * root
}

// halved is means of 2×2 pixels, as the index wants pictures.
func halved(y []float64, w, h int) ([]float64, int, int) {
	out := make([]float64, 0, len(y)/4)
	for v := 0; v+1 < h; v += 2 {
		for u := 0; u+1 < w; u += 2 {
			out = append(out, (y[v*w+u]+y[v*w+u+1]+y[(v+1)*w+u]+y[(v+1)*w+u+1])/4)
		}
	}
	return out, w / 2, h / 2
}

// haar is, for each pixel, the difference of the two halves of the 2ˢ×2ˢ pixels
// around it over 2ˢ; beyond the picture there are zeros.
func haar(y []float64, w, h, s int, vertical bool) []float64 {
	n := 1 << s
	out := make([]float64, len(y))
	for v := range h {
		for u := range w {
			sum := 0.0
			for j := range n {
				for i := range n {
					yy, xx := v+j-n/2, u+i-n/2
					if yy < 0 || yy >= h || xx < 0 || xx >= w {
						continue
					}
					if first := i < n/2; vertical && j < n/2 || !vertical && first {
						sum -= y[yy*w+xx]
					} else {
						sum += y[yy*w+xx]
					}
				}
			}
			out[v*w+u] = sum / float64(n)
		}
	}
	return out
}

func TestSimilarity(t *testing.T) {
	a, b := gradientPicture(64, 48), gradientPicture(64, 48).(*image.NRGBA)
	require.True(t, math.IsInf(psnr(a, b), 1))
	require.InDelta(t, 1, haarPSI(a, b), 1e-9)
	for i := range b.Pix {
		if i%4 < 3 && i/4%7 == 0 {
			b.Pix[i] ^= 64
		}
	}
	require.InDelta(t, 10*math.Log10(255*255/(64.0*64/7)), psnr(a, b), 0.2)
	require.Less(t, haarPSI(a, b), 0.98)
	require.Greater(t, haarPSI(a, b), 0.0)
}
