// Times the kernels on the full model's shapes, beside oneDNN's own best and the
// processor's peak, all in one run:
//
//     cmake -B build/csrc && cmake --build build/csrc && build/csrc/kernels_bench [threads] [substring of a name]
//
// Rates are in GFLOP/s, a multiplication and an addition counting as two, of the
// fastest of several runs on random data.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../supir_kernels.h"

#ifdef SUPIR_WITH_ONEDNN
#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

int threads = int(std::thread::hardware_concurrency());

// Seconds: of one thread's own processor time, which other programs disturb less,
// or by the clock where there are more threads.
double now() {
#if defined(__linux__)
	if (threads == 1) {
		timespec t;
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
		return double(t.tv_sec) + 1e-9 * double(t.tv_nsec);
	}
#endif
	return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Runs f(thread) on all threads at once, several times, and gives the shortest time.
double fastest(const std::function<void(int)> & f, double budget = 0.3) {
	std::atomic<int> ready{0}, done{0}, turn{0};
	std::atomic<bool> stop{false};
	std::vector<std::thread> others;
	for (int t = 1; t < threads; t++) {
		others.emplace_back([&, t] {
			for (int round = 1;; round++) {
				while (turn.load(std::memory_order_acquire) < round) _mm_pause();
				if (stop) return;
				f(t);
				done.fetch_add(1, std::memory_order_release);
			}
		});
	}
	double best = 1e9, all = 0;
	for (int round = 1; round <= 3 || all < budget; round++) {
		done = 0;
		const double start = now();
		turn.store(round, std::memory_order_release);
		f(0);
		while (done.load(std::memory_order_acquire) < threads - 1) _mm_pause();
		const double took = now() - start;
		best = std::min(best, took);
		all += took;
	}
	stop = true;
	turn.fetch_add(1);
	for (auto & t : others) t.join();
	return best;
}

// Memory as ggml gives it, at whole cache lines.
template <class T> struct Lines {
	typedef T value_type;
	T * allocate(size_t n) { return static_cast<T *>(::operator new(n * sizeof(T), std::align_val_t(64))); }
	void deallocate(T * p, size_t) { ::operator delete(p, std::align_val_t(64)); }
	bool operator==(const Lines &) const { return true; }
	bool operator!=(const Lines &) const { return false; }
};
typedef std::vector<char, Lines<char>> Bytes;
typedef std::vector<float, Lines<float>> Floats;

Floats normal(int64_t n, float scale = 1) {
	static std::mt19937 random(1);
	Floats x(static_cast<size_t>(n));
	std::normal_distribution<float> d(0, scale);
	std::vector<float> some(1 << 16);
	for (float & v : some) v = d(random);
	for (size_t i = 0; i < x.size(); i++) x[i] = some[(i * 7 + i / some.size() * 13) % some.size()];
	return x;
}

constexpr supir_type types[] = {SUPIR_F32, SUPIR_BF16, SUPIR_INT8};
const char * type_names[] = {"f32", "bf16", "int8"};
double peaks[3];

// The peak of products on registers alone.
#if defined(__x86_64__)
#define SUPIR_SPIN(name, instruction) \
	__attribute__((target("avx512f"), noinline)) void name(int64_t n) { \
		for (int64_t i = 0; i < n; i++) { \
			__asm__ volatile( \
				instruction "16\n" instruction "17\n" instruction "18\n" instruction "19\n" instruction "20\n" instruction "21\n" \
				instruction "22\n" instruction "23\n" instruction "24\n" instruction "25\n" instruction "26\n" instruction "27\n" \
				instruction "4\n" instruction "5\n" instruction "6\n" instruction "7\n" instruction "8\n" instruction "9\n" \
				instruction "10\n" instruction "11\n" instruction "12\n" instruction "13\n" instruction "14\n" instruction "15\n" \
				::: "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", \
				"xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27"); \
		} \
	}
SUPIR_SPIN(spin_f32, "vfmadd231ps %%zmm0, %%zmm1, %%zmm")
SUPIR_SPIN(spin_bf16, "vdpbf16ps %%zmm0, %%zmm1, %%zmm")
SUPIR_SPIN(spin_int8, "vpdpbusd %%zmm0, %%zmm1, %%zmm")
#endif

void measure_peaks() {
#if defined(__x86_64__)
	const uint32_t has = supir_features();
	const int64_t n = 2000000;
	if (has & SUPIR_AVX512) peaks[SUPIR_F32] = double(threads) * n * 24 * 32 / fastest([&](int) { spin_f32(n); }) / 1e9;
	if (has & SUPIR_AVX512_BF16) peaks[SUPIR_BF16] = double(threads) * n * 24 * 64 / fastest([&](int) { spin_bf16(n); }) / 1e9;
	if (has & SUPIR_AVX512_VNNI) peaks[SUPIR_INT8] = double(threads) * n * 24 * 128 / fastest([&](int) { spin_int8(n); }) / 1e9;
	std::printf("peak of %d threads: f32 %.0f, bf16 %.0f, int8 %.0f GFLOP/s\n", threads, peaks[0], peaks[1], peaks[2]);
#endif
}

void report(const std::string & name, int type, double flop, double seconds, double onednn, const char * extra = "") {
	std::printf("%-44s %-5s %8.0f", name.c_str(), type_names[type], flop / seconds / 1e9);
	if (peaks[type] > 0) std::printf("  %3.0f%% of peak", 100 * flop / seconds / 1e9 / peaks[type]);
	if (onednn > 0) std::printf("  oneDNN %5.0f", flop / onednn / 1e9);
	std::printf("  %8.3f ms%s\n", seconds * 1e3, extra);
	std::fflush(stdout);
}

// --- oneDNN ---------------------------------------------------------------------

#ifdef SUPIR_WITH_ONEDNN
using dnnl::memory;
memory::data_type dnnl_type(int type, bool source) {
	if (type == SUPIR_F32) return memory::data_type::f32;
	if (type == SUPIR_BF16) return memory::data_type::bf16;
	return source ? memory::data_type::u8 : memory::data_type::s8;
}

void randomise(memory & m) {
	const size_t n = m.get_desc().get_size();
	uint8_t * p = static_cast<uint8_t *>(m.get_data_handle());
	std::mt19937 random(2);
	if (m.get_desc().get_data_type() == memory::data_type::f32) {
		for (size_t i = 0; i < n / 4; i++) reinterpret_cast<float *>(p)[i] = float(random() % 2000) / 1000 - 1;
	} else if (m.get_desc().get_data_type() == memory::data_type::bf16) {
		for (size_t i = 0; i < n / 2; i++) reinterpret_cast<uint16_t *>(p)[i] = uint16_t(0x3f00 | (random() & 0x80ff));
	} else {
		for (size_t i = 0; i < n; i++) p[i] = uint8_t(random());
	}
}

// The operands of a primitive, random; F32 out with a bias, for int8 scaled by output.
template <class Primitive, class PD> double time_onednn(const PD & pd, const dnnl::engine & engine, int type) {
	dnnl::stream stream(engine);
	memory src(pd.src_desc(), engine), weights(pd.weights_desc(), engine), dst(pd.dst_desc(), engine);
	randomise(src), randomise(weights);
	std::unordered_map<int, memory> args = {{DNNL_ARG_SRC, src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, dst}};
	memory scales({{pd.dst_desc().get_dims()[1]}, memory::data_type::f32, memory::format_tag::x}, engine);
	randomise(scales);
	if (type == SUPIR_INT8) args[DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS] = scales;
	Primitive primitive(pd);
	double best = 1e9;
	for (double all = 0; all < 0.3;) {
		const double start = now();
		primitive.execute(stream, args);
		stream.wait();
		best = std::min(best, now() - start);
		all += now() - start;
	}
	return best;
}

double onednn_linear(int type, int64_t m, int64_t k, int64_t n) {
	dnnl::engine engine(dnnl::engine::kind::cpu, 0);
	dnnl::primitive_attr attr;
	if (type == SUPIR_INT8) attr.set_scales_mask(DNNL_ARG_WEIGHTS, 2);
	const dnnl::matmul::primitive_desc pd(engine, {{m, k}, dnnl_type(type, true), memory::format_tag::ab}, {{k, n}, dnnl_type(type, false), memory::format_tag::any},
	                                      {{m, n}, memory::data_type::f32, memory::format_tag::ab}, attr);
	return time_onednn<dnnl::matmul>(pd, engine, type);
}

double onednn_conv(int type, int64_t n, int64_t h, int64_t w, int64_t in, int64_t out, int64_t stride) {
	dnnl::engine engine(dnnl::engine::kind::cpu, 0);
	dnnl::primitive_attr attr;
	if (type == SUPIR_INT8) attr.set_scales_mask(DNNL_ARG_WEIGHTS, 1);
	const dnnl::convolution_forward::primitive_desc pd(engine, dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct,
	    {{n, in, h, w}, dnnl_type(type, true), memory::format_tag::nhwc}, {{out, in, 3, 3}, dnnl_type(type, false), memory::format_tag::any},
	    {{n, out, h / stride, w / stride}, memory::data_type::f32, memory::format_tag::nhwc}, {stride, stride}, {1, 1}, {stride == 1 ? 1 : 0, stride == 1 ? 1 : 0}, attr);
	return time_onednn<dnnl::convolution_forward>(pd, engine, type);
}
#else
double onednn_linear(int, int64_t, int64_t, int64_t) { return 0; }
double onednn_conv(int, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t) { return 0; }
#endif

// --- Kernels -----------------------------------------------------------------------

void product(const std::string & name, int64_t n, int64_t h, int64_t w, int64_t in, int64_t out, int kernel, int stride, bool upsample, bool geglu) {
	for (supir_type type : types) {
		supir_product_desc p = {};
		p.weights = {out, in, kernel, kernel, type, 0, geglu};
		p.n = n, p.h = h, p.w = w, p.stride = stride, p.top = p.left = kernel / 2, p.upsample = upsample;
		p.out_h = h * (upsample ? 2 : 1) / stride, p.out_w = w * (upsample ? 2 : 1) / stride;
		const int64_t pixels = n * p.out_h * p.out_w, outputs = geglu ? out / 2 : out;
		const supir_stored how = {0, SUPIR_IN_FIRST, 4 * in * kernel * kernel, nullptr};
		const auto x = normal(n * h * w * in), weights = normal(out * in * kernel * kernel, 0.05f), bias = normal(out);
		Bytes rows(size_t(n * h * w * supir_row_bytes(type, in))), packed(size_t(supir_packed_bytes(&p.weights)));
		Bytes scratch(size_t(std::max(supir_pack_scratch(&p.weights), supir_product_scratch(&p)) * threads));
		Floats dst(size_t(pixels * outputs));
		supir_convert_rows(rows.data(), x.data(), n * h * w, in, type, 0, 0, 1);
		supir_pack_weights(packed.data(), &p.weights, &how, weights.data(), scratch.data(), 0, 1);
		const double seconds = fastest([&](int t) {
			supir_product(&p, dst.data(), rows.data(), packed.data(), bias.data(), nullptr, nullptr, scratch.data() + t * supir_product_scratch(&p), t, threads);
		});
		double other = 0;
		if (kernel == 1) other = onednn_linear(type, pixels, in, out);
		else if (!upsample) other = onednn_conv(type, n, h, w, in, out, stride);
		report(name, type, 2.0 * double(pixels) * double(in * kernel * kernel) * double(out), seconds, other);
	}
}

void linear(const char * name, int64_t tokens, int64_t in, int64_t out, bool geglu = false) { product(name, 2, 1, tokens, in, out, 1, 1, false, geglu); }
void conv(const char * name, int64_t side, int64_t in, int64_t out, int stride = 1, bool upsample = false) { product(name, 2, side, side, in, out, 3, stride, upsample, false); }

void attention(const char * name, int64_t batch, int64_t queries, int64_t keys, int64_t heads, int64_t dim) {
	for (supir_type type : types) {
		const int64_t width = heads * dim;
		const supir_attention_desc a = {queries, keys, batch, batch, heads, dim, width, width, width, 1 / std::sqrt(float(dim)), false, type};
		const auto q = normal(batch * queries * width), k = normal(batch * keys * width), v = normal(batch * keys * width);
		Bytes packed(size_t(supir_attention_packed_bytes(&a))), scratch(size_t(supir_attention_scratch(&a) * threads));
		Floats dst(size_t(batch * queries * width));
		const double pack = fastest([&](int t) { supir_attention_pack(&a, packed.data(), k.data(), v.data(), t, threads); }, 0.05);
		const double seconds = fastest([&](int t) { supir_attention(&a, dst.data(), q.data(), packed.data(), scratch.data() + t * supir_attention_scratch(&a), t, threads); });
		char extra[64];
		std::snprintf(extra, sizeof extra, ", packing %.3f ms", pack * 1e3);
		report(name, type, 4.0 * double(batch * queries) * double(keys) * double(width), seconds, 0, extra);
	}
}

// Kernels that only move memory: in GB/s of what they read and write.
void rows(const char * name, int64_t count, int64_t channels) {
	const auto x = normal(count * channels), w = normal(channels), b = normal(channels);
	Bytes stats(size_t(supir_group_stats_bytes(count / 2, 32, 2)));
	for (supir_type type : types) {
		for (int32_t flags : {0, int32_t(SUPIR_ROTATE)}) {
			Bytes dst(size_t(count * supir_row_bytes(type, channels)));
			const double bytes = 4.0 * double(count * channels) + double(dst.size());
			auto print = [&](const char * kernel, double seconds) {
				std::printf("%-20s %-23s %-5s%s %6.1f GB/s %8.3f ms\n", kernel, name, type_names[type], flags ? " rotated" : "        ", bytes / seconds / 1e9, seconds * 1e3);
			};
			print("convert rows", fastest([&](int t) { supir_convert_rows(dst.data(), x.data(), count, channels, type, flags, t, threads); }, 0.1));
			print("layer norm", fastest([&](int t) { supir_layer_norm(dst.data(), x.data(), w.data(), b.data(), count, channels, 1e-5f, type, flags, t, threads); }, 0.1));
			print("group stats", fastest([&](int t) { supir_group_stats(stats.data(), x.data(), count / 2, channels, 2, 32, t, threads); }, 0.1));
			print("group norm, SiLU", fastest([&](int t) {
				supir_group_norm_rows(dst.data(), x.data(), stats.data(), w.data(), b.data(), nullptr, nullptr, count / 2, channels, 2, 32, 1e-5f, true, type, flags, t, threads);
			}, 0.1));
		}
	}
}

// Unpacking stored weights to int8, in billions of weights a second.
void unpacking(const char * name, int32_t ggml_type, int64_t out, int64_t in) {
	const int64_t row_bytes = ggml_type == 12 ? in / 256 * 144 : in / 32 * 34;
	Bytes stored(size_t(out * row_bytes));
	std::mt19937 random(1);
	for (char & b : stored) b = char(random() & 0x3b);
	for (int32_t flags : {0, int32_t(SUPIR_ROTATE)}) {
		const supir_weights w = {out, in, 1, 1, SUPIR_INT8, flags, false};
		const supir_stored how = {ggml_type, SUPIR_IN_FIRST, row_bytes, nullptr};
		Bytes packed(size_t(supir_packed_bytes(&w))), scratch(size_t(supir_pack_scratch(&w) * threads));
		const double seconds = fastest([&](int t) { supir_pack_weights(packed.data(), &w, &how, stored.data(), scratch.data(), t, threads); });
		std::printf("unpacking %-33s %s %6.2f billion weights/s\n", name, flags ? "rotated" : "       ", double(out * in) / seconds / 1e9);
	}
}

} // namespace

