package photo

// readTIFF collects what the tags of the first picture say.
func (c *container) readTIFF(data []byte, o ReadOptions) error {
	t, first, ok := openTIFF(data)
	if !ok {
		return nil
	}
	fields, next, ok := t.directory(first)
	if !ok {
		return nil
	}
	number := func(id uint16) (v uint32, ok bool) {
		f, ok := find(fields, id)
		if !ok {
			return 0, false
		}
		return t.number(f, 0)
	}
	// Raw files of most cameras are TIFF files that begin with a thumbnail.
	_, dng := find(fields, tagDNGVersion)
	if kind, _ := number(tagNewSubfileType); dng || kind&1 != 0 {
		return unread("raw camera")
	}
	if v, _ := number(tagBitsPerSample); v == 16 {
		c.depth = 16
	}
	_, c.alpha = find(fields, tagExtraSamples)
	if v, ok := number(tagOrientation); ok && v >= 1 && v <= 8 {
		c.orientation = int(v)
	}
	if f, ok := find(fields, tagICC); ok {
		c.icc = f.val
	}
	if f, ok := find(fields, tagXMP); ok {
		c.xmp = f.val
	}
	if _, ok := find(fields, tagIPTC); ok {
		c.notice("the IPTC data is not carried")
	}
	if t.bo.Uint32(data[next:]) != 0 {
		c.notice("the file holds several pictures: only the first is used")
	}
	c.exif, c.hadGPS = exifFromTIFF(data, o.KeepGPS)
	c.exifFromTags = true
	return nil
}
