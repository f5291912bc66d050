package photo

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

// Text decodes a text whose encoding nothing tells: UTF-16 or UTF-8 with a byte
// order mark, UTF-8 without, or, if it is neither, Windows-1252, which holds
// Latin-1.
func Text(b []byte) string {
	var text []byte
	var err error
	switch {
	case bytes.HasPrefix(b, []byte("\xff\xfe")), bytes.HasPrefix(b, []byte("\xfe\xff")):
		text, err = unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewDecoder().Bytes(b)
	case utf8.Valid(b):
		text = bytes.TrimPrefix(b, []byte("\uFEFF"))
	default:
		text, err = charmap.Windows1252.NewDecoder().Bytes(b)
	}
	if err != nil { // the decoders replace what they don't know, and don't fail
		return ""
	}
	return string(text)
}
