package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// sniffLen is how many bytes of a file sniff looks at.
const sniffLen = 64

// sniff tells a file's format from its beginning. For formats that are known
// but not read it returns an [UnsupportedError], for anything else
// [ErrNotImage].
func sniff(head []byte) (Format, error) {
	if len(head) == 0 {
		return "", fmt.Errorf("%w: the file is empty", ErrNotImage)
	}
	has := func(at int, s string) bool {
		return len(head) >= at+len(s) && string(head[at:at+len(s)]) == s
	}
	switch {
	case has(0, "\xff\xd8\xff"):
		return JPEG, nil
	case has(0, "\x89PNG\r\n\x1a\n"):
		return PNG, nil
	case has(0, "II*\x00") && has(8, "CR\x02"), has(6, "HEAPCCDR"):
		return "", unread("raw camera")
	case has(0, "II*\x00"), has(0, "MM\x00*"):
		return TIFF, nil
	case has(0, "GIF87a"), has(0, "GIF89a"):
		return GIF, nil
	case has(0, "RIFF") && has(8, "WEBP"):
		return WebP, nil
	case has(0, "BM") && len(head) >= 18:
		switch binary.LittleEndian.Uint32(head[14:]) { // the length of the header that follows
		case 12, 16, 40, 52, 56, 64, 108, 124:
			return BMP, nil
		}
	case has(4, "ftyp"):
		switch {
		case has(8, "avif"), has(8, "avis"):
			return "", unread("AVIF")
		case has(8, "crx "):
			return "", unread("raw camera")
		}
		for _, brand := range []string{"heic", "heix", "heim", "heis", "hevc", "hevx", "mif1", "msf1"} {
			if has(8, brand) {
				return "", unread("HEIF")
			}
		}
	case has(0, "II+\x00"), has(0, "MM\x00+"):
		return "", unread("BigTIFF")
	case has(0, "\xff\x0a"), has(0, "\x00\x00\x00\x0cJXL "):
		return "", unread("JPEG XL")
	case has(0, "\x00\x00\x00\x0cjP  "), has(0, "\xff\x4f\xff\x51"):
		return "", unread("JPEG 2000")
	case has(0, "8BPS"):
		return "", unread("Photoshop")
	case has(0, "IIRO"), has(0, "IIRS"), has(0, "IIU\x00"), has(0, "FUJIFILMCCD-RAW"), has(0, "FOVb"):
		return "", unread("raw camera")
	case has(0, "%PDF"):
		return "", unread("PDF")
	}
	if printableText(head) {
		return "", fmt.Errorf("%w: the file holds text", ErrNotImage)
	}
	return "", fmt.Errorf("%w: of no format this program knows", ErrNotImage)
}

func unread(name string) error {
	return &UnsupportedError{Feature: name + " pictures cannot be read: convert it to JPEG, PNG or TIFF first"}
}

func printableText(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\r' && r != '\t' || r == 0xfffd
	})
}
