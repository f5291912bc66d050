// AVX-512 with VNNI: Ice Lake and later.
#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
#endif
#define SUPIR_ISA_NAME "avx512"

namespace supir {
namespace avx512 {
#include "simd_avx512.inc.h"
#include "math.inc.h"
#include "rows.inc.h"
#include "pack.inc.h"
#include "product.inc.h"
#include "attention.inc.h"
#include "table.inc.h"
} // namespace avx512
} // namespace supir

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
const supir::Kernels * const supir::kernels_avx512 = &supir::avx512::table;
#else
const supir::Kernels * const supir::kernels_avx512 = nullptr;
#endif
