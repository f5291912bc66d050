package weights

import (
	"iter"
	"unsafe"
)

// Mapped tells whether the tensor's bytes lie in a mapped file as they are.
func (t *Tensor) Mapped() bool {
	if t.made != nil || len(t.Data) == 0 || len(t.mapping) == 0 {
		return false
	}
	at, begin := address(t.Data), address(t.mapping)
	return at >= begin && at+uintptr(len(t.Data)) <= begin+uintptr(len(t.mapping))
}

// Prefetch asks the system to read the bytes of a mapped file, without waiting.
func (t *Tensor) Prefetch() {
	if t.Mapped() {
		prefetch(t.pages())
	}
}

// Release gives the memory back that holds the bytes of a mapped file, until
// they are next read. It costs nothing but that.
func (t *Tensor) Release() {
	if t.Mapped() {
		release(t.pages())
	}
}

// pages is the part of the mapping, in whole pages, that holds a mapped tensor.
func (t *Tensor) pages() []byte {
	const page = 1 << 16 // of any system, or a multiple
	from := int(address(t.Data) - address(t.mapping))
	to := from + len(t.Data)
	return t.mapping[from&^(page-1) : min((to+page-1)&^(page-1), len(t.mapping))]
}

func address(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }

// locate tells tensors in which mapping they lie.
func locate(tensors iter.Seq[*Tensor], mapped [][]byte) {
	for t := range tensors {
		for _, m := range mapped {
			if t.mapping = m; t.Mapped() {
				break
			}
			t.mapping = nil
		}
	}
}
