package photo

import (
	"encoding/binary"
	"math"
	"unicode/utf16"
)

// srgbProfile returns an ICC profile for sRGB, or for grey with sRGB's tone
// curve: what a converted picture is marked with.
func srgbProfile(grey bool) []byte {
	if grey {
		return makeProfile("Grey with the curve of sRGB", nil, srgbCurve())
	}
	return makeProfile("sRGB", &srgbXYZ, srgbCurve())
}

// adobeProfile and displayP3Profile are for spaces that files may name
// without a profile.

func adobeProfile() []byte {
	gamma := appendFixed([]byte("para\x00\x00\x00\x00\x00\x00\x00\x00"), 563.0/256)
	return makeProfile("Adobe RGB", &adobeXYZ, gamma)
}

func displayP3Profile() []byte { return makeProfile("Display P3", &displayXYZ, srgbCurve()) }

// srgbCurve is srgbToLinear as a parametricCurveType.
func srgbCurve() []byte {
	return appendFixed([]byte("para\x00\x00\x00\x00\x00\x03\x00\x00"),
		2.4, 1/1.055, 0.055/1.055, 1/12.92, 0.04045)
}

// makeProfile returns an ICC profile, version 4.3, for RGB of these primaries
// with this curve, or for grey if there are none.
func makeProfile(name string, primaries *[9]float64, curve []byte) []byte {
	space := "RGB "
	if primaries == nil {
		space = "GRAY"
	}
	type entry struct {
		name string
		data []byte
	}
	entries := []entry{
		{"desc", text(name)},
		{"cprt", text("No copyright: use freely")},
		{"wtpt", xyz(d50[0], d50[1], d50[2])},
		// How D65 was adapted to D50 (Bradford).
		{"chad", appendFixed([]byte("sf32\x00\x00\x00\x00"),
			1.0478112, 0.0228866, -0.0501270, 0.0295424, 0.9904844, -0.0170491, -0.0092345, 0.0150436, 0.7521316)},
	}
	if m := primaries; m == nil {
		entries = append(entries, entry{"kTRC", curve})
	} else {
		entries = append(entries,
			entry{"rXYZ", xyz(m[0], m[3], m[6])}, entry{"gXYZ", xyz(m[1], m[4], m[7])}, entry{"bXYZ", xyz(m[2], m[5], m[8])},
			entry{"rTRC", curve}, entry{"gTRC", curve}, entry{"bTRC", curve})
	}

	be := binary.BigEndian
	b := make([]byte, 128)
	copy(b[8:], "\x04\x30\x00\x00mntr"+space+"XYZ ")
	copy(b[24:], []byte{0x07, 0xe8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0}) // 2024-01-01
	copy(b[36:], "acsp")
	copy(b[68:], appendFixed(nil, d50[0], d50[1], d50[2]))
	b = be.AppendUint32(b, uint32(len(entries)))
	var data []byte
	at := make(map[string]uint32) // of equal data, stored once
	base := uint32(len(b) + 12*len(entries))
	for _, e := range entries {
		off, ok := at[string(e.data)]
		if !ok {
			for len(data)%4 != 0 {
				data = append(data, 0)
			}
			off = base + uint32(len(data))
			at[string(e.data)] = off
			data = append(data, e.data...)
		}
		b = append(b, e.name...)
		b = be.AppendUint32(b, off)
		b = be.AppendUint32(b, uint32(len(e.data)))
	}
	b = append(b, data...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	be.PutUint32(b, uint32(len(b)))
	return b
}

// appendFixed appends s15Fixed16Numbers.
func appendFixed(b []byte, values ...float64) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(int32(math.Round(v*65536))))
	}
	return b
}

// xyz returns an XYZType.
func xyz(x, y, z float64) []byte {
	return appendFixed([]byte("XYZ \x00\x00\x00\x00"), x, y, z)
}

// text returns a multiLocalizedUnicodeType in English.
func text(s string) []byte {
	u := utf16.Encode([]rune(s))
	b := []byte("mluc\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x0cenUS")
	b = binary.BigEndian.AppendUint32(b, uint32(2*len(u)))
	b = binary.BigEndian.AppendUint32(b, 28)
	for _, v := range u {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	return b
}
