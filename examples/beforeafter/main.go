// Command beforeafter puts two pictures side by side in one PNG file: the first
// scaled to the height of the second.
//
//	go run ./examples/beforeafter before.jpg after.png out.png
package main

import (
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/jpeg"
	"image/png"
	"os"

	"golang.org/x/image/draw"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: beforeafter before after out.png")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "beforeafter:", err)
		os.Exit(1)
	}
}

func run(before, after, out string) error {
	b, err := read(before)
	if err != nil {
		return err
	}
	a, err := read(after)
	if err != nil {
		return err
	}
	return write(out, sideBySide(b, a))
}

// sideBySide returns a picture as high as after, with before to its left,
// enlarged by a Catmull-Rom kernel: as a viewer would show it, neither better
// nor worse. A white line parts the two.
func sideBySide(before, after image.Image) image.Image {
	const line = 8
	size, from := after.Bounds().Size(), before.Bounds()
	width := max(1, (from.Dx()*size.Y+from.Dy()/2)/from.Dy())

	out := image.NewRGBA(image.Rect(0, 0, width+line+size.X, size.Y))
	draw.Draw(out, out.Bounds(), image.NewUniform(color.White), image.Point{}, draw.Src)
	draw.CatmullRom.Scale(out, image.Rect(0, 0, width, size.Y), before, from, draw.Over, nil)
	draw.Draw(out, image.Rect(width+line, 0, width+line+size.X, size.Y), after, after.Bounds().Min, draw.Over)
	return out
}

func read(name string) (image.Image, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	img, _, err := image.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if img.Bounds().Empty() {
		return nil, fmt.Errorf("%s: an empty picture", name)
	}
	return img, nil
}

func write(name string, img image.Image) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(png.Encode(f, img), f.Close())
}
