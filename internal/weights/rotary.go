package weights

// Interleaved is the tensor under another name, with the rows of each of so many
// heads in another order: what was row j of a head's first half and of its second
// half become rows 2j and 2j+1. Rotary positions turn such pairs; Hugging Face
// keeps halves, GGUF files neighbours.
func (t *Tensor) Interleaved(name string, heads int) *Tensor {
	c := t.as(name, t.Shape...)
	c.Data = nil
	c.made = func() []byte {
		from := t.Bytes()
		to := make([]byte, len(from))
		row := len(from) / t.Shape[0]
		d := t.Shape[0] / heads
		for i := range t.Shape[0] {
			head, j := i/d, i%d
			source := head*d + j/2 + j%2*(d/2)
			copy(to[i*row:(i+1)*row], from[source*row:])
		}
		return to
	}
	return c
}

// Renamed is the tensor under another name.
func (t *Tensor) Renamed(name string) *Tensor { return t.as(name, t.Shape...) }
