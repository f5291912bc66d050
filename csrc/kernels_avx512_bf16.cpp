// AVX-512 with VNNI and BF16: Zen 4, Sapphire Rapids and later.
#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16")
#endif
#define SUPIR_BF16_PRODUCTS
#define SUPIR_ISA_NAME "avx512 bf16"

namespace supir {
namespace avx512_bf16 {
#include "simd_avx512.inc.h"
#include "math.inc.h"
#include "rows.inc.h"
#include "pack.inc.h"
#include "product.inc.h"
#include "attention.inc.h"
#include "table.inc.h"
} // namespace avx512_bf16
} // namespace supir

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
const supir::Kernels * const supir::kernels_avx512_bf16 = &supir::avx512_bf16::table;
#else
const supir::Kernels * const supir::kernels_avx512_bf16 = nullptr;
#endif
