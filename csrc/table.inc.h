// The table of this instruction set's kernels.
static const Kernels table = {
	SUPIR_ISA_NAME, convert_rows, layer_norm, group_stats, group_norm_rows, pack_panel, product, attention_pack, attention,
};
