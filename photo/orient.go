package photo

import "image"

// upright returns a picture stored with an EXIF orientation (1 to 8; anything
// else counts as 1) as it is to be seen. It returns img itself for 1.
func upright(img image.Image, orientation int) image.Image {
	if orientation < 2 || orientation > 8 || img == nil {
		return img
	}
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	if orientation >= 5 {
		w, h = h, w
	}
	r := image.Rect(0, 0, w, h)
	switch m := img.(type) {
	case *image.Gray:
		n := image.NewGray(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 1, orientation)
		return n
	case *image.Alpha:
		n := image.NewAlpha(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 1, orientation)
		return n
	case *image.Gray16:
		n := image.NewGray16(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 2, orientation)
		return n
	case *image.Alpha16:
		n := image.NewAlpha16(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 2, orientation)
		return n
	case *image.NRGBA:
		n := image.NewNRGBA(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 4, orientation)
		return n
	case *image.NRGBA64:
		n := image.NewNRGBA64(r)
		turn(n.Pix, n.Stride, m.Pix, m.Stride, w, h, 8, orientation)
		return n
	}
	return img
}

// turn fills dst, of w x h pixels of size bytes, from src by an orientation
// of 2 to 8.
func turn(dst []byte, dstStride int, src []byte, srcStride, w, h, size, orientation int) {
	// Where pixel (0,0) of dst lies in src, and the way in src, in bytes,
	// that one step right (dx) and down (dy) in dst takes.
	var start, dx, dy int
	switch px := size; orientation {
	case 2: // mirrored
		start, dx, dy = (w-1)*px, -px, srcStride
	case 3: // upside down
		start, dx, dy = (h-1)*srcStride+(w-1)*px, -px, -srcStride
	case 4: // upside down, mirrored
		start, dx, dy = (h-1)*srcStride, px, -srcStride
	case 5: // transposed
		start, dx, dy = 0, srcStride, px
	case 6: // to be turned right
		start, dx, dy = (w-1)*srcStride, -srcStride, px
	case 7: // transposed, upside down
		start, dx, dy = (w-1)*srcStride+(h-1)*px, -srcStride, -px
	case 8: // to be turned left
		start, dx, dy = (h-1)*px, srcStride, -px
	}
	rows(h, func(y0, y1 int) {
		for y := y0; y < y1; y++ {
			row := dst[y*dstStride:][:w*size]
			o := start + y*dy
			for i := 0; i < len(row); i += size {
				copy(row[i:i+size], src[o:o+size])
				o += dx
			}
		}
	})
}
