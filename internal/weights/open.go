package weights

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"

	"github.com/edsrzf/mmap-go"
)

// File is a weight file, or several that are one model: the index of a
// sharded one, or the folder of either a sharded model or of SDXL as Hugging
// Face's Diffusers lays it out.
type File struct {
	Path string // where the file lies; with Data, its name in messages
	Data []byte // the whole file, or nil to map Path; neither copied nor changed
	FS   fs.FS  // where Path is looked up; nil is the file system
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

// OpenFiles is [Open] for files of which some may be in memory or elsewhere,
// such as embedded ones.
func OpenFiles(files ...File) (set *Set, err error) {
	var o opener
	defer func() {
		if err != nil {
			_ = closeAll(o.closers) // the first error is the one to tell
		}
	}()
	var read []*contents
	for _, f := range files {
		c, err := o.open(f)
		if err != nil {
			return nil, err
		}
		read = append(read, c)
	}
	set = newSet(read, o.closers)
	set.mapped = o.mapped
	locate(maps.Values(set.tensors), set.mapped)
	return set, nil
}

func closeAll(closers []func() error) error {
	var errs []error
	for _, c := range closers {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// opener opens the files of a Set.
type opener struct {
	fsys    fs.FS // of the File at work; nil is the file system
	closers []func() error
	mapped  [][]byte
}

// open reads what a user's file holds, be it one file or several.
func (o *opener) open(f File) (*contents, error) {
	o.fsys = f.FS
	if f.Data != nil {
		return parse(f.Path, f.Data)
	}
	info, err := o.stat(f.Path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return o.folder(f.Path)
	case filepath.Base(f.Path) == "model_index.json": // at the top of Diffusers' folder
		return o.folder(o.dir(f.Path))
	}
	return o.file(f.Path)
}

// file reads one file, or those that an index names.
func (o *opener) file(path string) (*contents, error) {
	data, err := o.read(path)
	if err != nil {
		return nil, err
	}
	if looksLikeJSON(data) {
		return o.shards(path, data)
	}
	return parse(path, data)
}

func (o *opener) stat(path string) (fs.FileInfo, error) {
	if o.fsys != nil {
		return fs.Stat(o.fsys, path)
	}
	return os.Stat(path)
}

// names lists what lies in a folder, sorted.
func (o *opener) names(folder string) ([]string, error) {
	var entries []fs.DirEntry
	var err error
	if o.fsys != nil {
		entries, err = fs.ReadDir(o.fsys, folder)
	} else {
		entries, err = os.ReadDir(folder)
	}
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (o *opener) join(folder, name string) string {
	if o.fsys != nil {
		return path.Join(folder, name)
	}
	return filepath.Join(folder, name)
}

func (o *opener) dir(file string) string {
	if o.fsys != nil {
		return path.Dir(file)
	}
	return filepath.Dir(file)
}

// read gives a file's bytes, mapped where that can be; nil where it is empty.
func (o *opener) read(path string) ([]byte, error) {
	if o.fsys != nil {
		return fs.ReadFile(o.fsys, path)
	}
	mapped, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	if mapped != nil {
		o.closers = append(o.closers, mapped.Unmap)
		o.mapped = append(o.mapped, mapped)
	}
	return mapped, nil
}

// mapFile maps a file for reading; an empty one gives nil.
func mapFile(path string) (mmap.MMap, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, &UnsupportedError{File: path, Reason: "a folder where a weight file is wanted"}
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
	}
	switch Format(data) {
	case TorchFormat:
		switch {
		case data[0] == 'P':
			return parseTorch(path, data)
		case isLegacy(data):
			return parseLegacy(path, data)
		}
		return nil, &UnsupportedError{File: path, Reason: "a Python pickle, but no PyTorch checkpoint"}
	case GGUFFormat:
		return parseGGUF(path, data)
	case IndexFormat:
		return nil, &CorruptError{File: path, Reason: "a JSON text, such as the index of a model in several files, not a weight file"}
	}
	return parseSafetensors(path, data)
}

// Formats of files, in words.
const (
	SafetensorsFormat = "safetensors"
	TorchFormat       = "PyTorch checkpoint"
	GGUFFormat        = "GGUF"
	IndexFormat       = "index of several files"
)

// Format tells a file's format by what it begins with, for which 16 bytes are
// enough; "" where it is none of those above.
func Format(start []byte) string {
	switch {
	case looksLikeSafetensors(start): // before others: its first bytes are a number
		return SafetensorsFormat
	case bytes.HasPrefix(start, []byte("PK\x03\x04")), len(start) > 1 && start[0] == 0x80 && start[1] <= 5:
		return TorchFormat
	case bytes.HasPrefix(start, []byte("GGUF")):
		return GGUFFormat
	case looksLikeJSON(start):
		return IndexFormat
	}
	return ""
}
