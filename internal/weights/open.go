package weights

import (
	"bytes"
	"errors"
	"io/fs"
	"os"

	"github.com/edsrzf/mmap-go"
)

// File is a weight file: one on disk, or one already in memory.
type File struct {
	Path string // where the file lies; with Data, its name in messages
	Data []byte // the whole file, or nil to map Path; neither copied nor changed
}

// Open maps the files and reads what they hold. The files must not change
// until the Set is closed.
func Open(paths ...string) (*Set, error) {
	files := make([]File, len(paths))
	for i, path := range paths {
		files[i].Path = path
	}
	return OpenFiles(files...)
}

// OpenFiles is [Open] for files of which some may be in memory, such as
// embedded ones.
func OpenFiles(files ...File) (set *Set, err error) {
	var closers []func() error
	defer func() {
		if err != nil {
			_ = closeAll(closers) // the first error is the one to tell
		}
	}()
	var read []*contents
	for _, f := range files {
		data := f.Data
		if data == nil {
			mapped, err := mapFile(f.Path)
			if err != nil {
				return nil, err
			}
			if mapped != nil {
				closers = append(closers, mapped.Unmap)
			}
			data = mapped
		}
		c, err := parse(f.Path, data)
		if err != nil {
			return nil, err
		}
		read = append(read, c)
	}
	return newSet(read, closers), nil
}

func closeAll(closers []func() error) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// mapFile maps a file for reading; an empty one gives nil.
func mapFile(path string) (mmap.MMap, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, &UnsupportedError{File: path, Reason: "a folder, not a weight file"}
	case !info.Mode().IsRegular():
		return nil, &UnsupportedError{File: path, Reason: "not a regular file, which it must be to be mapped"}
	case info.Size() == 0:
		return nil, nil
	case int64(int(info.Size())) != info.Size():
		return nil, &UnsupportedError{File: path, Reason: "larger than this machine's address space"}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := mmap.MapRegion(f, int(info.Size()), mmap.RDONLY, 0, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "mmap", Path: path, Err: err}
	}
	return m, nil
}

// parse reads a file by what it begins with, whatever its name says.
func parse(path string, data []byte) (*contents, error) {
	text := bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n\ufeff"))
	switch {
	case len(data) == 0:
		return nil, &CorruptError{File: path, Reason: "the file is empty"}
	case bytes.HasPrefix(text, []byte("version https://git-lfs")):
		return nil, &CorruptError{File: path, Reason: "a Git LFS pointer, not the file itself: fetch it with `git lfs pull` or download it again"}
	case bytes.HasPrefix(text, []byte("<!doctype")), bytes.HasPrefix(text, []byte("<html")), bytes.HasPrefix(text, []byte("<?xml")):
		return nil, &CorruptError{File: path, Reason: "a web page, not a weight file: the download went wrong"}
	case bytes.HasPrefix(data, []byte("PK\x03\x04")), bytes.HasPrefix(data, []byte("\x80\x02")):
		return nil, &UnsupportedError{File: path, Reason: "a PyTorch checkpoint, whatever its name says: take the .safetensors file, or convert it"}
	case bytes.HasPrefix(data, []byte("GGUF")):
		return parseGGUF(path, data)
	case bytes.HasPrefix(data, []byte("{")) && !looksLikeSafetensors(data):
		return nil, &CorruptError{File: path, Reason: "a JSON text, such as the index of a model in several files, not a weight file"}
	}
	return parseSafetensors(path, data)
}
