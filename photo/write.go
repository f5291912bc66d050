package photo

import (
	"bufio"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// WriteOptions says how to write a picture. The zero value is the defaults.
type WriteOptions struct {
	// Format is [JPEG], [PNG] or [TIFF]. "" means the one that the name's
	// extension asks for: see [OutputFormat].
	Format Format
	// Quality is that of JPEG, 1 to 100. 0 means 95. Colours are stored at
	// full resolution (4:4:4).
	Quality int
	// Overwrite allows to replace an existing file. Without it, [Write] fails
	// with [fs.ErrExist].
	Overwrite bool
	// Protect names further files, besides the one the photo was read from,
	// that must not be replaced even with Overwrite.
	Protect []string
}

const defaultQuality = 95

func (o WriteOptions) quality() (int, error) {
	switch {
	case o.Quality == 0:
		return defaultQuality, nil
	case o.Quality < 1 || o.Quality > 100:
		return 0, fmt.Errorf("photo: JPEG quality %d is not in 1 to 100", o.Quality)
	}
	return o.Quality, nil
}

// Write writes a photo to the file named, in its own depth: PNG and TIFF get
// 16 bits a sample if it has them. Grey photos get one channel, unless they
// have transparency. See [Photo.Losses] for what a format cannot hold.
//
// The file appears whole or not at all: it is written under another name in
// the same folder and then renamed. It never replaces the file that the photo
// was read from, by whatever name or link ([ErrIsInput]), and no other
// unless o.Overwrite is set. A link with the name given is replaced, not
// followed. A program killed while writing leaves a file .supir-*.tmp behind.
// Errors name the file.
func Write(name string, p *Photo, o WriteOptions) error {
	if o.Format == "" {
		f, err := OutputFormat(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		o.Format = f
	}
	mode, err := mayWrite(name, p, o)
	if err != nil {
		return err
	}
	tmp, err := createBeside(name)
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	w := bufio.NewWriterSize(tmp, 1<<16)
	err = Encode(w, p, o)
	if err == nil {
		err = w.Flush()
	}
	if err == nil && mode != 0 {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync() // a crash must not leave the name with no content
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, withoutPath(err))
	}
	return publish(tmp.Name(), name, o.Overwrite)
}

// mayWrite checks that writing to name replaces nothing it must not. mode is
// that of the file to be replaced, 0 if there is none.
func mayWrite(name string, p *Photo, o WriteOptions) (mode fs.FileMode, err error) {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if target, err := os.Stat(name); err == nil {
		for _, input := range append([]string{p.Meta.Name}, o.Protect...) {
			if input == "" {
				continue
			}
			if in, err := os.Stat(input); err == nil && os.SameFile(in, target) {
				return 0, fmt.Errorf("%s: %w", name, ErrIsInput)
			}
		}
	}
	switch {
	case info.IsDir():
		return 0, fmt.Errorf("%s: it is a folder: %w", name, fs.ErrExist)
	case !o.Overwrite:
		return 0, fmt.Errorf("%s: %w", name, fs.ErrExist)
	case info.Mode().IsRegular():
		return info.Mode().Perm(), nil
	}
	return 0, nil
}

// createBeside creates a file in name's folder, with the permissions a file
// of that name would get.
func createBeside(name string) (*os.File, error) {
	dir := filepath.Dir(name)
	for range 100 {
		tmp := filepath.Join(dir, ".supir-"+strconv.FormatUint(rand.Uint64(), 36)+".tmp")
		f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: cannot write in the folder %s: %w", name, dir, withoutPath(err))
		}
		return f, nil
	}
	return nil, fmt.Errorf("%s: cannot find a free name in the folder %s", name, dir)
}

// publish gives the finished file its name.
func publish(tmp, name string, overwrite bool) error {
	if !overwrite {
		// A link, unlike a renaming, fails if someone else was faster. File
		// systems without links have to make do with less.
		err := os.Link(tmp, name)
		if err == nil {
			return nil
		}
		if _, statErr := os.Lstat(name); errors.Is(err, fs.ErrExist) || statErr == nil {
			return fmt.Errorf("%s: %w", name, fs.ErrExist)
		}
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("%s: %w", name, withoutPath(err))
	}
	return nil
}

// withoutPath returns what went wrong with a file, without its name.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	switch {
	case errors.As(err, &pathErr):
		return pathErr.Err
	case errors.As(err, &linkErr):
		return linkErr.Err
	}
	return err
}

// Encode writes a photo to w in o.Format, which must be set.
func Encode(w io.Writer, p *Photo, o WriteOptions) error {
	quality, err := o.quality()
	if err != nil {
		return err
	}
	if p.Image == nil || p.Image.Bounds().Empty() {
		return errors.New("photo: a picture without pixels cannot be written")
	}
	b := p.Image.Bounds()
	switch p.Alpha.(type) {
	case nil, *image.Alpha, *image.Alpha16:
	default:
		return fmt.Errorf("photo: an alpha plane of type %T", p.Alpha)
	}
	if p.Alpha != nil && p.Alpha.Bounds().Size() != b.Size() {
		return fmt.Errorf("photo: an alpha plane of %v for a picture of %v", p.Alpha.Bounds().Size(), b.Size())
	}
	// Whatever image a caller has put there is taken.
	q := *p
	q.Image = opaque(p.Image)
	q.Meta.EXIF = withPixelSize(p.Meta.EXIF, b.Dx(), b.Dy())
	switch o.Format {
	case JPEG:
		return encodeJPEG(w, &q, quality)
	case PNG:
		return encodePNG(w, &q)
	case TIFF:
		return encodeTIFF(w, &q)
	}
	return &UnsupportedError{o.Format, "cannot be written: use JPEG, PNG or TIFF"}
}
