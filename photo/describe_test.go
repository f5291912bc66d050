package photo

import (
	"encoding/binary"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
)

// exifWith is EXIF data of one text tag.
func exifWith(id uint16, text string) []byte {
	b := append([]byte(nil), newHeader(binary.LittleEndian, 8)...)
	return appendDirectory(b, binary.LittleEndian, 8, []tag{{id, typeASCII, uint32(len(text)), []byte(text)}})
}

func utf16le(text string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                                "",
		"Großmutter":                      "Großmutter",
		"\uFEFFGroßmutter":                "Großmutter",
		string(utf16le("Großmutter 世")):   "Großmutter 世",
		"\xfe\xff\x00a\x4e\x16":           "a世",
		"\xff\xfea\x00b":                  "a\uFFFD",
		"Gro\xdfmutter \x93hier\x94 \x80": "Großmutter “hier” €",
	} {
		assert.Equal(t, want, Text([]byte(in)), "%q", in)
	}
}

func TestDescription(t *testing.T) {
	rdf := func(description string) []byte {
		return []byte(`<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"` +
			` xmlns:dc="http://purl.org/dc/elements/1.1/">` + description + `</rdf:RDF></x:xmpmeta>`)
	}
	alt := func(items string) []byte {
		return rdf(`<rdf:Description><dc:title><rdf:Alt><rdf:li xml:lang="x-default">title</rdf:li></rdf:Alt></dc:title>` +
			`<dc:description><rdf:Alt>` + items + `</rdf:Alt></dc:description></rdf:Description>`)
	}
	for _, c := range []struct {
		name string
		meta Meta
		want string
	}{
		{"none", Meta{}, ""},
		{"EXIF", Meta{EXIF: exifWith(270, " a dog\x00")}, "a dog"},
		{"EXIF in Latin-1", Meta{EXIF: exifWith(270, "K\xf6ter\x00")}, "Köter"},
		{"EXIF of something else", Meta{EXIF: exifWith(271, "Canon\x00")}, ""},
		{"EXIF cut short", Meta{EXIF: exifWith(270, "a dog\x00")[:12]}, ""},
		{"the default language", Meta{XMP: alt(`<rdf:li xml:lang="de">Hund</rdf:li><rdf:li xml:lang="x-default">dog</rdf:li>`)}, "dog"},
		{"the first language", Meta{XMP: alt(`<rdf:li xml:lang="de">Hund</rdf:li><rdf:li xml:lang="fr">chien</rdf:li>`)}, "Hund"},
		{"before EXIF", Meta{XMP: alt(`<rdf:li xml:lang="x-default">dog</rdf:li>`), EXIF: exifWith(270, "cat\x00")}, "dog"},
		{"an attribute", Meta{XMP: rdf(`<rdf:Description dc:description="short"/>`)}, "short"},
		{"an element", Meta{XMP: rdf(`<rdf:Description><dc:description>plain</dc:description></rdf:Description>`)}, "plain"},
		{"UTF-16", Meta{XMP: utf16le(`<?xml version="1.0" encoding="UTF-16"?>` + string(rdf(`<rdf:Description dc:description="Größe 世"/>`)))}, "Größe 世"},
		{"Latin-1", Meta{XMP: append([]byte(`<?xml version="1.0" encoding="ISO-8859-1"?>`), rdf("<rdf:Description dc:description=\"K\xf6ter\"/>")...)}, "Köter"},
		{"an encoding of its own", Meta{XMP: append([]byte(`<?xml version="1.0" encoding="EBCDIC"?>`), rdf(`<rdf:Description dc:description="x"/>`)...)}, ""},
		{"a title alone", Meta{XMP: rdf(`<rdf:Description dc:title="short"/>`)}, ""},
		{"no XML", Meta{XMP: []byte("<<<")}, ""},
	} {
		assert.Equal(t, c.want, c.meta.Description(), c.name)
	}
}

func FuzzXMPDescription(f *testing.F) {
	f.Add([]byte(`<a xmlns:d="http://purl.org/dc/elements/1.1/"><d:description>x<d:description/></d:description></a>`))
	f.Fuzz(func(_ *testing.T, b []byte) { XMPDescription(b) })
}
