package photo

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"image"
	"math"
	"strings"
	"unicode/utf16"
)

// The networks were trained on sRGB. Pictures in another colour space are
// converted to it when their profile describes that space by three primaries
// and tone curves (or one curve, for grey), as those of cameras, telephones
// and editors do: Adobe RGB, Display P3, ProPhoto and so on. Profiles made of
// lookup tables are those of printers and scanners; their pictures stay as
// they are, and keep the profile.
//
// The conversion is the relative colorimetric one of ICC.1:2022, annex F.3.
// No Go library that does it is to be had in a kept-up state.

// profile describes a colour space.
type profile struct {
	name string
	grey bool       // one channel, in trc[1]
	xyz  [9]float64 // linear RGB to XYZ relative to D50, row by row
	trc  [3]curve   // encoded to linear, both 0 to 1
}

// curve is a tone curve.
type curve func(v float64) float64

// White points and primaries, in XYZ relative to D50.
var (
	d50        = [3]float64{0.9642, 1, 0.8249}
	srgbXYZ    = [9]float64{0.4360747, 0.3850649, 0.1430804, 0.2225045, 0.7168786, 0.0606169, 0.0139322, 0.0971045, 0.7141733}
	adobeXYZ   = [9]float64{0.6097559, 0.2052401, 0.1492240, 0.3111242, 0.6256560, 0.0632197, 0.0194811, 0.0608902, 0.7448387}
	displayXYZ = [9]float64{0.5151187, 0.2919778, 0.1571035, 0.2411892, 0.6922441, 0.0665668, -0.0010505, 0.0418791, 0.7840713}
)

// linearToSRGB is the curve of IEC 61966-2-1.
func linearToSRGB(v float64) float64 {
	if v <= 0.0031308 {
		return v * 12.92
	}
	return 1.055*math.Pow(v, 1/2.4) - 0.055
}

func gammaCurve(g float64) curve {
	return func(v float64) float64 { return math.Pow(v, g) }
}

// parseProfile reads an ICC profile. It fails on those that are damaged, and
// on those that are not described by primaries and curves.
func parseProfile(b []byte) (*profile, error) {
	if len(b) < 132 || string(b[36:40]) != "acsp" {
		return nil, fmt.Errorf("not a colour profile")
	}
	p := &profile{name: profileName(b)}
	space, pcs := string(b[16:20]), string(b[20:24])
	curves := [3]string{"rTRC", "gTRC", "bTRC"}
	if (space == "RGB " || space == "GRAY") && pcs != "XYZ " {
		return nil, fmt.Errorf("a profile of lookup tables")
	}
	switch space {
	case "GRAY":
		p.grey = true
		curves = [3]string{"kTRC", "kTRC", "kTRC"}
	case "RGB ":
		for i, name := range []string{"rXYZ", "gXYZ", "bXYZ"} {
			v, ok := profileXYZ(b, name)
			if !ok {
				return nil, fmt.Errorf("a profile without primaries")
			}
			p.xyz[i], p.xyz[3+i], p.xyz[6+i] = v[0], v[1], v[2]
		}
		if _, ok := invert(p.xyz); !ok {
			return nil, fmt.Errorf("a profile whose primaries are on one line")
		}
	default:
		return nil, fmt.Errorf("a profile for %q, not for RGB or grey", strings.TrimSpace(space))
	}
	for i, name := range curves {
		tag, ok := profileTag(b, name)
		if !ok {
			return nil, fmt.Errorf("a profile without tone curves")
		}
		if p.trc[i], ok = parseCurve(tag); !ok {
			return nil, fmt.Errorf("a profile with damaged tone curves")
		}
	}
	return p, nil
}

// profileSpace returns the colour space a profile is for, such as "RGB ", or
// "" if it is too damaged to tell.
func profileSpace(b []byte) string {
	if len(b) < 132 || string(b[36:40]) != "acsp" {
		return ""
	}
	return string(b[16:20])
}

// profileTag returns the data of a tag: 8 bytes or more.
func profileTag(b []byte, name string) ([]byte, bool) {
	n := uint64(binary.BigEndian.Uint32(b[128:]))
	for i := range min(n, uint64(len(b)-132)/12) {
		e := b[132+12*i:]
		off, size := uint64(binary.BigEndian.Uint32(e[4:])), uint64(binary.BigEndian.Uint32(e[8:]))
		if string(e[:4]) == name && size >= 8 && off+size <= uint64(len(b)) {
			return b[off : off+size], true
		}
	}
	return nil, false
}

func profileXYZ(b []byte, name string) (v [3]float64, ok bool) {
	tag, ok := profileTag(b, name)
	if !ok || string(tag[:4]) != "XYZ " || len(tag) < 20 {
		return v, false
	}
	for i := range v {
		v[i] = fixed(tag[8+4*i:])
	}
	return v, true
}

