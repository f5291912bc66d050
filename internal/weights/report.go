package weights

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Report gathers what does not fit between files and the structs filled from
// them, so that one error tells everything at once. The zero value is ready.
type Report struct {
	taken                                   map[string]bool
	missing, unexpected, misshaped, invalid []string
}

// Missing records that a tensor, or metadata, of that full name is needed but
// absent. [Set.Fill] does so itself for what the tags require.
func (r *Report) Missing(name string) { r.missing = append(r.missing, name) }

// Invalid records anything else that does not fit, such as metadata that
// contradicts the tensors.
func (r *Report) Invalid(format string, args ...any) {
	r.invalid = append(r.invalid, fmt.Sprintf(format, args...))
}

// Want checks a tensor's shape, where -1 stands for any size but zero, and
// tells whether it fits. A nil tensor is passed over, since it is either
// optional or already reported missing.
func (r *Report) Want(t *Tensor, shape ...int) bool {
	if t == nil {
		return false
	}
	fits := slices.EqualFunc(t.Shape, shape, func(has, want int) bool {
		return has == want || want < 0 && has > 0
	})
	if !fits {
		want := strings.ReplaceAll(fmt.Sprint(shape), "-1", "any")
		r.misshaped = append(r.misshaped, fmt.Sprintf("%s: shape %v, want %s (%s)", t.Name, t.Shape, want, t.File))
	}
	return fits
}

// Err is nil where everything fits, else a [*MismatchError] that lists all
// that does not.
func (r *Report) Err() error {
	e := &MismatchError{
		Missing:    sorted(r.missing),
		Unexpected: sorted(r.unexpected),
		Misshaped:  sorted(r.misshaped),
		Invalid:    sorted(r.invalid),
	}
	if len(e.Missing)+len(e.Unexpected)+len(e.Misshaped)+len(e.Invalid) == 0 {
		return nil
	}
	return e
}

// sorted is a sorted copy without repetitions.
func sorted(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }

// take notes that a Fill has used a tensor.
func (r *Report) take(name string) {
	if r.taken == nil {
		r.taken = map[string]bool{}
	}
	r.taken[name] = true
}

// Taken lists the tensors that [Set.Fill] has taken, sorted: all that a network
// has a place for, even if it does without later.
func (r *Report) Taken() []string { return slices.Sorted(maps.Keys(r.taken)) }

// Unexpected records the tensors under the prefixes that no [Set.Fill] with
// the same report has taken: what the network has no place for would otherwise
// be lost without a word.
func (s *Set) Unexpected(r *Report, prefixes ...string) {
	for _, prefix := range prefixes {
		for _, name := range s.under(strings.TrimSuffix(prefix, ".")) {
			if s.tensors[name].DType.Weight() && !r.taken[name] {
				r.unexpected = append(r.unexpected, name)
			}
		}
	}
}

// MismatchError lists everything that does not fit between files and the
// networks they are loaded into. Each list is sorted.
type MismatchError struct {
	Missing    []string // names of tensors and metadata; "prefix.3.*" for all under a missing number
	Unexpected []string // names of tensors
	Misshaped  []string // tensors with the shape found and the one wanted
	Invalid    []string // whatever else contradicts
}

// Error tells all of it, one complaint a line; long lists of names are
// abbreviated by what the names begin with.
func (e *MismatchError) Error() string {
	lists := []struct {
		what  string
		names []string
	}{
		{"missing", e.Missing}, {"unexpected", e.Unexpected}, {"of another shape", e.Misshaped}, {"invalid", e.Invalid},
	}
	var counts []string
	var text strings.Builder
	for _, l := range lists {
		if len(l.names) == 0 {
			continue
		}
		counts = append(counts, fmt.Sprintf("%d %s", len(l.names), l.what))
		fmt.Fprintf(&text, "\n%s:", l.what)
		for _, line := range abbreviate(l.names) {
			text.WriteString("\n  " + printable(line))
		}
	}
	return "the weights do not fit the networks: " + strings.Join(counts, ", ") + text.String()
}

// printable is a line with whatever a terminal would obey, or not show, escaped: names
// come from files.
func printable(line string) string {
	if strings.ContainsFunc(line, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(line)
	}
	return line
}

// maxLines is how many lines of a list an error prints in full.
const maxLines = 12

// abbreviate joins sorted names that begin alike until few lines are left:
// "unet.out.* (4)".
func abbreviate(names []string) []string {
	if len(names) <= maxLines {
		return names
	}
	// The longest common beginnings, in parts between dots, that are few enough.
	deepest := 0
	for _, name := range names {
		deepest = max(deepest, strings.Count(name, ".")+1)
	}
	best := joinAt(names, 1)
	for depth := 2; depth <= deepest; depth++ {
		lines := joinAt(names, depth)
		if len(lines) > maxLines {
			break
		}
		best = lines
	}
	if len(best) > maxLines {
		more := len(best) - maxLines
		best = append(best[:maxLines:maxLines], fmt.Sprintf("and %d more like these", more))
	}
	return best
}

// joinAt joins names whose first depth parts are the same. Of what is said of
// them behind a colon, the first's stays.
func joinAt(names []string, depth int) []string {
	var lines []string
	for i := 0; i < len(names); {
		start := beginning(names[i], depth)
		n := 1
		for i+n < len(names) && beginning(names[i+n], depth) == start {
			n++
		}
		switch _, why, told := strings.Cut(names[i], ": "); {
		case n == 1:
			lines = append(lines, names[i])
		case told:
			lines = append(lines, fmt.Sprintf("%s.* (%d), the first: %s", start, n, why))
		default:
			lines = append(lines, fmt.Sprintf("%s.* (%d)", start, n))
		}
		i += n
	}
	return lines
}

// beginning is the first depth parts of a name, whatever follows a colon left
// out.
func beginning(name string, depth int) string {
	name, _, _ = strings.Cut(name, ": ")
	end := 0
	for range depth {
		i := strings.IndexByte(name[end:], '.')
		if i < 0 {
			return name
		}
		end += i + 1
	}
	return name[:end-1]
}
