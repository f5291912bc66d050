package photo

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func odd(name string) string { return filepath.Join("testdata", "odd", name) }

// The awkward files, and what a good program makes of them.
func TestReadOdd(t *testing.T) {
	for _, c := range []struct {
		file   string
		w, h   int
		image  image.Image // of this type
		alpha  bool
		format Format
		icc    bool     // the result is marked with a profile
		notice []string // parts of the notices, in order
	}{
		{file: "exif_orientation6_gps.jpg", w: 384, h: 256, image: &image.NRGBA{}, format: JPEG, notice: []string{"GPS"}},
		{file: "progressive.jpg", w: 384, h: 256, image: &image.NRGBA{}, format: JPEG},
		{file: "cmyk.jpg", w: 384, h: 256, image: &image.NRGBA{}, format: JPEG, notice: []string{"CMYK"}},
		{file: "grey.jpg", w: 256, h: 304, image: &image.Gray{}, format: JPEG},
		{file: "jpeg_named.png", w: 384, h: 256, image: &image.NRGBA{}, format: JPEG},
		{file: "icc_p3.png", w: 384, h: 256, image: &image.NRGBA{}, format: PNG, icc: true, notice: []string{"converted from"}},
		{file: "icc_adobe_like.jpg", w: 384, h: 256, image: &image.NRGBA{}, format: JPEG, icc: true, notice: []string{"converted from"}},
		{file: "rgb16.png", w: 384, h: 256, image: &image.NRGBA64{}, format: PNG},
		{file: "grey16.png", w: 384, h: 256, image: &image.Gray16{}, format: PNG},
		{file: "rgb16.tif", w: 384, h: 256, image: &image.NRGBA64{}, format: TIFF},
		{file: "rgb8.tif", w: 384, h: 256, image: &image.NRGBA{}, format: TIFF},
		{file: "alpha.png", w: 320, h: 320, image: &image.NRGBA{}, alpha: true, format: PNG},
		{file: "palette_transparent.png", w: 320, h: 320, image: &image.NRGBA{}, alpha: true, format: PNG},
		{file: "lossless_alpha.webp", w: 320, h: 320, image: &image.NRGBA{}, alpha: true, format: WebP},
		{file: "lossy.webp", w: 384, h: 256, image: &image.NRGBA{}, format: WebP},
		{file: "animated.gif", w: 160, h: 120, image: &image.NRGBA{}, format: GIF, notice: []string{"first frame"}},
		{file: "one_pixel.png", w: 1, h: 1, image: &image.NRGBA{}, format: PNG},
		{file: "strip_3x4000.png", w: 3, h: 4000, image: &image.NRGBA{}, format: PNG},
	} {
		t.Run(c.file, func(t *testing.T) {
			p, err := Read(odd(c.file), ReadOptions{})
			require.NoError(t, err)
			require.IsType(t, c.image, p.Image)
			require.Equal(t, image.Rect(0, 0, c.w, c.h), p.Image.Bounds())
			require.Equal(t, c.alpha, p.Alpha != nil)
			if c.alpha {
				require.Equal(t, p.Image.Bounds(), p.Alpha.Bounds())
			}
			_, grey := c.image.(*image.Gray)
			_, grey16 := c.image.(*image.Gray16)
			m := p.Meta
			require.Equal(t, odd(c.file), m.Name)
			require.Equal(t, c.format, m.Format)
			require.Equal(t, [2]int{c.w, c.h}, [2]int{m.Width, m.Height})
			require.Equal(t, grey || grey16, m.Grey)
			require.Equal(t, depthOf(c.image), m.Depth)
			require.Equal(t, c.alpha, m.HasAlpha)
			require.Equal(t, c.icc, m.ICC != nil)
			require.Len(t, m.Notices, len(c.notice), "%q", m.Notices)
			for i, n := range c.notice {
				require.Contains(t, m.Notices[i], n)
			}
			if n, ok := p.Image.(*image.NRGBA); ok {
				require.True(t, n.Opaque())
			}

			// The header tells the same.
			head, err := ReadMeta(odd(c.file), ReadOptions{})
			require.NoError(t, err)
			require.Equal(t, m, head)
		})
	}
}

func TestReadOddRefused(t *testing.T) {
	for _, c := range []struct {
		file string
		kind error
		text string
	}{
		{"truncated.jpg", ErrCorrupt, "ends too early"},
		{"bomb_100000x100000.png", ErrTooLarge, "100000x100000 pixels"},
		{"text.jpg", ErrNotImage, "text"},
		{"zero_bytes.png", ErrNotImage, "empty"},
	} {
		t.Run(c.file, func(t *testing.T) {
			p, err := Read(odd(c.file), ReadOptions{})
			require.Nil(t, p)
			require.ErrorIs(t, err, c.kind)
			require.ErrorContains(t, err, c.file)
			require.ErrorContains(t, err, c.text)
		})
	}
	var large *TooLargeError
	_, err := Read(odd("bomb_100000x100000.png"), ReadOptions{})
	require.ErrorAs(t, err, &large)
	require.Equal(t, TooLargeError{100000, 100000, defaultMaxPixels}, *large)
	var corrupt *CorruptError
	_, err = Read(odd("truncated.jpg"), ReadOptions{})
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, JPEG, corrupt.Format)
}

