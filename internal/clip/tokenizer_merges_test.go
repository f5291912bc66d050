package clip

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func newTokenizer(t *testing.T, lines ...string) *Tokenizer {
	t.Helper()
	tokenizer, err := NewTokenizer(strings.NewReader(strings.Join(lines, "\n")))
	require.NoError(t, err)
	return tokenizer
}

func TestNewTokenizer(t *testing.T) {
	tokenizer := newTokenizer(t, "a b", "ab c</w>", "Ġ Ġ</w>")
	assert.Equal(t, 517, tokenizer.Size())
	assert.Equal(t, []int{513}, tokenizer.Encode("abc"))
	assert.Equal(t, []int{512, 256 + 'd' - '!'}, tokenizer.Encode("abd"))

	with := newTokenizer(t, "#version: 0.2", "a b", "ab c</w>", "Ġ Ġ</w>", "")
	assert.Equal(t, tokenizer, with, "with a version line and a last newline")

	// "#version" elsewhere than first is no comment.
	_, err := NewTokenizer(strings.NewReader("a b\n#version: 0.2\n"))
	assert.Error(t, err)
}

// Where two merges make one piece, its id is the later one, as in a
// dictionary built in order.
func TestNewTokenizerSamePieceTwice(t *testing.T) {
	tokenizer := newTokenizer(t, "a b", "b c", "ab c", "a bc")
	assert.Equal(t, 518, tokenizer.Size())
	assert.Equal(t, []int{515, 256 + 'x' - '!'}, tokenizer.Encode("abcx"))
}

func TestHostileMerges(t *testing.T) {
	packed := gzipped(t, "#version: 0.2\na b\nab c\n")
	damaged := bytes.Clone(packed)
	damaged[len(damaged)-5] ^= 1 // the checksum
	for _, tt := range []struct {
		name, data string
		line       int
		reason     string
		err        error
	}{
		{"one piece", "ab", 1, "not two pieces", nil},
		{"blank line", "a b\n\nab c", 2, "not two pieces", nil},
		{"three pieces", "#version\na b c", 2, "not two pieces", nil},
		{"no left piece", " b", 1, "not two pieces", nil},
		{"no right piece", "a ", 1, "not two pieces", nil},
		{"unknown left piece", "a b\nbc d", 2, `"bc" is no piece yet`, nil},
		{"unknown right piece", "a b\nc ba", 2, `"ba" is no piece yet`, nil},
		{"made by a later line", "ab c\na b", 1, `"ab" is no piece yet`, nil},
		{"outside the alphabet", "a 日", 1, "is no piece yet", nil},
		{"not UTF-8", "a \xff", 1, "is no piece yet", nil},
		{"binary", "\x00\x01\x02", 1, "not two pieces", nil},
		{"twice", "a b\nab c\na b", 3, `"a b" stands twice`, nil},
		{"after a word's end", "a</w> b", 1, `"a</w>" ends a word`, nil},
		{"a line without end", strings.Repeat("x", 1<<17), 0, "cannot be read", nil},
		{"gzip cut short", string(packed[:len(packed)-9]), 0, "cannot be read", io.ErrUnexpectedEOF},
		{"gzip's header cut short", string(packed[:5]), 0, "bad gzip", io.ErrUnexpectedEOF},
		{"gzip damaged", string(damaged), 0, "cannot be read", gzip.ErrChecksum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewTokenizer(strings.NewReader(tt.data))
			var merges *MergesError
			require.ErrorAs(t, err, &merges)
			assert.Equal(t, tt.line, merges.Line)
			assert.Contains(t, merges.Reason, tt.reason)
			assert.Contains(t, err.Error(), "tokenizer merges")
			if tt.err != nil {
				assert.ErrorIs(t, err, tt.err)
			}
		})
	}
}

func TestNewTokenizerReadFails(t *testing.T) {
	broken := errors.New("broken")
	_, err := NewTokenizer(iotest.ErrReader(broken))
	assert.ErrorIs(t, err, broken)
}

