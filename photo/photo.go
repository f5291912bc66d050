package photo

import (
	"image"
	"path/filepath"
	"strings"
)

// Format names a file format: "jpeg", "png" and so on.
type Format string

// The formats this package reads. JPEG, PNG and TIFF are also written.
const (
	JPEG Format = "jpeg"
	PNG  Format = "png"
	TIFF Format = "tiff"
	WebP Format = "webp"
	GIF  Format = "gif"
	BMP  Format = "bmp"
)

// OutputFormat returns the format that a name's extension asks for, in upper
// or lower case: .jpg, .jpeg, .jpe, .jfif, .png, .tif or .tiff. For any other
// it returns an [UnsupportedError].
func OutputFormat(name string) (Format, error) {
	ext := strings.ToLower(filepath.Ext(name))
	switch ext {
	case ".jpg", ".jpeg", ".jpe", ".jfif":
		return JPEG, nil
	case ".png":
		return PNG, nil
	case ".tif", ".tiff":
		return TIFF, nil
	case "":
		return "", &UnsupportedError{Feature: "a name without extension does not tell the format to write: use .jpg, .png or .tif"}
	}
	return "", &UnsupportedError{Feature: "cannot write " + ext + " files: use .jpg, .png or .tif"}
}

// Meta is what is known about a picture besides its pixels. It travels with
// the result.
type Meta struct {
	Name          string // the file [Read] read; [Write] will not replace it
	Format        Format // of the file read
	Width, Height int    // of the file's picture, upright, in pixels
	Depth         int    // bits a sample: 8 or 16 (fewer than 8 count as 8)
	Grey          bool   // the picture has no colours: a result is written with one channel
	HasAlpha      bool   // the file has transparency; all of it may turn out opaque

	ICC  []byte // colour profile that Image is in; nil: sRGB
	EXIF []byte // a TIFF structure, without the "Exif\0\0" that JPEG puts before it
	XMP  []byte // an XML packet

	// Notices tell a user what happened to the picture that may surprise:
	// frames left out, colours converted, metadata not carried. Each is one
	// sentence without full stop.
	Notices []string
}

func (m *Meta) notice(s string) { m.Notices = append(m.Notices, s) }

// Photo is a picture with all that came with it.
type Photo struct {
	// Image holds the colours, upright and opaque, its bounds starting at
	// (0,0): an *image.NRGBA, *image.NRGBA64, *image.Gray or *image.Gray16.
	// Where Alpha is 0, the colours are made up from the visible ones nearby.
	Image image.Image
	// Alpha holds the opacity, nil if the whole picture is opaque: an
	// *image.Alpha or *image.Alpha16 of Image's size.
	Alpha image.Image
	Meta  Meta
}

// With returns a photo of the colours of result, of any size, with p's alpha
// plane resized to it and p's metadata. The result is made grey if p is, and
// has p's bits a sample. Transparency of result itself is ignored. Neither p
// nor result is changed, but the new photo may share their pixels.
func (p *Photo) With(result image.Image) *Photo {
	q := &Photo{Image: opaque(result), Meta: p.Meta}
	q.Meta.Notices = append([]string(nil), p.Meta.Notices...)
	if p.Meta.Grey {
		q.Image = toGrey(q.Image)
	}
	q.Image = toDepth(q.Image, p.Meta.Depth)
	if p.Alpha != nil {
		b := q.Image.Bounds()
		q.Alpha = Resize(p.Alpha, b.Dx(), b.Dy(), Bicubic)
	}
	return q
}

// Losses tells what of p a file of format f cannot hold and [Write] would
// therefore leave out, one sentence each; none if f holds it all.
func (p *Photo) Losses(f Format) []string {
	if f != JPEG {
		return nil
	}
	var s []string
	if p.Alpha != nil {
		s = append(s, "JPEG has no transparency: the picture is put on white")
	}
	if depthOf(p.Image) == 16 {
		s = append(s, "JPEG has 8 bits a sample: the picture's 16 are rounded")
	}
	if len(p.Meta.EXIF) > maxJPEGExif {
		s = append(s, "the EXIF data is too long for JPEG and is left out")
	}
	if len(p.Meta.XMP) > maxJPEGXMP {
		s = append(s, "the XMP data is too long for JPEG and is left out")
	}
	if len(p.Meta.ICC) > maxJPEGICC {
		s = append(s, "the colour profile is too long for JPEG and is left out")
	}
	return s
}
