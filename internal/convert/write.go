package convert

import (
	"context"
	"fmt"
	"io"
	"math"
	"runtime"

	"golang.org/x/sync/errgroup"

	"supir/internal/ggml"
	"supir/internal/weights"
)

// A Summary is what became of a network's weights.
type Summary struct {
	Network    string
	Parameters int64
	Bytes      int64           // in the file
	Types      map[string]Part // by type, as "Q4_K"
	// Error is what rounding did to the matrices that were rounded,
	// ‖rounded-weights‖²/‖weights‖².
	Error float64

	wrong, norm float64
}

// A Part is the tensors of one type.
type Part struct {
	Tensors int
	Bytes   int64
	Kept    int // of Tensors: those that stay above the network's type
	Misfit  int // of Tensors: those whose rows are not whole blocks of it
}

// chunk is the number of elements converted at a time.
const chunk = 1 << 22

// Write writes the items as a GGUF file with this metadata and tells how each
// network came out. release is called when what was read so far is not needed
// any more, progress with the bytes of tensors written; the latter may be nil.
// It ends early with ctx's error when ctx ends.
func Write(ctx context.Context, w io.Writer, metadata map[string]any, items []Item, release func(), progress func(done, total int64)) ([]*Summary, error) {
	tensors := make([]weights.GGUFTensor, len(items))
	done, total := int64(0), Size(items)
	for i, item := range items {
		tensors[i] = weights.GGUFTensor{Name: item.Tensor.Name, DType: item.Type, Shape: item.Tensor.Shape}
	}
	g, err := weights.NewGGUFWriter(w, metadata, tensors)
	if err != nil {
		return nil, err
	}
	var summaries []*Summary
	byName := map[string]*Summary{}
	for i, item := range items {
		s := byName[item.Network]
		if s == nil {
			s = &Summary{Network: item.Network, Types: map[string]Part{}}
			byName[item.Network] = s
			summaries = append(summaries, s)
		}
		s.add(item, tensors[i].Size())
		c := converter{item: item, data: item.Tensor.Bytes(), n: item.Tensor.Elements()}
		for at := 0; at < c.n; at += chunk {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			out, err := c.convert(at, min(chunk, c.n-at), s)
			if err != nil {
				return nil, err
			}
			if _, err := g.Write(out); err != nil {
				return nil, err
			}
			release()
			if done += int64(len(out)); progress != nil {
				progress(done, total)
			}
		}
	}
	for _, s := range summaries {
		if s.wrong > 0 {
			s.Error = s.wrong / s.norm
		}
	}
	return summaries, g.Close()
}

func (s *Summary) add(item Item, size int64) {
	s.Parameters += int64(item.Tensor.Elements())
	s.Bytes += size
	p := s.Types[item.Type.String()]
	p.Tensors++
	p.Bytes += size
	if item.Kept {
		p.Kept++
	}
	if item.Misfit {
		p.Misfit++
	}
	s.Types[item.Type.String()] = p
}

// A converter converts a tensor.
type converter struct {
	item Item
	data []byte
	n    int
}

// convert gives n elements from element at on in the new type, and adds up in s
// what rounding did to them. All processors take part.
func (c *converter) convert(at, n int, s *Summary) ([]byte, error) {
	from, to := ggmlType(c.item.Tensor.DType), ggmlType(c.item.Type)
	const block = 256 // of the largest blocks; chunks, too, are whole ones
	workers := runtime.GOMAXPROCS(0)
	share := (n/workers + block) / block * block
	var out []byte
	if from == to {
		out = c.data[from.RowSize(int64(at)):][:from.RowSize(int64(n))]
	} else {
		out = make([]byte, to.RowSize(int64(n)))
	}
	errors := make([][2]float64, workers)
	var group errgroup.Group
	for i := range workers {
		first := min(i*share, n)
		m := min(share, n-first)
		group.Go(func() (err error) {
			src := c.data[from.RowSize(int64(at+first)):]
			dst := out[to.RowSize(int64(first)):][:to.RowSize(int64(m))]
			errors[i], err = c.part(from, to, dst, src, at+first, m)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if len(c.item.Tensor.Shape) > 1 {
		for _, e := range errors {
			s.wrong += e[0]
			s.norm += e[1]
		}
	}
	return out, nil
}

// part converts m elements, of which the first is the tensor's at. Those that have
// the type are looked at alone.
func (c *converter) part(from, to ggml.Type, dst, src []byte, at, m int) (squares [2]float64, err error) {
	if m == 0 {
		return squares, nil
	}
	t := c.item.Tensor
	finite := func(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }
	values := make([]float32, m)
	ggml.Dequantize(from, values, src)
	for i, v := range values {
		if !finite(v) {
			return squares, &weights.CorruptError{File: t.File + t.Note, Tensor: t.Name, Reason: fmt.Sprintf("element %d is %v", at+i, v)}
		}
	}
	if from == to {
		return squares, nil
	}
	ggml.Quantize(to, dst, values, m)
	rounded := make([]float32, m)
	ggml.Dequantize(to, rounded, dst)
	for i, v := range values {
		if !finite(rounded[i]) {
			return squares, &weights.UnsupportedError{File: t.File + t.Note, Tensor: t.Name,
				Reason: fmt.Sprintf("element %d is %v, beyond what %v holds: take bf16 or f32", at+i, v, c.item.Type)}
		}
		d := float64(rounded[i]) - float64(v)
		squares[0] += d * d
		squares[1] += float64(v) * float64(v)
	}
	return squares, nil
}

func ggmlType(d weights.DType) ggml.Type {
	number, _ := d.GGML()
	return ggml.Type(number)
}
