package supir

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestPositivePrompt(t *testing.T) {
	assert.Equal(t, "A cat on a wall."+DefaultPositive, positivePrompt("A cat on a wall.", DefaultPositive))
	assert.Equal(t, DefaultPositive, positivePrompt("", DefaultPositive))
	assert.Equal(t, "a cat, sharp", positivePrompt("a cat", "sharp"))
	assert.Equal(t, "a cat", positivePrompt("a cat", ""))
}

// A word lost or a space doubled where the constants are broken into lines would go unnoticed.
func TestQualityWords(t *testing.T) {
	assert.Len(t, strings.Split(DefaultPositive, ", "), 12)
	assert.Len(t, strings.Split(DefaultNegative, ", "), 23)
	assert.NotContains(t, DefaultPositive+DefaultNegative, "  ")
}