// fixed reads an s15Fixed16Number.
func fixed(b []byte) float64 { return float64(int32(binary.BigEndian.Uint32(b))) / 65536 }

// parseCurve reads a curveType or parametricCurveType (ICC.1:2022, 10.6 and
// 10.18).
func parseCurve(tag []byte) (curve, bool) {
	if len(tag) < 12 {
		return nil, false
	}
	switch string(tag[:4]) {
	case "curv":
		n := uint64(binary.BigEndian.Uint32(tag[8:]))
		if 2*n > uint64(len(tag)-12) || n > 1<<16 {
			return nil, false
		}
		switch n {
		case 0:
			return gammaCurve(1), true
		case 1:
			return gammaCurve(float64(binary.BigEndian.Uint16(tag[12:])) / 256), true
		}
		samples := make([]float64, n)
		for i := range samples {
			samples[i] = float64(binary.BigEndian.Uint16(tag[12+2*i:])) / 0xffff
		}
		return func(v float64) float64 {
			at := v * float64(n-1)
			i := min(int(at), int(n)-2)
			part := at - float64(i)
			return samples[i]*(1-part) + samples[i+1]*part
		}, true
	case "para":
		kind := binary.BigEndian.Uint16(tag[8:])
		counts := [...]int{1, 3, 4, 5, 7}
		if int(kind) >= len(counts) || len(tag) < 12+4*counts[kind] {
			return nil, false
		}
		var p [7]float64 // g, a, b, c, d, e, f
		for i := range counts[kind] {
			p[i] = fixed(tag[12+4*i:])
		}
		return parametricCurve(kind, p), true
	}
	return nil, false
}

// parametricCurve returns (a v + b)^g + e for v >= d, and c v + f below.
func parametricCurve(kind uint16, p [7]float64) curve {
	g, a, b, c, d, e, f := p[0], p[1], p[2], p[3], p[4], p[5], p[6]
	switch kind {
	case 0:
		a, d = 1, 0
	case 1: // 0 below -b/a
		c, d = 0, -b/a
	case 2: // c below -b/a, and added above
		c, d, e, f = 0, -b/a, c, c
	case 3:
		e, f = 0, 0
	}
	return func(v float64) float64 {
		if v >= d {
			v = math.Pow(a*v+b, g) + e
		} else {
			v = c*v + f
		}
		if math.IsNaN(v) {
			return 0
		}
		return max(0, min(v, 1))
	}
}

// profileName returns the name a profile has for people, "" if it has none.
func profileName(b []byte) string {
	tag, ok := profileTag(b, "desc")
	if !ok || len(tag) < 12 {
		return ""
	}
	n := uint64(binary.BigEndian.Uint32(tag[8:]))
	switch string(tag[:4]) {
	case "desc": // version 2: ASCII
		if n <= uint64(len(tag)-12) {
			return printable(string(bytes.TrimRight(tag[12:12+n], "\x00")))
		}
	case "mluc": // version 4: UTF-16, in several languages
		if n == 0 || len(tag) < 28 {
			return ""
		}
		size, off := uint64(binary.BigEndian.Uint32(tag[20:])), uint64(binary.BigEndian.Uint32(tag[24:]))
		if off+size > uint64(len(tag)) {
			return ""
		}
		var u []uint16
		for i := off; i+1 < off+size; i += 2 {
			u = append(u, binary.BigEndian.Uint16(tag[i:]))
		}
		return printable(strings.TrimRight(string(utf16.Decode(u)), "\x00"))
	}
	return ""
}

// printable returns s on one line and not too long.
func printable(s string) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)), " ")
	if r := []rune(s); len(r) > 60 {
		s = string(r[:60]) + "…"
	}
	return s
}

// conversion turns colours of a profile into sRGB.
type conversion struct {
	p   *profile
	rgb [9]float64 // linear RGB of the profile to linear sRGB
}

func newConversion(p *profile) conversion {
	toRGB, _ := invert(srgbXYZ)
	return conversion{p, product(toRGB, p.xyz)}
}

// encoded returns the sRGB colour, each channel 0 to 1 and clipped to it.
func (c conversion) encoded(r, g, b float64) [3]float64 {
	if c.p.grey {
		v := encodeClipped(c.p.trc[1](g))
		return [3]float64{v, v, v}
	}
	r, g, b = c.p.trc[0](r), c.p.trc[1](g), c.p.trc[2](b)
	m := &c.rgb
	return [3]float64{
		encodeClipped(m[0]*r + m[1]*g + m[2]*b),
		encodeClipped(m[3]*r + m[4]*g + m[5]*b),
		encodeClipped(m[6]*r + m[7]*g + m[8]*b),
	}
}

func encodeClipped(v float64) float64 { return linearToSRGB(max(0, min(v, 1))) }

