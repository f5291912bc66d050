package weights

import (
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// LoRA is a file of low-rank changes to a model's matrices and kernels, and how
// much of them is taken.
type LoRA struct {
	File
	Weight float64
}

// Merge adds LoRAs to the set's tensors: W + weight·alpha/rank·up·down. The sum
// is made each time that a tensor's bytes are asked for, so that files stay
// mapped, and is rounded to the type that the tensor has; quantised ones become
// F16, where floats tells what is in them. Without floats they are an error.
//
// The names of kohya's trainers and of Diffusers, old and new, are known, for
// the U-Net and both text encoders. A LoRA that changes what the set does not
// have, or has in another shape, is an error that lists all of that; the set is
// then as before. Merge is not for use while others read the set.
func (s *Set) Merge(floats func(*Tensor) []float32, loras ...LoRA) (err error) {
	var o opener
	defer func() {
		if err != nil {
			_ = closeAll(o.closers)
		} else {
			s.closers = append(s.closers, o.closers...)
			s.mapped = append(s.mapped, o.mapped...)
		}
	}()
	layers := s.layers()
	merged := map[string]*mergedTensor{}
	for _, l := range loras {
		c, err := o.open(l.File)
		if err != nil {
			return err
		}
		locate(slices.Values(c.tensors), o.mapped)
		changes, err := c.changes(layers)
		if err != nil {
			return err
		}
		for _, change := range changes {
			base := change.to
			if base.DType.Quantised() && floats == nil {
				return &UnsupportedError{File: l.Path, Tensor: change.name,
					Reason: fmt.Sprintf("cannot be merged into %s, which is stored as %v", base.Name, base.DType)}
			}
			if merged[base.Name] == nil {
				merged[base.Name] = &mergedTensor{base: base, floats: floats}
			}
			m := merged[base.Name]
			m.changes, m.weights = append(m.changes, change), append(m.weights, float32(l.Weight))
		}
	}
	for name, m := range merged {
		s.tensors[name] = m.tensor()
	}
	return nil
}

// mergedTensor is a tensor with what LoRAs add to it.
type mergedTensor struct {
	base    *Tensor
	floats  func(*Tensor) []float32 // of a quantised base
	changes []*change
	weights []float32
}

// tensor adds when asked for.
func (m *mergedTensor) tensor() *Tensor {
	t := m.base.as(m.base.Name, m.base.Shape...)
	t.Data = nil
	t.Note = " with LoRAs merged"
	if t.DType.Quantised() {
		t.DType = F16
	}
	t.made = func() []byte {
		var values []float32
		if m.base.DType.Quantised() {
			values = m.floats(m.base)
		} else {
			values = m.base.Float32()
		}
		m.base.Release()
		for i, c := range m.changes {
			c.add(values, m.weights[i])
			c.release()
		}
		return encode(t.DType, values)
	}
	return t
}

// layers finds the networks' tensors by what a LoRA file may call them.
func (s *Set) layers() layerNames {
	l := layerNames{renamer: renamer{attends: func(i int) bool { return false }}}
	for i, prefix := range []string{unetPrefix, clipLPrefix, bigGPrefix} {
		l.tensors[i] = map[string]*Tensor{}
		for _, name := range s.under(strings.TrimSuffix(prefix, ".")) {
			t := s.tensors[name]
			if flat := flatten(strings.TrimPrefix(name, prefix)); t.DType.Weight() && strings.HasSuffix(flat, "_weight") {
				l.tensors[i][strings.TrimSuffix(flat, "_weight")] = t
			}
		}
	}
	for l.renamer.layers < maxNumber && s.anyUnder(fmt.Sprintf("%sinput_blocks.%d.0.in_layers", unetPrefix, 1+l.renamer.layers)) {
		l.renamer.layers++
	}
	l.renamer.attends = func(up int) bool {
		return s.anyUnder(fmt.Sprintf("%soutput_blocks.%d.1.transformer_blocks", unetPrefix, (l.renamer.layers+1)*up))
	}
	return l
}

// layerNames are the tensors of U-Net, CLIP-L and bigG by their names with
// underscores for dots, as LoRA files have them.
type layerNames struct {
	tensors [3]map[string]*Tensor
	renamer renamer
}

func flatten(name string) string { return strings.ReplaceAll(name, ".", "_") }

// What the names of a network's layers begin with, by the place of the network
// in layerNames; the first that fits is taken.
var loraPrefixes = []struct {
	prefix  string
	network int
}{
	{"lora_unet_", 0}, {"lora_te1_", 1}, {"lora_te2_", 2},
	{"unet.", 0}, {"text_encoder.", 1}, {"text_encoder_2.", 2},
	{"base_model.model.", 0}, {unetPrefix, 0}, {"diffusion_model.", 0}, {"", 0},
}

// find is the tensor that a LoRA's layer changes, and which third of its rows
// (of queries, keys and values), -1 for all.
func (l layerNames) find(layer string) (t *Tensor, part int) {
	for _, p := range loraPrefixes {
		name, ok := strings.CutPrefix(layer, p.prefix)
		if !ok {
			continue
		}
		if t := l.tensors[p.network][flatten(name)]; t != nil {
			return t, -1
		}
		to, part := name, -1
		switch p.network {
		case 0:
			to, _ = l.renamer.unet(name)
		case 1:
			to = textModel(name)
		case 2:
			to, part, _ = l.renamer.bigG(textModel(name))
		}
		return l.tensors[p.network][flatten(to)], part
	}
	return nil, -1
}

// maxRank bounds a LoRA's rank; those in use have 4 to 256.
const maxRank = 1 << 14

// change is what a LoRA adds to one tensor: alpha/rank · up·down, with the
// kernel mid between the two where they were trained apart.
type change struct {
	name          string // of the layer in the LoRA file
	to            *Tensor
	part          int // which third of the rows, -1 for all
	up, down, mid *Tensor
	alpha         *Tensor
}

// release gives the memory back that its tensors' bytes lie in.
func (c *change) release() {
	for _, t := range []*Tensor{c.up, c.down, c.mid} {
		if t != nil {
			t.Release()
		}
	}
}

// Endings of the names of a layer's tensors, by their role; the longest come
// before those they end in.
var loraEndings = []struct {
	ending string
	of     func(c *change) **Tensor
}{
	{".lora_linear_layer.up.weight", up}, {".lora_linear_layer.down.weight", down},
	{"_lora.up.weight", up}, {"_lora.down.weight", down},
	{".lora.up.weight", up}, {".lora.down.weight", down},
	{".lora_up.weight", up}, {".lora_down.weight", down},
	{".lora_B.default.weight", up}, {".lora_A.default.weight", down},
	{".lora_B.weight", up}, {".lora_A.weight", down},
	{".lora_mid.weight", func(c *change) **Tensor { return &c.mid }},
	{".alpha", func(c *change) **Tensor { return &c.alpha }},
}

func up(c *change) **Tensor   { return &c.up }
func down(c *change) **Tensor { return &c.down }

// Other ways to change a layer, which are not known here.
var strangeEndings = map[string]string{
	".hada_w1_a": "LoHa", ".lokr_w1": "LoKr", ".lokr_w1_a": "LoKr", ".dora_scale": "DoRA", ".lora_magnitude_vector": "DoRA",
	".oft_blocks": "OFT", ".oft_diag": "OFT", ".diff": "full differences", ".diff_b": "full differences", ".on_input": "IA³",
}

// changes are what a file adds to which tensors.
func (f *contents) changes(layers layerNames) ([]*change, error) {
	byLayer := map[string]*change{}
	var order []*change
	var r Report
	for _, t := range f.tensors {
		for ending, kind := range strangeEndings {
			if strings.HasSuffix(t.Name, ending) || strings.HasSuffix(t.Name, ending+".weight") {
				return nil, &UnsupportedError{File: f.path, Tensor: t.Name, Reason: "a change in the manner of " + kind + ", where only LoRA can be merged"}
			}
		}
		layer, role := loraLayer(t.Name)
		if role == nil || t.DType.Quantised() || !t.DType.Weight() && !strings.HasSuffix(t.Name, ".alpha") {
			r.unexpected = append(r.unexpected, t.Name)
			continue
		}
		c := byLayer[layer]
		if c == nil {
			c = &change{name: layer}
			c.to, c.part = layers.find(layer)
			byLayer[layer] = c
			order = append(order, c)
		}
		if c.to == nil {
			r.unexpected = append(r.unexpected, t.Name)
			continue
		}
		*role(c) = t
	}
	order = slices.DeleteFunc(order, func(c *change) bool { return c.to == nil })
	if len(order) == 0 {
		what := "not a LoRA of SDXL: none of its layers is in the model"
		if len(f.tensors) > 0 {
			what += fmt.Sprintf(" (%s, for one)", f.tensors[0].Name)
		}
		return nil, &UnsupportedError{File: f.path, Reason: what}
	}
	for _, c := range order {
		c.check(&r)
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("LoRA %s: %w", f.path, err)
	}
	return order, f.adapterAlphas(order)
}

// loraLayer takes a tensor's name apart; role is nil where it is not known.
func loraLayer(name string) (layer string, role func(*change) **Tensor) {
	for _, e := range loraEndings {
		layer, ok := strings.CutSuffix(name, e.ending)
		if !ok {
			continue
		}
		// Attention's processors once held the LoRA: attn1.processor.to_q_lora.
		layer = strings.Replace(layer, ".processor.to_", ".to_", 1)
		if strings.HasSuffix(layer, ".to_out") {
			layer += ".0"
		}
		return layer, e.of
	}
	return "", nil
}

// check makes sure that the parts are there and fit the tensor to change.
func (c *change) check(r *Report) {
	if c.up == nil || c.down == nil {
		r.Missing(c.name + ".lora_up.weight and lora_down.weight")
		return
	}
	misfit := func(t *Tensor) {
		r.misshaped = append(r.misshaped, fmt.Sprintf("%s: shape %v does not change %s of %v (%s)", t.Name, t.Shape, c.to.Name, c.to.Shape, t.File))
	}
	if c.alpha != nil && c.alpha.Elements() != 1 {
		misfit(c.alpha)
	}
	rows, columns := c.size()
	rank := c.rank()
	switch {
	case rank < 1 || rank > maxRank || rows == 0 || columns == 0 || len(c.up.Shape) < 2 || len(c.down.Shape) < 2:
		misfit(c.down)
	case c.up.Shape[0] != rows || c.up.Elements() != rows*rank:
		misfit(c.up)
	case c.mid == nil && c.down.Elements() != rank*columns:
		misfit(c.down)
	case c.mid != nil && (len(c.mid.Shape) != 4 || c.mid.Shape[0] != rank || c.mid.Shape[1] != rank || c.mid.Elements() == 0 ||
		columns%c.kernel() != 0 || c.down.Elements() != rank*(columns/c.kernel())):
		misfit(c.mid)
	}
}

// kernel is the size of mid's kernel.
func (c *change) kernel() int { return c.mid.Shape[2] * c.mid.Shape[3] }

func (c *change) rank() int {
	if len(c.down.Shape) == 0 {
		return 0
	}
	return c.down.Shape[0]
}

// size is the rows and columns of the matrix that is changed.
func (c *change) size() (rows, columns int) {
	if len(c.to.Shape) == 0 || c.to.Shape[0] == 0 {
		return 0, 0
	}
	rows, columns = c.to.Shape[0], c.to.Elements()/c.to.Shape[0]
	if c.part >= 0 {
		rows /= 3
	}
	return rows, columns
}

// add adds the change to the values of the tensor.
func (c *change) add(values []float32, weight float32) {
	rank := c.rank()
	rows, columns := c.size()
	scale := weight
	if c.alpha != nil {
		scale *= c.alpha.Float32()[0] / float32(rank)
	}
	if c.part >= 0 {
		values = values[c.part*rows*columns:]
	}
	blas32.Gemm(blas.NoTrans, blas.NoTrans, scale, matrix(rows, rank, c.up.Float32()), matrix(rank, columns, c.inner()), 1, matrix(rows, columns, values))
}

// inner is the right one of the two matrices: down, or mid·down, of which the
// kernel belongs to mid.
func (c *change) inner() []float32 {
	down := c.down.Float32()
	if c.mid == nil {
		return down
	}
	rank, kernel := c.rank(), c.kernel()
	in := len(down) / rank
	mid := c.mid.Float32() // [rank, rank, kernel]
	out := make([]float32, rank*in*kernel)
	for a := range rank {
		for b := range rank {
			for i := range in {
				for k := range kernel {
					out[(a*in+i)*kernel+k] += mid[(a*rank+b)*kernel+k] * down[b*in+i]
				}
			}
		}
	}
	return out
}

func matrix(rows, columns int, data []float32) blas32.General {
	return blas32.General{Rows: rows, Cols: columns, Stride: columns, Data: data}
}
