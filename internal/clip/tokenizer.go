package clip

import (
	"bytes"
	"compress/gzip"
	_ "embed" // the table of merges
	"io"
	"iter"
	"sync"
)

// Tokenizer turns prompts into the ids of CLIP's byte-level BPE. Its
// vocabulary is the 256 bytes, the same ending a word, one piece for each
// merge, the start and the end of a prompt, in this order. It does not change
// and may be used by several goroutines at once.
type Tokenizer struct {
	pieces []int32            // the id of each piece; other than its index where several merges make one piece
	merges map[[2]int32]merge // by the indices of the two pieces that are joined
	size   int
}

// merge is what joining two pieces makes, and how early it is done.
type merge struct {
	rank, piece int32
}

//go:embed data/clip_merges.txt.gz
var clipMerges []byte

// DefaultTokenizer is the one that CLIP's published models were trained with,
// of 49,408 ids.
var DefaultTokenizer = sync.OnceValues(func() (*Tokenizer, error) {
	return NewTokenizer(bytes.NewReader(clipMerges))
})

// DefaultMerges is the table of DefaultTokenizer, as [NewTokenizer] reads it.
func DefaultMerges() (string, error) {
	z, err := gzip.NewReader(bytes.NewReader(clipMerges))
	if err != nil {
		return "", err
	}
	merges, err := io.ReadAll(z)
	return string(merges), err
}

// Size is the number of ids.
func (t *Tokenizer) Size() int { return t.size }

// Start is the id that begins a prompt.
func (t *Tokenizer) Start() int { return t.size - 2 }

// End is the id that ends a prompt, the largest there is.
func (t *Tokenizer) End() int { return t.size - 1 }

// Encode gives the ids of a text, without start, end or padding. Everything in
// the text is ordinary text, whatever special tokens it spells.
func (t *Tokenizer) Encode(text string) []int {
	ids := []int{}
	for id := range t.ids(text) {
		ids = append(ids, int(id))
	}
	return ids
}

// ids goes through a text's ids without looking at words beyond the last that
// is asked for.
func (t *Tokenizer) ids(text string) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for word := range words(clean(text)) {
			for _, piece := range t.merge(word) {
				if !yield(t.pieces[piece]) {
					return
				}
			}
		}
	}
}

// Prompt gives length ids: the start, the text's ids as far as there is room,
// the end, and then pad. Length must be at least 2; the published models' is
// 77, and of their two encoders CLIP-L pads with [Tokenizer.End], bigG with 0.
func (t *Tokenizer) Prompt(text string, length, pad int) []int32 {
	ids := make([]int32, 0, length)
	ids = append(ids, int32(t.Start()))
	for id := range t.ids(text) {
		if len(ids) == length-1 {
			break
		}
		ids = append(ids, id)
	}
	ids = append(ids, int32(t.End()))
	for len(ids) < length {
		ids = append(ids, int32(pad))
	}
	return ids
}
