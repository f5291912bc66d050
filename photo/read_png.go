package photo

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"io"
)

// maxUnpacked is the most bytes that compressed metadata may unpack to.
const maxUnpacked = 16 << 20

// readPNG collects what the file's chunks say.
func (c *container) readPNG(data []byte) error {
	var named bool       // the colour space is, by code points
	var bits, packed int // bits a pixel, bytes of compressed pixels
	for kind, chunk := range pngChunks(data) {
		switch kind {
		case "IHDR":
			if len(chunk) != 13 {
				break
			}
			depth, colourType := int(chunk[8]), chunk[9]
			c.grey = c.grey || colourType == 0 || colourType == 4
			c.alpha = colourType&4 != 0
			if depth == 16 {
				c.depth = 16
			}
			bits = depth * [8]int{1, 0, 3, 1, 2, 0, 4, 0}[colourType&7]
		case "tRNS":
			c.alpha = true
		case "IDAT":
			packed += len(chunk)
		case "eXIf":
			c.exif = bytes.TrimPrefix(chunk, []byte(jpegExif))
		case "iTXt":
			if xmp, ok := pngXMP(chunk); ok {
				c.xmp = xmp
			}
		case "iCCP":
			// Name, 0, method 0, compressed profile.
			if i := bytes.IndexByte(chunk, 0); i >= 0 && i+2 <= len(chunk) && !named {
				icc, err := unpack(chunk[i+2:])
				if err != nil {
					c.notice("the colour profile is damaged and is left out: colours may differ a little")
					break
				}
				c.icc = icc
			}
		case "cICP":
			named = c.readCICP(chunk)
		case "acTL":
			c.notice("the picture is an animation: only its first frame is used")
		}
	}
	// Deflate packs at most 1032:1, so a short file cannot hold a large
	// picture, and no memory need be taken to find out.
	if pixels := int64(c.width) * int64(c.height); pixels/8*int64(bits)/1032 > int64(packed) {
		return &CorruptError{PNG, errors.New("the data is too short for a picture of its size")}
	}
	return nil
}

// pngChunks goes through a PNG file's chunks, giving each one's type and
// content. Checksums are the decoder's business.
func pngChunks(data []byte) func(yield func(kind string, chunk []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for pos := 8; pos+12 <= len(data); {
			n := int64(binary.BigEndian.Uint32(data[pos:]))
			if n > int64(len(data)-pos-12) {
				return
			}
			kind := string(data[pos+4 : pos+8])
			if kind == "IEND" || !yield(kind, data[pos+8:pos+8+int(n)]) {
				return
			}
			pos += 12 + int(n)
		}
	}
}

// readCICP reads coding-independent code points (ITU-T H.273), which count
// for more than a profile. It tells whether it understood them.
func (c *container) readCICP(chunk []byte) bool {
	if len(chunk) != 4 {
		return false
	}
	primaries, transfer := chunk[0], chunk[1]
	srgbCurve := transfer == 13 || transfer == 1 || transfer == 6
	switch {
	case primaries == 1 && srgbCurve:
		c.icc = nil
	case primaries == 12 && srgbCurve:
		c.icc = displayP3Profile()
	default:
		c.notice("the picture is marked with a colour space that is not supported: colours may differ")
		return false
	}
	return true
}

// pngXMP returns the XMP packet if that is what the international text holds.
func pngXMP(chunk []byte) ([]byte, bool) {
	text, ok := bytes.CutPrefix(chunk, []byte("XML:com.adobe.xmp\x00"))
	if !ok || len(text) < 2 {
		return nil, false
	}
	compressed := text[0] != 0
	text = text[2:] // and method
	for range 2 {   // language, translated keyword
		i := bytes.IndexByte(text, 0)
		if i < 0 {
			return nil, false
		}
		text = text[i+1:]
	}
	if compressed {
		unpacked, err := unpack(text)
		return unpacked, err == nil
	}
	return text, true
}

// unpack returns what compressed metadata holds.
func unpack(b []byte) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(r, maxUnpacked+1))
	if err == nil && len(out) > maxUnpacked {
		err = errors.New("too long")
	}
	return out, err
}
