package weights

import "fmt"

// CorruptError reports a file that breaks its own format: damaged, cut short,
// forged, or not a weight file at all.
type CorruptError struct {
	File   string
	Tensor string // where one tensor is to blame, else empty
	Reason string
}

func (e *CorruptError) Error() string { return describe(e.File, e.Tensor, e.Reason) }

// UnsupportedError reports a file, or a tensor in it, that may be sound but
// is of a kind this package does not read.
type UnsupportedError struct {
	File   string
	Tensor string // where one tensor is to blame, else empty
	Reason string
}

func (e *UnsupportedError) Error() string { return describe(e.File, e.Tensor, e.Reason) }

func describe(file, tensor, reason string) string {
	if tensor == "" {
		return fmt.Sprintf("%s: %s", file, reason)
	}
	return fmt.Sprintf("%s: tensor %q: %s", file, tensor, reason)
}
