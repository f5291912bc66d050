#include "tiles.h"

#include "layout.h"

#ifdef SUPIR_ONEDNN
#include <atomic>
#include <map>
#include <mutex>
#include <tuple>

#include <oneapi/dnnl/dnnl.h>

// Small kernels are an experimental part of oneDNN, which a distribution may have
// left out: the program must start without them.
extern "C" {
typedef struct supir_brgemm * supir_brgemm_t;
#define SUPIR_WEAK __attribute__((weak))
dnnl_status_t dnnl_brgemm_create(supir_brgemm_t *, dnnl_dim_t m, dnnl_dim_t n, dnnl_dim_t k, dnnl_dim_t batch, dnnl_dim_t lda, dnnl_dim_t ldb,
                                 dnnl_dim_t ldc, dnnl_data_type_t a, dnnl_data_type_t b, dnnl_data_type_t c) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_finalize(supir_brgemm_t) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_get_scratchpad_size(supir_brgemm_t, size_t *) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_set_hw_context(supir_brgemm_t) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_release_hw_context(void) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_generate(supir_brgemm_t) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_execute(supir_brgemm_t, const void * a, const void * b, const dnnl_dim_t * offsets, void * c, void * scratch) SUPIR_WEAK;
dnnl_status_t dnnl_brgemm_destroy(supir_brgemm_t) SUPIR_WEAK;
}

namespace {

std::atomic<int> asked{-1}; // by supir_use_onednn: -1 as the processor is

// dnnl_version is asked so that linkers keep the library, on which all else hangs
// weakly.
bool have_kernels() { return dnnl_version() && dnnl_brgemm_create && dnnl_brgemm_execute; }

supir_brgemm_t make(int type, int64_t rows, int64_t groups, int64_t stride) {
	const bool bytes = type == SUPIR_INT8;
	const int64_t size = bytes ? 1 : 2;
	supir_brgemm_t kernel = nullptr;
	if (dnnl_brgemm_create(&kernel, rows, supir::panel, 4 / size * groups, 1, stride / size, supir::panel, supir::panel, bytes ? dnnl_u8 : dnnl_bf16,
	                       bytes ? dnnl_s8 : dnnl_bf16, bytes ? dnnl_s32 : dnnl_f32) != dnnl_success) {
		return nullptr;
	}
	size_t scratch = 0;
	if (dnnl_brgemm_finalize(kernel) == dnnl_success && dnnl_brgemm_get_scratchpad_size(kernel, &scratch) == dnnl_success &&
	    int64_t(scratch) <= supir::tile_scratch && dnnl_brgemm_generate(kernel) == dnnl_success) {
		return kernel;
	}
	dnnl_brgemm_destroy(kernel);
	return nullptr;
}

} // namespace

bool supir::use_tiles(int type) {
	if ((type != SUPIR_INT8 && type != SUPIR_BF16) || !have_kernels()) return false;
	if (asked >= 0) return asked;
	return supir_features() & (type == SUPIR_INT8 ? SUPIR_AMX_INT8 : SUPIR_AMX_BF16);
}

const void * supir::tile_kernel(int type, int64_t rows, int64_t groups, int64_t stride) try {
	static std::mutex lock;
	static std::map<std::tuple<int, int64_t, int64_t, int64_t>, supir_brgemm_t> known; // a few dozen of a network
	const std::lock_guard<std::mutex> guard(lock);
	const auto key = std::make_tuple(type, rows, groups, stride);
	const auto found = known.find(key);
	if (found != known.end()) return found->second;
	return known[key] = make(type, rows, groups, stride);
} catch (...) {
	return nullptr;
}

bool supir::begin_tiles(const void * kernel) {
	return dnnl_brgemm_set_hw_context(static_cast<supir_brgemm_t>(const_cast<void *>(kernel))) == dnnl_success;
}

void supir::end_tiles() { dnnl_brgemm_release_hw_context(); }

bool supir::run_tiles(const void * kernel, const char * a, const char * b, void * c, void * scratch) {
	const dnnl_dim_t offsets[2] = {0, 0};
	return dnnl_brgemm_execute(static_cast<supir_brgemm_t>(const_cast<void *>(kernel)), a, b, offsets, c, scratch) == dnnl_success;
}

extern "C" bool supir_use_onednn(int choice) {
	if (choice > 0 && !have_kernels()) return false;
	asked = choice;
	return true;
}
#else
bool supir::use_tiles(int) { return false; }
const void * supir::tile_kernel(int, int64_t, int64_t, int64_t) { return nullptr; }
bool supir::begin_tiles(const void *) { return false; }
void supir::end_tiles() {}
bool supir::run_tiles(const void *, const char *, const char *, void *, void *) { return false; }
extern "C" bool supir_use_onednn(int choice) { return choice <= 0; }
#endif

extern "C" bool supir_on_tiles(enum supir_type type) { return supir::use_tiles(type); }