// isIdentity tells whether the profile is sRGB but for rounding: no colour of
// a coarse grid moves by a whole level of 8 bits.
func (c conversion) isIdentity() bool {
	const steps = 8
	for i := range (steps + 1) * (steps + 1) * (steps + 1) {
		in := [3]float64{float64(i%(steps+1)) / steps, float64(i/(steps+1)%(steps+1)) / steps, float64(i/(steps+1)/(steps+1)) / steps}
		if c.p.grey {
			in[0], in[2] = in[1], in[1]
		}
		for ch, v := range c.encoded(in[0], in[1], in[2]) {
			if math.Abs(v-in[ch]) > 1.0/255 {
				return false
			}
		}
	}
	return true
}

// apply converts a [Photo.Image] in place.
func (c conversion) apply(img image.Image) {
	b := img.Bounds()
	switch m := img.(type) {
	case *image.Gray:
		var table [256]byte
		for i := range table {
			v := float64(i) / 0xff
			table[i] = byte(math.Round(c.encoded(v, v, v)[1] * 0xff))
		}
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:][:b.Dx()]
				for i, v := range row {
					row[i] = table[v]
				}
			}
		})
	case *image.Gray16:
		table := make([]uint16, 1<<16)
		for i := range table {
			v := float64(i) / 0xffff
			table[i] = uint16(math.Round(c.encoded(v, v, v)[1] * 0xffff))
		}
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:][:2*b.Dx()]
				for i := 0; i < len(row); i += 2 {
					put16(row[i:], table[get16(row[i:])])
				}
			}
		})
	case *image.NRGBA:
		linear, encode := c.linearTables(1<<8), encodeTable()
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:][:4*b.Dx()]
				for i := 0; i < len(row); i += 4 {
					p := row[i : i+3 : i+3]
					rgb := c.mix(linear[0][p[0]], linear[1][p[1]], linear[2][p[2]])
					for ch, v := range rgb {
						p[ch] = byte(encode.at(v)*0xff + 0.5)
					}
				}
			}
		})
	case *image.NRGBA64:
		linear, encode := c.linearTables(1<<16), encodeTable()
		rows(b.Dy(), func(y0, y1 int) {
			for y := y0; y < y1; y++ {
				row := m.Pix[y*m.Stride:][:8*b.Dx()]
				for i := 0; i < len(row); i += 8 {
					p := row[i : i+6 : i+6]
					rgb := c.mix(linear[0][get16(p)], linear[1][get16(p[2:])], linear[2][get16(p[4:])])
					for ch, v := range rgb {
						put16(p[2*ch:], uint16(encode.at(v)*0xffff+0.5))
					}
				}
			}
		})
	}
}

// mix returns linear sRGB, not clipped.
func (c *conversion) mix(r, g, b float32) [3]float32 {
	if c.p.grey {
		return [3]float32{r, g, b}
	}
	m := &c.rgb
	return [3]float32{
		float32(m[0])*r + float32(m[1])*g + float32(m[2])*b,
		float32(m[3])*r + float32(m[4])*g + float32(m[5])*b,
		float32(m[6])*r + float32(m[7])*g + float32(m[8])*b,
	}
}

// linearTables returns the three tone curves at n levels.
func (c conversion) linearTables(n int) (t [3][]float32) {
	for ch := range t {
		t[ch] = make([]float32, n)
		for i := range t[ch] {
			t[ch][i] = float32(c.p.trc[ch](float64(i) / float64(n-1)))
		}
	}
	return t
}

// table interpolates a function of 0 to 1.
type table []float32

// encodeTable returns linearToSRGB, fine enough for 16 bits a sample.
func encodeTable() table {
	t := make(table, 1<<14+2)
	for i := range t {
		t[i] = float32(linearToSRGB(min(float64(i)/(1<<14), 1)))
	}
	return t
}

func (t table) at(v float32) float32 {
	v = max(0, min(v, 1)) * (1 << 14)
	i := int(v)
	return t[i] + (t[i+1]-t[i])*(v-float32(i))
}

// product returns a·b and invert a's inverse, of 3x3 matrices row by row.
func product(a, b [9]float64) (c [9]float64) {
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				c[3*i+j] += a[3*i+k] * b[3*k+j]
			}
		}
	}
	return c
}

func invert(a [9]float64) (c [9]float64, ok bool) {
	c = [9]float64{
		a[4]*a[8] - a[5]*a[7], a[2]*a[7] - a[1]*a[8], a[1]*a[5] - a[2]*a[4],
		a[5]*a[6] - a[3]*a[8], a[0]*a[8] - a[2]*a[6], a[2]*a[3] - a[0]*a[5],
		a[3]*a[7] - a[4]*a[6], a[1]*a[6] - a[0]*a[7], a[0]*a[4] - a[1]*a[3],
	}
	det := a[0]*c[0] + a[1]*c[3] + a[2]*c[6]
	if math.Abs(det) < 1e-6 {
		return c, false
	}
	for i := range c {
		c[i] /= det
	}
	return c, true
}
