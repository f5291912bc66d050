package photo

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/jpeg"
	"io"
)

// Headers of the segments that hold metadata.
const (
	jpegExif        = "Exif\x00\x00"
	jpegXMP         = "http://ns.adobe.com/xap/1.0/\x00"
	jpegExtendedXMP = "http://ns.adobe.com/xmp/extension/\x00"
	jpegICC         = "ICC_PROFILE\x00"
	jpegPhotoshop   = "Photoshop 3.0\x00"
)

// readJPEG collects the metadata before the first scan.
func (c *container) readJPEG(data []byte) {
	parts := map[byte][]byte{} // of the profile, by number from 1
	var count byte
	for marker, seg := range jpegSegments(data) {
		has := func(header string) bool { return bytes.HasPrefix(seg, []byte(header)) }
		switch {
		case marker >= 0xc0 && marker <= 0xc2 && len(seg) >= 6 && seg[5] == 4: // frame header
			c.notice("the picture is in printing colours (CMYK): its colours in RGB are approximate")
		case marker == 0xe1 && has(jpegExif) && c.exif == nil:
			c.exif = seg[len(jpegExif):]
		case marker == 0xe1 && has(jpegXMP) && c.xmp == nil:
			c.xmp = seg[len(jpegXMP):]
		case marker == 0xe1 && has(jpegExtendedXMP):
			c.notice("the extended part of the XMP data is not carried")
		case marker == 0xe2 && has(jpegICC) && len(seg) > len(jpegICC)+2:
			n := seg[len(jpegICC)]
			count = seg[len(jpegICC)+1]
			if parts[n] == nil {
				parts[n] = seg[len(jpegICC)+2:]
			}
		case marker == 0xed && has(jpegPhotoshop) && bytes.Contains(seg, []byte("8BIM\x04\x04")):
			c.notice("the IPTC data is not carried")
		}
	}
	if count == 0 {
		return
	}
	var icc []byte
	for n := 1; n <= int(count); n++ {
		if parts[byte(n)] == nil {
			c.notice("the colour profile is incomplete and is left out: colours may differ a little")
			return
		}
		icc = append(icc, parts[byte(n)]...)
	}
	c.icc = icc
}

// jpegSegments goes through a JPEG file's segments up to the first scan,
// giving each one's marker and content.
func jpegSegments(data []byte) func(yield func(marker byte, seg []byte) bool) {
	return func(yield func(byte, []byte) bool) {
		for pos := 2; pos+4 <= len(data); {
			if data[pos] != 0xff {
				pos++ // the decoder skips such bytes too
				continue
			}
			marker := data[pos+1]
			switch {
			case marker == 0xff: // fill byte
				pos++
				continue
			case marker == 0, marker == 1, marker >= 0xd0 && marker <= 0xd7: // without content
				pos += 2
				continue
			case marker == 0xd9, marker == 0xda:
				return
			}
			n := int(binary.BigEndian.Uint16(data[pos+2:]))
			if n < 2 || pos+2+n > len(data) {
				return
			}
			if !yield(marker, data[pos+4:pos+2+n]) {
				return
			}
			pos += 2 + n
		}
	}
}

// decodeJPEG decodes the picture. If nothing but the end marker is missing,
// it takes the picture as it is.
func (c *container) decodeJPEG(data []byte) (image.Image, error) {
	img, err := jpeg.Decode(bytes.NewReader(data))
	endMarker := []byte{0xff, 0xd9}
	if err != nil && !bytes.Contains(data[max(0, len(data)-64):], endMarker) {
		err = io.ErrUnexpectedEOF // however the decoder noticed
		whole, err2 := jpeg.Decode(io.MultiReader(bytes.NewReader(data), bytes.NewReader(endMarker)))
		if err2 == nil {
			c.notice("the file ends without its end marker: the picture may be incomplete")
			return whole, nil
		}
	}
	return img, err
}
