//go:build unix

package weights

import "golang.org/x/sys/unix"

// Both are advice: where the system does not take it, nothing is lost.

func prefetch(pages []byte) { _ = unix.Madvise(pages, unix.MADV_WILLNEED) }
func release(pages []byte)  { _ = unix.Madvise(pages, unix.MADV_DONTNEED) }
