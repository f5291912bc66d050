package photo

import (
	"bytes"
	"errors"
	"image"
	"image/color"
	"image/jpeg"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// samplePhotos are photos of each kind, w x h.
func samplePhotos(w, h int) map[string]*Photo {
	r := image.Rect(0, 0, w, h)
	rgb := image.NewNRGBA(r)
	alpha := image.NewAlpha(r)
	for y := range h {
		for x := range w {
			// A smooth picture, which JPEG keeps well.
			rgb.SetNRGBA(x, y, color.NRGBA{byte(255 * x / w), byte(255 * y / h), byte(255 - 255*x/w), 255})
			alpha.SetAlpha(x, y, color.Alpha{byte(255 * y / h)})
		}
	}
	grey := toGrey(rgb)
	fine := toDepth(rgb, 16).(*image.NRGBA64)
	fineGrey := toDepth(grey, 16).(*image.Gray16)
	for i := 1; i < len(fine.Pix); i += 2 { // low bytes
		if i%8 != 7 {
			fine.Pix[i] ^= byte(i)
		}
	}
	for i := 1; i < len(fineGrey.Pix); i += 2 {
		fineGrey.Pix[i] ^= byte(i)
	}
	return map[string]*Photo{
		"rgb8":        {Image: rgb, Meta: Meta{Depth: 8}},
		"rgb16":       {Image: fine, Meta: Meta{Depth: 16}},
		"grey8":       {Image: grey, Meta: Meta{Depth: 8, Grey: true}},
		"grey16":      {Image: fineGrey, Meta: Meta{Depth: 16, Grey: true}},
		"rgb8alpha":   {Image: rgb, Alpha: alpha, Meta: Meta{Depth: 8}},
		"rgb16alpha":  {Image: fine, Alpha: toDepth(alpha, 16), Meta: Meta{Depth: 16}},
		"grey8alpha":  {Image: grey, Alpha: alpha, Meta: Meta{Depth: 8, Grey: true}},
		"grey16alpha": {Image: fineGrey, Alpha: toDepth(alpha, 16), Meta: Meta{Depth: 16, Grey: true}},
	}
}

// What is written reads back: exactly from PNG and TIFF, nearly from JPEG.
func TestWriteReadsBack(t *testing.T) {
	for _, size := range [][2]int{{37, 29}, {1, 1}, {3, 700}, {700, 1}} {
		for kind, p := range samplePhotos(size[0], size[1]) {
			for _, f := range []Format{PNG, TIFF, JPEG} {
				var buf bytes.Buffer
				require.NoError(t, Encode(&buf, p, WriteOptions{Format: f}))
				got, err := Decode(&buf, ReadOptions{})
				require.NoError(t, err, "%s %s", kind, f)
				require.Equal(t, f, got.Meta.Format)
				require.Empty(t, got.Meta.Notices)
				if f == JPEG {
					require.Equal(t, 8, got.Meta.Depth)
					require.Nil(t, got.Alpha)
					require.Equal(t, p.Meta.Grey, got.Meta.Grey)
					want := toDepth(p.Image, 8)
					if p.Alpha != nil {
						want = onWhite(want, p.Alpha)
					}
					distance, bias := meanDifference(t, want, got.Image)
					for c := range 3 {
						require.Less(t, distance[c], 2.5, "%s %v", kind, size)
						require.InDelta(t, 0, bias[c], 1, "%s %v", kind, size)
					}
					continue
				}
				require.Equal(t, p.Meta.Depth, got.Meta.Depth)
				require.Equal(t, p.Meta.Grey && p.Alpha == nil, got.Meta.Grey)
				if p.Alpha != nil {
					require.Equal(t, pixOf(p.Alpha), pixOf(got.Alpha), "%s %s", kind, f)
				}
				for y := range size[1] {
					for x := range size[0] {
						if p.Alpha != nil {
							if _, _, _, a := p.Alpha.At(x, y).RGBA(); a == 0 {
								continue
							}
						}
						r1, g1, b1, _ := p.Image.At(x, y).RGBA()
						r2, g2, b2, _ := got.Image.At(x, y).RGBA()
						require.Equal(t, [3]uint32{r1, g1, b1}, [3]uint32{r2, g2, b2}, "%s %s %d,%d", kind, f, x, y)
					}
				}
			}
		}
	}
}

// Metadata comes out of every format as it went in, but for the pixel size.
func TestWriteMetadata(t *testing.T) {
	xmp, ok := cleanXMP([]byte(xmpPacket), false)
	require.True(t, ok)
	for _, bo := range byteOrders {
		exif, _, ok := cleanEXIF(sampleEXIF(bo), true)
		require.True(t, ok)
		for _, kind := range []string{"rgb8", "rgb16alpha", "grey8", "grey16"} {
			p := samplePhotos(20, 10)[kind]
			p.Meta.EXIF, p.Meta.XMP = exif, xmp
			p.Meta.ICC = makeProfile(strings.Repeat("long ", 20000), &displayXYZ, srgbCurve())
			if p.Meta.Grey {
				p.Meta.ICC = makeProfile("linear", nil, []byte("curv\x00\x00\x00\x00\x00\x00\x00\x00"))
			}
			for _, f := range []Format{JPEG, PNG, TIFF} {
				var buf bytes.Buffer
				require.NoError(t, Encode(&buf, p, WriteOptions{Format: f}))
				data := bytes.Clone(buf.Bytes())
				got, err := Decode(&buf, ReadOptions{KeepGPS: true, KeepProfile: true})
				require.NoError(t, err)
				require.Empty(t, got.Meta.Notices, "%s %s", kind, f)
				require.Equal(t, image.Rect(0, 0, 20, 10), got.Image.Bounds()) // not turned
				require.Equal(t, string(xmp), string(got.Meta.XMP))
				require.Equal(t, p.Meta.ICC, got.Meta.ICC)
				want, ok := readEXIFTags(withPixelSize(exif, 20, 10))
				require.True(t, ok)
				tags, ok := readEXIFTags(got.Meta.EXIF)
				require.True(t, ok)
				if f == TIFF { // has to have some resolution
					kept := tags.main[:0]
					for _, m := range tags.main {
						if m.id != tagXResolution && m.id != tagYResolution && m.id != tagResolutionUnit {
							kept = append(kept, m)
						}
					}
					tags.main = kept
				}
				require.Equal(t, want, tags, "%s %s", kind, f)

				got, err = Decode(bytes.NewReader(data), ReadOptions{KeepProfile: true})
				require.NoError(t, err)
				require.Equal(t, []string{"the position (GPS) is not carried"}, got.Meta.Notices)
				tags, ok = readEXIFTags(got.Meta.EXIF)
				require.True(t, ok)
				require.Empty(t, tags.gps)
			}
		}
	}
}

func TestWriteJPEGFullColour(t *testing.T) {
	// Lines one pixel wide, of equal luma: half the resolution would blend them.
	m := image.NewNRGBA(image.Rect(0, 0, 32, 32))
	for i := 0; i < len(m.Pix); i += 4 {
		copy(m.Pix[i:], []byte{200, 60, 60, 255})
		if i/4%2 == 0 {
			copy(m.Pix[i:], []byte{20, 140, 160, 255})
		}
	}
	p := &Photo{Image: m}
	var fine, coarse, best bytes.Buffer
	require.NoError(t, Encode(&fine, p, WriteOptions{Format: JPEG}))
	require.NoError(t, Encode(&coarse, p, WriteOptions{Format: JPEG, Quality: 10}))
	require.NoError(t, Encode(&best, p, WriteOptions{Format: JPEG, Quality: 100}))
	require.Greater(t, fine.Len(), coarse.Len())
	require.Greater(t, best.Len(), fine.Len())
	got, err := jpeg.Decode(&fine)
	require.NoError(t, err)
	require.Equal(t, image.YCbCrSubsampleRatio444, got.(*image.YCbCr).SubsampleRatio)
	distance, _ := meanDifference(t, m, got)
	for _, d := range distance {
		require.Less(t, d, 8.0)
	}
}

func TestWriteOptions(t *testing.T) {
	p := samplePhotos(4, 4)["rgb8"]
	for _, q := range []int{-1, 101} {
		require.ErrorContains(t, Encode(io.Discard, p, WriteOptions{Format: JPEG, Quality: q}), "quality")
	}
	require.ErrorIs(t, Encode(io.Discard, p, WriteOptions{Format: WebP}), ErrUnsupported)
	require.ErrorIs(t, Encode(io.Discard, p, WriteOptions{}), ErrUnsupported)
	require.ErrorContains(t, Encode(io.Discard, &Photo{}, WriteOptions{Format: PNG}), "without pixels")
	require.ErrorContains(t, Encode(io.Discard, &Photo{Image: p.Image, Alpha: p.Image}, WriteOptions{Format: PNG}), "alpha")
	require.ErrorContains(t, Encode(io.Discard, &Photo{Image: p.Image, Alpha: image.NewAlpha(image.Rect(0, 0, 1, 1))}, WriteOptions{Format: PNG}), "alpha")
	long := &Photo{Image: image.NewGray(image.Rect(0, 0, 70000, 1))}
	require.ErrorIs(t, Encode(io.Discard, long, WriteOptions{Format: JPEG}), ErrUnsupported)
	require.NoError(t, Encode(io.Discard, long, WriteOptions{Format: TIFF}))
	// Any picture may be put in a photo, not only what Read gives.
	require.NoError(t, Encode(io.Discard, &Photo{Image: image.NewYCbCr(image.Rect(2, 2, 9, 9), image.YCbCrSubsampleRatio420)}, WriteOptions{Format: TIFF}))

	for name, want := range map[string]Format{"a.JPG": JPEG, "b.x.jpeg": JPEG, "c.Tif": TIFF, "d.tiff": TIFF, "e.PNG": PNG} {
		f, err := OutputFormat(name)
		require.NoError(t, err)
		require.Equal(t, want, f)
	}
	for _, name := range []string{"a", "a.webp", "a.gif", ".", ""} {
		_, err := OutputFormat(name)
		require.ErrorIs(t, err, ErrUnsupported)
	}
}

// onlyFile requires that a folder holds these files and nothing else.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	got := []string{}
	for _, e := range entries {
		got = append(got, e.Name())
	}
	require.ElementsMatch(t, names, got)
}

