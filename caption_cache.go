package supir

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"image"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"supir/internal/llava"
)

// captionKey tells a picture and all that its caption depends on.
func captionKey(img image.Image, o llava.Options, whole bool) [sha256.Size]byte {
	h := sha256.New()
	b := img.Bounds()
	fmt.Fprintf(h, "%d %d %q %d %v %v %d %d %v\n", b.Dx(), b.Dy(), o.Question, o.Fit, o.Temperature, o.TopP, o.Seed, o.MaxTokens, whole)
	row := make([]byte, 0, 8*b.Dx())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		row = row[:0]
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, bl, a := img.At(x, y).RGBA()
			for _, v := range [...]uint32{r, g, bl, a} {
				row = binary.LittleEndian.AppendUint16(row, uint16(v))
			}
		}
		h.Write(row)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// captionMemory remembers captions, the latest ones.
type captionMemory struct {
	text  map[[sha256.Size]byte]string
	order [][sha256.Size]byte
}

const rememberedCaptions = 256

func (c *captionMemory) get(key [sha256.Size]byte) (text string, ok bool) {
	text, ok = c.text[key]
	return text, ok
}

func (c *captionMemory) put(key [sha256.Size]byte, text string) {
	if _, ok := c.text[key]; ok {
		return
	}
	if c.text == nil {
		c.text = map[[sha256.Size]byte]string{}
	}
	if len(c.order) == rememberedCaptions {
		delete(c.text, c.order[0])
		c.order = slices.Delete(c.order, 0, 1)
	}
	c.text[key] = text
	c.order = append(c.order, key)
}

// A captionFile is where a caption is kept, or "".
type captionFile string

// keptCaption is a caption's file in a folder: a text named after the picture, the
// settings and the weights. There is none without a folder, or for weights that
// are not files.
func keptCaption(folder string, weights func() []byte, key [sha256.Size]byte) captionFile {
	if folder == "" {
		return ""
	}
	w := weights()
	if w == nil {
		return ""
	}
	h := sha256.New()
	h.Write(w)
	h.Write(key[:])
	return captionFile(filepath.Join(folder, hex.EncodeToString(h.Sum(nil))+".txt"))
}

// read returns the caption, if there is one: what write has written, and nothing
// that is damaged.
func (f captionFile) read() (text string, ok bool) {
	if f == "" {
		return "", false
	}
	data, err := readSidecar(string(f))
	text, whole := strings.CutSuffix(string(data), "\n")
	if err != nil || !whole || !utf8.Valid(data) || text != oneLine(text) {
		return "", false
	}
	return text, true
}

// write keeps a caption. That it cannot be kept is no reason to fail. Others may
// not read it: it tells of people's pictures.
func (f captionFile) write(text string) {
	if f == "" || os.MkdirAll(filepath.Dir(string(f)), 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(string(f)), ".supir-*.tmp") // of mode 0600
	if err != nil {
		return
	}
	_, err = tmp.WriteString(text + "\n")
	if errors.Join(err, tmp.Close()) != nil || os.Rename(tmp.Name(), string(f)) != nil {
		_ = os.Remove(tmp.Name())
	}
}

// identity tells weights from others without reading gigabytes: by their sizes,
// beginnings (sizes of the model, vocabulary, first tensors) and ends; nil where
// they are not files of the system.
func (f LLaVAFiles) identity() []byte {
	h := sha256.New()
	fmt.Fprintln(h, "captions 1") // of this code: another number forgets all
	for _, name := range []string{f.Text, f.Vision} {
		if f.FS != nil || name != "" && hashEnds(h, name) != nil {
			return nil
		}
	}
	return h.Sum(nil)
}

// hashEnds takes in a file's size, its first MiB and its last.
func hashEnds(h hash.Hash, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	const part = 1 << 20
	fmt.Fprintln(h, info.Size())
	for _, at := range []int64{0, max(0, info.Size()-part)} {
		if _, err := io.Copy(h, io.NewSectionReader(f, at, part)); err != nil {
			return err
		}
	}
	return nil
}
