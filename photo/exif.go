package photo

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Tags of EXIF 2.32 and TIFF 6.0 with a meaning here.
const (
	tagNewSubfileType  = 254
	tagWidth           = 256
	tagHeight          = 257
	tagBitsPerSample   = 258
	tagCompression     = 259
	tagPhotometric     = 262
	tagStripOffsets    = 273
	tagOrientation     = 274
	tagSamplesPerPixel = 277
	tagRowsPerStrip    = 278
	tagStripByteCounts = 279
	tagXResolution     = 282
	tagYResolution     = 283
	tagPlanar          = 284
	tagResolutionUnit  = 296
	tagPredictor       = 317
	tagExtraSamples    = 338
	tagThumbnail       = 513 // offset of a JPEG picture
	tagThumbnailLength = 514
	tagXMP             = 700
	tagIPTC            = 33723
	tagExif            = 34665 // offset of the directory of EXIF's own tags
	tagICC             = 34675
	tagGPS             = 34853 // offset of the directory of GPS tags
	tagColorSpace      = 40961
	tagPixelWidth      = 40962
	tagPixelHeight     = 40963
	tagInterop         = 40965 // offset of a directory
	tagInteropIndex    = 1
	tagDNGVersion      = 50706
)

// exifFacts is what reading needs to know from EXIF data.
type exifFacts struct {
	orientation int // 1 to 8; 1 if not given
	hadGPS      bool
	adobeRGB    bool // marked as Adobe RGB in the way of cameras (DCF 2.0)
}

// readFacts reads them from EXIF data. ok is false if that is too damaged.
func readFacts(b []byte) (facts exifFacts, ok bool) {
	facts.orientation = 1
	t, first, ok := openTIFF(b)
	if !ok {
		return facts, false
	}
	fields, _, ok := t.directory(first)
	if !ok {
		return facts, false
	}
	if f, ok := find(fields, tagOrientation); ok {
		if v, ok := t.number(f, 0); ok && v >= 1 && v <= 8 {
			facts.orientation = int(v)
		}
	}
	_, facts.hadGPS = find(fields, tagGPS)
	if exif, ok := t.subdirectory(fields, tagExif); ok {
		facts.adobeRGB = t.isAdobeRGB(exif)
		_, misplaced := find(exif, tagGPS)
		facts.hadGPS = facts.hadGPS || misplaced
	}
	return facts, true
}

// cleanEXIF returns EXIF data without what would be wrong about an upright
// picture of other pixels: orientation, thumbnail and, unless keepGPS,
// position. All else stays where it is, which makers' notes rely on. ok is
// false if the data is too damaged to carry; facts then hold what was found.
func cleanEXIF(b []byte, keepGPS bool) (clean []byte, facts exifFacts, ok bool) {
	facts, ok = readFacts(b)
	if !ok {
		return nil, facts, false
	}
	t, first, _ := openTIFF(bytes.Clone(b))
	fields, next, _ := t.directory(first)
	if f, ok := find(fields, tagOrientation); ok {
		t.setNumber(f, 1)
	}
	end := len(t.b)
	if thumb, _, ok := t.directory(t.bo.Uint32(t.b[next:])); ok {
		end = t.clearThumbnail(thumb)
	}
	t.bo.PutUint32(t.b[next:], 0)
	if facts.hadGPS && !keepGPS {
		t.removeGPS(first)
	}
	t.remove(first, tagXMP) // may tell the position; a picture's XMP comes elsewhere
	t.remove(first, tagIPTC)
	t.b = t.b[:end]

	// A file that stores several things in one place may not have survived
	// that, or still have what was to go.
	after, ok := readFacts(t.b)
	if !ok || after.orientation != 1 || after.hadGPS && !keepGPS {
		return nil, facts, false
	}
	return t.b, facts, true
}

// subdirectory reads the directory that the field with this id points to.
func (t tiffData) subdirectory(fields []field, id uint16) ([]field, bool) {
	f, ok := find(fields, id)
	if !ok {
		return nil, false
	}
	off, ok := t.number(f, 0)
	if !ok {
		return nil, false
	}
	sub, _, ok := t.directory(off)
	return sub, ok
}

