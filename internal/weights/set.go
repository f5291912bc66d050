package weights

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Set is the tensors and metadata of several files in order: a later file's
// tensor or metadata replaces an earlier one's of the same name. A Set does
// not change but by Merge; it may be read by several goroutines at once until it
// is closed.
type Set struct {
	tensors map[string]*Tensor
	names   []string // sorted
	meta    map[string]any
	files   []*contents
	closers []func() error
	unmap   func() error
	mapped  [][]byte
}

// contents is what one file holds.
type contents struct {
	path    string
	tensors []*Tensor
	meta    map[string]any
}

func newSet(files []*contents, closers []func() error) *Set {
	s := &Set{tensors: map[string]*Tensor{}, meta: map[string]any{}, files: files, closers: closers}
	for _, f := range files {
		for _, t := range f.tensors {
			s.tensors[t.Name] = t
		}
		maps.Copy(s.meta, f.meta)
	}
	s.names = slices.Sorted(maps.Keys(s.tensors))
	s.unmap = sync.OnceValue(func() error { return closeAll(s.closers) })
	return s
}

// Assemble makes a Set of tensors, and of metadata as [Set.Value] has them, that
// come from no file; name stands for one in messages.
func Assemble(name string, tensors []*Tensor, meta map[string]any) *Set {
	return newSet([]*contents{{path: name, tensors: tensors, meta: meta}}, nil)
}

// Tensor is the tensor of that full name, nil where there is none.
func (s *Set) Tensor(name string) *Tensor { return s.tensors[name] }

// Has tells whether a tensor of that full name exists.
func (s *Set) Has(name string) bool { return s.tensors[name] != nil }

// Names lists the tensors' full names, sorted.
func (s *Set) Names() []string { return slices.Clone(s.names) }

// Tensors goes through the tensors in the order of their names.
func (s *Set) Tensors() iter.Seq[*Tensor] {
	return func(yield func(*Tensor) bool) {
		for _, name := range s.names {
			if !yield(s.tensors[name]) {
				return
			}
		}
	}
}

// Release tells the system that it may take back the memory of what has been
// read from mapped files so far; it is read again when it is needed again.
func (s *Set) Release() {
	for _, m := range s.mapped {
		release(m)
	}
}

// Close unmaps the files: no tensor's Data may be read from then on. It may be
// called again, and answers the same.
func (s *Set) Close() error { return s.unmap() }

// under is the sorted names of tensors below prefix, which does not end in a
// dot; all names where it is empty.
func (s *Set) under(prefix string) []string {
	if prefix == "" {
		return s.names
	}
	prefix += "."
	i, _ := slices.BinarySearch(s.names, prefix)
	n := 0
	for i+n < len(s.names) && strings.HasPrefix(s.names[i+n], prefix) {
		n++
	}
	return s.names[i : i+n]
}

// anyUnder tells whether a tensor lies below prefix.
func (s *Set) anyUnder(prefix string) bool {
	if prefix == "" {
		return len(s.names) > 0
	}
	i, _ := slices.BinarySearch(s.names, prefix+".")
	return i < len(s.names) && strings.HasPrefix(s.names[i], prefix+".")
}
