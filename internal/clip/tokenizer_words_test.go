package clip

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWords(t *testing.T) {
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{" ", nil},
		{"a photo of", []string{"a", "photo", "of"}},
		{"don't we've it's i'm you're we'll he'd", []string{"don", "'t", "we", "'ve", "it", "'s", "i", "'m", "you", "'re", "we", "'ll", "he", "'d"}},
		{"'sold 'x", []string{"'s", "old", "'", "x"}},
		{"!'s", []string{"!'", "s"}},
		{"''s", []string{"''", "s"}},
		{"32k 1,000 ½²٣", []string{"3", "2", "k", "1", ",", "0", "0", "0", "½", "²", "٣"}},
		{"naïve日本", []string{"naïve日本"}},
		{"<|endoftext|>", []string{"<|", "endoftext", "|>"}},
		{"a_b😀👍🏽-c", []string{"a", "_", "b", "😀👍🏽-", "c"}},
		{"i\u0307s", []string{"i", "\u0307", "s"}},
	} {
		assert.Equal(t, tt.want, slices.Collect(words(tt.text)), "%q", tt.text)
	}
}

func TestWordsStop(t *testing.T) {
	for word := range words("a b") {
		assert.Equal(t, "a", word)
		break
	}
}
