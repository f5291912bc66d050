// AVX2.
#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#define SUPIR_ISA_NAME "avx2"

namespace supir {
namespace avx2 {
#include "simd_avx2.inc.h"
#include "math.inc.h"
#include "rows.inc.h"
#include "pack.inc.h"
#include "product.inc.h"
#include "attention.inc.h"
#include "table.inc.h"
} // namespace avx2
} // namespace supir

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
const supir::Kernels * const supir::kernels_avx2 = &supir::avx2::table;
#else
const supir::Kernels * const supir::kernels_avx2 = nullptr;
#endif