int main(int argc, char ** argv) {
	std::setvbuf(stdout, nullptr, _IOLBF, 1 << 12);
	if (argc > 1) threads = std::max(1, std::atoi(argv[1]));
	const std::string only = argc > 2 ? argv[2] : "";
	auto wanted = [&](const char * kind) { return only.empty() || std::string(kind).find(only) != std::string::npos; };
	if (argc > 3 && std::string(argv[3]) == "onednn" ? !supir_use_onednn(1) : argc > 3 && !supir_use_isa(argv[3])) {
		std::fprintf(stderr, "no instruction set %s here\n", argv[3]);
		return 1;
	}
#ifdef SUPIR_WITH_ONEDNN
	omp_set_num_threads(threads); // oneDNN's
#endif
	std::printf("kernels on %s\n", supir_kernel_isa());
	measure_peaks();
	if (wanted("linear")) {
		linear("linear 2×256 tokens, 1280 to 1280", 256, 1280, 1280);
		linear("linear 2×1024 tokens, 640 to 1920", 1024, 640, 1920);
		linear("linear 2×1024 tokens, 1280 to 1280", 1024, 1280, 1280);
		linear("linear 2×1024 tokens, 1280 to 10240, geglu", 1024, 1280, 10240, true);
		linear("linear 2×1024 tokens, 5120 to 1280", 1024, 5120, 1280);
		linear("linear 2×4096 tokens, 640 to 640", 4096, 640, 640);
		linear("linear 2×77 tokens, 2048 to 2560", 77, 2048, 2560);
	}
	if (wanted("conv")) {
		conv("conv 320 at 2×64×64", 64, 320, 320);
		conv("conv 640 at 2×32×32", 32, 640, 640);
		conv("conv 1280 at 2×16×16", 16, 1280, 1280);
		conv("conv 960 to 320 at 2×64×64", 64, 960, 320);
		conv("conv 2560 to 1280 at 2×16×16", 16, 2560, 1280);
		conv("conv 320 at 2×64×64, stride 2", 64, 320, 320, 2);
		conv("conv 640 at 2×32×32, upsampled", 32, 640, 640, 1, true);
	}
	if (wanted("attention")) {
		attention("attention 2×256 tokens, 20 heads", 2, 256, 256, 20, 64);
		attention("attention 2×1024 tokens, 10 heads", 2, 1024, 1024, 10, 64);
		attention("attention 2×4096 tokens, 10 heads", 2, 4096, 4096, 10, 64);
		attention("attention 2×1024 tokens on 77, 20 heads", 2, 1024, 77, 20, 64);
		attention("attention 4096 tokens, 1 head of 512", 1, 4096, 4096, 1, 512);
	}
	if (wanted("unpacking")) {
		unpacking("Q8_0, 1280 to 1280", 8, 1280, 1280);
		unpacking("Q4_K, 1280 to 1280", 12, 1280, 1280);
		unpacking("Q8_0, 1280 to 10240", 8, 10240, 1280);
	}
	if (wanted("rows")) {
		rows("2048 rows of 1280", 2048, 1280);
		rows("8192 rows of 320", 8192, 320);
		rows("512 rows of 5120", 512, 5120);
	}
}
