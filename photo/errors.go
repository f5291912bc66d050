package photo

import (
	"errors"
	"fmt"
	"image/jpeg"
	"image/png"
	"io"

	"golang.org/x/image/bmp"
	"golang.org/x/image/tiff"
)

// Kinds of failure, for errors.Is. Errors from [Read] and [Write] also name
// the file.
var (
	// ErrNotImage says that the data is no picture of any known format:
	// text, say, or an empty file.
	ErrNotImage = errors.New("not a picture")
	// ErrTooLarge is what every [TooLargeError] is.
	ErrTooLarge = errors.New("picture too large")
	// ErrCorrupt is what every [CorruptError] is.
	ErrCorrupt = errors.New("damaged picture")
	// ErrUnsupported is what every [UnsupportedError] is. It is not the
	// [errors.ErrUnsupported] of the standard library.
	ErrUnsupported = errors.New("unsupported picture")
	// ErrIsInput says that an output would have replaced the picture it was
	// made from.
	ErrIsInput = errors.New("the output is the input file")
)

// TooLargeError reports a picture refused for its size.
type TooLargeError struct {
	Width, Height int   // as the header claims, in pixels; 0 if the file itself was too long
	Limit         int64 // the limit passed: pixels, or bytes if Width is 0
}

func (e *TooLargeError) Error() string {
	if e.Width == 0 {
		return fmt.Sprintf("the file is longer than the limit of %d bytes", e.Limit)
	}
	return fmt.Sprintf("%dx%d pixels are more than the limit of %d", e.Width, e.Height, e.Limit)
}

// Is makes errors.Is(e, ErrTooLarge) true.
func (e *TooLargeError) Is(target error) bool { return target == ErrTooLarge }

// CorruptError reports a picture whose data is damaged or ends early.
type CorruptError struct {
	Format Format
	Err    error // what the decoder said
}

func (e *CorruptError) Error() string {
	if errors.Is(e.Err, io.ErrUnexpectedEOF) || errors.Is(e.Err, io.EOF) {
		return fmt.Sprintf("damaged %s picture: the data ends too early", e.Format)
	}
	return fmt.Sprintf("damaged %s picture: %v", e.Format, e.Err)
}

// Is makes errors.Is(e, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns what the decoder said.
func (e *CorruptError) Unwrap() error { return e.Err }

// UnsupportedError reports a picture that is, as far as one can tell, in
// order, but uses something this package cannot read or write.
type UnsupportedError struct {
	Format  Format // "" if it is none of this package's
	Feature string // what is not supported, and what to do about it if known
}

func (e *UnsupportedError) Error() string {
	if e.Format == "" {
		return e.Feature
	}
	return fmt.Sprintf("%s: %s", e.Format, e.Feature)
}

// Is makes errors.Is(e, ErrUnsupported) true.
func (e *UnsupportedError) Is(target error) bool { return target == ErrUnsupported }

// decoderError gives an error of a decoding library its kind.
func decoderError(f Format, err error) error {
	var (
		j jpeg.UnsupportedError
		p png.UnsupportedError
		t tiff.UnsupportedError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &j):
		return &UnsupportedError{f, "not supported: " + string(j)}
	case errors.As(err, &p):
		return &UnsupportedError{f, "not supported: " + string(p)}
	case errors.As(err, &t):
		return &UnsupportedError{f, "not supported: " + string(t)}
	case errors.Is(err, bmp.ErrUnsupported):
		return &UnsupportedError{f, "this kind of bitmap is not supported"}
	}
	return &CorruptError{f, err}
}
