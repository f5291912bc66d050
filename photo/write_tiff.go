package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"image"
	"io"
	"slices"
)

// encodeTIFF writes a photo as strips of rows, each compressed (Deflate, with
// horizontal differences).
//
// golang.org/x/image/tiff would write RGB with a fourth channel, and no
// metadata.
func encodeTIFF(w io.Writer, p *Photo) error {
	img := p.Image
	samples, photometric := 3, uint32(2) // samples written a pixel; 2: RGB
	if p.Alpha != nil {
		img = withAlpha(p.Image, p.Alpha)
		samples = 4
	} else if isGrey(img) {
		samples, photometric = 1, 1 // 1: grey, 0 is black
	}
	b, depth := img.Bounds(), depthOf(img)

	tags := exifTags{bo: binary.LittleEndian}
	if e, ok := readEXIFTags(p.Meta.EXIF); ok {
		tags = e // its values are in its byte order, so the file has to be
	}
	bo := tags.bo

	lineBytes := b.Dx() * samples * depth / 8
	perStrip := max(1, 1<<18/lineBytes) // rows
	strips := make([][]byte, (b.Dy()+perStrip-1)/perStrip)
	rows(len(strips), func(i0, i1 int) {
		line := make([]byte, lineBytes)
		for i := i0; i < i1; i++ {
			var z bytes.Buffer
			zw, err := zlib.NewWriterLevel(&z, 4) // 6, the default, takes four times as long, for 3 % less
			if err != nil {
				panic(err) // there is such a level
			}
			for y := i * perStrip; y < min((i+1)*perStrip, b.Dy()); y++ {
				tiffLine(line, img, y, samples, bo)
				zw.Write(line) // a bytes.Buffer takes all
			}
			zw.Close()
			strips[i] = z.Bytes()
		}
	})

	offsets, counts := make([]uint32, len(strips)), make([]uint32, len(strips))
	at := uint64(8)
	for i, s := range strips {
		offsets[i], counts[i] = uint32(at), uint32(len(s))
		at += uint64(len(s))
	}
	pad := at % 2 // directories start at even offsets
	at += pad
	if at > 1<<32-1<<26 { // metadata takes far less than the rest
		return &UnsupportedError{TIFF, "the picture takes more than 4 GB: use PNG"}
	}

	extra := []tag{
		numberTag(bo, tagWidth, uint32(b.Dx())),
		numberTag(bo, tagHeight, uint32(b.Dy())),
		numberTag(bo, tagBitsPerSample, repeat(uint32(depth), samples)...),
		numberTag(bo, tagCompression, 8), // Deflate
		numberTag(bo, tagPhotometric, photometric),
		numberTag(bo, tagStripOffsets, offsets...),
		numberTag(bo, tagOrientation, 1),
		numberTag(bo, tagSamplesPerPixel, uint32(samples)),
		numberTag(bo, tagRowsPerStrip, uint32(perStrip)),
		numberTag(bo, tagStripByteCounts, counts...),
		numberTag(bo, tagPlanar, 1),    // channels interleaved
		numberTag(bo, tagPredictor, 2), // horizontal differences
	}
	if samples == 4 {
		extra = append(extra, numberTag(bo, tagExtraSamples, 2)) // alpha, not premultiplied
	}
	if p.Meta.XMP != nil {
		extra = append(extra, tag{tagXMP, typeByte, uint32(len(p.Meta.XMP)), p.Meta.XMP})
	}
	if p.Meta.ICC != nil {
		extra = append(extra, tag{tagICC, typeUndefined, uint32(len(p.Meta.ICC)), p.Meta.ICC})
	}
	tags.addResolution()
	directory := tags.appendTo(nil, uint32(at), extra)
	if at+uint64(len(directory)) > 1<<32-1 {
		return errors.New("photo: too much metadata for TIFF")
	}

	if _, err := w.Write(newHeader(bo, uint32(at))); err != nil {
		return err
	}
	for _, s := range append(strips, make([]byte, pad), directory) {
		if _, err := w.Write(s); err != nil {
			return err
		}
	}
	return nil
}

// addResolution makes sure of the resolution that TIFF requires, which is
// none in particular if it is not there or not all of it.
func (e *exifTags) addResolution() {
	isResolution := func(t tag) bool {
		return t.id == tagXResolution || t.id == tagYResolution || t.id == tagResolutionUnit
	}
	n := 0
	for _, t := range e.main {
		if isResolution(t) {
			n++
		}
	}
	if n == 3 {
		return
	}
	e.main = slices.DeleteFunc(e.main, isResolution)
	one := e.bo.AppendUint32(e.bo.AppendUint32(nil, 1), 1)
	e.main = append(e.main, tag{tagXResolution, typeRational, 1, one}, tag{tagYResolution, typeRational, 1, one},
		numberTag(e.bo, tagResolutionUnit, 1))
}

func repeat(v uint32, n int) []uint32 {
	s := make([]uint32, n)
	for i := range s {
		s[i] = v
	}
	return s
}

// isGrey tells whether a [Photo.Image] has one channel.
func isGrey(img image.Image) bool {
	switch img.(type) {
	case *image.Gray, *image.Gray16:
		return true
	}
	return false
}

// tiffLine fills dst with row y of img, samples channels of it, each sample
// less the one to its left.
func tiffLine(dst []byte, img image.Image, y, samples int, bo byteOrder) {
	var pix []byte
	channels := 4 // in pix
	switch m := img.(type) {
	case *image.Gray:
		pix, channels = m.Pix[y*m.Stride:], 1
	case *image.Gray16:
		pix, channels = m.Pix[y*m.Stride:], 1
	case *image.NRGBA:
		pix = m.Pix[y*m.Stride:]
	case *image.NRGBA64:
		pix = m.Pix[y*m.Stride:]
	}
	if depthOf(img) == 8 {
		for x := range len(dst) / samples {
			for c := range samples {
				v := pix[x*channels+c]
				if x > 0 {
					v -= pix[(x-1)*channels+c]
				}
				dst[x*samples+c] = v
			}
		}
		return
	}
	for x := range len(dst) / 2 / samples {
		for c := range samples {
			v := get16(pix[2*(x*channels+c):])
			if x > 0 {
				v -= get16(pix[2*((x-1)*channels+c):])
			}
			bo.PutUint16(dst[2*(x*samples+c):], v)
		}
	}
}
