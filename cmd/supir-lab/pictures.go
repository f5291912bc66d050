package main

import (
	"errors"
	"fmt"
	"image"
	"image/draw"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"supir/internal/degrade"
	"supir/photo"
)

// An item is a photograph and what the recipes made of it.
type item struct {
	name  string
	truth *image.NRGBA
	low   map[string]*image.NRGBA // by the recipe's name
}

// extensions are those of files that are taken for pictures.
var extensions = []string{".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp"}

// listPictures are the pictures of a folder, in order of their names.
func listPictures(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && slices.Contains(extensions, strings.ToLower(filepath.Ext(e.Name()))) {
			names = append(names, filepath.Join(folder, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, fmt.Errorf("%s: no pictures in this folder", folder)
	}
	return names, nil
}

// examples is where the repository has photographs, exampleSize what can be cut
// out of the smallest.
const (
	examples    = "examples/photos"
	exampleSize = 128
)

// load reads the pictures. What cannot be used is skipped and told.
func (f *flags) load(skip func(name string, err error)) ([]item, error) {
	if f.degraded != "" {
		return f.loadDegraded(skip)
	}
	names, err := listPictures(f.photos)
	if err != nil {
		return nil, err
	}
	return f.readAll(f.photos, names, f.read, skip)
}

// readAll reads pictures until there are enough.
func (f *flags) readAll(folder string, names []string, read func(name string) (item, error), skip func(name string, err error)) ([]item, error) {
	var items []item
	for _, name := range names {
		if f.pictures > 0 && len(items) == f.pictures {
			break
		}
		it, err := read(name)
		if err == nil && slices.ContainsFunc(items, func(o item) bool { return o.name == it.name }) {
			err = errors.New("another picture has the same name before the extension")
		}
		if err != nil {
			skip(name, err)
			continue
		}
		items = append(items, it)
	}
	if len(items) == 0 {
		return nil, fmt.Errorf("%s: none of its %d pictures can be used", folder, len(names))
	}
	return items, nil
}

// read cuts the middle out of a photograph and degrades it.
func (f *flags) read(name string) (item, error) {
	p, err := photo.Read(name, photo.ReadOptions{})
	if err != nil {
		return item{}, err
	}
	size := p.Image.Bounds().Size()
	if size.X < f.size || size.Y < f.size {
		return item{}, fmt.Errorf("%d×%d is smaller than --size %d", size.X, size.Y, f.size)
	}
	at := image.Pt((size.X-f.size)/2, (size.Y-f.size)/2)
	it := item{name: stem(name), truth: nrgba(p.Image, image.Rectangle{at, at.Add(image.Pt(f.size, f.size))}), low: map[string]*image.NRGBA{}}
	for _, r := range degrade.Recipes {
		if it.low[r.Name], err = r.Apply(it.truth, uint64(f.seed), it.name); err != nil {
			return item{}, err
		}
	}
	return it, nil
}

// loadDegraded reads pictures that were degraded before: gt/NAME.png with
// RECIPE/NAME.png for every recipe.
func (f *flags) loadDegraded(skip func(name string, err error)) ([]item, error) {
	names, err := listPictures(filepath.Join(f.degraded, "gt"))
	if err != nil {
		return nil, err
	}
	return f.readAll(f.degraded, names, f.readDegraded, skip)
}

// readDegraded reads a true picture and what lies beside it.
func (f *flags) readDegraded(name string) (item, error) {
	truth, err := readWhole(name)
	if err != nil {
		return item{}, err
	}
	it := item{name: stem(name), truth: truth, low: map[string]*image.NRGBA{}}
	size := truth.Bounds().Size()
	for _, r := range degrade.Recipes {
		low := filepath.Join(f.degraded, r.Name, it.name+".png")
		if it.low[r.Name], err = readWhole(low); err != nil {
			return item{}, err
		}
		if want, got := size.Div(r.Scale), it.low[r.Name].Bounds().Size(); got != want {
			return item{}, fmt.Errorf("%s is %v, not %v", low, got, want)
		}
	}
	if size.X%64 != 0 || size.Y%64 != 0 {
		return item{}, errors.New("the sides of true pictures must be multiples of 64")
	}
	return it, nil
}

func readWhole(name string) (*image.NRGBA, error) {
	p, err := photo.Read(name, photo.ReadOptions{})
	if err != nil {
		return nil, err
	}
	return nrgba(p.Image, p.Image.Bounds()), nil
}

func stem(name string) string {
	base := filepath.Base(name)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// nrgba copies a part of a picture.
func nrgba(img image.Image, part image.Rectangle) *image.NRGBA {
	out := image.NewNRGBA(image.Rectangle{Max: part.Size()})
	draw.Draw(out, out.Bounds(), img, part.Min, draw.Src)
	return out
}

// write puts a picture into a file, whole or not at all.
func write(name string, img image.Image) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	return photo.Write(name, photo.From(img), photo.WriteOptions{Overwrite: true, Quality: 92})
}

// exists tells whether there is a file of that name.
func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}