// A large size in a header costs no memory, within the limit or not: the file
// is too short to hold such a picture.
func TestReadBombTakesNoMemory(t *testing.T) {
	data, err := os.ReadFile(odd("bomb_100000x100000.png"))
	require.NoError(t, err)
	for _, limit := range []int64{0, 1e11} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err = Decode(bytes.NewReader(data), ReadOptions{MaxPixels: limit})
		runtime.ReadMemStats(&after)
		require.Error(t, err)
		require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20))
	}
}

func TestReadLimits(t *testing.T) {
	file := odd("one_pixel.png")
	_, err := Read(file, ReadOptions{MaxPixels: 1, MaxBytes: 69})
	require.NoError(t, err)
	_, err = Read(file, ReadOptions{MaxBytes: 68})
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, "68 bytes")
	_, err = Read(file, ReadOptions{MaxBytes: 1<<63 - 1, MaxPixels: 1<<63 - 1})
	require.NoError(t, err)
	_, err = Read(odd("strip_3x4000.png"), ReadOptions{MaxPixels: 11999})
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = Read(odd("strip_3x4000.png"), ReadOptions{MaxPixels: 12000})
	require.NoError(t, err)
	_, err = Read(file, ReadOptions{MaxPixels: -1})
	require.ErrorContains(t, err, "negative")
	_, err = Read("nowhere.png", ReadOptions{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "nowhere.png")
	_, err = Read("testdata", ReadOptions{})
	require.ErrorIs(t, err, ErrNotImage)
}

// Names travel unharmed.
func TestReadName(t *testing.T) {
	data, err := os.ReadFile(odd("progressive.jpg"))
	require.NoError(t, err)
	const base = "name with spaces, ünïcode 照片.jpg"
	name := filepath.Join(t.TempDir(), base)
	require.NoError(t, os.WriteFile(name, data, 0o666))
	p, err := Read(name, ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, name, p.Meta.Name)
	out := filepath.Join(t.TempDir(), base)
	require.NoError(t, Write(out, p, WriteOptions{}))
	_, err = os.Stat(out)
	require.NoError(t, err)
	err = Write(out, p, WriteOptions{})
	require.ErrorContains(t, err, base)
	require.NoError(t, os.WriteFile(name, data[:len(data)/2], 0o666))
	_, err = Read(name, ReadOptions{})
	require.ErrorContains(t, err, base)
}

// meanDifference compares two pictures' pixels: the mean of their distance
// and of b less a, in levels of 8 bits.
func meanDifference(t *testing.T, a, b image.Image) (distance, bias [3]float64) {
	t.Helper()
	r := a.Bounds()
	require.Equal(t, r, b.Bounds())
	for y := range r.Max.Y {
		for x := range r.Max.X {
			p := color.NRGBAModel.Convert(a.At(x, y)).(color.NRGBA)
			q := color.NRGBAModel.Convert(b.At(x, y)).(color.NRGBA)
			for c, d := range [3]int{int(q.R) - int(p.R), int(q.G) - int(p.G), int(q.B) - int(p.B)} {
				distance[c] += float64(abs(d)) / float64(r.Dx()*r.Dy())
				bias[c] += float64(d) / float64(r.Dx()*r.Dy())
			}
		}
	}
	return distance, bias
}

// Some of the awkward files hold one photograph, coded in various ways. Read
// rightly, they look alike.
func TestReadSamePicture(t *testing.T) {
	read := func(file string, o ReadOptions) image.Image {
		p, err := Read(odd(file), o)
		require.NoError(t, err)
		return p.Image
	}
	for _, c := range []struct {
		a, b           string
		distance, bias float64 // at most, per channel, in levels
	}{
		{"rgb16.tif", "rgb16.png", 0, 0},
		// Lossy coding costs fur some detail, but must not change its mean.
		{"rgb8.tif", "exif_orientation6_gps.jpg", 6, 0.2},
		{"rgb8.tif", "lossy.webp", 6, 0.6}, // 4 if taken for full range
		{"icc_p3.png", "icc_adobe_like.jpg", 4, 0.2},
		{"icc_p3.png", "cmyk.jpg", 4, 0.2},
	} {
		distance, bias := meanDifference(t, read(c.a, ReadOptions{}), read(c.b, ReadOptions{}))
		for ch := range 3 {
			require.LessOrEqual(t, distance[ch], c.distance, "%s %s: %v", c.a, c.b, distance)
			require.LessOrEqual(t, math.Abs(bias[ch]), c.bias, "%s %s: %v", c.a, c.b, bias)
		}
	}

	// With the profile kept, the pixels are those of the file, duller.
	p, err := Read(odd("icc_p3.png"), ReadOptions{KeepProfile: true})
	require.NoError(t, err)
	require.Equal(t, "P3 D65, sRGB curve (test)", profileName(p.Meta.ICC))
	require.Empty(t, p.Meta.Notices)
	distance, _ := meanDifference(t, p.Image, read("icc_p3.png", ReadOptions{}))
	require.InDelta(t, 3, (distance[0]+distance[1]+distance[2])/3, 1)
}

