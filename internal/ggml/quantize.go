package ggml

/*
#include <ggml.h>

static void supir_to_float32(enum ggml_type type, const void * src, float * dst, int64_t n) {
	ggml_get_type_traits(type)->to_float(src, dst, n);
}
static bool supir_has_to_float32(enum ggml_type type) {
	return ggml_get_type_traits(type)->to_float != NULL;
}
*/
import "C"

import "unsafe"

// Quantized says whether the type stores blocks of several elements.
func (t Type) Quantized() bool { return bool(C.ggml_is_quantized(C.enum_ggml_type(t))) }

// Quantize stores src, rows of n elements, in a floating-point or quantised
// type, as ggml rounds to it. It panics with a *ShapeError where n is not whole
// blocks, src not whole rows, or dst too small. All values must be finite.
// Several goroutines may call it at once.
func Quantize(typ Type, dst []byte, src []float32, n int) {
	need(n > 0 && int64(n)%typ.BlockSize() == 0, "quantize", "rows of %d elements are not whole blocks of %v", n, typ)
	rows := len(src) / n
	need(len(src) == rows*n && int64(len(dst)) >= int64(rows)*typ.RowSize(int64(n)), "quantize", "%d elements in rows of %d to %d bytes of %v", len(src), n, len(dst), typ)
	need(!bool(C.ggml_quantize_requires_imatrix(C.enum_ggml_type(typ))), "quantize", "%v wants an importance matrix", typ)
	if rows == 0 {
		return
	}
	C.ggml_quantize_chunk(C.enum_ggml_type(typ), (*C.float)(unsafe.SliceData(src)), unsafe.Pointer(unsafe.SliceData(dst)),
		0, C.int64_t(rows), C.int64_t(n), nil)
}

// Dequantize reads len(dst) elements of the type, whole blocks, from src.
// Several goroutines may call it at once.
func Dequantize(typ Type, dst []float32, src []byte) {
	n := int64(len(dst))
	need(n%typ.BlockSize() == 0 && int64(len(src)) >= typ.RowSize(n), "dequantize", "%d elements of %v from %d bytes", n, typ, len(src))
	if n == 0 {
		return
	}
	if typ == F32 { // for which ggml has no function
		copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(dst))), 4*len(dst)), src)
		return
	}
	need(bool(C.supir_has_to_float32(C.enum_ggml_type(typ))), "dequantize", "%v is no type of weights", typ)
	C.supir_to_float32(C.enum_ggml_type(typ), unsafe.Pointer(unsafe.SliceData(src)), (*C.float)(unsafe.SliceData(dst)), C.int64_t(n))
}

// TypeOf is the type that ggml's files have that number for; ok is false where
// the library in use knows none of which weights can be made.
func TypeOf(number int) (t Type, ok bool) {
	if number < 0 || number >= int(C.GGML_TYPE_COUNT) {
		return 0, false
	}
	t = Type(number)
	return t, t == F32 || t.BlockSize() > 0 && bool(C.supir_has_to_float32(C.enum_ggml_type(t)))
}
