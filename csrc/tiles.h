// The products' inner loop on AMX, by oneDNN's small kernels (brgemm), which take
// panels as they lie here. Built with SUPIR_ONEDNN; else there are none.
#pragma once

#include <cstdint>

namespace supir {

// Scratch of one such kernel; larger ones are refused.
constexpr int64_t tile_scratch = 64 << 10;

// True where products of a type go this way: on a processor with AMX for it, or
// where a test has asked for it.
bool use_tiles(int type);

// A kernel for `rows` rows, `stride` bytes apart, of so many groups, by the 64
// outputs of a panel. Made once and kept; null where oneDNN has none.
const void * tile_kernel(int type, int64_t rows, int64_t groups, int64_t stride);

// The processor's tiles are set up for a kernel by a thread before it runs it
// (again for each other kernel), and given back at the end.
bool begin_tiles(const void * kernel);
void end_tiles();

// c [rows][64], of 32-bit integers for int8, else floats, becomes a·b.
bool run_tiles(const void * kernel, const char * a, const char * b, void * c, void * scratch);

} // namespace supir
