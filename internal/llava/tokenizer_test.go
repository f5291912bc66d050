package llava

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

// goldenPath is where a file of the small LLaVA's golden set lies.
func goldenPath(t testing.TB, name string) string {
	return goldentest.Path(t, filepath.Join("llava", name))
}

type tokenizerCase struct {
	Name, Text, Decoded string
	IDs                 []int32
	Pieces              []string
}

func tokenizerCases(t testing.TB) []tokenizerCase {
	data, err := os.ReadFile(goldenPath(t, "llava-tokenizer.json"))
	require.NoError(t, err)
	var file struct{ Cases []tokenizerCase }
	require.NoError(t, json.Unmarshal(data, &file))
	require.NotEmpty(t, file.Cases)
	return file.Cases
}

func sentencePiece(t testing.TB) []byte {
	data, err := os.ReadFile(goldenPath(t, "tokenizer.model"))
	require.NoError(t, err)
	return data
}

// TestGoldenTokenizer compares with SentencePiece itself.
func TestGoldenTokenizer(t *testing.T) {
	v, err := ReadSentencePiece(sentencePiece(t))
	require.NoError(t, err)
	checkTokenizer(t, *v)
}

func checkTokenizer(t *testing.T, v Vocabulary) {
	t.Helper()
	tok, err := NewTokenizer(v)
	require.NoError(t, err)
	for _, c := range tokenizerCases(t) {
		t.Run(c.Name, func(t *testing.T) {
			ids := tok.Encode(c.Text)
			require.Len(t, ids, len(c.IDs))
			for i, id := range ids {
				assert.Equal(t, c.IDs[i], id, "id %d", i)
				assert.Equal(t, c.Pieces[i], tok.Piece(id))
			}
			assert.Equal(t, c.Decoded, tok.Decode(c.IDs))
		})
	}
}

// small is a vocabulary with a piece of every type.
func small() Vocabulary {
	v := Vocabulary{Unknown: 0, BOS: 1, EOS: 2, AddSpacePrefix: true}
	for _, p := range []struct {
		piece string
		score float32
		typ   PieceType
	}{
		{"<unk>", 0, Unknown}, {"<s>", 0, Control}, {"</s>", 0, Control},
		{"<0x41>", 0, Byte}, {"<0xC3>", 0, Byte}, {"<0xA4>", 0, Byte},
		{"▁", -9, Normal}, {"a", -9, Normal}, {"b", -9, Normal}, {"c", -9, Normal},
		{"bc", -1, Normal}, {"ab", -2, Normal}, {"▁ab", -1.5, Unused}, {"aa", -3, Normal}, {"[x]", 0, UserDefined},
	} {
		v.Pieces, v.Scores, v.Types = append(v.Pieces, p.piece), append(v.Scores, p.score), append(v.Types, p.typ)
	}
	return v
}

func TestEncode(t *testing.T) {
	tok, err := NewTokenizer(small())
	require.NoError(t, err)
	for _, c := range []struct {
		text string
		want string
	}{
		{"", ""},
		{"abc", "▁ a bc"},              // the better pair first, not the first one
		{"aaa", "▁ aa a"},              // of equal ones the left one
		{"ab", "▁ ab"},                 // unused pieces are taken apart again
		{"<s>", "▁ <unk> <unk> <unk>"}, // nothing spells a control piece
		{"A", "▁ <0x41>"},              // by its byte
		{"ä", "▁ <0xC3> <0xA4>"},       // by its bytes
		{"é", "▁ <unk>"},               // of which one lacks a piece
		{"a[x]b", "▁ a [x] b"},         // whole, and never joined
	} {
		var pieces []string
		for _, id := range tok.Encode(c.text) {
			pieces = append(pieces, tok.Piece(id))
		}
		assert.Equal(t, c.want, strings.Join(pieces, " "), c.text)
	}
}

func TestDecode(t *testing.T) {
	tok, err := NewTokenizer(small())
	require.NoError(t, err)
	assert.Equal(t, "", tok.Decode(nil))
	assert.Equal(t, "ab ", tok.Decode([]int32{1, 12, 6, 2}), "control pieces are silent, the first space is not there")
	assert.Equal(t, "A\uFFFDa", tok.Decode([]int32{3, 4, 7}), "half a character")
	assert.Equal(t, "ä ⁇ a", tok.Decode([]int32{4, 5, 0, 7}))
}

func TestVocabularyMisfits(t *testing.T) {
	for _, c := range []struct {
		want string
		edit func(v *Vocabulary)
	}{
		{"no pieces", func(v *Vocabulary) { *v = Vocabulary{} }},
		{"15 pieces, but 14 scores", func(v *Vocabulary) { v.Scores = v.Scores[1:] }},
		{"15 pieces, but 0 types", func(v *Vocabulary) { v.Types = nil }},
		{"end-of-text id 15 is not one of its 15 pieces", func(v *Vocabulary) { v.EOS = 15 }},
		{"begin-of-text id -1", func(v *Vocabulary) { v.BOS = -1 }},
		{"piece 3, \"zz\", is to be a byte", func(v *Vocabulary) { v.Pieces[3] = "zz" }},
		{"piece 9 is of an unknown type 7", func(v *Vocabulary) { v.Types[9] = 7 }},
	} {
		v := small()
		c.edit(&v)
		_, err := NewTokenizer(v)
		assert.ErrorContains(t, err, c.want)
	}
	for _, data := range []string{"{}", "\x0a\xff", "\x0a\x03\x0a\x01a", ""} {
		_, err := ReadSentencePiece([]byte(data))
		assert.ErrorContains(t, err, "okenizer", "%q", data)
	}
}

// TestEncodeLong makes sure that the time does not grow with the square of the text.
func TestEncodeLong(t *testing.T) {
	tok, err := NewTokenizer(small())
	require.NoError(t, err)
	assert.Len(t, tok.Encode(strings.Repeat("abc ", 100_000)), 1+100_000*3)
}

func FuzzSentencePiece(f *testing.F) {
	f.Add(sentencePiece(f), "The image shows a red brick house.")
	f.Add([]byte("\x0a\x03\x0a\x01a"), "a")
	f.Fuzz(func(t *testing.T, model []byte, text string) {
		v, err := ReadSentencePiece(model)
		if err != nil {
			return
		}
		tok, err := NewTokenizer(*v)
		require.NoError(t, err)
		ids := tok.Encode(text)
		for _, id := range ids {
			require.True(t, id >= 0 && int(id) < tok.Size())
		}
		if !utf8.ValidString(tok.Decode(ids)) && utf8.ValidString(text) {
			for _, p := range v.Pieces {
				if !utf8.ValidString(p) {
					return
				}
			}
			t.Fatal("decoded text is not UTF-8")
		}
	})
}
