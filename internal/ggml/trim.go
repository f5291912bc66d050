package ggml

/*
#if defined(__GLIBC__) || defined(__linux__)
#include <malloc.h>
#endif

static void supir_trim(void) {
#ifdef __GLIBC__
	malloc_trim(0);
#endif
}
*/
import "C"

// Trim gives memory that C has freed back to the system, which glibc's allocator
// otherwise keeps: tens of megabytes for each thread that has allocated any.
func Trim() { C.supir_trim() }
