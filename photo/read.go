package photo

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"
	"io"
	"io/fs"
	"os"
	"slices"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
	"golang.org/x/image/webp"
)

// ReadOptions says what to read. The zero value is the defaults.
type ReadOptions struct {
	// MaxPixels is the most pixels a picture may have, width times height. 0
	// means 16384x16384. A pixel takes 4 bytes of memory, 8 with 16 bits a
	// sample, and up to five times that while a file is decoded.
	MaxPixels int64
	// MaxBytes is the most bytes a file may have. 0 means 2 GiB.
	MaxBytes int64
	// KeepGPS keeps the position in EXIF and XMP data. Without it, it is
	// taken out.
	KeepGPS bool
	// KeepProfile leaves the colours as they are in the file, and the file's
	// profile beside them. Without it, they are converted to sRGB where the
	// profile allows, and only otherwise keep it.
	KeepProfile bool
}

const (
	defaultMaxPixels = 16384 * 16384
	defaultMaxBytes  = 1 << 31
)

func (o ReadOptions) withDefaults() (ReadOptions, error) {
	if o.MaxPixels < 0 || o.MaxBytes < 0 {
		return o, fmt.Errorf("photo: negative limits: MaxPixels %d, MaxBytes %d", o.MaxPixels, o.MaxBytes)
	}
	if o.MaxPixels == 0 {
		o.MaxPixels = defaultMaxPixels
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	return o, nil
}

// Read reads the picture in the file named. Its errors name the file, and are
// of the kinds [ErrNotImage], [ErrTooLarge], [ErrCorrupt] and
// [ErrUnsupported], or those of package os.
func Read(name string, o ReadOptions) (*Photo, error) {
	p, err := fromFile(name, o, Decode)
	if err != nil {
		return nil, err
	}
	p.Meta.Name = name
	return p, nil
}

// ReadMeta reads what [Read] would say about the picture in the file named,
// without decoding its pixels.
func ReadMeta(name string, o ReadOptions) (Meta, error) {
	m, err := fromFile(name, o, func(r io.Reader, o ReadOptions) (Meta, error) {
		o, err := o.withDefaults()
		if err != nil {
			return Meta{}, err
		}
		data, f, err := load(r, o)
		if err != nil {
			return Meta{}, err
		}
		c, err := inspect(data, f, o)
		if err != nil {
			return Meta{}, err
		}
		return c.meta(o), nil
	})
	m.Name = name
	return m, err
}

// fromFile calls read with an open file and puts its name into errors.
func fromFile[T any](name string, o ReadOptions, read func(io.Reader, ReadOptions) (T, error)) (T, error) {
	var zero T
	f, err := os.Open(name)
	if err != nil {
		return zero, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return zero, fmt.Errorf("%s: %w: it is a folder", name, ErrNotImage)
	}
	v, err := read(f, o)
	var pathErr *fs.PathError
	switch {
	case err == nil:
		return v, nil
	case errors.As(err, &pathErr): // names the file already
		return zero, err
	}
	return zero, fmt.Errorf("%s: %w", name, err)
}

// Decode reads a picture. Errors are those of [Read], without a name.
func Decode(r io.Reader, o ReadOptions) (*Photo, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	data, f, err := load(r, o)
	if err != nil {
		return nil, err
	}
	return decode(data, f, o)
}

// load reads all of a file if its beginning is that of a picture.
func load(r io.Reader, o ReadOptions) ([]byte, Format, error) {
	head := make([]byte, sniffLen)
	n, err := io.ReadFull(r, head)
	head = head[:n]
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, "", err
	}
	f, err := sniff(head)
	if err != nil {
		return nil, "", err
	}
	data, err := io.ReadAll(io.LimitReader(io.MultiReader(bytes.NewReader(head), r), max(o.MaxBytes+1, o.MaxBytes)))
	if err != nil {
		return nil, "", err
	}
	if int64(len(data)) > o.MaxBytes {
		return nil, "", &TooLargeError{Limit: o.MaxBytes}
	}
	return data, f, nil
}

