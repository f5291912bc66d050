package photo

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
)

// Namespaces of XMP properties that are taken out.
const (
	nsEXIF      = "http://ns.adobe.com/exif/1.0/"
	nsTIFF      = "http://ns.adobe.com/tiff/1.0/"
	nsXMP       = "http://ns.adobe.com/xap/1.0/"
	nsXMPNote   = "http://ns.adobe.com/xmp/note/"
	nsGainMap   = "http://ns.adobe.com/hdr-gain-map/1.0/"
	nsContainer = "http://ns.google.com/photos/1.0/container/"
)

// staleXMP tells whether a property would be wrong about the result: what
// cleanEXIF takes out of EXIF data, and what speaks of further pictures in
// the file.
func staleXMP(space, name string, keepGPS bool) bool {
	switch space {
	case nsTIFF:
		return name == "Orientation" || name == "ImageWidth" || name == "ImageLength"
	case nsEXIF:
		return name == "PixelXDimension" || name == "PixelYDimension" || name == "ColorSpace" ||
			!keepGPS && strings.HasPrefix(name, "GPS")
	case nsXMP:
		return name == "Thumbnails"
	case nsXMPNote:
		return name == "HasExtendedXMP"
	case nsGainMap, nsContainer:
		return true
	}
	return false
}

// cleanXMP returns an XMP packet without stale properties, all else byte for
// byte as it was. ok is false if it is not the XML it should be, or still
// speaks of a position that was to go.
func cleanXMP(b []byte, keepGPS bool) (clean []byte, ok bool) {
	b = bytes.TrimRight(b, "\x00")
	prefixes, ok := xmpPrefixes(b)
	if !ok {
		return nil, false
	}
	stale := func(n xml.Name) bool { return staleXMP(prefixes[n.Space], n.Local, keepGPS) }

	// Copy b, leaving out stale elements (while skip > 0, the depth within
	// one) and attributes.
	d := xml.NewDecoder(bytes.NewReader(b))
	skip, done := 0, int64(0)
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, false
		}
		from, to := done, d.InputOffset()
		done = to
		raw := b[from:to]
		switch token := token.(type) {
		case xml.StartElement:
			switch {
			case skip > 0 || stale(token.Name):
				skip++
				continue
			case hasStale(token.Attr, stale):
				raw = withoutAttributes(raw, stale)
			}
		case xml.EndElement:
			if skip > 0 {
				skip--
				continue
			}
		}
		if skip == 0 {
			clean = append(clean, raw...)
		}
	}
	if skip != 0 || !keepGPS && bytes.Contains(clean, []byte("GPSL")) {
		return nil, false
	}
	return clean, true
}

// xmpPrefixes returns the namespace each prefix stands for, taking it to be
// the same throughout.
func xmpPrefixes(b []byte) (map[string]string, bool) {
	prefixes := map[string]string{}
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			return prefixes, true
		}
		if err != nil {
			return nil, false
		}
		if e, ok := token.(xml.StartElement); ok {
			for _, a := range e.Attr {
				if a.Name.Space == "xmlns" {
					prefixes[a.Name.Local] = a.Value
				}
			}
		}
	}
}

func hasStale(attrs []xml.Attr, stale func(xml.Name) bool) bool {
	for _, a := range attrs {
		if stale(a.Name) {
			return true
		}
	}
	return false
}

// withoutAttributes returns a start tag, which the XML decoder accepted,
// without its stale attributes.
func withoutAttributes(raw []byte, stale func(xml.Name) bool) []byte {
	const space = " \t\r\n"
	var out []byte
	for {
		// raw starts outside quotes: what precedes the next attribute's value.
		eq := bytes.IndexByte(raw, '=')
		if eq < 0 {
			return append(out, raw...)
		}
		name := bytes.TrimRight(raw[:eq], space)
		start := bytes.LastIndexAny(name, space) + 1
		rest := bytes.TrimLeft(raw[eq+1:], space)
		end := -1
		if len(rest) > 0 {
			end = bytes.IndexByte(rest[1:], rest[0])
		}
		if end < 0 {
			return append(out, raw...)
		}
		next := len(raw) - len(rest) + 1 + end + 1
		prefix, local, ok := strings.Cut(string(name[start:]), ":")
		if ok && stale(xml.Name{Space: prefix, Local: local}) {
			out = append(out, bytes.TrimRight(raw[:start], space)...)
		} else {
			out = append(out, raw[:next]...)
		}
		raw = raw[next:]
	}
}
