package photo

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"golang.org/x/text/encoding/charmap"
)

// The namespaces of descriptions in XMP.
const (
	nsDC  = "http://purl.org/dc/elements/1.1/"
	nsRDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
)

const tagImageDescription = 0x010E

// Description is what the picture's metadata say is in it: the description in
// XMP (dc:description, in the default language), else that in EXIF data
// (ImageDescription). Empty if there is none.
func (m *Meta) Description() string {
	if text := XMPDescription(m.XMP); text != "" {
		return text
	}
	return exifDescription(m.EXIF)
}

// exifDescription is ImageDescription.
func exifDescription(b []byte) string {
	t, first, ok := openTIFF(b)
	if !ok {
		return ""
	}
	fields, _, ok := t.directory(first)
	if !ok {
		return ""
	}
	f, ok := find(fields, tagImageDescription)
	if !ok || f.typ != typeASCII && f.typ != typeUndefined && f.typ != typeByte {
		return ""
	}
	text, _, _ := bytes.Cut(f.val, []byte{0})
	return strings.TrimSpace(Text(text))
}

// XMPDescription is dc:description of an XMP packet or file, in the default
// language; empty if there is none, or if it is not XML.
func XMPDescription(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	wide := bytes.HasPrefix(b, []byte("\xff\xfe")) || bytes.HasPrefix(b, []byte("\xfe\xff"))
	if wide {
		b = []byte(Text(b))
	}
	d := xml.NewDecoder(bytes.NewReader(bytes.TrimRight(b, "\x00")))
	d.CharsetReader = func(label string, r io.Reader) (io.Reader, error) {
		switch label = strings.ToLower(label); {
		case wide: // decoded already
			return r, nil
		case label == "iso-8859-1" || label == "windows-1252" || label == "us-ascii":
			return charmap.Windows1252.NewDecoder().Reader(r), nil
		}
		return nil, fmt.Errorf("encoding %q", label)
	}
	var text, first string
	depth, within := 0, 0 // of elements; the depth of dc:description, 0 outside
	var item strings.Builder
	byDefault := false
	for {
		token, err := d.Token()
		if err != nil { // the end, or no XML: what was found counts
			break
		}
		switch token := token.(type) {
		case xml.StartElement:
			depth++
			switch {
			case within == 0 && token.Name == xml.Name{Space: nsDC, Local: "description"}:
				within = depth
				item.Reset()
			case within > 0 && token.Name == xml.Name{Space: nsRDF, Local: "li"}:
				item.Reset()
				byDefault = false
				for _, a := range token.Attr {
					byDefault = byDefault || a.Name.Local == "lang" && a.Value == "x-default"
				}
			case within == 0:
				for _, a := range token.Attr { // the short form
					if (a.Name == xml.Name{Space: nsDC, Local: "description"}) && first == "" {
						first = strings.TrimSpace(a.Value)
					}
				}
			}
		case xml.CharData:
			if within > 0 {
				item.Write(token)
			}
		case xml.EndElement:
			if within > 0 {
				found := strings.TrimSpace(item.String())
				if first == "" {
					first = found
				}
				if byDefault && text == "" {
					text = found
				}
			}
			if depth == within {
				within = 0
			}
			depth--
		}
	}
	if text != "" {
		return text
	}
	return first
}