// A small file must not unpack to all of memory.
func TestNewTokenizerBomb(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	letters := byteLetters()
	for _, first := range letters { // every pair of bytes, then each with some more
		for _, second := range letters {
			_, err := fmt.Fprintf(z, "%c %c\n", first, second)
			require.NoError(t, err)
		}
	}
	for _, first := range letters {
		for _, second := range letters {
			_, err := fmt.Fprintf(z, "%c%c !\n%c%c a\n", first, second, first, second)
			require.NoError(t, err)
		}
	}
	require.NoError(t, z.Close())
	_, err := NewTokenizer(&packed)
	var merges *MergesError
	require.ErrorAs(t, err, &merges)
	assert.Equal(t, maxMerges+1, merges.Line)
	assert.Equal(t, "too many merges", merges.Reason)
}

func gzipped(t *testing.T, text string) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := io.WriteString(z, text)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return packed.Bytes()
}

// naive joins as CLIP's own tokenizer does: each turn looks for the earliest
// merge anywhere in the word and does it wherever it can.
func naive(t *Tokenizer, word string) []int32 {
	var pieces []int32
	for i := range len(word) {
		pieces = append(pieces, byteIndex[word[i]])
	}
	pieces[len(pieces)-1] += 256
	for {
		best, found := merge{}, [2]int32{}
		for i := range len(pieces) - 1 {
			pair := [2]int32{pieces[i], pieces[i+1]}
			if m, ok := t.merges[pair]; ok && (best.piece == 0 || m.rank < best.rank) {
				best, found = m, pair
			}
		}
		if best.piece == 0 {
			return pieces
		}
		var joined []int32
		for i := 0; i < len(pieces); i++ {
			if i+1 < len(pieces) && found == [2]int32{pieces[i], pieces[i+1]} {
				joined = append(joined, best.piece)
				i++
			} else {
				joined = append(joined, pieces[i])
			}
		}
		pieces = joined
	}
}

// Random tables over few letters have all that is awkward: runs of one letter,
// and pieces that several merges make, some before and some after others that
// need them.
func TestMergeAsNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		pieces := []string{"a", "b", "c"}
		pairs := map[string]bool{}
		var lines []string
		for range 1 + rng.IntN(30) {
			left, right := pieces[rng.IntN(len(pieces))], pieces[rng.IntN(len(pieces))]
			if rng.IntN(4) == 0 {
				right = string("abc"[rng.IntN(3)]) + wordEnd
			}
			line := left + " " + right
			if pairs[line] {
				continue
			}
			pairs[line] = true
			lines = append(lines, line)
			if !strings.HasSuffix(right, wordEnd) {
				pieces = append(pieces, left+right)
			}
		}
		tokenizer := newTokenizer(t, lines...)
		for range 50 {
			word := make([]byte, 1+rng.IntN(40))
			for i := range word {
				word[i] = "abc"[rng.IntN(3)]
			}
			require.Equal(t, naive(tokenizer, string(word)), tokenizer.merge(string(word)), "%s with %q", word, lines)
		}
	}
}

func FuzzNewTokenizer(f *testing.F) {
	f.Add([]byte("#version: 0.2\na b\nab c</w>\n"), "abc abd")
	f.Add([]byte("a a\naa a\na aa\naa aa</w>"), "aaaaaaaaaa")
	f.Add([]byte("\x1f\x8b\x08\x00"), "a")
	f.Fuzz(func(t *testing.T, merges []byte, text string) {
		tokenizer, err := NewTokenizer(bytes.NewReader(merges))
		if err != nil {
			var typed *MergesError
			require.ErrorAs(t, err, &typed)
			return
		}
		for _, id := range tokenizer.Encode(text) {
			assert.Less(t, id, tokenizer.Start())
		}
		for word := range words(clean(text)) {
			assert.Equal(t, naive(tokenizer, word), tokenizer.merge(word))
		}
	})
}
