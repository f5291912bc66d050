package clip

import (
	"cmp"
	"container/heap"
)

// byteIndex is each byte's place in the vocabulary.
var byteIndex = func() (index [256]int32) {
	for i, b := range byteOrder() {
		index[b] = int32(i)
	}
	return index
}()

// merge splits a word into bytes, the last of which ends the word, and joins
// them as the merges say: at each turn all occurrences of the earliest merge,
// from left to right. A word of n bytes takes n·log n steps, so that a prompt
// without a space in it does no harm.
func (t *Tokenizer) merge(word string) []int32 {
	n := len(word)
	pieces := make([]int32, n) // -1 where a piece has been joined to the one before
	next := make([]int, n)     // of each piece; n after the last
	before := make([]int, n)
	for i := range n {
		pieces[i] = byteIndex[word[i]]
		next[i], before[i] = i+1, i-1
	}
	pieces[n-1] += 256

	// look tells the merge of the piece at i with its next.
	look := func(i int) (candidate, bool) {
		if i < 0 || next[i] == n {
			return candidate{}, false
		}
		m, ok := t.merges[[2]int32{pieces[i], pieces[next[i]]}]
		return candidate{m, i}, ok
	}
	var queue candidates
	for i := range n {
		if c, ok := look(i); ok {
			queue = append(queue, c)
		}
	}
	heap.Init(&queue)
	var changed []int // pieces with new neighbours in this turn
	for len(queue) > 0 {
		rank := queue[0].rank
		changed = changed[:0]
		for len(queue) > 0 && queue[0].rank == rank {
			c := heap.Pop(&queue).(candidate)
			if now, ok := look(c.at); pieces[c.at] < 0 || !ok || now != c {
				continue // joined otherwise in the meantime
			}
			gone := next[c.at]
			pieces[c.at], pieces[gone] = c.piece, -1
			next[c.at] = next[gone]
			if next[c.at] < n {
				before[next[c.at]] = c.at
			}
			changed = append(changed, before[c.at], c.at)
		}
		for _, i := range changed {
			if i >= 0 && pieces[i] >= 0 {
				if c, ok := look(i); ok {
					heap.Push(&queue, c)
				}
			}
		}
	}
	joined := pieces[:0]
	for i := 0; i < n; i = next[i] {
		joined = append(joined, pieces[i])
	}
	return joined
}

// candidate is a merge that can be done at a place of a word.
type candidate struct {
	merge
	at int
}

// candidates is a heap: the earliest merge first, the leftmost of the same.
type candidates []candidate

func (c candidates) Len() int { return len(c) }
func (c candidates) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(c[i].rank, c[j].rank), cmp.Compare(c[i].at, c[j].at)) < 0
}
func (c candidates) Swap(i, j int) { c[i], c[j] = c[j], c[i] }
func (c *candidates) Push(x any)   { *c = append(*c, x.(candidate)) }
func (c *candidates) Pop() any {
	last := (*c)[len(*c)-1]
	*c = (*c)[:len(*c)-1]
	return last
}