// clearThumbnail overwrites the thumbnail described by a directory, and
// returns where the data can end without it.
func (t tiffData) clearThumbnail(fields []field) (end int) {
	end = len(t.b)
	fo, ok1 := find(fields, tagThumbnail)
	fn, ok2 := find(fields, tagThumbnailLength)
	if !ok1 || !ok2 {
		return end
	}
	off, ok1 := t.number(fo, 0)
	n, ok2 := t.number(fn, 0)
	if !ok1 || !ok2 || uint64(off)+uint64(n) > uint64(end) {
		return end
	}
	clear(t.b[off:][:n])
	if int(off)+int(n) == end {
		end = int(off)
	}
	return end
}

// removeGPS clears the directory of GPS tags with all values, and what points
// to it.
func (t tiffData) removeGPS(first uint32) {
	wipe := func(off uint32) {
		fields, _, ok := t.directory(off)
		if !ok {
			return
		}
		if f, ok := find(fields, tagGPS); ok {
			if gps, ok := t.number(f, 0); ok {
				sub, next, ok := t.directory(gps)
				for _, s := range sub {
					clear(s.val)
				}
				if ok {
					clear(t.b[gps : next+4])
				}
			}
		}
		t.remove(off, tagGPS)
	}
	wipe(first)
	fields, _, ok := t.directory(first)
	if !ok {
		return
	}
	if f, ok := find(fields, tagExif); ok { // not its place, but seen
		if off, ok := t.number(f, 0); ok {
			wipe(off)
		}
	}
}

// isAdobeRGB tells whether a camera marked the picture as Adobe RGB: colour
// space "uncalibrated" with interoperability index R03.
func (t tiffData) isAdobeRGB(exif []field) bool {
	if f, ok := find(exif, tagColorSpace); ok {
		if v, ok := t.number(f, 0); ok && v == 1 {
			return false
		}
	}
	interop, ok := t.subdirectory(exif, tagInterop)
	if !ok {
		return false
	}
	f, ok := find(interop, tagInteropIndex)
	return ok && bytes.HasPrefix(f.val, []byte("R03"))
}

// editEXIF returns a copy of EXIF data with edit applied to the directory of
// EXIF's own tags, or b itself if there is none.
func editEXIF(b []byte, edit func(t tiffData, fields []field)) []byte {
	t, first, ok := openTIFF(bytes.Clone(b))
	if !ok {
		return b
	}
	fields, _, ok := t.directory(first)
	if !ok {
		return b
	}
	sub, ok := t.subdirectory(fields, tagExif)
	if !ok {
		return b
	}
	edit(t, sub)
	return t.b
}

// withColorSpace returns EXIF data that calls the picture sRGB.
func withColorSpace(b []byte) []byte {
	return editEXIF(b, func(t tiffData, fields []field) {
		if f, ok := find(fields, tagColorSpace); ok {
			t.setNumber(f, 1)
		}
		if interop, ok := t.subdirectory(fields, tagInterop); ok {
			if f, ok := find(interop, tagInteropIndex); ok && len(f.val) >= 4 {
				copy(f.val, "R98\x00")
			}
		}
	})
}

// withPixelSize returns EXIF data that gives the picture's size, where it
// gave one, as w x h pixels.
func withPixelSize(b []byte, w, h int) []byte {
	return editEXIF(b, func(t tiffData, fields []field) {
		if f, ok := find(fields, tagPixelWidth); ok {
			t.setNumber(f, uint32(w))
		}
		if f, ok := find(fields, tagPixelHeight); ok {
			t.setNumber(f, uint32(h))
		}
	})
}

// exifTags is EXIF data taken apart, to be put together elsewhere.
type exifTags struct {
	bo                       byteOrder
	main, exif, interop, gps []tag
}

// describes tells whether a tag of a picture's main directory says something
// about the photograph, not about how this file stores it.
func describes(id uint16) bool {
	switch {
	case slices.Contains([]uint16{
		269, 270, 271, 272, // name, description, maker, model
		tagXResolution, tagYResolution, tagResolutionUnit,
		305, 306, 315, 316, // software, date, artist, computer
		18246, 18249, // rating
		33432, // copyright
	}, id):
		return true
	case id >= 40091 && id <= 40095: // title, comment, author, keywords, subject
		return true
	}
	return false
}