// decode turns a file of format f into a photo.
func decode(data []byte, f Format, o ReadOptions) (*Photo, error) {
	c, err := inspect(data, f, o)
	if err != nil {
		return nil, err
	}
	img, err := c.pixels(data)
	if err != nil {
		return nil, err
	}
	if b := img.Bounds(); b.Dx() != c.width || b.Dy() != c.height {
		return nil, &CorruptError{f, fmt.Errorf("%dx%d pixels where the header says %dx%d", b.Dx(), b.Dy(), c.width, c.height)}
	}
	p := &Photo{Meta: c.meta(o)}
	p.Image, p.Alpha = split(img)
	if c.grey {
		p.Image = toGrey(p.Image)
	}
	if p.Alpha != nil {
		fillHidden(p.Image, p.Alpha)
	}
	if c.convert != nil {
		c.convert.apply(p.Image)
	}
	p.Image = upright(p.Image, c.orientation)
	p.Alpha = upright(p.Alpha, c.orientation)
	p.Meta.Depth = depthOf(p.Image)
	p.Meta.HasAlpha = c.alpha || p.Alpha != nil
	return p, nil
}

// container is what a file says about its picture before any pixel is
// decoded.
type container struct {
	format        Format
	width, height int // as stored, in pixels
	depth         int // 8 or 16
	grey, alpha   bool
	icc           []byte
	exif, xmp     []byte      // as in the file
	exifFromTags  bool        // exif was put together from a TIFF file's tags, without position
	hadGPS        bool        // in those tags
	orientation   int         // 1 to 8
	convert       *conversion // what to do to the colours, nil: nothing
	notices       []string
}

// notice adds a notice if it is not there yet.
func (c *container) notice(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); !slices.Contains(c.notices, s) {
		c.notices = append(c.notices, s)
	}
}

// inspect reads a file's headers and metadata. It takes no memory for pixels,
// and fails if there would be too many.
func inspect(data []byte, f Format, o ReadOptions) (c *container, err error) {
	c = &container{format: f, depth: 8, orientation: 1}
	if err := c.readHeader(data); err != nil {
		return nil, err
	}
	if c.width <= 0 || c.height <= 0 {
		return nil, &CorruptError{f, fmt.Errorf("a size of %dx%d pixels", c.width, c.height)}
	}
	if int64(c.width) > o.MaxPixels/int64(c.height) {
		return nil, &TooLargeError{c.width, c.height, o.MaxPixels}
	}
	switch f {
	case JPEG:
		c.readJPEG(data)
	case PNG:
		err = c.readPNG(data)
	case TIFF:
		err = c.readTIFF(data, o)
	case WebP:
		err = c.readWebP(data)
	case GIF:
		c.readGIF(data)
	}
	if err != nil {
		return nil, err
	}
	c.cleanMetadata(o)
	c.chooseColours(o)
	return c, nil
}

// readHeader asks the decoder for the picture's size.
func (c *container) readHeader(data []byte) error {
	config := map[Format]func(io.Reader) (image.Config, error){
		JPEG: jpeg.DecodeConfig, PNG: png.DecodeConfig, TIFF: tiff.DecodeConfig,
		WebP: webp.DecodeConfig, GIF: gif.DecodeConfig, BMP: bmp.DecodeConfig,
	}[c.format]
	return c.guard(func() error {
		ic, err := config(bytes.NewReader(data))
		c.width, c.height = ic.Width, ic.Height
		switch m := ic.ColorModel.(type) {
		case color.Palette:
			c.grey = greyPalette(m)
		default:
			c.grey = m == color.GrayModel || m == color.Gray16Model
		}
		return err
	})
}

