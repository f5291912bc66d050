package photo

import (
	"image"
	"image/draw"
	"image/gif"
	"io"
)

// readGIF says so if there is more than one frame.
func (c *container) readGIF(data []byte) {
	if moreFrames(data) {
		c.notice("the picture is an animation: only its first frame is used")
	}
}

// moreFrames tells whether a GIF file holds a second frame.
func moreFrames(data []byte) bool {
	const header = 13
	if len(data) < header {
		return false
	}
	pos := header + colourTable(data[10])
	skipBlocks := func() {
		for pos < len(data) && data[pos] != 0 {
			pos += 1 + int(data[pos])
		}
		pos++
	}
	for frames := 0; pos < len(data); {
		switch data[pos] {
		case 0x21: // extension: label, blocks
			pos += 2
			skipBlocks()
		case 0x2c: // frame: place and size, flags, code size, blocks
			if frames++; frames == 2 {
				return true
			}
			if pos+10 > len(data) {
				return false
			}
			pos += 10 + colourTable(data[pos+9]) + 1
			skipBlocks()
		default:
			return false
		}
	}
	return false
}

// colourTable returns the bytes of the colour table that flags tell of.
func colourTable(flags byte) int {
	if flags&0x80 == 0 {
		return 0
	}
	return 3 << (flags&7 + 1)
}

// decodeGIF decodes the first frame, on a transparent canvas of the
// animation's size if it is smaller.
func (c *container) decodeGIF(r io.Reader) (image.Image, error) {
	img, err := gif.Decode(r)
	if err != nil {
		return nil, err
	}
	m, ok := img.(*image.Paletted)
	if !ok {
		return img, nil
	}
	c.grey = greyPalette(m.Palette) // the frame's own, it may be
	canvas := image.Rect(0, 0, c.width, c.height)
	if m.Bounds() == canvas {
		return m, nil
	}
	n := image.NewNRGBA(canvas)
	draw.Draw(n, m.Bounds(), m, m.Bounds().Min, draw.Src)
	return n, nil
}
