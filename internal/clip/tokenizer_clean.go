package clip

import (
	"html"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// straighten is what CLIP's cleaning (ftfy) does to typography: quotes become
// straight, ligatures letters.
var straighten = strings.NewReplacer(
	"\u02bc", "'", "\u2018", "'", "\u2019", "'", "\u201a", "'", "\u201b", "'",
	"\u201c", `"`, "\u201d", `"`, "\u201e", `"`, "\u201f", `"`,
	"\ufb00", "ff", "\ufb01", "fi", "\ufb02", "fl", "\ufb03", "ffi", "\ufb04", "ffl", "\ufb05", "ſt", "\ufb06", "st",
)

// clean is a prompt as CLIP's models saw texts in training.
func clean(text string) string {
	text = strings.ToValidUTF8(text, string(utf8.RuneError))
	text = norm.NFC.String(straighten.Replace(text))
	text = unescape(unescape(text))
	return lower(strings.Join(strings.FieldsFunc(text, space), " "))
}

// space tells white space, among which CLIP's tokenizer counts the separators
// of ASCII.
func space(r rune) bool { return unicode.IsSpace(r) || 0x1c <= r && r <= 0x1f }

// unescape decodes HTML's character references, as HTML 5 says. Unlike the
// standard library's it drops references to characters that must not be
// referred to, as CLIP's tokenizer does.
func unescape(text string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(text, '&')
		if i < 0 {
			out.WriteString(text)
			return out.String()
		}
		out.WriteString(text[:i])
		text = text[i:]
		n := 1
		if strings.HasPrefix(text, "&#") {
			var decoded string
			decoded, n = numericReference(text)
			out.WriteString(decoded)
		} else {
			for n < len(text) && alphanumeric(text[n]) {
				n++
			}
			if n < len(text) && text[n] == ';' {
				n++
			}
			out.WriteString(html.UnescapeString(text[:n]))
		}
		text = text[n:]
	}
}

// numericReference decodes a reference such as &#65; or &#x41; that text
// begins with, and gives its length. What is none gives itself.
func numericReference(text string) (decoded string, n int) {
	n, base := 2, rune(10)
	if n < len(text) && (text[n] == 'x' || text[n] == 'X') {
		n, base = 3, 16
	}
	digits := n
	var r rune
	for ; n < len(text); n++ {
		d := digit(text[n])
		if d < 0 || d >= base {
			break
		}
		r = min(r*base+d, unicode.MaxRune+1) // no larger: it must not overflow
	}
	if n == digits {
		return text[:2], 2
	}
	if n < len(text) && text[n] == ';' {
		n++
	}
	return string(referred(r)), n
}

// windows1252 is what references to 128–159 mean, which Unicode gives no
// letters: the letters that Windows has there, else the control itself.
var windows1252 = []rune("€\u0081‚ƒ„…†‡ˆ‰Š‹Œ\u008dŽ\u008f\u0090‘’“”•–—˜™š›œ\u009džŸ")

// referred is what a numeric reference to r decodes to.
func referred(r rune) []rune {
	switch {
	case r == 0, r > unicode.MaxRune, 0xd800 <= r && r <= 0xdfff:
		return []rune{utf8.RuneError}
	case 0x80 <= r && r <= 0x9f:
		return windows1252[r-0x80 : r-0x80+1]
	case r < 0x20 && r != '\t' && r != '\n' && r != '\f' && r != '\r',
		r == 0x7f, 0xfdd0 <= r && r <= 0xfdef, r&0xfffe == 0xfffe:
		return nil
	}
	return []rune{r}
}

func digit(c byte) rune {
	switch {
	case '0' <= c && c <= '9':
		return rune(c - '0')
	case 'a' <= c && c <= 'f':
		return rune(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return rune(c-'A') + 10
	}
	return -1
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// lower is the text in lower case by Unicode's full rules, of which the
// standard library leaves out the two that look beyond one letter for another.
func lower(text string) string {
	text = strings.ReplaceAll(text, "İ", "i\u0307")
	if strings.ContainsRune(text, 'Σ') {
		text = finalSigmas(text)
	}
	return strings.ToLower(text)
}

// finalSigmas lowers each capital sigma that ends a word to ς.
func finalSigmas(text string) string {
	runes := []rune(text)
	before := false // a cased letter comes before, but for what case ignores
	var sigmas []int
	for i, r := range runes {
		if r == 'Σ' && before {
			sigmas = append(sigmas, i)
		}
		if !caseIgnorable(r) {
			before = cased(r)
		}
	}
	after, last := false, len(sigmas)-1
	for i := len(runes) - 1; i >= 0 && last >= 0; i-- {
		final := i == sigmas[last] && !after
		if !caseIgnorable(runes[i]) {
			after = cased(runes[i])
		}
		if i == sigmas[last] {
			last--
		}
		if final {
			runes[i] = 'ς'
		}
	}
	return string(runes)
}

func cased(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

func caseIgnorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) ||
		strings.ContainsRune("'.:·\u0387\u055f\u05f4\u2018\u2019\u2024\u2027\ufe13\ufe52\ufe55\uff07\uff0e\uff1a", r)
}
