package nn

import (
	"supir/internal/ggml"
	"supir/internal/weights"
)

// streamWindow is how many bytes of mapped weights may be in memory before those
// that have been used are given back. It is read ahead as far, into the system's
// cache of files. (A variable for tests.)
var streamWindow = 64 << 20

// mapped are weights that stay in their files: the CPU computes with the mapped
// bytes, which the system reads when they are touched, and which are given back
// after use.
type mapped struct {
	weights map[ggml.Tensor]*weights.Tensor
	buffers []*ggml.Buffer
}

// mapped takes Mapped off a precision, and tells whether it was there and means
// anything.
func (e *Engine) mapped(p Precision) (Precision, bool) {
	return p &^ Mapped, p&Mapped != 0 && (p &^ Mapped).stored() && e.low.onCPU()
}

// stays tells whether a weight can be used where it lies.
func stays(p Precision, t *weights.Tensor) bool {
	return len(t.Shape) > 1 && t.Mapped() && placedType(t, p) == storedType(t)
}

func (m *mapped) add(to ggml.Tensor, t *weights.Tensor) {
	if m.weights == nil {
		m.weights = map[ggml.Tensor]*weights.Tensor{}
	}
	m.weights[to] = t
}

func (m *mapped) has(t ggml.Tensor) bool { return m.weights[t] != nil }

// place gives the tensors the files' bytes.
func (m *mapped) place() error {
	for to, t := range m.weights {
		b, err := to.Host(t.Bytes())
		if err != nil {
			return err
		}
		b.SetWeights()
		m.buffers = append(m.buffers, b)
	}
	return nil
}

func (m *mapped) close() {
	for _, b := range m.buffers {
		b.Close()
	}
	m.buffers = nil
}

// A stream is the mapped weights of a graph in the order of their use.
type stream struct {
	chunks []chunk
	next   int
}

// A chunk is weights that are used one after the other, and the node after which
// none of them is needed any more for now.
type chunk struct {
	weights []*weights.Tensor
	last    ggml.Tensor
}

// stream cuts a graph by the mapped weights that its nodes use; nil without any.
func (m *mapped) stream(g *ggml.Graph) *stream {
	if len(m.weights) == 0 {
		return nil
	}
	var s stream
	var c chunk
	var bytes int
	for i := range g.Nodes() {
		node := g.Node(i)
		for _, source := range node.Sources() {
			if t := m.weights[source]; t != nil {
				c.weights, c.last = append(c.weights, t), node
				bytes += len(t.Data)
			}
		}
		if bytes >= streamWindow {
			s.chunks = append(s.chunks, c)
			c, bytes = chunk{}, 0
		}
	}
	if len(c.weights) > 0 {
		s.chunks = append(s.chunks, c)
	}
	if len(s.chunks) == 0 {
		return nil
	}
	return &s
}

// begin is called before the graph is computed.
func (s *stream) begin() {
	if s != nil {
		s.next = 0
		s.prefetch(0)
		s.prefetch(1)
	}
}

// after is a scheduler's callback, see ggml.Sched.SetEval: when a chunk's last
// node is computed, the chunk is given back, and the one after the next asked for.
func (s *stream) after(t ggml.Tensor, ask bool) bool {
	if s.next == len(s.chunks) || t != s.chunks[s.next].last {
		return !ask
	}
	if !ask {
		for _, t := range s.chunks[s.next].weights {
			t.Release()
		}
		s.next++
		s.prefetch(s.next + 1)
	}
	return true
}

func (s *stream) prefetch(i int) {
	if i < len(s.chunks) {
		for _, t := range s.chunks[i].weights {
			t.Prefetch()
		}
	}
}
