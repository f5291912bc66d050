package photo

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

func mustParse(t *testing.T, b []byte) *profile {
	t.Helper()
	p, err := parseProfile(b)
	require.NoError(t, err)
	return p
}

func TestMadeProfiles(t *testing.T) {
	for _, c := range []struct {
		b        []byte
		name     string
		grey     bool
		identity bool
	}{
		{srgbProfile(false), "sRGB", false, true},
		{srgbProfile(true), "Grey with the curve of sRGB", true, true},
		{adobeProfile(), "Adobe RGB", false, false},
		{displayP3Profile(), "Display P3", false, false},
	} {
		p := mustParse(t, c.b)
		require.Equal(t, c.name, p.name)
		require.Equal(t, c.grey, p.grey)
		require.Equal(t, c.identity, newConversion(p).isIdentity())
		if !c.grey { // white is white
			for i, v := range d50 {
				require.InDelta(t, v, p.xyz[3*i]+p.xyz[3*i+1]+p.xyz[3*i+2], 0.0005)
			}
		}
	}
}

// The values are those of littleCMS 2.19, relative colorimetric, for the same
// profiles: independent arithmetic.
func TestConversionValues(t *testing.T) {
	for _, c := range []struct {
		profile  []byte
		in, want color.NRGBA
	}{
		{adobeProfile(), color.NRGBA{128, 128, 128, 255}, color.NRGBA{129, 129, 129, 255}},
		{adobeProfile(), color.NRGBA{77, 77, 77, 255}, color.NRGBA{76, 76, 76, 255}},
		{adobeProfile(), color.NRGBA{200, 100, 50, 255}, color.NRGBA{227, 100, 42, 255}},
		{adobeProfile(), color.NRGBA{10, 20, 30, 255}, color.NRGBA{0, 12, 24, 255}},
		{adobeProfile(), color.NRGBA{0, 255, 0, 255}, color.NRGBA{0, 255, 0, 255}}, // outside sRGB
		{adobeProfile(), color.NRGBA{255, 255, 255, 255}, color.NRGBA{255, 255, 255, 255}},
		{displayP3Profile(), color.NRGBA{77, 77, 77, 255}, color.NRGBA{77, 77, 77, 255}},
		{displayP3Profile(), color.NRGBA{200, 100, 50, 255}, color.NRGBA{215, 93, 31, 255}},
		{displayP3Profile(), color.NRGBA{10, 20, 30, 255}, color.NRGBA{7, 20, 31, 255}},
		{srgbProfile(false), color.NRGBA{200, 100, 50, 255}, color.NRGBA{200, 100, 50, 255}},
	} {
		conv := newConversion(mustParse(t, c.profile))
		m := image.NewNRGBA(image.Rect(0, 0, 1, 1))
		m.SetNRGBA(0, 0, c.in)
		wide := toDepth(m, 16).(*image.NRGBA64)
		conv.apply(m)
		conv.apply(wide)
		for i := range 3 {
			require.InDelta(t, at(c.want, i), at(m.NRGBAAt(0, 0), i), 1, "%v: %v, not %v", c.in, m.NRGBAAt(0, 0), c.want)
		}
		// 8 and 16 bits agree, and so does the arithmetic without tables.
		narrow := toDepth(wide, 8).(*image.NRGBA).NRGBAAt(0, 0)
		exact := conv.encoded(float64(c.in.R)/255, float64(c.in.G)/255, float64(c.in.B)/255)
		for i := range 3 {
			require.InDelta(t, at(narrow, i), at(m.NRGBAAt(0, 0), i), 1)
			require.InDelta(t, exact[i]*0xffff, get16(wide.Pix[2*i:]), 4)
		}
	}
}

func at(c color.NRGBA, i int) byte { return [3]byte{c.R, c.G, c.B}[i] }

// Grey pictures are converted by grey profiles and by those for RGB.
func TestConversionGrey(t *testing.T) {
	gamma := appendFixed([]byte("para\x00\x00\x00\x00\x00\x00\x00\x00"), 1)
	for _, b := range [][]byte{makeProfile("linear", nil, gamma), makeProfile("linear", &srgbXYZ, gamma)} {
		conv := newConversion(mustParse(t, b))
		g := image.NewGray(image.Rect(0, 0, 2, 1))
		copy(g.Pix, []byte{0, 55})
		wide := toDepth(g, 16).(*image.Gray16)
		conv.apply(g)
		conv.apply(wide)
		require.Equal(t, []byte{0, 128}, g.Pix) // 55/255 of the light
		require.Equal(t, g.Pix, toDepth(wide, 8).(*image.Gray).Pix)
	}
}

