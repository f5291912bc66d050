package photo

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// TIFF files and EXIF data are built alike (TIFF 6.0, section 2): a header
// that tells the byte order, and directories (IFDs) of tagged values. This
// file reads and writes directories; it knows no tag's meaning.
//
// Go's libraries for this either only read (github.com/bep/imagemeta,
// golang.org/x/image/tiff) or are no longer kept up, and what is needed is
// little: to change values where they are, and to copy some from one file to
// another.

// byteOrder is binary.LittleEndian or binary.BigEndian.
type byteOrder interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// tiffData is a TIFF structure; offsets in it count from its start.
type tiffData struct {
	b  []byte
	bo byteOrder
}

// openTIFF reads the header. first is the offset of the first directory.
func openTIFF(b []byte) (t tiffData, first uint32, ok bool) {
	if len(b) < 8 {
		return t, 0, false
	}
	switch string(b[:4]) {
	case "II*\x00":
		t.bo = binary.LittleEndian
	case "MM\x00*":
		t.bo = binary.BigEndian
	default:
		return t, 0, false
	}
	t.b = b
	return t, t.bo.Uint32(b[4:]), true
}

// field is one entry of a directory.
type field struct {
	id, typ uint16
	count   uint32
	pos     int    // of the 12-byte entry in the structure
	val     []byte // the value's bytes, within the structure; nil if they are not
}

// TIFF value types.
const (
	typeByte      = 1
	typeASCII     = 2
	typeShort     = 3
	typeLong      = 4
	typeRational  = 5
	typeUndefined = 7
	typeIFD       = 13
)

// typeSize is the bytes a value of each type takes; 0: not known.
var typeSize = [...]uint64{0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4}

// directory reads the directory at off. next is the position of the offset
// of the directory after it.
func (t tiffData) directory(off uint32) (fields []field, next int, ok bool) {
	pos := uint64(off)
	if off < 8 || pos+2 > uint64(len(t.b)) {
		return nil, 0, false
	}
	n := uint64(t.bo.Uint16(t.b[pos:]))
	pos += 2
	if pos+12*n+4 > uint64(len(t.b)) {
		return nil, 0, false
	}
	for range n {
		e := t.b[pos:]
		f := field{id: t.bo.Uint16(e), typ: t.bo.Uint16(e[2:]), count: t.bo.Uint32(e[4:]), pos: int(pos)}
		if int(f.typ) < len(typeSize) {
			at, size := pos+8, uint64(f.count)*typeSize[f.typ]
			if size > 4 {
				at = uint64(t.bo.Uint32(e[8:]))
			}
			if at+size <= uint64(len(t.b)) && size > 0 {
				f.val = t.b[at : at+size : at+size]
			}
		}
		fields = append(fields, f)
		pos += 12
	}
	return fields, int(pos), true
}

// number returns the field's i-th value if it is a whole number.
func (t tiffData) number(f field, i int) (uint32, bool) {
	switch {
	case f.typ == typeByte && i < len(f.val):
		return uint32(f.val[i]), true
	case f.typ == typeShort && 2*i+2 <= len(f.val):
		return uint32(t.bo.Uint16(f.val[2*i:])), true
	case (f.typ == typeLong || f.typ == typeIFD) && 4*i+4 <= len(f.val):
		return t.bo.Uint32(f.val[4*i:]), true
	}
	return 0, false
}

// setNumber makes v the field's only value, in place.
func (t tiffData) setNumber(f field, v uint32) {
	e := t.b[f.pos:]
	if v <= 0xffff {
		t.bo.PutUint16(e[2:], typeShort)
		t.bo.PutUint16(e[8:], uint16(v))
		t.bo.PutUint16(e[10:], 0)
	} else {
		t.bo.PutUint16(e[2:], typeLong)
		t.bo.PutUint32(e[8:], v)
	}
	t.bo.PutUint32(e[4:], 1)
}

// remove takes the fields with this id out of the directory at off, in place,
// and clears their values. Later fields of the directory move.
func (t tiffData) remove(off uint32, id uint16) {
	fields, next, ok := t.directory(off)
	if !ok {
		return
	}
	start := int(off) + 2
	entries := bytes.Clone(t.b[start : next+4])
	kept := entries[:0]
	for i, f := range fields {
		if f.id == id {
			clear(f.val)
		} else {
			kept = append(kept, entries[12*i:12*i+12]...)
		}
	}
	n := len(kept) / 12
	kept = append(kept, entries[12*len(fields):]...) // the offset of the next directory
	clear(t.b[start : next+4])
	copy(t.b[start:], kept)
	t.bo.PutUint16(t.b[off:], uint16(n))
}

// find returns the field with this id.
func find(fields []field, id uint16) (field, bool) {
	i := slices.IndexFunc(fields, func(f field) bool { return f.id == id })
	if i < 0 {
		return field{}, false
	}
	return fields[i], true
}

// tag is a value to be written: bytes in the structure's order.
type tag struct {
	id, typ uint16
	count   uint32
	val     []byte
}

func numberTag(bo byteOrder, id uint16, values ...uint32) tag {
	t := tag{id: id, typ: typeShort, count: uint32(len(values))}
	if slices.ContainsFunc(values, func(v uint32) bool { return v > 0xffff }) {
		t.typ = typeLong
	}
	for _, v := range values {
		if t.typ == typeLong {
			t.val = bo.AppendUint32(t.val, v)
		} else {
			t.val = bo.AppendUint16(t.val, uint16(v))
		}
	}
	return t
}

func offsetTag(bo byteOrder, id uint16, offset uint32) tag {
	return tag{id, typeLong, 1, bo.AppendUint32(nil, offset)}
}

// directorySize is the bytes appendDirectory will take.
func directorySize(tags []tag) int {
	n := 2 + 12*len(tags) + 4
	for _, t := range tags {
		if len(t.val) > 4 {
			n += len(t.val) + len(t.val)%2
		}
	}
	return n
}

// appendDirectory appends a directory without successor and its values to
// dst. at is the directory's offset in the structure.
func appendDirectory(dst []byte, bo byteOrder, at uint32, tags []tag) []byte {
	tags = slices.Clone(tags)
	slices.SortStableFunc(tags, func(a, b tag) int { return cmp.Compare(a.id, b.id) })
	at += uint32(2 + 12*len(tags) + 4)
	var values []byte
	dst = bo.AppendUint16(dst, uint16(len(tags)))
	for _, t := range tags {
		dst = bo.AppendUint16(dst, t.id)
		dst = bo.AppendUint16(dst, t.typ)
		dst = bo.AppendUint32(dst, t.count)
		if len(t.val) <= 4 {
			var v [4]byte
			copy(v[:], t.val)
			dst = append(dst, v[:]...)
			continue
		}
		dst = bo.AppendUint32(dst, at+uint32(len(values)))
		values = append(values, t.val...)
		if len(t.val)%2 != 0 {
			values = append(values, 0)
		}
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, values...)
}
