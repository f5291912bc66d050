package photo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	"io"
)

// The most that fits in JPEG's segments, in bytes.
const (
	maxSegment  = 0xffff - 2
	maxJPEGExif = maxSegment - len(jpegExif)
	maxJPEGXMP  = maxSegment - len(jpegXMP)
	maxICCPart  = maxSegment - len(jpegICC) - 2
	maxJPEGICC  = 255 * maxICCPart
)

// encodeJPEG writes a photo.
//
// The standard library's encoder stores colour at half the resolution, which
// would undo some of a restoration. But it writes grey pictures in full, and
// a JPEG file may hold its components one after the other, each in a scan of
// its own. So luma and both chroma planes are encoded as grey pictures, and
// their scans put into one file. The chroma planes get luma's quantization
// with that, which is the finer one.
func encodeJPEG(w io.Writer, p *Photo, quality int) error {
	b := p.Image.Bounds()
	if b.Dx() > 0xffff || b.Dy() > 0xffff {
		return &UnsupportedError{JPEG, fmt.Sprintf("a picture of %dx%d pixels is too large for JPEG, use PNG or TIFF", b.Dx(), b.Dy())}
	}
	img := toDepth(p.Image, 8)
	if p.Alpha != nil {
		img = onWhite(img, p.Alpha)
	}
	planes := []*image.Gray{}
	switch m := img.(type) {
	case *image.Gray:
		planes = append(planes, m)
	case *image.NRGBA:
		planes = ycbcrPlanes(m)
	}
	scans := make([]jpegScan, len(planes))
	errs := make([]error, len(planes))
	rows(len(planes), func(i0, i1 int) {
		for i := i0; i < i1; i++ {
			scans[i], errs[i] = encodeScan(planes[i], quality)
		}
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}

	head := []byte{0xff, 0xd8}
	head = appendSegment(head, 0xe0, []byte("JFIF\x00\x01\x02\x00\x00\x01\x00\x01\x00\x00"))
	head = appendJPEGMetadata(head, p.Meta)
	head = append(head, scans[0].tables...)
	frame := []byte{8, byte(b.Dy() >> 8), byte(b.Dy()), byte(b.Dx() >> 8), byte(b.Dx()), byte(len(scans))}
	for i := range scans {
		frame = append(frame, byte(i+1), 0x11, 0) // component i+1, full resolution, table 0
	}
	head = appendSegment(head, 0xc0, frame)
	if _, err := w.Write(head); err != nil {
		return err
	}
	for i, s := range scans {
		// One component, i+1, with tables 0 and all coefficients.
		if _, err := w.Write(appendSegment(nil, 0xda, []byte{1, byte(i + 1), 0, 0, 63, 0})); err != nil {
			return err
		}
		if _, err := w.Write(s.data); err != nil {
			return err
		}
	}
	_, err := w.Write([]byte{0xff, 0xd9})
	return err
}

// jpegScan is what is needed of a grey JPEG file.
type jpegScan struct {
	tables []byte // segments with quantization and Huffman tables
	data   []byte // entropy-coded pixels
}

func encodeScan(m *image.Gray, quality int) (s jpegScan, err error) {
	var buf bytes.Buffer
	if err := jpeg.Encode(&buf, m, &jpeg.Options{Quality: quality}); err != nil {
		return s, err
	}
	file := buf.Bytes()
	for marker, seg := range jpegSegments(file) {
		if marker == 0xdb || marker == 0xc4 {
			s.tables = appendSegment(s.tables, marker, seg)
		}
	}
	const header = 10 // of the scan of one component
	i := bytes.Index(file, []byte{0xff, 0xda, 0, 8, 1})
	if i < 0 || i+header+2 > len(file) {
		return s, errors.New("photo: the JPEG encoder's output is not as expected")
	}
	s.data = file[i+header : len(file)-2] // without end marker
	return s, nil
}

// ycbcrPlanes returns luma and chroma as JFIF defines them.
func ycbcrPlanes(m *image.NRGBA) []*image.Gray {
	b := m.Bounds()
	y, cb, cr := image.NewGray(b), image.NewGray(b), image.NewGray(b)
	rows(b.Dy(), func(y0, y1 int) {
		for j := y0; j < y1; j++ {
			row := m.Pix[j*m.Stride:][:4*b.Dx()]
			for i := 0; i < len(row); i += 4 {
				r, g, bl := int(row[i]), int(row[i+1]), int(row[i+2])
				o := j*y.Stride + i/4
				y.Pix[o] = byte((lumaR*r + lumaG*g + lumaB*bl + 1<<15) >> 16)
				cb.Pix[o] = clamp8((-11056*r - 21712*g + 32768*bl + 257<<15) >> 16)
				cr.Pix[o] = clamp8((32768*r - 27440*g - 5328*bl + 257<<15) >> 16)
			}
		}
	})
	return []*image.Gray{y, cb, cr}
}

// appendJPEGMetadata appends the segments that hold metadata, leaving out
// what does not fit.
func appendJPEGMetadata(b []byte, m Meta) []byte {
	if m.EXIF != nil && len(m.EXIF) <= maxJPEGExif {
		b = appendSegment(b, 0xe1, append([]byte(jpegExif), m.EXIF...))
	}
	if m.XMP != nil && len(m.XMP) <= maxJPEGXMP {
		b = appendSegment(b, 0xe1, append([]byte(jpegXMP), m.XMP...))
	}
	if len(m.ICC) <= maxJPEGICC {
		count := (len(m.ICC) + maxICCPart - 1) / maxICCPart
		for i := range count {
			part := m.ICC[i*maxICCPart : min((i+1)*maxICCPart, len(m.ICC))]
			b = appendSegment(b, 0xe2, append([]byte(jpegICC), append([]byte{byte(i + 1), byte(count)}, part...)...))
		}
	}
	return b
}

// appendSegment appends a segment of at most maxSegment bytes.
func appendSegment(b []byte, marker byte, data []byte) []byte {
	b = append(b, 0xff, marker)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)+2))
	return append(b, data...)
}