func TestParseCurves(t *testing.T) {
	curve := func(s string, fixed ...float64) []byte { return appendFixed([]byte(s), fixed...) }
	for _, c := range []struct {
		tag     []byte
		in, out float64
	}{
		{[]byte("curv\x00\x00\x00\x00\x00\x00\x00\x00"), 0.3, 0.3},
		{[]byte("curv\x00\x00\x00\x00\x00\x00\x00\x01\x02\x00"), 0.5, 0.25},
		{[]byte("curv\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\xff\xff"), 1, 1},
		{[]byte("curv\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\xff\xff"), 0.75, 0.5},
		{curve("para\x00\x00\x00\x00\x00\x00\x00\x00", 2), 0.5, 0.25},
		{curve("para\x00\x00\x00\x00\x00\x01\x00\x00", 2, 1, -0.5), 0.25, 0},
		{curve("para\x00\x00\x00\x00\x00\x01\x00\x00", 2, 1, -0.5), 1, 0.25},
		{curve("para\x00\x00\x00\x00\x00\x02\x00\x00", 2, 1, -0.5, 0.125), 0.25, 0.125},
		{curve("para\x00\x00\x00\x00\x00\x02\x00\x00", 2, 1, -0.5, 0.125), 1, 0.375},
		{curve("para\x00\x00\x00\x00\x00\x03\x00\x00", 2, 1, 0, 0.5, 0.5), 0.25, 0.125},
		{curve("para\x00\x00\x00\x00\x00\x03\x00\x00", 2, 1, 0, 0.5, 0.5), 0.75, 0.5625},
		{curve("para\x00\x00\x00\x00\x00\x04\x00\x00", 2, 1, 0, 0.5, 0.5, 0.25, 0.125), 0.25, 0.25},
		{curve("para\x00\x00\x00\x00\x00\x04\x00\x00", 2, 1, 0, 0.5, 0.5, 0.25, 0.125), 0.75, 0.8125},
		// Not a number, or out of range.
		{curve("para\x00\x00\x00\x00\x00\x03\x00\x00", 0.5, -1, 0, 0, 0), 0.5, 0},
		{curve("para\x00\x00\x00\x00\x00\x00\x00\x00", -3), 0, 1},
	} {
		f, ok := parseCurve(c.tag)
		require.True(t, ok)
		require.InDelta(t, c.out, f(c.in), 1e-4, "%q", c.tag)
	}
}

// A damaged or exotic profile stays with the picture if it can, and never
// stops it from being read.
func TestChooseColours(t *testing.T) {
	lut := makeProfile("lut", &srgbXYZ, srgbCurve())
	copy(lut[20:], "Lab ")
	cmyk := makeProfile("cmyk", &srgbXYZ, srgbCurve())
	copy(cmyk[16:], "CMYK")
	flat := makeProfile("flat", &[9]float64{}, srgbCurve())
	for _, c := range []struct {
		name    string
		icc     []byte
		grey    bool
		keep    bool
		convert bool
		want    []byte // profile of the result
		notice  bool
	}{
		{name: "none"},
		{name: "srgb", icc: srgbProfile(false), want: srgbProfile(false)},
		{name: "p3", icc: displayP3Profile(), convert: true, want: srgbProfile(false), notice: true},
		{name: "p3 kept", icc: displayP3Profile(), keep: true, want: displayP3Profile()},
		{name: "p3 on grey, kept", icc: adobeProfile(), grey: true, keep: true, convert: true, want: srgbProfile(true), notice: true},
		{name: "srgb on grey", icc: srgbProfile(false), grey: true},
		{name: "lut", icc: lut, want: lut, notice: true},
		{name: "lut on grey", icc: lut, grey: true, notice: true},
		{name: "cmyk", icc: cmyk, notice: true},
		{name: "flat", icc: flat, want: flat, notice: true},
		{name: "rubbish", icc: []byte("rubbish"), notice: true},
		{name: "cut", icc: adobeProfile()[:140], want: adobeProfile()[:140], notice: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := &container{icc: c.icc, grey: c.grey}
			k.chooseColours(ReadOptions{KeepProfile: c.keep})
			require.Equal(t, c.want, k.icc)
			require.Equal(t, c.convert, k.convert != nil)
			require.Equal(t, c.notice, len(k.notices) == 1, "%q", k.notices)
		})
	}
}

func FuzzProfile(f *testing.F) {
	f.Add(srgbProfile(false))
	f.Add(srgbProfile(true))
	f.Add(makeProfile("x", &adobeXYZ, []byte("curv\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\xff\xff")))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProfile(b)
		if err != nil {
			return
		}
		conv := newConversion(p)
		conv.isIdentity()
		m := image.NewNRGBA(image.Rect(0, 0, 3, 1))
		copy(m.Pix, []byte{0, 1, 128, 255, 255, 255, 255, 255, 0, 200, 0, 255})
		conv.apply(m)
		conv.apply(toDepth(m, 16))
	})
}
