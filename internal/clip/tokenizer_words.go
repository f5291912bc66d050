package clip

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"
)

var contractions = []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"}

// words splits a cleaned text into what the merges never join across:
//
//	's|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for text != "" {
			n, size := wordLength(text)
			if n == 0 {
				text = text[size:]
				continue
			}
			if !yield(text[:n]) {
				return
			}
			text = text[n:]
		}
	}
}

// wordLength is the length of the word that text begins with, 0 where it
// begins with white space, and that of the first letter.
func wordLength(text string) (n, first int) {
	for _, c := range contractions {
		if strings.HasPrefix(text, c) {
			return len(c), 1
		}
	}
	r, first := utf8.DecodeRuneInString(text)
	if space(r) {
		return 0, first
	}
	if unicode.Is(unicode.N, r) {
		return first, first
	}
	letters := unicode.IsLetter(r)
	for n < len(text) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if unicode.IsLetter(r) != letters || !letters && (space(r) || unicode.Is(unicode.N, r)) {
			break
		}
		n += size
	}
	return n, first
}
