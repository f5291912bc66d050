package clip

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"
)

const (
	maxMerges    = 1 << 17  // well above any vocabulary's
	maxMergeText = 64 << 20 // bytes, unpacked
	wordEnd      = "</w>"   // ends a piece that ends a word
)

// MergesError reports a table of merges that cannot be used.
type MergesError struct {
	Line   int // from 1; 0 where no one line is to blame
	Reason string
	Err    error // what reading the table ran into, or nil
}

func (e *MergesError) Error() string {
	text := "tokenizer merges: " + e.Reason
	if e.Line > 0 {
		text = fmt.Sprintf("tokenizer merges, line %d: %s", e.Line, e.Reason)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *MergesError) Unwrap() error { return e.Err }

// NewTokenizer reads a table of merges: a line each, first merge first, of two
// pieces that earlier lines or single bytes make. A first line that begins
// with "#version" is passed over. The table may be packed by gzip.
func NewTokenizer(merges io.Reader) (*Tokenizer, error) {
	r := bufio.NewReader(merges)
	if magic, _ := r.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, &MergesError{Reason: "bad gzip", Err: err}
		}
		r = bufio.NewReader(z)
	}
	b := newMergesBuilder()
	limited := &io.LimitedReader{R: r, N: maxMergeText}
	lines := bufio.NewScanner(limited)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if n == 1 && strings.HasPrefix(line, "#version") {
			continue
		}
		if err := b.add(line); err != nil {
			return nil, &MergesError{Line: n, Reason: err.Error()}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, &MergesError{Reason: "cannot be read", Err: err}
	}
	if limited.N <= 0 {
		return nil, &MergesError{Reason: fmt.Sprintf("longer than %d bytes", maxMergeText)}
	}
	b.t.size = len(b.t.pieces) + 2
	return b.t, nil
}

// mergesBuilder builds a tokenizer merge by merge.
type mergesBuilder struct {
	t       *Tokenizer
	indices map[string]int32 // of pieces, as the table spells them
}

func newMergesBuilder() *mergesBuilder {
	b := &mergesBuilder{
		t:       &Tokenizer{merges: map[[2]int32]merge{}},
		indices: map[string]int32{},
	}
	for _, end := range []string{"", wordEnd} {
		for _, letter := range byteLetters() {
			b.piece(string(letter) + end)
		}
	}
	return b
}

// piece takes a piece into the vocabulary. Where it is there already its id
// becomes the new one, as in the dictionary of CLIP's own tokenizer.
func (b *mergesBuilder) piece(text string) int32 {
	id := int32(len(b.t.pieces))
	b.t.pieces = append(b.t.pieces, id)
	index, known := b.indices[text]
	if !known {
		index = id
		b.indices[text] = index
	}
	b.t.pieces[index] = id
	return index
}

func (b *mergesBuilder) add(line string) error {
	left, right, ok := strings.Cut(line, " ")
	if !ok || left == "" || right == "" || strings.Contains(right, " ") {
		return fmt.Errorf("%.80q is not two pieces with a space between", line)
	}
	first, ok1 := b.indices[left]
	second, ok2 := b.indices[right]
	pair := [2]int32{first, second}
	switch {
	case !ok1:
		return fmt.Errorf("%.80q is no piece yet", left)
	case !ok2:
		return fmt.Errorf("%.80q is no piece yet", right)
	case strings.HasSuffix(left, wordEnd):
		return fmt.Errorf("%.80q ends a word, so nothing follows it", left)
	case len(b.t.merges) == maxMerges:
		return errors.New("too many merges")
	}
	if _, twice := b.t.merges[pair]; twice {
		return fmt.Errorf("%.80q stands twice", line)
	}
	rank := int32(len(b.t.merges))
	b.t.merges[pair] = merge{rank, b.piece(left + right)}
	return nil
}

// byteLetters is the 256 bytes in the vocabulary's order, as the letters that
// a table spells them with: first those that print, which stand for
// themselves, then the others, moved to U+0100 and up.
func byteLetters() []rune {
	var letters []rune
	moved := rune(0x100)
	for _, b := range byteOrder() {
		if printable(int(b)) {
			letters = append(letters, rune(b))
		} else {
			letters = append(letters, moved)
			moved++
		}
	}
	return letters
}

// byteOrder is the 256 bytes in the vocabulary's order.
func byteOrder() []byte {
	var first, rest []byte
	for b := range 256 {
		if printable(b) {
			first = append(first, byte(b))
		} else {
			rest = append(rest, byte(b))
		}
	}
	return append(first, rest...)
}

func printable(b int) bool {
	return 33 <= b && b <= 126 || 161 <= b && b <= 172 || 174 <= b && b <= 255
}
