package photo

import (
	"bytes"
	"encoding/binary"
	"image"
	"io"

	"golang.org/x/image/webp"
)

// readWebP collects what the file's chunks say.
func (c *container) readWebP(data []byte) error {
	animated := false
	riffChunks(data, func(kind string, chunk []byte) {
		switch kind {
		case "VP8X":
			if len(chunk) > 0 {
				c.alpha = chunk[0]&0x10 != 0
				animated = chunk[0]&0x02 != 0
			}
		case "VP8L":
			if len(chunk) >= 5 {
				c.alpha = c.alpha || chunk[4]&0x10 != 0
			}
		case "ICCP":
			c.icc = chunk
		case "EXIF":
			c.exif = bytes.TrimPrefix(chunk, []byte(jpegExif))
		case "XMP ":
			c.xmp = chunk
		}
	})
	if animated {
		return &UnsupportedError{WebP, "animations cannot be read: save the frame you want as a picture first"}
	}
	return nil
}

// riffChunks calls f with the type and content of each chunk.
func riffChunks(data []byte, f func(kind string, chunk []byte)) {
	for pos := 12; pos+8 <= len(data); {
		n := int64(binary.LittleEndian.Uint32(data[pos+4:]))
		if n > int64(len(data)-pos-8) {
			return
		}
		f(string(data[pos:pos+4]), data[pos+8:pos+8+int(n)])
		pos += 8 + int(n+n%2)
	}
}

// decodeWebP decodes a picture, lossy ones to NRGBA.
func decodeWebP(r io.Reader) (image.Image, error) {
	img, err := webp.Decode(r)
	if err != nil {
		return nil, err
	}
	switch m := img.(type) {
	case *image.YCbCr:
		return ycbcrToNRGBA(m, limitedRange), nil
	case *image.NYCbCrA:
		n := ycbcrToNRGBA(&m.YCbCr, limitedRange)
		b := m.Bounds()
		for y := range b.Dy() {
			row := n.Pix[y*n.Stride:]
			for x, a := range m.A[m.AOffset(b.Min.X, b.Min.Y+y):][:b.Dx()] {
				row[4*x+3] = a
			}
		}
		return n, nil
	}
	return img, nil
}
