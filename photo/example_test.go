package photo_test

import (
	"fmt"
	"os"
	"path/filepath"

	"supir/photo"
)

// Read a picture, do something with its colours, and write it with all that
// came with it.
func Example() {
	p, err := photo.Read("testdata/odd/icc_p3.png", photo.ReadOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, n := range p.Meta.Notices {
		fmt.Println(n)
	}
	b := p.Image.Bounds()
	larger := photo.Resize(p.Image, 2*b.Dx(), 2*b.Dy(), photo.Lanczos3) // or a model's Restore
	result := p.With(larger)

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	for _, loss := range result.Losses(photo.JPEG) {
		fmt.Println(loss)
	}
	if err := photo.Write(filepath.Join(dir, "larger.jpg"), result, photo.WriteOptions{Quality: 90}); err != nil {
		fmt.Println(err)
		return
	}
	m, err := photo.ReadMeta(filepath.Join(dir, "larger.jpg"), photo.ReadOptions{})
	fmt.Println(m.Format, m.Width, m.Height, m.Depth, len(m.ICC) > 0, err)
	// Output:
	// the colours were converted from P3 D65, sRGB curve (test) to sRGB
	// jpeg 768 512 8 true <nil>
}

// Errors tell their kind and name the file.
func ExampleRead_errors() {
	_, err := photo.Read("testdata/odd/bomb_100000x100000.png", photo.ReadOptions{MaxPixels: 100e6})
	fmt.Println(err)
	_, err = photo.Read("testdata/odd/text.jpg", photo.ReadOptions{})
	fmt.Println(err)
	// Output:
	// testdata/odd/bomb_100000x100000.png: 100000x100000 pixels are more than the limit of 100000000
	// testdata/odd/text.jpg: not a picture: the file holds text
}
