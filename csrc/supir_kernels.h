// C interface of supir's own kernels. Functions return a status, never throw,
// keep no state and allocate no memory; they are called by every thread of a
// graph at once, thread ith of nth doing its share.
#ifndef SUPIR_KERNELS_H
#define SUPIR_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum supir_status {
	SUPIR_OK = 0,
	SUPIR_BAD_SHAPE = 1, // a size below one, or channels that don't divide into groups
};

// Group norm of planar maps, src and dst [batch][channels][pixels]:
// dst = (src - mean) / sqrt(variance + eps) * weight[channel] + bias[channel],
// mean and variance over the pixels of each of `groups` equal groups of channels.
// Sums are in double. dst may be src. Threads must have the same arguments but
// for ith; dst is complete when all have returned, and may not be src where nth
// exceeds batch * groups.
enum supir_status supir_group_norm(float * dst, const float * src, const float * weight, const float * bias,
                                   int64_t pixels, int64_t channels, int64_t batch, int64_t groups, float eps,
                                   int ith, int nth);

#ifdef __cplusplus
}
#endif

#endif
