package convert

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"supir/internal/memory"
)

// Suffix is that of the files written.
const Suffix = ".gguf"

// Why a file of a name is not begun.
var (
	ErrName    = errors.New("the name must end in " + Suffix)
	ErrIsInput = errors.New("is one of the files to convert")
	ErrFolder  = errors.New("cannot write in its folder")
	ErrSpace   = errors.New("not enough room on the disk")
)

// A File is written under another name in the same folder, and gets its own when
// it is whole.
type File struct {
	path      string
	overwrite bool
	tmp       *os.File
	w         *bufio.Writer
	mode      fs.FileMode // of the file to be replaced, or 0
}

// Create begins a file. One that exists is replaced only with overwrite, and
// those named in protect never.
func Create(path string, overwrite bool, protect []string) (*File, error) {
	f := &File{path: path, overwrite: overwrite}
	if !strings.EqualFold(filepath.Ext(path), Suffix) {
		return nil, fmt.Errorf("%s: %w", path, ErrName)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fmt.Errorf("%s: %w", path, syscall.EISDIR)
	case !overwrite:
		return nil, fmt.Errorf("%s: %w", path, fs.ErrExist)
	default:
		for _, name := range protect {
			if in, err := os.Stat(name); err == nil && os.SameFile(in, info) {
				return nil, fmt.Errorf("%s: %w", path, ErrIsInput)
			}
		}
		f.mode = info.Mode().Perm()
	}
	tmp := filepath.Join(filepath.Dir(path), ".supir-"+strconv.FormatUint(rand.Uint64(), 36)+".tmp")
	if f.tmp, err = os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrFolder, withoutPath(err))
	}
	f.w = bufio.NewWriterSize(f.tmp, 1<<20)
	return f, nil
}

// Reserve is an error if the disk has no room for so many bytes. A file that is
// to be replaced stays until the new one is whole.
func (f *File) Reserve(size int64) error {
	free := memory.DiskFree(filepath.Dir(f.path))
	if free > 0 && size > free {
		return fmt.Errorf("%s: %w: it will have %d MiB, %d MiB are free", f.path, ErrSpace, size>>20, free>>20)
	}
	return nil
}

// Write writes the next bytes. The error is an *fs.PathError.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		err = &fs.PathError{Op: "write", Path: f.path, Err: withoutPath(err)}
	}
	return n, err
}

// Publish gives the file its name and tells its size.
func (f *File) Publish() (size int64, err error) {
	err = f.w.Flush()
	if err == nil && f.mode != 0 {
		err = f.tmp.Chmod(f.mode)
	}
	if err == nil {
		err = f.tmp.Sync() // a crash must not leave the name with no content
	}
	if err == nil {
		var info fs.FileInfo
		if info, err = f.tmp.Stat(); err == nil {
			size = info.Size()
		}
	}
	if closeErr := f.tmp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", f.path, err)
	}
	if !f.overwrite { // a link, unlike a renaming, fails if someone else was faster
		linkErr := os.Link(f.tmp.Name(), f.path)
		if linkErr == nil {
			return size, nil
		}
		if _, err := os.Lstat(f.path); err == nil || errors.Is(linkErr, fs.ErrExist) {
			return 0, fmt.Errorf("%s: %w", f.path, fs.ErrExist)
		}
	}
	return size, os.Rename(f.tmp.Name(), f.path)
}

// Discard removes what is not published. It may be called in any case.
func (f *File) Discard() {
	_ = f.tmp.Close()
	_ = os.Remove(f.tmp.Name())
}

// withoutPath returns what went wrong with a file, without its name.
func withoutPath(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
