// AVX2 with VNNI: Alder Lake and later.
#include "isa.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,avxvnni"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c,avxvnni")
#endif
#define SUPIR_AVX_VNNI_PRODUCTS
#define SUPIR_ISA_NAME "avx2 vnni"

namespace supir {
namespace avx2_vnni {
#include "simd_avx2.inc.h"
#include "math.inc.h"
#include "rows.inc.h"
#include "pack.inc.h"
#include "product.inc.h"
#include "attention.inc.h"
#include "table.inc.h"
} // namespace avx2_vnni
} // namespace supir

#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
const supir::Kernels * const supir::kernels_avx2_vnni = &supir::avx2_vnni::table;
#else
const supir::Kernels * const supir::kernels_avx2_vnni = nullptr;
#endif
