package photo

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const xmpPacket = `<?xpacket begin="` + "\ufeff" + `" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" xmlns:ex="http://ns.adobe.com/exif/1.0/"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  tiff:Orientation="6" ex:GPSLatitude = '51,28.6N' ex:GPSLongitude="0,0.0E" tiff:Make="Cam &gt; 'x=y'">
 <dc:title><rdf:Alt><rdf:li xml:lang="x-default">GPS Orientation day</rdf:li></rdf:Alt></dc:title>
 <ex:GPSAltitude>12/1</ex:GPSAltitude><ex:PixelXDimension>100</ex:PixelXDimension>
 <xmp:Thumbnails><rdf:Alt><rdf:li rdf:parseType="Resource"/></rdf:Alt></xmp:Thumbnails>
 <ex:GPSDestDistance/>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>`

func TestCleanXMP(t *testing.T) {
	clean, ok := cleanXMP([]byte(xmpPacket+"\x00\x00"), false)
	require.True(t, ok)
	s := string(clean)
	for _, gone := range []string{"tiff:Orientation", "51,28", "GPSL", "GPSA", "GPSD", "0,0.0E", "PixelX", "Thumbnails", "Resource"} {
		require.NotContains(t, s, gone)
	}
	for _, kept := range []string{"GPS Orientation day", `tiff:Make="Cam &gt; 'x=y'">`, `rdf:about=""`, "\ufeff", `<?xpacket end="w"?>`} {
		require.Contains(t, s, kept)
	}
	for d := xml.NewDecoder(strings.NewReader(s)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else {
			require.NoError(t, err)
		}
	}

	clean, ok = cleanXMP([]byte(xmpPacket), true)
	require.True(t, ok)
	require.Contains(t, string(clean), "51,28.6N")
	require.Contains(t, string(clean), "GPSAltitude")
	require.NotContains(t, string(clean), "tiff:Orientation")
}

func TestCleanXMPRefuses(t *testing.T) {
	for _, s := range []string{
		"<a", "<a b=", "<a></b", "no & xml", "\xff\xfe<\x00a\x00",
		// A prefix that is bound to something unknown.
		`<a xmlns:exif="urn:other" exif:GPSLatitude="1"/>`,
	} {
		_, ok := cleanXMP([]byte(s), false)
		require.False(t, ok, s)
	}
}

func FuzzCleanXMP(f *testing.F) {
	f.Add([]byte(xmpPacket))
	f.Add([]byte(`<a xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSLatitude="1" b='2'/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		clean, ok := cleanXMP(b, false)
		if ok {
			require.NotContains(t, string(clean), "GPSL")
			_, ok = xmpPrefixes(clean)
			require.True(t, ok, "no longer XML: %q", clean)
		}
	})
}
