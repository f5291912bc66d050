package llava

import (
	"container/heap"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Tokenizer turns text into ids and back: SentencePiece's byte-pair encoding with
// bytes for what the vocabulary cannot spell. It does not change and may be used
// by several goroutines at once.
type Tokenizer struct {
	vocabulary Vocabulary
	ids        map[string]int32 // of pieces that text may become
	bytes      [256]int32       // -1 where there is none
	longest    int              // user-defined piece in bytes
}

// space is what SentencePiece writes for a space.
const space = "▁"

// NewTokenizer makes a tokenizer of a vocabulary, which it keeps.
func NewTokenizer(v Vocabulary) (*Tokenizer, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	t := &Tokenizer{vocabulary: v, ids: make(map[string]int32, len(v.Pieces))}
	for i := range t.bytes {
		t.bytes[i] = -1
	}
	for i, piece := range v.Pieces {
		switch v.Types[i] {
		case Byte:
			b, _ := byteOf(piece)
			t.bytes[b] = int32(i)
		case Normal, UserDefined, Unused:
			if _, twice := t.ids[piece]; !twice && piece != "" {
				t.ids[piece] = int32(i)
			}
			if v.Types[i] == UserDefined {
				t.longest = max(t.longest, len(piece))
			}
		}
	}
	return t, nil
}

// Size is the number of ids.
func (t *Tokenizer) Size() int { return len(t.vocabulary.Pieces) }

// BOS is the id that a prompt begins with.
func (t *Tokenizer) BOS() int32 { return int32(t.vocabulary.BOS) }

// EOS is the id that ends an answer.
func (t *Tokenizer) EOS() int32 { return int32(t.vocabulary.EOS) }

// Encode gives the ids of a text, without BOS. Everything in it is ordinary text,
// whatever control pieces it spells. Bytes that are not UTF-8 count as U+FFFD.
func (t *Tokenizer) Encode(text string) []int32 {
	if text == "" {
		return nil
	}
	text = strings.ReplaceAll(expandInvalid(text), " ", space)
	if t.vocabulary.AddSpacePrefix {
		text = space + text
	}
	m := merger{t: t, symbols: t.split(text)}
	m.run()
	var ids []int32
	for i := 0; i >= 0; i = m.symbols[i].next {
		ids = t.resolve(ids, m.symbols[i].text, m.parts)
	}
	return ids
}

// expandInvalid puts U+FFFD for every byte that is not UTF-8.
func expandInvalid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for _, r := range text { // which gives U+FFFD for every such byte
		b.WriteRune(r)
	}
	return b.String()
}

// split cuts a text into user-defined pieces and single characters.
func (t *Tokenizer) split(text string) []symbol {
	var symbols []symbol
	for len(text) > 0 {
		_, n := utf8.DecodeRuneInString(text)
		fixed := false
		for l := min(t.longest, len(text)); l > 0; l-- { // the longest first
			if id, ok := t.ids[text[:l]]; ok && t.vocabulary.Types[id] == UserDefined {
				n, fixed = l, true
				break
			}
		}
		symbols = append(symbols, symbol{text: text[:n], fixed: fixed, previous: len(symbols) - 1, next: len(symbols) + 1})
		text = text[n:]
	}
	symbols[len(symbols)-1].next = -1
	return symbols
}

// resolve appends the ids of a symbol: its piece's; those that it was joined from
// if that is an unused piece; its bytes' if there is none; or unknown.
func (t *Tokenizer) resolve(ids []int32, text string, parts map[string][2]string) []int32 {
	if id, ok := t.ids[text]; ok {
		halves, joined := parts[text]
		if t.vocabulary.Types[id] != Unused || !joined {
			return append(ids, id)
		}
		return t.resolve(t.resolve(ids, halves[0], parts), halves[1], parts)
	}
	for i := range len(text) {
		if t.bytes[text[i]] < 0 {
			return append(ids, int32(t.vocabulary.Unknown))
		}
	}
	for i := range len(text) {
		ids = append(ids, t.bytes[text[i]])
	}
	return ids
}

