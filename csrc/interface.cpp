#include "layout.h"
using namespace supir;
extern "C" {
int64_t supir_row_bytes(enum supir_type type, int64_t channels) { return row_bytes(type, channels); }
int64_t supir_group_stats_bytes(int64_t pixels, int64_t groups, int64_t batch) { return parts_of(pixels) * groups * batch * 2 * int64_t(sizeof(double)); }
int64_t supir_packed_bytes(const struct supir_weights * w) { const WeightLayout l(*w); return l.panels * l.bytes; }
int64_t supir_pack_scratch(const struct supir_weights * w) { return 4 * (panel + 1) * w->in * w->kh * w->kw; }
int64_t supir_product_scratch(const struct supir_product_desc *) { return 64; }
int64_t supir_attention_packed_bytes(const struct supir_attention_desc * a) { return AttentionLayout(*a).bytes; }
int64_t supir_attention_scratch(const struct supir_attention_desc *) { return 64; }
uint32_t supir_features(void) { return 0; }
const char * supir_kernel_isa(void) { return "portable"; }
const char * supir_status_text(enum supir_status) { return "unsupported"; }
enum supir_type supir_best_type(void) { return SUPIR_F32; }
enum supir_status supir_convert_rows(void *, const float *, int64_t, int64_t, enum supir_type, int32_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_layer_norm(void *, const float *, const float *, const float *, int64_t, int64_t, float, enum supir_type, int32_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_group_stats(void *, const float *, int64_t, int64_t, int64_t, int64_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_group_norm_rows(void *, const float *, const void *, const float *, const float *, const float *, const float *, int64_t, int64_t, int64_t, int64_t, float, bool, enum supir_type, int32_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_concat_rows(float *, const float *, int64_t, const float *, int64_t, int64_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_rows_from_planar(float *, const float *, int64_t, int64_t, int64_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_planar_from_rows(float *, const float *, int64_t, int64_t, int64_t, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_pack_all(void *, const struct supir_weights *, const struct supir_stored *, const void *, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_product(const struct supir_product_desc *, float *, const void *, const void *, const float *, const float *, const float *, void *, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_attention_pack(const struct supir_attention_desc *, void *, const float *, const float *, int, int) { return SUPIR_UNSUPPORTED; }
enum supir_status supir_attention(const struct supir_attention_desc *, float *, const float *, const void *, void *, int, int) { return SUPIR_UNSUPPORTED; }
}
