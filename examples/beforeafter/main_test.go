package main

import (
	"image"
	"image/color"
	"path/filepath"
	"testing"

	"golang.org/x/image/draw"
)

func plain(w, h int, c color.Color) image.Image {
	img := image.NewRGBA(image.Rect(3, 5, 3+w, 5+h)) // bounds need not start at 0
	draw.Draw(img, img.Bounds(), image.NewUniform(c), image.Point{}, draw.Src)
	return img
}

func TestBeforeIsScaledBesideAfter(t *testing.T) {
	dir := t.TempDir()
	before, after, out := filepath.Join(dir, "b.png"), filepath.Join(dir, "a.png"), filepath.Join(dir, "o.png")
	red, blue := color.RGBA{255, 0, 0, 255}, color.RGBA{0, 0, 255, 255}
	if err := write(before, plain(20, 10, red)); err != nil {
		t.Fatal(err)
	}
	if err := write(after, plain(80, 40, blue)); err != nil {
		t.Fatal(err)
	}
	if err := run(before, after, out); err != nil {
		t.Fatal(err)
	}
	img, err := read(out)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := img.Bounds().Size(), image.Pt(80+8+80, 40); got != want {
		t.Fatalf("size %v, want %v", got, want)
	}
	for _, p := range []struct {
		x    int
		want color.RGBA
	}{{0, red}, {79, red}, {80, color.RGBA{255, 255, 255, 255}}, {88, blue}, {167, blue}} {
		if got := color.RGBAModel.Convert(img.At(p.x, 20)); got != p.want {
			t.Errorf("at x=%d: %v, want %v", p.x, got, p.want)
		}
	}
}

func TestMissingPicture(t *testing.T) {
	if err := run("no-such.png", "nor-this.png", filepath.Join(t.TempDir(), "o.png")); err == nil {
		t.Fatal("no error")
	}
}
