//go:build unix

package weights

import "golang.org/x/sys/unix"

// release drops the pages of a mapped file from the process, which is but a hint
// on some systems.
func release(mapped []byte) { _ = unix.Madvise(mapped, unix.MADV_DONTNEED) }
