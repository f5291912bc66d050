package photo

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// seed adds the awkward files to a corpus, cut to at most max bytes, and
// files with metadata of each format that is written.
func seed(f *testing.F, most int) {
	names, err := filepath.Glob(odd("*.*"))
	require.NoError(f, err)
	require.NotEmpty(f, names)
	for _, name := range names {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data[:min(len(data), most)])
	}
	for _, kind := range []string{"rgb8", "grey16", "rgb8alpha"} {
		p := samplePhotos(5, 4)[kind]
		p.Meta.EXIF, p.Meta.XMP, p.Meta.ICC = sampleEXIF(byteOrders[1]), []byte(xmpPacket), adobeProfile()
		for _, format := range []Format{JPEG, PNG, TIFF} {
			var buf bytes.Buffer
			require.NoError(f, Encode(&buf, p, WriteOptions{Format: format}))
			f.Add(buf.Bytes())
		}
	}
}

// FuzzInspect checks what is read before any pixel: no panic, and no picture
// over the limit gets past it.
func FuzzInspect(f *testing.F) {
	seed(f, 4096)
	o, err := ReadOptions{MaxPixels: 1 << 20}.withDefaults()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		format, err := sniff(data)
		if err != nil {
			return
		}
		c, err := inspect(data, format, o)
		if err != nil {
			return
		}
		require.Positive(t, c.width)
		require.Positive(t, c.height)
		require.LessOrEqual(t, int64(c.width)*int64(c.height), o.MaxPixels)
		m := c.meta(o)
		require.True(t, m.Depth == 8 || m.Depth == 16)
	})
}

// FuzzDecode checks that any data gives an error or a photo in order, which
// can be written and read again.
func FuzzDecode(f *testing.F) {
	seed(f, 4096)
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(bytes.NewReader(data), ReadOptions{MaxPixels: 1 << 14})
		if err != nil {
			return
		}
		b := p.Image.Bounds()
		require.Equal(t, [2]int{p.Meta.Width, p.Meta.Height}, [2]int{b.Dx(), b.Dy()})
		require.Equal(t, p.Meta.Depth, depthOf(p.Image))
		require.Equal(t, p.Meta.Grey, isGrey(p.Image))
		if p.Alpha != nil {
			require.Equal(t, b, p.Alpha.Bounds())
		}
		q := p.With(Resize(p.Image, 3, 5, Lanczos3))
		for _, format := range []Format{JPEG, PNG, TIFF} {
			var buf bytes.Buffer
			require.NoError(t, Encode(&buf, q, WriteOptions{Format: format}))
			again, err := Decode(&buf, ReadOptions{})
			require.NoError(t, err)
			require.Equal(t, 3, again.Meta.Width)
		}
	})
}