func TestWriteOverwrite(t *testing.T) {
	dir := t.TempDir()
	p := samplePhotos(4, 4)["rgb8"]
	out := filepath.Join(dir, "out.png")
	require.NoError(t, Write(out, p, WriteOptions{}))
	first, err := os.ReadFile(out)
	require.NoError(t, err)
	p2 := samplePhotos(8, 8)["grey8"]
	err = Write(out, p2, WriteOptions{})
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "out.png")
	same, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, first, same)

	require.NoError(t, os.Chmod(out, 0o600))
	require.NoError(t, Write(out, p2, WriteOptions{Overwrite: true}))
	got, err := Read(out, ReadOptions{})
	require.NoError(t, err)
	require.Equal(t, 8, got.Meta.Width)
	info, err := os.Stat(out)
	require.NoError(t, err)
	require.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	onlyFiles(t, dir, "out.png")

	// A link that leads nowhere is something that exists, too.
	link := filepath.Join(dir, "link.png")
	require.NoError(t, os.Symlink("nowhere.png", link))
	require.ErrorIs(t, Write(link, p, WriteOptions{}), fs.ErrExist)
	require.NoError(t, Write(link, p, WriteOptions{Overwrite: true}))
	onlyFiles(t, dir, "out.png", "link.png")

	require.ErrorContains(t, Write(dir, p, WriteOptions{Format: PNG, Overwrite: true}), "folder")
}

