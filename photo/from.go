package photo

import "image"

// From makes a photo of any picture in memory, which stays as it is: colours and
// transparency apart, bits and greyness noted. Use it where there is no file.
func From(img image.Image) *Photo {
	b := img.Bounds()
	p := &Photo{Meta: Meta{Width: b.Dx(), Height: b.Dy()}}
	p.Image, p.Alpha = split(clone(img))
	if p.Alpha != nil {
		fillHidden(p.Image, p.Alpha)
	}
	p.Meta.Depth = depthOf(p.Image)
	p.Meta.HasAlpha = p.Alpha != nil
	switch p.Image.(type) {
	case *image.Gray, *image.Gray16:
		p.Meta.Grey = true
	}
	return p
}

// Whole is the photo's picture with its transparency: Image itself where there
// is none, else an *image.NRGBA or *image.NRGBA64.
func (p *Photo) Whole() image.Image {
	if p.Alpha == nil {
		return p.Image
	}
	return withAlpha(p.Image, p.Alpha)
}