// readEXIFTags takes apart EXIF data or a TIFF file. Offsets within values
// that this package does not know (makers' notes) keep their numbers.
func readEXIFTags(b []byte) (e exifTags, ok bool) {
	t, first, ok := openTIFF(b)
	if !ok {
		return e, false
	}
	main, _, ok := t.directory(first)
	if !ok {
		return e, false
	}
	e.bo = t.bo
	e.main = copyTags(main, describes)
	if sub, ok := t.subdirectory(main, tagExif); ok {
		e.exif = copyTags(sub, func(id uint16) bool { return id != tagInterop && id != tagGPS })
		if interop, ok := t.subdirectory(sub, tagInterop); ok {
			e.interop = copyTags(interop, func(uint16) bool { return true })
		}
	}
	if gps, ok := t.subdirectory(main, tagGPS); ok {
		e.gps = copyTags(gps, func(uint16) bool { return true })
	}
	return e, true
}

// maxTag is the longest value copied, in bytes; longer ones are no metadata.
const maxTag = 1 << 20

func copyTags(fields []field, keep func(id uint16) bool) []tag {
	var tags []tag
	seen := map[uint16]bool{}
	for _, f := range fields {
		if f.val != nil && len(f.val) <= maxTag && keep(f.id) && !seen[f.id] {
			seen[f.id] = true
			tags = append(tags, tag{f.id, f.typ, f.count, f.val})
		}
	}
	return tags
}

// appendTo appends the directories to dst, which ends at offset at of the
// structure, the main one first with extra tags in it.
func (e exifTags) appendTo(dst []byte, at uint32, extra []tag) []byte {
	exif := slices.Clone(e.exif)
	if len(e.interop) > 0 {
		exif = append(exif, offsetTag(e.bo, tagInterop, 0))
	}
	main := append(slices.Clone(e.main), extra...)
	if len(exif) > 0 {
		main = append(main, offsetTag(e.bo, tagExif, 0))
	}
	if len(e.gps) > 0 {
		main = append(main, offsetTag(e.bo, tagGPS, 0))
	}
	point := func(tags []tag, id uint16, off uint32) {
		for i := range tags {
			if tags[i].id == id && tags[i].typ == typeLong {
				tags[i].val = e.bo.AppendUint32(nil, off)
			}
		}
	}
	exifAt := at + uint32(directorySize(main))
	interopAt := exifAt
	if len(exif) > 0 {
		interopAt += uint32(directorySize(exif))
	}
	gpsAt := interopAt
	if len(e.interop) > 0 {
		gpsAt += uint32(directorySize(e.interop))
	}
	point(main, tagExif, exifAt)
	point(main, tagGPS, gpsAt)
	point(exif, tagInterop, interopAt)

	dst = appendDirectory(dst, e.bo, at, main)
	if len(exif) > 0 {
		dst = appendDirectory(dst, e.bo, exifAt, exif)
	}
	if len(e.interop) > 0 {
		dst = appendDirectory(dst, e.bo, interopAt, e.interop)
	}
	if len(e.gps) > 0 {
		dst = appendDirectory(dst, e.bo, gpsAt, e.gps)
	}
	return dst
}

// exifFromTIFF returns the EXIF data that a TIFF file's main directory
// amounts to, nil if it says nothing worth carrying.
func exifFromTIFF(b []byte, keepGPS bool) (exif []byte, hadGPS bool) {
	e, ok := readEXIFTags(b)
	if !ok {
		return nil, false
	}
	hadGPS = len(e.gps) > 0
	if !keepGPS {
		e.gps = nil
	}
	if len(e.main)+len(e.exif)+len(e.gps) == 0 {
		return nil, hadGPS
	}
	return e.appendTo(newHeader(e.bo, 8), 8, nil), hadGPS
}

// newHeader returns the header of a TIFF structure whose first directory is
// at offset first.
func newHeader(bo byteOrder, first uint32) []byte {
	order := "II"
	if bo == byteOrder(binary.BigEndian) {
		order = "MM"
	}
	b := append([]byte(nil), order...)
	b = bo.AppendUint16(b, 42)
	return bo.AppendUint32(b, first)
}