// pixels decodes the picture.
func (c *container) pixels(data []byte) (img image.Image, err error) {
	err = c.guard(func() error {
		r := bytes.NewReader(data)
		switch c.format {
		case JPEG:
			img, err = c.decodeJPEG(data)
		case PNG:
			img, err = png.Decode(r)
		case TIFF:
			img, err = tiff.Decode(r)
		case WebP:
			img, err = decodeWebP(r)
		case GIF:
			img, err = c.decodeGIF(r)
		case BMP:
			img, err = bmp.Decode(r)
		}
		return err
	})
	return img, err
}

// greyPalette tells whether a palette has no colours.
func greyPalette(p color.Palette) bool {
	for _, c := range p {
		if r, g, b, _ := c.RGBA(); r != g || g != b {
			return false
		}
	}
	return true
}

// guard gives a decoder's error its kind, and makes a panic in one, which
// only a damaged file can cause, an error too.
func (c *container) guard(decode func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &CorruptError{c.format, fmt.Errorf("the decoder failed: %v", r)}
		}
	}()
	return decoderError(c.format, decode())
}

// cleanMetadata takes out of EXIF and XMP data what must not be carried.
func (c *container) cleanMetadata(o ReadOptions) {
	hadGPS := c.hadGPS
	if c.exif != nil && !c.exifFromTags {
		clean, facts, ok := cleanEXIF(c.exif, o.KeepGPS)
		c.exif, c.orientation = clean, facts.orientation
		hadGPS = hadGPS || facts.hadGPS
		if !ok {
			c.notice("the EXIF data is damaged and is not carried")
		}
		if facts.adobeRGB && c.icc == nil {
			c.icc = adobeProfile()
		}
	}
	if c.xmp != nil {
		had := bytes.Contains(c.xmp, []byte("GPSL"))
		hadGPS = hadGPS || had
		if bytes.Contains(c.xmp, []byte(nsGainMap)) {
			c.notice("the gain map for high dynamic range is not carried")
		}
		clean, ok := cleanXMP(c.xmp, o.KeepGPS)
		c.xmp = clean
		if !ok {
			c.notice("the XMP data is damaged and is not carried")
		}
	}
	if hadGPS && !o.KeepGPS {
		c.notice("the position (GPS) is not carried")
	}
}

// chooseColours decides between converting to sRGB and keeping the profile.
// Afterwards icc is the profile of the result.
func (c *container) chooseColours(o ReadOptions) {
	if c.icc == nil {
		return
	}
	p, err := parseProfile(c.icc)
	if err != nil {
		c.keepProfile(err)
		return
	}
	fits := p.grey == c.grey // a profile of the right kind for the result
	conversion := newConversion(p)
	if conversion.isIdentity() {
		if !fits {
			c.icc = nil
		}
		return
	}
	if o.KeepProfile && fits {
		return
	}
	c.convert = &conversion
	c.icc = srgbProfile(c.grey)
	c.exif = withColorSpace(c.exif)
	from := "another colour space"
	if p.name != "" {
		from = p.name
	}
	c.notice("the colours were converted from %s to sRGB", from)
}

// keepProfile keeps a profile that cannot be converted, if the result can
// have it.
func (c *container) keepProfile(why error) {
	space := profileSpace(c.icc)
	if space == "RGB " && !c.grey || space == "GRAY" && c.grey {
		c.notice("the colours stay in the space of the picture's profile, which cannot be converted to sRGB (%v)", why)
		return
	}
	c.icc = nil
	c.notice("the colour profile is left out (%v): colours may differ a little", why)
}

// meta returns what is known of the picture before its pixels are.
func (c *container) meta(o ReadOptions) Meta {
	m := Meta{
		Format: c.format, Width: c.width, Height: c.height, Depth: c.depth,
		Grey: c.grey, HasAlpha: c.alpha, EXIF: c.exif, XMP: c.xmp, Notices: c.notices,
		ICC: bytes.Clone(c.icc), // not to hold the whole file's data
	}
	if c.orientation >= 5 {
		m.Width, m.Height = m.Height, m.Width
	}
	return m
}