// A JPEG file cut anywhere is refused, or read with a notice.
func TestReadJPEGCut(t *testing.T) {
	for _, file := range []string{"grey.jpg", "progressive.jpg"} {
		data, err := os.ReadFile(odd(file))
		require.NoError(t, err)
		for n := 3; n < len(data); n += 397 {
			p, err := Decode(bytes.NewReader(data[:n]), ReadOptions{})
			if err != nil {
				require.ErrorIs(t, err, ErrCorrupt, n)
				continue
			}
			require.NotEmpty(t, p.Meta.Notices, n)
		}
		p, err := Decode(bytes.NewReader(data[:len(data)-2]), ReadOptions{})
		require.NoError(t, err)
		require.Contains(t, p.Meta.Notices[0], "end marker")
	}
}

func TestSniff(t *testing.T) {
	for _, c := range []struct{ head, text string }{
		{"\x00\x00\x00\x18ftypheic", "HEIF"},
		{"\x00\x00\x00\x18ftypavif", "AVIF"},
		{"II*\x00\x10\x00\x00\x00CR\x02\x00", "raw camera"},
		{"FUJIFILMCCD-RAW 0201", "raw camera"},
		{"II+\x00\x08\x00", "BigTIFF"},
		{"\xff\x0a", "JPEG XL"},
		{"\x00\x00\x00\x0cjP  \r\n", "JPEG 2000"},
		{"8BPS\x00\x01", "Photoshop"},
		{"%PDF-1.4", "PDF"},
	} {
		_, err := Decode(strings.NewReader(c.head), ReadOptions{})
		require.ErrorIs(t, err, ErrUnsupported)
		require.ErrorContains(t, err, c.text)
	}
	for _, head := range []string{"BM is a car? No.\r\nIt is two letters.", "\x00\x01\x02", "GIF", "<svg xmlns="} {
		_, err := Decode(strings.NewReader(head), ReadOptions{})
		require.ErrorIs(t, err, ErrNotImage, head)
		require.False(t, errors.Is(err, ErrCorrupt))
	}
}

// A first frame smaller than the animation lies where it belongs.
func TestReadGIFSmallFrame(t *testing.T) {
	data := []byte("GIF89a\x04\x00\x03\x00\x80\x00\x00" + "\xff\x00\x00\x00\xff\x00" +
		",\x01\x00\x01\x00\x02\x00\x01\x00\x00" + "\x02\x02\x44\x0a\x00;") // two pixels of index 0, 1
	p, err := Decode(bytes.NewReader(data), ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, image.Rect(0, 0, 4, 3), p.Image.Bounds())
	require.Equal(t, color.NRGBA{255, 0, 0, 255}, p.Image.At(1, 1))
	for y := range 3 {
		for x := range 4 {
			visible := y == 1 && (x == 1 || x == 2)
			require.Equal(t, visible, p.Alpha.At(x, y).(color.Alpha).A == 255)
		}
	}
	require.Empty(t, p.Meta.Notices)
}

// What a PNG file says besides pixels that it would be wrong to pass over.
func TestReadPNGChunks(t *testing.T) {
	var plain bytes.Buffer
	require.NoError(t, png.Encode(&plain, image.NewNRGBA(image.Rect(0, 0, 2, 2))))
	with := func(kind, data string) *bytes.Reader {
		b := bytes.Clone(plain.Bytes()[:33])
		b = appendChunk(b, kind, []byte(data))
		return bytes.NewReader(append(b, plain.Bytes()[33:]...))
	}
	p, err := Decode(with("acTL", "\x00\x00\x00\x02\x00\x00\x00\x00"), ReadOptions{})
	require.NoError(t, err)
	require.Contains(t, p.Meta.Notices[0], "first frame")
	p, err = Decode(with("cICP", "\x0c\x0d\x00\x01"), ReadOptions{})
	require.NoError(t, err)
	require.Contains(t, p.Meta.Notices[0], "converted from Display P3")
	p, err = Decode(with("cICP", "\x01\x0d\x00\x01"), ReadOptions{})
	require.NoError(t, err)
	require.Empty(t, p.Meta.Notices)
	p, err = Decode(with("cICP", "\x09\x10\x00\x01"), ReadOptions{})
	require.NoError(t, err)
	require.Contains(t, p.Meta.Notices[0], "not supported")
	p, err = Decode(with("iCCP", "name\x00\x00rubbish"), ReadOptions{})
	require.NoError(t, err)
	require.Contains(t, p.Meta.Notices[0], "damaged")
	p, err = Decode(with("eXIf", "rubbish"), ReadOptions{})
	require.NoError(t, err)
	require.Nil(t, p.Meta.EXIF)
	require.Contains(t, p.Meta.Notices[0], "damaged")
}
