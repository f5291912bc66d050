package supir

import (
	"context"
	"errors"
	"fmt"
	"image"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"supir/photo"
)

// Sidecar describes the picture file of that name by what lies beside it or in
// it, the first of: a text file PICTURE.EXT.txt or PICTURE.txt; an XMP file
// PICTURE.EXT.xmp or PICTURE.xmp with a description; the description in the
// picture's own XMP; that in its EXIF data (ImageDescription), but for texts that
// cameras put there of themselves. Texts are UTF-8, UTF-16 with a byte order mark,
// or else taken for Windows-1252. The caption is empty where there is none.
type Sidecar string

// maxSidecar bounds a text file, in bytes.
const maxSidecar = 1 << 20

// Caption returns the description; it does not look at the picture given.
func (c Sidecar) Caption(context.Context, image.Image) (string, error) {
	name := string(c)
	stem := strings.TrimSuffix(name, filepath.Ext(name))
	for _, file := range []string{name + ".txt", stem + ".txt"} {
		data, err := readSidecar(file)
		if err != nil {
			return "", err
		}
		text := photo.Text(data)
		if strings.ContainsRune(text, 0) {
			return "", fmt.Errorf("%s: not a text", file)
		}
		if text = oneLine(text); text != "" {
			return text, nil
		}
	}
	for _, file := range []string{name + ".xmp", stem + ".xmp"} {
		data, err := readSidecar(file)
		if err != nil {
			return "", err
		}
		if text := oneLine(photo.XMPDescription(data)); text != "" {
			return text, nil
		}
	}
	meta, err := photo.ReadMeta(name, photo.ReadOptions{})
	if err != nil {
		return "", err
	}
	text := oneLine(meta.Description())
	if slices.ContainsFunc(cameraTexts, func(s string) bool { return strings.EqualFold(s, text) }) {
		return "", nil
	}
	return text, nil
}

// cameraTexts are descriptions that cameras give every picture.
var cameraTexts = []string{
	"OLYMPUS DIGITAL CAMERA", "SONY DSC", "MINOLTA DIGITAL CAMERA", "KONICA MINOLTA DIGITAL CAMERA", "DIGITAL CAMERA",
	"SAMSUNG", "Samsung Digimax", "SAMSUNG CAMERA PICTURES", "Exif_JPEG_PICTURE", "Exif JPEG", "DCF 1.0", "Maker:", "default",
	"DSC", "IMG", "cof", "hdr", "oznor", "dav", "untitled", "jpeg", "image description",
}

// oneLine joins a text's lines, without what would move a terminal's cursor or
// turn its writing round.
func oneLine(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r):
			return ' '
		case unicode.Is(unicode.Bidi_Control, r), r == '\uFEFF':
			return -1
		}
		return r
	}, text)), " ")
}

// readSidecar reads a file; nothing where there is none.
func readSidecar(name string) ([]byte, error) {
	info, err := os.Stat(name) // before it is opened: a pipe would wait for somebody
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, nil // a folder of this name is nobody's caption
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSidecar+1))
	if err == nil && len(data) > maxSidecar {
		err = fmt.Errorf("%s: more than %d bytes: not a caption", name, maxSidecar)
	}
	return data, err
}
