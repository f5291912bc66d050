package photo

import (
	"bytes"
	"encoding/binary"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// sampleEXIF returns EXIF data with all that matters here, as a camera might
// have written it: orientation 6, a position, a thumbnail, a maker's note.
func sampleEXIF(bo byteOrder) []byte {
	rational := func(v ...uint32) (b []byte) {
		for _, n := range v {
			b = bo.AppendUint32(b, n)
		}
		return b
	}
	e := exifTags{
		bo: bo,
		main: []tag{
			{271, typeASCII, 8, []byte("TestCam\x00")},
			{33432, typeASCII, 3, []byte("me\x00")},
			numberTag(bo, tagOrientation, 6),
			{tagXMP, typeByte, 12, []byte("GPSLatitude!")},
		},
		exif: []tag{
			numberTag(bo, tagColorSpace, 0xffff),
			numberTag(bo, tagPixelWidth, 640),
			numberTag(bo, tagPixelHeight, 480),
			{37500, typeUndefined, 9, []byte("makernote")},
		},
		interop: []tag{{tagInteropIndex, typeASCII, 4, []byte("R03\x00")}},
		gps: []tag{
			{1, typeASCII, 2, []byte("N\x00")},
			{2, typeRational, 3, rational(51, 1, 28, 1, 4040, 100)},
		},
	}
	b := e.appendTo(newHeader(bo, 8), 8, nil)
	// A second directory, for the thumbnail, after the first.
	t, first, _ := openTIFF(b)
	_, next, _ := t.directory(first)
	thumbs := len(b)
	bo.PutUint32(b[next:], uint32(thumbs))
	thumb := []byte("\xff\xd8thumbnail\xff\xd9")
	b = appendDirectory(b, bo, uint32(thumbs), []tag{
		offsetTag(bo, tagThumbnail, uint32(thumbs+2+2*12+4)),
		offsetTag(bo, tagThumbnailLength, uint32(len(thumb))),
	})
	return append(b, thumb...)
}

var byteOrders = []byteOrder{binary.LittleEndian, binary.BigEndian}

func TestCleanEXIF(t *testing.T) {
	for _, bo := range byteOrders {
		in := sampleEXIF(bo)
		kept := bytes.Clone(in)
		clean, facts, ok := cleanEXIF(in, false)
		require.True(t, ok)
		require.Equal(t, kept, in, "the input is changed")
		require.Equal(t, exifFacts{orientation: 6, hadGPS: true, adobeRGB: true}, facts)
		require.NotContains(t, string(clean), "thumbnail")
		require.NotContains(t, string(clean), "GPSL")
		require.NotContains(t, string(clean), string(bo.AppendUint32(nil, 4040)), "the position is still there")
		require.Contains(t, string(clean), "TestCam")
		require.Equal(t, bytes.Index(in, []byte("makernote")), bytes.Index(clean, []byte("makernote")), "the maker's note moved")

		_, facts, ok = cleanEXIF(clean, false)
		require.True(t, ok)
		require.Equal(t, exifFacts{orientation: 1, adobeRGB: true}, facts)
		tags, ok := readEXIFTags(clean)
		require.True(t, ok)
		require.Len(t, tags.main, 2)
		require.Len(t, tags.exif, 4)
		require.Empty(t, tags.gps)

		clean, facts, ok = cleanEXIF(in, true)
		require.True(t, ok)
		require.Equal(t, 6, facts.orientation)
		tags, _ = readEXIFTags(clean)
		require.Len(t, tags.gps, 2)
		require.NotContains(t, string(clean), "thumbnail")
	}
}

// The awkward file's position, in Greenwich, is gone to the last byte.
func TestReadDropsGPS(t *testing.T) {
	p, err := Read(odd("exif_orientation6_gps.jpg"), ReadOptions{KeepGPS: true})
	require.NoError(t, err)
	require.Empty(t, p.Meta.Notices)
	with, ok := readEXIFTags(p.Meta.EXIF)
	require.True(t, ok)
	require.NotEmpty(t, with.gps)

	p, err = Read(odd("exif_orientation6_gps.jpg"), ReadOptions{})
	require.NoError(t, err)
	without, ok := readEXIFTags(p.Meta.EXIF)
	require.True(t, ok)
	require.Empty(t, without.gps)
	require.Equal(t, with.main, without.main)
	for _, g := range with.gps {
		if len(g.val) > 4 {
			require.NotContains(t, string(p.Meta.EXIF), string(g.val))
		}
	}
}

func TestEditEXIF(t *testing.T) {
	for _, bo := range byteOrders {
		in := sampleEXIF(bo)
		out := withPixelSize(withColorSpace(in), 100000, 3)
		td, first, ok := openTIFF(out)
		require.True(t, ok)
		main, _, _ := td.directory(first)
		exif, ok := td.subdirectory(main, tagExif)
		require.True(t, ok)
		for id, want := range map[uint16]uint32{tagPixelWidth: 100000, tagPixelHeight: 3, tagColorSpace: 1} {
			f, ok := find(exif, id)
			require.True(t, ok)
			v, ok := td.number(f, 0)
			require.True(t, ok)
			require.Equal(t, want, v)
		}
		require.False(t, td.isAdobeRGB(exif))
		require.Contains(t, string(out), "R98\x00")
		require.Contains(t, string(in), "R03\x00")
	}
	for _, b := range [][]byte{nil, {}, []byte("II*\x00"), []byte("MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x00")} {
		require.Equal(t, b, withPixelSize(b, 1, 1))
	}
}

// Taken apart and put together elsewhere, EXIF data says the same.
func TestEXIFTagsMove(t *testing.T) {
	for _, bo := range byteOrders {
		in, ok := readEXIFTags(sampleEXIF(bo))
		require.True(t, ok)
		const at = 1000
		moved := in.appendTo(append(newHeader(bo, at), make([]byte, at-8)...), at, nil)
		out, ok := readEXIFTags(moved)
		require.True(t, ok)
		require.Equal(t, in, out)
	}
}

func FuzzEXIF(f *testing.F) {
	for _, bo := range byteOrders {
		f.Add(sampleEXIF(bo))
	}
	data, err := os.ReadFile(odd("exif_orientation6_gps.jpg"))
	require.NoError(f, err)
	for _, seg := range jpegSegments(data) {
		if b, ok := bytes.CutPrefix(seg, []byte(jpegExif)); ok {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		clean, facts, ok := cleanEXIF(b, false)
		require.True(t, facts.orientation >= 1 && facts.orientation <= 8)
		if !ok {
			return
		}
		withPixelSize(withColorSpace(clean), 5, 70000)
		tags, ok := readEXIFTags(clean)
		require.True(t, ok)
		require.Empty(t, tags.gps)
		moved := tags.appendTo(newHeader(tags.bo, 8), 8, nil)
		again, ok := readEXIFTags(moved)
		require.True(t, ok)
		require.Len(t, again.main, len(tags.main))
	})
}
