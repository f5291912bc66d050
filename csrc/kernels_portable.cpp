// Plain C++, for every processor.
#include "isa.h"

#define SUPIR_ISA_NAME "portable"

namespace supir {
namespace portable {
#include "simd_portable.inc.h"
#include "math.inc.h"
#include "rows.inc.h"
#include "pack.inc.h"
#include "product.inc.h"
#include "attention.inc.h"
#include "table.inc.h"
} // namespace portable
} // namespace supir

const supir::Kernels * const supir::kernels_portable = &supir::portable::table;
