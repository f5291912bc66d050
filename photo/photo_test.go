package photo

import (
	"image"
	"image/color"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWith(t *testing.T) {
	result := image.NewNRGBA64(image.Rect(0, 0, 40, 20))
	for y := range 20 {
		for x := range 40 {
			result.Set(x, y, color.NRGBA64{0x1234, 0x8080, 0xfedc, 0xffff})
		}
	}
	for kind, p := range samplePhotos(20, 10) {
		p.Meta.Notices = []string{"one"}
		p.Meta.ICC = []byte("icc")
		q := p.With(result)
		require.IsType(t, p.Image, q.Image, kind)
		require.Equal(t, result.Bounds(), q.Image.Bounds())
		require.Equal(t, p.Meta, q.Meta)
		if p.Alpha != nil {
			require.IsType(t, p.Alpha, q.Alpha)
			require.Equal(t, result.Bounds(), q.Alpha.Bounds())
		} else {
			require.Nil(t, q.Alpha)
		}
		q.Meta.notice("two")
		require.Len(t, p.Meta.Notices, 1)
		if kind == "rgb8" {
			require.Equal(t, color.NRGBA{0x12, 0x80, 0xfe, 255}, q.Image.At(0, 0))
		}
	}
	// Transparency of the result is not the photo's, and the result is left
	// as it was.
	p := samplePhotos(2, 2)["rgb8"]
	glass := image.NewNRGBA(image.Rect(5, 5, 7, 7))
	glass.Set(5, 5, color.NRGBA{1, 2, 3, 4})
	q := p.With(glass)
	require.Equal(t, color.NRGBA{1, 2, 3, 255}, q.Image.At(0, 0))
	require.Equal(t, color.NRGBA{1, 2, 3, 4}, glass.At(5, 5))
}

func TestLosses(t *testing.T) {
	p := samplePhotos(2, 2)["rgb16alpha"]
	p.Meta.EXIF = make([]byte, maxJPEGExif+1)
	p.Meta.XMP = make([]byte, maxJPEGXMP+1)
	p.Meta.ICC = make([]byte, maxJPEGICC+1)
	require.Len(t, p.Losses(JPEG), 5)
	require.Empty(t, p.Losses(PNG))
	require.Empty(t, p.Losses(TIFF))
	require.Empty(t, samplePhotos(2, 2)["grey8"].Losses(JPEG))
}

func TestFromWhole(t *testing.T) {
	for kind, p := range samplePhotos(9, 7) {
		whole := p.Whole()
		q := From(whole)
		require.Equal(t, p.Meta.Depth, q.Meta.Depth, kind)
		require.Equal(t, p.Alpha != nil, q.Meta.HasAlpha, kind)
		require.Equal(t, [2]int{9, 7}, [2]int{q.Meta.Width, q.Meta.Height})
		if p.Alpha == nil {
			require.Same(t, p.Image, whole)
			require.Equal(t, p.Image, q.Image)
			require.Equal(t, p.Meta.Grey, q.Meta.Grey)
			continue
		}
		require.Equal(t, p.Alpha, q.Alpha)
		require.Equal(t, whole, p.Whole(), "From changed its picture")
	}
}
