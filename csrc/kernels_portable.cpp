// Plain C++, for every processor.
#include "isa.h"

#define SUPIR_ISA_NAME "portable"

namespace supir {
namespace portable {
#include "simd_portable.inc"
#include "math.inc"
#include "rows.inc"
#include "pack.inc"
#include "product.inc"
#include "attention.inc"
#include "table.inc"
} // namespace portable
} // namespace supir

const supir::Kernels * const supir::kernels_portable = &supir::portable::table;
