package weights

import (
	"archive/zip"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"
)

const (
	maxDirectory = 32 << 20 // bytes of a ZIP archive's directory
	maxEntries   = 1 << 17
	maxPickle    = 64 << 20
	maxExtra     = 1 << 12 // bytes of an entry's extra fields: zip64's, and padding
)

// parseTorch reads a file of torch.save: a ZIP archive of a pickle, data.pkl,
// and of the storages it refers to, data/0, data/1…. They are stored as they
// are, so that tensors lie in the file itself.
func parseTorch(name string, data []byte) (*contents, error) {
	entries, err := zipEntries(name, data)
	if err != nil {
		return nil, err
	}
	root := ""
	for entry := range entries {
		if path.Base(entry) != "data.pkl" {
			continue
		}
		if root != "" {
			return nil, &CorruptError{File: name, Reason: "several data.pkl in the archive"}
		}
		root = entry
	}
	dir := strings.TrimSuffix(root, "data.pkl")
	_, script := entries[dir+"constants.pkl"]
	switch {
	case root == "":
		return nil, &UnsupportedError{File: name, Reason: "a ZIP archive, but no PyTorch checkpoint: unpack it first, if the weights are in it"}
	case script:
		return nil, &UnsupportedError{File: name, Reason: "a TorchScript program, not a checkpoint: take the model's weights"}
	case len(entries[root]) > maxPickle:
		return nil, &CorruptError{File: name, Reason: fmt.Sprintf("%s of %d bytes in the archive", root, len(entries[root]))}
	case string(bytes.TrimSpace(entries[dir+"byteorder"])) == "big":
		return nil, &UnsupportedError{File: name, Reason: "a checkpoint of a big-endian machine"}
	}
	u := &unpickler{path: name, data: entries[root], size: len(data)}
	storages := map[string]*torchStorage{}
	u.stored = func(id pyTuple) (any, error) {
		s, err := u.storageOf(id)
		if err != nil {
			return nil, err
		}
		if old := storages[s.key]; old != nil && old.name == s.name && old.size == s.size {
			return old, nil
		}
		held, ok := entries[dir+"data/"+s.key]
		if !ok {
			return nil, u.corrupt("storage %.20q is not in the archive", s.key)
		}
		if s.dtype >= 0 {
			if _, width := s.dtype.Block(); s.size > len(held)/width {
				return nil, &CorruptError{File: name, Reason: fmt.Sprintf("storage %.20q of %d elements of %v has %d bytes in the archive", s.key, s.size, s.dtype, len(held))}
			}
		}
		s.data = held
		storages[s.key] = s
		return s, nil
	}
	value, err := u.load()
	if err != nil {
		return nil, err
	}
	tensors, err := u.tensors(value)
	return &contents{path: name, tensors: tensors, meta: map[string]any{}}, err
}

// zipEntries are the files in an archive by name. Archives that are unclear
// about what they hold are refused: entries that overlap, that the directory
// has twice or describes otherwise than they do themselves, that are
// compressed or encrypted.
func zipEntries(name string, data []byte) (map[string][]byte, error) {
	corrupt := func(format string, args ...any) error {
		return &CorruptError{File: name, Reason: "a damaged ZIP archive: " + fmt.Sprintf(format, args...)}
	}
	r, err := zip.NewReader(&boundedReader{bytes.NewReader(data), maxDirectory}, int64(len(data)))
	if err != nil {
		return nil, corrupt("%v; an unfinished download?", err)
	}
	if len(r.File) > maxEntries {
		return nil, corrupt("%d entries", len(r.File))
	}
	type place struct{ begin, end uint64 }
	places := make([]place, 0, len(r.File))
	entries := make(map[string][]byte, len(r.File))
	for _, f := range r.File {
		if strings.HasSuffix(f.Name, "/") && f.UncompressedSize64 == 0 {
			continue
		}
		switch {
		case f.Method != zip.Store && path.Base(f.Name) != "data.pkl" && !strings.Contains(f.Name, "/data/"):
			continue // the code of TorchScript, for one
		case f.Method != zip.Store:
			return nil, &UnsupportedError{File: name, Reason: fmt.Sprintf("%.100q in the archive is compressed, as torch.save never does: pack it anew without compression", f.Name)}
		case f.Flags&1 != 0:
			return nil, &UnsupportedError{File: name, Reason: fmt.Sprintf("%.100q in the archive is encrypted", f.Name)}
		case f.CompressedSize64 != f.UncompressedSize64:
			return nil, corrupt("%.100q is stored, but of two sizes", f.Name)
		}
		if _, twice := entries[f.Name]; twice {
			return nil, corrupt("%.100q stands twice", f.Name)
		}
		begin, err := localEntry(data, f)
		if err != nil {
			return nil, corrupt("%.100q: %v", f.Name, err)
		}
		if f.UncompressedSize64 > uint64(len(data))-begin {
			return nil, corrupt("%.100q is cut short", f.Name)
		}
		end := begin + f.UncompressedSize64
		places = append(places, place{begin, end})
		entries[f.Name] = data[begin:end:end]
	}
	slices.SortFunc(places, func(a, b place) int { return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end)) })
	for i := 1; i < len(places); i++ {
		if places[i].begin < places[i-1].end {
			return nil, corrupt("entries overlap at byte %d", places[i].begin)
		}
	}
	return entries, nil
}

// localEntry finds where an entry's bytes begin, and compares what stands before
// them with the directory.
func localEntry(data []byte, f *zip.File) (begin uint64, err error) {
	at, err := f.DataOffset()
	if err != nil {
		return 0, err
	}
	// What stands before is 30 bytes, of which the last four are the lengths of
	// name and extra fields, which follow.
	const fixed = 30
	begin = uint64(at)
	if at < fixed || begin > uint64(len(data)) {
		return 0, errors.New("it begins beyond the end")
	}
	le := binary.LittleEndian
	for extra := range maxExtra {
		n := fixed + len(f.Name) + extra
		if n > int(at) {
			break
		}
		h := data[int(at)-n:]
		if le.Uint32(h) != 0x04034b50 || int(le.Uint16(h[26:])) != len(f.Name) || int(le.Uint16(h[28:])) != extra {
			continue
		}
		switch size := le.Uint32(h[22:]); {
		case string(h[fixed:][:len(f.Name)]) != f.Name:
			return 0, fmt.Errorf("its own name is %.100q", h[fixed:][:len(f.Name)])
		case le.Uint16(h[8:]) != f.Method:
			return 0, errors.New("its own method is another")
		case le.Uint16(h[6:])&8 == 0 && size != math.MaxUint32 && uint64(size) != f.UncompressedSize64:
			return 0, fmt.Errorf("its own size is %d, the directory's %d", size, f.UncompressedSize64)
		}
		return begin, nil
	}
	return 0, errors.New("its own name is of another length")
}

// boundedReader ends after so many bytes.
type boundedReader struct {
	io.ReaderAt
	left int
}

func (r *boundedReader) ReadAt(p []byte, at int64) (int, error) {
	if r.left -= len(p); r.left < 0 {
		return 0, errors.New("the directory is too long")
	}
	return r.ReaderAt.ReadAt(p, at)
}
