package ggml

/*
#include <stdlib.h>
#if defined(__GLIBC__) || defined(__linux__)
#include <malloc.h>
#endif

static void supir_trim(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}

static void supir_tune_malloc(void) {
#ifdef __GLIBC__
	if (getenv("GLIBC_TUNABLES") || getenv("MALLOC_MMAP_THRESHOLD_") || getenv("MALLOC_TRIM_THRESHOLD_")) return;
	mallopt(M_MMAP_THRESHOLD, 256 << 10);
	mallopt(M_TRIM_THRESHOLD, 256 << 10);
#endif
}
*/
import "C"

// Trim gives memory that C has freed back to the system, which glibc's allocator
// otherwise keeps: tens of megabytes for each thread that has allocated any.
func Trim() { C.supir_trim() }

// tuneMalloc keeps glibc's allocator from raising, as large blocks are freed, the
// size from which blocks are the system's own: up to 64 MiB for each thread that
// has ever computed would stay with it, where Trim does not reach. It leaves an
// allocator alone that the environment tunes.
func tuneMalloc() { C.supir_tune_malloc() }
