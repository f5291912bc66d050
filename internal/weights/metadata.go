package weights

import (
	"maps"
	"slices"
	"strconv"
)

// Metadata is the text of a single value that the files give for key: a string
// as it is, a number or truth value as Go writes it. ok is false where there is
// none, or an array.
func (s *Set) Metadata(key string) (value string, ok bool) {
	switch v := s.meta[key].(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case uint64:
		return strconv.FormatUint(v, 10), true
	case float64:
		bits := 64
		if float64(float32(v)) == v {
			bits = 32
		}
		return strconv.FormatFloat(v, 'g', -1, bits), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

// MetadataKeys lists the keys of all metadata, sorted.
func (s *Set) MetadataKeys() []string { return slices.Sorted(maps.Keys(s.meta)) }

// Value is the metadata for key as the file holds it, nil where there is none:
// a string, bool, int64 (uint64 beyond that) or float64, or a slice of one of
// these; []any where arrays are nested. safetensors files hold strings alone.
// Slices must not be changed.
func (s *Set) Value(key string) any { return s.meta[key] }

// Value is the metadata for key where it is of type T, one of those that
// [Set.Value] lists:
//
//	layers, ok := weights.Value[int64](set, "llama.block_count")
//	tokens, ok := weights.Value[[]string](set, "tokenizer.ggml.tokens")
//
// A whole number is also given as a float64, and an array of them as
// []float64.
func Value[T any](s *Set, key string) (value T, ok bool) {
	v := s.meta[key]
	if value, ok = v.(T); ok {
		return value, true
	}
	switch to := any(&value).(type) {
	case *float64:
		if n, whole := v.(int64); whole {
			*to, ok = float64(n), true
		}
	case *[]float64:
		if list, whole := v.([]int64); whole {
			*to, ok = make([]float64, len(list)), true
			for i, n := range list {
				(*to)[i] = float64(n)
			}
		}
	}
	return value, ok
}