// A symbol is a part of a text that pieces are joined from; previous and next
// are indices of its neighbours, -1 at the ends.
type symbol struct {
	text           string // empty once it is joined to the one before
	fixed          bool   // never joined
	previous, next int
}

// A merger joins symbols, the pair of the highest score first, of equal ones the
// leftmost.
type merger struct {
	t       *Tokenizer
	symbols []symbol
	queue   pairs
	parts   map[string][2]string // what unused pieces were joined from
}

// A pair is two neighbours that would make a piece.
type pair struct {
	left, right int
	score       float32
	size        int // of both when the pair was found: if it differs now, one has been joined since
}

func (m *merger) run() {
	for i := 1; i < len(m.symbols); i++ {
		m.offer(i-1, i)
	}
	for len(m.queue) > 0 {
		p := heap.Pop(&m.queue).(pair)
		left, right := &m.symbols[p.left], &m.symbols[p.right]
		if left.text == "" || right.text == "" || len(left.text)+len(right.text) != p.size {
			continue
		}
		left.text = left.text + right.text
		right.text = ""
		left.next = right.next
		if right.next >= 0 {
			m.symbols[right.next].previous = p.left
		}
		m.offer(left.previous, p.left)
		m.offer(p.left, left.next)
	}
}

// offer queues a pair of neighbours if together they are a piece.
func (m *merger) offer(left, right int) {
	if left < 0 || right < 0 {
		return
	}
	l, r := &m.symbols[left], &m.symbols[right]
	if l.fixed || r.fixed {
		return
	}
	text := l.text + r.text
	id, ok := m.t.ids[text]
	if !ok {
		return
	}
	if m.t.vocabulary.Types[id] == Unused {
		if m.parts == nil {
			m.parts = map[string][2]string{}
		}
		m.parts[text] = [2]string{l.text, r.text}
	}
	heap.Push(&m.queue, pair{left, right, m.t.vocabulary.Scores[id], len(text)})
}

// pairs is a heap.
type pairs []pair

func (p pairs) Len() int { return len(p) }
func (p pairs) Less(i, j int) bool {
	return p[i].score > p[j].score || p[i].score == p[j].score && p[i].left < p[j].left
}
func (p pairs) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p *pairs) Push(x any)   { *p = append(*p, x.(pair)) }
func (p *pairs) Pop() any {
	last := (*p)[len(*p)-1]
	*p = (*p)[:len(*p)-1]
	return last
}

// Decode gives the text of ids, which are below Size. Control pieces have none;
// the space that stands before every text is taken away; bytes that are not UTF-8
// become U+FFFD.
func (t *Tokenizer) Decode(ids []int32) string {
	var text strings.Builder
	var raw []byte // of byte pieces in a row
	flush := func() {
		text.WriteString(expandInvalid(string(raw)))
		raw = raw[:0]
	}
	begun := !t.vocabulary.AddSpacePrefix
	for _, id := range ids {
		piece := t.vocabulary.Pieces[id]
		typ := t.vocabulary.Types[id]
		if typ == Byte {
			b, _ := byteOf(piece)
			raw = append(raw, b)
			begun = true
			continue
		}
		flush()
		switch typ {
		case Control:
			continue
		case Unknown:
			text.WriteString(" ⁇ ")
		default:
			if !begun {
				piece = strings.TrimPrefix(piece, space)
			}
			text.WriteString(strings.ReplaceAll(piece, space, " "))
		}
		begun = true
	}
	flush()
	return text.String()
}

// Piece is the text of an id as the vocabulary spells it, for messages.
func (t *Tokenizer) Piece(id int32) string {
	if id < 0 || int(id) >= t.Size() {
		return fmt.Sprintf("id %d", id)
	}
	return t.vocabulary.Pieces[id]
}
