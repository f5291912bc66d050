package photo

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// goldenImages reads the 8-bit HxWx3 tensors of a safetensors file.
func goldenImages(t *testing.T, name string) map[string]*image.NRGBA {
	t.Helper()
	dir := os.Getenv("SUPIR_GOLDEN")
	if dir == "" {
		dir = filepath.Join("..", "testdata", "golden")
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err, "golden data is missing: set SUPIR_GOLDEN to its directory")
	require.Greater(t, len(data), 8)
	n := 8 + int(binary.LittleEndian.Uint64(data))
	var header map[string]struct {
		Dtype   string
		Shape   []int
		Offsets [2]int `json:"data_offsets"`
	}
	require.NoError(t, json.Unmarshal(data[8:n], &header))
	images := map[string]*image.NRGBA{}
	for key, e := range header {
		if key == "__metadata__" {
			continue
		}
		require.Equal(t, "U8", e.Dtype)
		h, w := e.Shape[0], e.Shape[1]
		rgb := data[n+e.Offsets[0] : n+e.Offsets[1]]
		require.Len(t, rgb, h*w*3)
		m := image.NewNRGBA(image.Rect(0, 0, w, h))
		for i := range w * h {
			copy(m.Pix[4*i:], rgb[3*i:3*i+3])
			m.Pix[4*i+3] = 0xff
		}
		images[key] = m
	}
	return images
}

func TestResizeGolden(t *testing.T) {
	images := goldenImages(t, "resize.safetensors")
	src := images["source"]
	require.NotNil(t, src)
	delete(images, "source")
	require.NotEmpty(t, images)
	for key, want := range images {
		t.Run(key, func(t *testing.T) {
			f := Bicubic
			if strings.HasPrefix(key, "lanczos.") {
				f = Lanczos3
			}
			b := want.Bounds()
			got := Resize(src, b.Dx(), b.Dy(), f).(*image.NRGBA)
			require.Equal(t, b, got.Bounds())
			// One level: the reference computes its weights in another
			// precision. The mean says that almost all are equal.
			worst, sum := 0, 0
			for i := range want.Pix {
				d := abs(int(got.Pix[i]) - int(want.Pix[i]))
				worst, sum = max(worst, d), sum+d
			}
			require.LessOrEqual(t, worst, 1)
			require.Less(t, float64(sum)/float64(len(want.Pix)), 0.01)

			// 16 bits a sample give the same picture, more finely.
			wide := toDepth(Resize(toDepth(src, 16), b.Dx(), b.Dy(), f), 8).(*image.NRGBA)
			for i := range want.Pix {
				require.InDelta(t, want.Pix[i], wide.Pix[i], 2)
			}
		})
	}
}

func abs(v int) int { return max(v, -v) }

func TestResizeSizes(t *testing.T) {
	for _, s := range [][4]int{
		{1, 1, 1, 1}, {1, 1, 64, 3}, {64, 64, 1, 1}, {3, 4000, 6, 8000}, {3, 4000, 1, 10},
		{1, 16384, 1, 5}, {16384, 1, 5, 1}, {5, 7, 0, -3}, {2, 2, 16384, 1},
	} {
		for _, f := range []Filter{Bicubic, Lanczos3} {
			t.Run(fmt.Sprint(s, f), func(t *testing.T) {
				// A flat colour stays what it is, whatever the sizes.
				src := image.NewNRGBA(image.Rect(0, 0, s[0], s[1]))
				for i := 0; i < len(src.Pix); i += 4 {
					copy(src.Pix[i:], []byte{1, 128, 255, 255})
				}
				for _, m := range []image.Image{src, toDepth(src, 16)} {
					got := Resize(m, s[2], s[3], f)
					want := image.Rect(0, 0, max(s[2], 1), max(s[3], 1))
					require.Equal(t, want, got.Bounds())
					for y := range want.Max.Y {
						for x := range want.Max.X {
							require.Equal(t, color.NRGBA{1, 128, 255, 255}, color.NRGBAModel.Convert(got.At(x, y)))
						}
					}
				}
			})
		}
	}
}

func TestResizeTypes(t *testing.T) {
	r := image.Rect(0, 0, 9, 5)
	for _, c := range []struct {
		in, want image.Image
	}{
		{image.NewGray(r), &image.Gray{}},
		{image.NewGray16(r), &image.Gray16{}},
		{image.NewAlpha(r), &image.Alpha{}},
		{image.NewAlpha16(r), &image.Alpha16{}},
		{image.NewNRGBA(r), &image.NRGBA{}},
		{image.NewNRGBA64(r), &image.NRGBA64{}},
		{image.NewRGBA(r), &image.NRGBA{}},
		{image.NewRGBA64(r), &image.NRGBA64{}},
		{image.NewYCbCr(r, image.YCbCrSubsampleRatio420), &image.NRGBA{}},
		{image.NewCMYK(r), &image.NRGBA{}},
		{image.NewPaletted(r, color.Palette{color.Black}), &image.NRGBA{}},
	} {
		got := Resize(c.in, 18, 3, Bicubic)
		require.IsType(t, c.want, got)
		require.Equal(t, image.Rect(0, 0, 18, 3), got.Bounds())
	}
	require.Equal(t, image.Rect(0, 0, 2, 2), Resize(&image.Gray{}, 2, 2, Bicubic).Bounds())
}

// A picture within a larger one has its stride and not its bounds.
func TestResizeSubImage(t *testing.T) {
	big := image.NewNRGBA(image.Rect(0, 0, 20, 20))
	for i := range big.Pix {
		big.Pix[i] = byte(i * 7)
	}
	sub := big.SubImage(image.Rect(3, 4, 12, 15)).(*image.NRGBA)
	alone := image.NewNRGBA(image.Rect(0, 0, 9, 11))
	for y := range 11 {
		copy(alone.Pix[y*alone.Stride:][:36], sub.Pix[y*sub.Stride:])
	}
	for _, s := range [][2]int{{9, 11}, {9, 5}, {4, 11}, {20, 30}} {
		got := Resize(sub, s[0], s[1], Lanczos3)
		want := Resize(alone, s[0], s[1], Lanczos3)
		require.Equal(t, want.Bounds(), got.Bounds())
		for y := range s[1] {
			for x := range s[0] {
				require.Equal(t, want.At(x, y), got.At(x, y))
			}
		}
	}
}

func BenchmarkResize(b *testing.B) {
	src := image.NewNRGBA(image.Rect(0, 0, 4000, 3000))
	for i := range src.Pix {
		src.Pix[i] = byte(i * 31)
	}
	for _, s := range [][2]int{{1024, 768}, {6000, 4500}} {
		for _, f := range []Filter{Bicubic, Lanczos3} {
			b.Run(fmt.Sprintf("4000x3000to%dx%d/%d", s[0], s[1], f), func(b *testing.B) {
				for b.Loop() {
					Resize(src, s[0], s[1], f)
				}
			})
		}
	}
}
