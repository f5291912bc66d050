package clip

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"supir/internal/goldentest"
)

func defaultTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	tokenizer, err := DefaultTokenizer()
	require.NoError(t, err)
	return tokenizer
}

func TestDefaultTokenizer(t *testing.T) {
	tokenizer := defaultTokenizer(t)
	assert.Equal(t, 49408, tokenizer.Size())
	assert.Equal(t, 49406, tokenizer.Start())
	assert.Equal(t, 49407, tokenizer.End())
	assert.Same(t, tokenizer, defaultTokenizer(t), "read once")
}

func TestGoldenTokenizer(t *testing.T) {
	var cases []struct {
		Text string
		IDs  []int
	}
	readJSON(t, "tokenizer.json", &cases)
	require.NotEmpty(t, cases)
	tokenizer := defaultTokenizer(t)
	for _, tt := range cases {
		assert.Equal(t, tt.IDs, tokenizer.Encode(tt.Text), "%q", tt.Text)
	}
}

func TestGoldenPrompts(t *testing.T) {
	var prompts map[string]string
	readJSON(t, "text.json", &prompts)
	require.NotEmpty(t, prompts)
	want := goldentest.Open(t, "text.safetensors")
	tokenizer := defaultTokenizer(t)
	for name, text := range prompts {
		for encoder, pad := range map[string]int{"clip_l": tokenizer.End(), "clip_g": 0} {
			_, ids := want.Tensor(t, name+"."+encoder+".ids")
			var got []float32
			for _, id := range tokenizer.Prompt(text, len(ids), pad) {
				got = append(got, float32(id))
			}
			assert.Equal(t, ids, got, "%s, %s", name, encoder)
		}
	}
}

func readJSON(t *testing.T, name string, v any) {
	t.Helper()
	data, err := os.ReadFile(goldentest.Path(t, name))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, v))
}

func TestPromptKeepsTheEnd(t *testing.T) {
	tokenizer, err := NewTokenizer(strings.NewReader(""))
	require.NoError(t, err)
	require.Equal(t, 514, tokenizer.Size())
	// "a" ending a word is letter 64 of those that do.
	const a = 256 + 'a' - '!'
	assert.Equal(t, []int32{512, 513, 7, 7}, tokenizer.Prompt("", 4, 7))
	assert.Equal(t, []int32{512, a, 513, 7}, tokenizer.Prompt("a", 4, 7))
	assert.Equal(t, []int32{512, a, a, 513}, tokenizer.Prompt("a a", 4, 7))
	assert.Equal(t, []int32{512, a, a, 513}, tokenizer.Prompt("a a a", 4, 7))
	assert.Equal(t, []int32{512, 513}, tokenizer.Prompt("a", 2, 7))
}

func TestEncodeAtOnce(t *testing.T) {
	tokenizer := defaultTokenizer(t)
	want := tokenizer.Encode("a tabby cat on a brick wall")
	var wait sync.WaitGroup
	for range 8 {
		wait.Add(1)
		go func() {
			defer wait.Done()
			assert.Equal(t, want, tokenizer.Encode("a tabby cat on a brick wall"))
		}()
	}
	wait.Wait()
}

// A long text without a space is one word, which would take minutes if each
// of its thousands of turns looked at all of it.
func TestEncodeLongWord(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := make([]byte, 1<<18)
	for i := range word {
		word[i] = 'a' + byte(rng.IntN(26))
	}
	tokenizer := defaultTokenizer(t)
	ids := tokenizer.Encode(string(word))
	assert.Less(t, len(ids), len(word)*2/3)
	for i, id := range tokenizer.Prompt(string(word), 77, 0)[1:76] {
		assert.EqualValues(t, ids[i], id)
	}
}

func FuzzEncode(f *testing.F) {
	for _, text := range []string{"", "A Photo of a CAT", "don't &amp;amp; ΟΔΟΣ", "\xff&#x110000;&#1;", "’ﬁ日本１\u0301"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		tokenizer := defaultTokenizer(t)
		ids := tokenizer.Prompt(text, 77, 0)
		assert.Len(t, ids, 77)
		assert.Contains(t, ids, int32(tokenizer.End()))
		for _, id := range tokenizer.Encode(text) {
			assert.Less(t, id, tokenizer.Start())
		}
	})
}
