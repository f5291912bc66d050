package clip

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The expectations are what html.unescape, str.lower and unicodedata of Python
// give, with which CLIP's texts were cleaned.
func TestClean(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", ""},
		{" \t\r\n ", ""},
		{"  A\u00a0b\u3000\u2028c\u0085\x1cd ", "a b c d"},
		{"‘a’ ‚b‛ ʼc “d” „e‟", `'a' 'b' 'c "d" "e"`},
		{"ﬀ ﬁ ﬂ ﬃ ﬄ ﬅ ﬆ", "ff fi fl ffi ffl ſt st"},
		{"e\u0301 \u212b", "é å"},
		{"\xff", "\ufffd"},

		{"&lt;b&gt; &amp;amp;", "<b> &"},
		{"&amp;lt; &amp;amp;lt;", "< &lt;"},
		{"&ldquo;a&rdquo;", "“a”"},
		{"&notit; &copyx &amp/x &AMP;", "¬it; ©x &/x &"},
		{"&unknown; & &; &", "&unknown; & &; &"},
		{"&#65; &#x41; &#X41 &#65x", "a a a ax"},
		{"&#; &#x; &#xg;", "&#; &#x; &#xg;"},
		{"&#128; &#x93;a&#148;", "€ “a”"},
		{"&#0; &#xd800; &#x110000; &#99999999999; &#4294967361;", "\ufffd \ufffd \ufffd \ufffd \ufffd"},
		{"a&#1;b&#x7f;c&#xfdd0;d&#x1fffe;e", "abcde"},
		{"a&#13;b&#12;c", "a b c"},
		{"&#38;#65;", "a"},

		{"İSTANBUL", "i\u0307stanbul"},
		{"ΟΔΟΣ ΣΑΣ ΑΣ' ΑΣ'Α Σ 1Σ", "οδος σας ας' ασ'α σ 1σ"},
		{"ΑΣ\u0301 ΑΣ\u0301Β", "ας\u0301 ασ\u0301β"},
		{"Straße ẞ ǅ", "straße ß ǆ"},
	} {
		assert.Equal(t, tt.want, clean(tt.text), "%q", tt.text)
	}
}
