package supir

import (
	"unicode"
	"unicode/utf8"
)

// The quality words of the released model (Sec. 3.2, "Negative-Quality Samples and Prompt").
const (
	// DefaultPositive follows the caption in the positive prompt.
	DefaultPositive = "Cinematic, High Contrast, highly detailed, taken using a Canon EOS R camera, " +
		"hyper detailed photo - realistic maximum detail, 32k, Color Grading, ultra HD, " +
		"extreme meticulous detailing, skin pore detailing, hyper sharpness, perfect without deformations."

	// DefaultNegative is the whole negative prompt.
	DefaultNegative = "painting, oil painting, illustration, drawing, art, sketch, oil painting, cartoon, " +
		"CG Style, 3D render, unreal engine, blurring, dirty, messy, worst quality, low quality, frames, " +
		"watermark, signature, jpeg artifacts, deformed, lowres, over-smooth"
)

// positivePrompt joins a caption and the quality words as the released tool does,
// with nothing between, but for a comma where the two would run into one word.
func positivePrompt(caption, quality string) string {
	last, _ := utf8.DecodeLastRuneInString(caption)
	if quality != "" && (unicode.IsLetter(last) || unicode.IsDigit(last)) {
		caption += ", "
	}
	return caption + quality
}
