package supir

import (
	"context"
	"image"
)

// A Captioner describes pictures in words that steer the restoration (paper
// Sec. 3.2). Caption is given the picture after the degradation-robust encoder
// and the decoder have cleaned it.
type Captioner interface {
	Caption(ctx context.Context, cleaned image.Image) (string, error)
}