// Someone else writes the file between the check and the renaming.
func TestPublishRace(t *testing.T) {
	dir := t.TempDir()
	tmp, out := filepath.Join(dir, "tmp"), filepath.Join(dir, "out.png")
	require.NoError(t, os.WriteFile(tmp, []byte("new"), 0o666))
	require.NoError(t, os.WriteFile(out, []byte("old"), 0o666))
	require.ErrorIs(t, publish(tmp, out, false), fs.ErrExist)
	data, err := os.ReadFile(out)
	require.NoError(t, err)
	require.Equal(t, "old", string(data))
}

func TestWriteNeverReplacesInput(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.png")
	data, err := os.ReadFile(odd("one_pixel.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(in, data, 0o666))
	p, err := Read(in, ReadOptions{})
	require.NoError(t, err)
	require.NoError(t, os.Symlink("in.png", filepath.Join(dir, "symlink.png")))
	require.NoError(t, os.Link(in, filepath.Join(dir, "hardlink.png")))
	require.NoError(t, os.Symlink(".", filepath.Join(dir, "sub")))
	for _, name := range []string{"in.png", "symlink.png", "hardlink.png", "./in.png", "sub/in.png"} {
		for _, overwrite := range []bool{false, true} {
			err := Write(dir+"/"+name, p, WriteOptions{Overwrite: overwrite})
			require.ErrorIs(t, err, ErrIsInput, name)
			require.ErrorContains(t, err, name)
		}
	}
	// Read through a link, written to what it leads to.
	q, err := Read(filepath.Join(dir, "symlink.png"), ReadOptions{})
	require.NoError(t, err)
	require.ErrorIs(t, Write(in, q.With(q.Image), WriteOptions{Overwrite: true}), ErrIsInput)
	// A name in capitals is the input where file systems think so.
	upper := filepath.Join(dir, "IN.PNG")
	if _, err := os.Stat(upper); err == nil {
		require.ErrorIs(t, Write(upper, p, WriteOptions{Overwrite: true}), ErrIsInput)
	}
	other := filepath.Join(dir, "other.png")
	require.NoError(t, os.WriteFile(other, data, 0o666))
	require.ErrorIs(t, Write(other, p, WriteOptions{Overwrite: true, Protect: []string{other}}), ErrIsInput)

	same, err := os.ReadFile(in)
	require.NoError(t, err)
	require.Equal(t, data, same)
	onlyFiles(t, dir, "in.png", "symlink.png", "hardlink.png", "sub", "other.png")
}

func TestWriteFailuresLeaveNothing(t *testing.T) {
	dir := t.TempDir()
	p := samplePhotos(4, 4)["rgb8"]
	err := Write(filepath.Join(dir, "missing", "out.png"), p, WriteOptions{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "cannot write in the folder")
	require.ErrorContains(t, err, "out.png")
	require.NotContains(t, err.Error(), ".tmp")

	require.Error(t, Write(filepath.Join(dir, "out.png"), &Photo{}, WriteOptions{}))
	require.Error(t, Write(filepath.Join(dir, "out.jpg"), p, WriteOptions{Quality: 1000}))
	require.ErrorIs(t, Write(filepath.Join(dir, "out.webp"), p, WriteOptions{}), ErrUnsupported)
	onlyFiles(t, dir)

	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	require.Error(t, Write(filepath.Join(dir, "file", "out.png"), p, WriteOptions{}))
	onlyFiles(t, dir, "file")
	if os.Geteuid() > 0 { // permissions do not stop the superuser
		require.NoError(t, os.Chmod(dir, 0o555))
		err := Write(filepath.Join(dir, "out.png"), p, WriteOptions{})
		require.ErrorIs(t, err, fs.ErrPermission)
		require.NoError(t, os.Chmod(dir, 0o755))
	}
}

// An error of the writer, a full disk, comes through from every format.
func TestEncodeWriteError(t *testing.T) {
	for _, f := range []Format{JPEG, PNG, TIFF} {
		p := samplePhotos(90, 90)["rgb16"]
		p.Meta.ICC = srgbProfile(false)
		var whole bytes.Buffer
		require.NoError(t, Encode(&whole, p, WriteOptions{Format: f}))
		for n := 0; n < whole.Len(); n += 1 + whole.Len()/20 {
			err := Encode(&fullDisk{n}, p, WriteOptions{Format: f})
			require.ErrorIs(t, err, errFull, "%s after %d bytes", f, n)
		}
	}
}

var errFull = errors.New("full")

type fullDisk struct{ left int }

func (d *fullDisk) Write(b []byte) (int, error) {
	if len(b) > d.left {
		n := d.left
		d.left = 0
		return n, errFull
	}
	d.left -= len(b)
	return len(b), nil
}

// TIFF requires a resolution, and no tag twice.
func TestWriteTIFFResolution(t *testing.T) {
	for _, ids := range [][]uint16{nil, {tagXResolution}, {tagYResolution, tagResolutionUnit}, {tagXResolution, tagYResolution, tagResolutionUnit}} {
		e := exifTags{bo: byteOrders[0], main: []tag{{271, typeASCII, 4, []byte("Cam\x00")}}}
		for _, id := range ids {
			e.main = append(e.main, tag{id, typeRational, 1, []byte{44, 1, 0, 0, 1, 0, 0, 0}})
		}
		p := samplePhotos(2, 2)["rgb8"]
		p.Meta.EXIF = e.appendTo(newHeader(e.bo, 8), 8, nil)
		var buf bytes.Buffer
		require.NoError(t, Encode(&buf, p, WriteOptions{Format: TIFF}))
		got, err := Decode(&buf, ReadOptions{})
		require.NoError(t, err)
		tags, ok := readEXIFTags(got.Meta.EXIF)
		require.True(t, ok)
		require.Len(t, tags.main, 4)
	}
}
