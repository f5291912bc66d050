// What the processor offers.
#include "supir_kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

// The registers that the system saves, a bit each.
uint64_t saved_registers() {
	uint32_t low, high;
	__asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return uint64_t(high) << 32 | low;
}

// Linux hands out AMX's registers only to programs that ask.
bool ask_for_tiles() {
#if defined(__linux__)
	constexpr long request = 0x1023, tile_data = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
	return syscall(SYS_arch_prctl, request, tile_data) == 0;
#else
	return false;
#endif
}

uint32_t detect() {
	uint32_t a, b, c, d, set = 0;
	if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
	const bool fma = c >> 12 & 1, xsave = c >> 27 & 1, f16c = c >> 29 & 1;
	if (!xsave) return 0;
	const uint64_t saved = saved_registers();
	const bool vectors = (saved & 0x6) == 0x6, wide = (saved & 0xe6) == 0xe6, tiles = (saved & 0x60000) == 0x60000;
	uint32_t a1, b1, c1, d1;
	if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
	if (!__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) a1 = 0;
	if (vectors && fma && f16c && (b >> 5 & 1)) {
		set |= SUPIR_AVX2;
		if (a1 >> 4 & 1) set |= SUPIR_AVX_VNNI;
		if (wide && (b >> 16 & 1) && (b >> 17 & 1) && (b >> 30 & 1) && (b >> 31 & 1)) {
			set |= SUPIR_AVX512;
			if (c >> 11 & 1) set |= SUPIR_AVX512_VNNI;
			if (a1 >> 5 & 1) set |= SUPIR_AVX512_BF16;
			if (d >> 23 & 1) set |= SUPIR_AVX512_FP16;
			if (tiles && (d >> 24 & 1) && ask_for_tiles()) {
				if (d >> 25 & 1) set |= SUPIR_AMX_INT8;
				if (d >> 22 & 1) set |= SUPIR_AMX_BF16;
			}
		}
	}
	return set;
}

} // namespace

extern "C" uint32_t supir_features(void) {
	static const uint32_t set = detect();
	return set;
}
#else
extern "C" uint32_t supir_features(void) { return 0; }
#endif

extern "C" enum supir_type supir_best_type(void) {
	return supir_features() & (SUPIR_AMX_INT8 | SUPIR_AVX512_VNNI | SUPIR_AVX_VNNI) ? SUPIR_INT8 : SUPIR_F32;
}
