package weights

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxNumber bounds the numbers of a `key:"blocks.*"` list. Tensors numbered
// higher are left alone, and so turn out unexpected.
const maxNumber = 256

var tensorType = reflect.TypeFor[*Tensor]()

// Fill sets the tagged fields of the struct that dst points to from the
// tensors under prefix. What is missing goes to r; nothing stops half way.
//
//	*Tensor    `key:"weight"`                one tensor
//	struct     `key:"in_layers.0"`           the struct's own fields, under prefix.in_layers.0
//	*struct    `key:"skip_connection"`       the same, or nil where no tensor that its tags name exists
//	[]struct   `key:"transformer_blocks.*"`  0, 1, 2…: up to the largest number that exists, without holes
//	any        `key:"1|2"`                   the first of these under which something exists
//	any        `key:"bias,optional"`         may be absent: it stays nil, empty or zero
//	struct     `key:"."`                     under the same prefix
//	scalar     `meta:"norm_groups" default:"32" min:"1"`
//
// A scalar is an int, float32, float64, bool or string from the metadata
// "supir.<network>.<name>"; without a default it must be there, and numbers
// must not lie below min. Fields without a tag are left alone.
//
// Fill panics where dst or a tag in it makes no sense: that is a mistake in
// the program, not in the files.
func (s *Set) Fill(dst any, network, prefix string, r *Report) {
	v := reflect.ValueOf(dst)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("weights: Fill of %T, want a pointer to a struct", dst))
	}
	f := filler{set: s, network: network, report: r}
	f.fill(v.Elem(), strings.TrimSuffix(prefix, "."))
}

type filler struct {
	set     *Set
	network string
	report  *Report
}

func (f *filler) fill(v reflect.Value, prefix string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if name, ok := field.Tag.Lookup("meta"); ok {
			f.scalar(v.Field(i), name, field.Tag)
			continue
		}
		k, ok := parseKey(field)
		if !ok {
			continue
		}
		f.field(v.Field(i), k, join(prefix, f.choose(field.Type, prefix, k)))
	}
}

// field fills one field from key, the one alternative that was chosen.
func (f *filler) field(v reflect.Value, k key, at string) {
	t := v.Type()
	switch {
	case t == tensorType:
		f.tensor(v, k, at)
	case t.Kind() == reflect.Struct:
		if !k.optional || f.exists(t, at) {
			f.fill(v, at)
		}
	case t.Kind() == reflect.Pointer:
		if f.exists(t.Elem(), at) {
			v.Set(reflect.New(t.Elem()))
			f.fill(v.Elem(), at)
		}
	default: // a slice: parseKey has made sure
		f.list(v, k, strings.TrimSuffix(at, ".*"))
	}
}

func (f *filler) tensor(v reflect.Value, k key, name string) {
	t := f.set.Tensor(name)
	switch {
	case t == nil && k.optional:
	case t == nil:
		f.report.Missing(name)
	case !t.DType.Weight():
		f.report.Invalid("%s: stored as %v, want F32, F16, BF16 or a quantised type (%s)", name, t.DType, t.File)
	default:
		f.report.take(name)
		v.Set(reflect.ValueOf(t))
	}
}

func (f *filler) list(v reflect.Value, k key, at string) {
	numbers := f.numbers(at)
	if len(numbers) == 0 {
		if !k.optional {
			f.report.Missing(at + ".0.*")
		}
		return
	}
	n := numbers[len(numbers)-1] + 1
	v.Set(reflect.MakeSlice(v.Type(), n, n))
	for i := range n {
		if _, found := slices.BinarySearch(numbers, i); found {
			f.fill(v.Index(i), join(at, strconv.Itoa(i)))
		} else {
			f.report.Missing(fmt.Sprintf("%s.%d.*", at, i))
		}
	}
}

// numbers lists, in order, the numbers under which tensors lie below at.
func (f *filler) numbers(at string) []int {
	var numbers []int
	for _, name := range f.set.under(at) {
		digits, _, below := strings.Cut(strings.TrimPrefix(name, at+"."), ".")
		n, err := strconv.Atoi(digits)
		if err == nil && below && 0 <= n && n < maxNumber && strconv.Itoa(n) == digits {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// choose is the first alternative of a key under which something exists, or
// else the first one.
func (f *filler) choose(t reflect.Type, prefix string, k key) string {
	for _, name := range k.names {
		if len(k.names) > 1 && f.exists(t, join(prefix, name)) {
			return name
		}
	}
	return k.names[0]
}

// exists tells whether a tensor exists that a field of type t at that place
// names, itself or through the tags of its own fields.
func (f *filler) exists(t reflect.Type, at string) bool {
	switch {
	case t == tensorType:
		return f.set.Has(at)
	case t.Kind() == reflect.Slice:
		return len(f.numbers(strings.TrimSuffix(at, ".*"))) > 0
	case t.Kind() == reflect.Pointer:
		t = t.Elem()
	}
	if !f.set.anyUnder(at) {
		return false
	}
	for i := range t.NumField() {
		field := t.Field(i)
		k, ok := parseKey(field)
		if !ok {
			continue
		}
		for _, name := range k.names {
			if f.exists(field.Type, join(at, name)) {
				return true
			}
		}
	}
	return false
}

// scalar sets a number, truth value or text from the metadata; to its default where
// that is none, so that what is checked next finds a sound one.
func (f *filler) scalar(v reflect.Value, name string, tag reflect.StructTag) {
	name = "supir." + f.network + "." + name
	byDefault, hasDefault := tag.Lookup("default")
	text, ok := f.set.Metadata(name)
	switch {
	case ok:
	case hasDefault:
		text = byDefault
	default:
		f.report.Missing("metadata " + name)
		return
	}
	if err := setScalar(v, text, tag); err != nil {
		f.report.Invalid("metadata %s: %v", name, err)
		if hasDefault {
			setScalar(v, byDefault, tag)
		}
	}
}

// setScalar sets v to what a text says.
func setScalar(v reflect.Value, text string, tag reflect.StructTag) error {
	var number float64
	var err error
	switch v.Kind() {
	case reflect.Int:
		var n int
		n, err = strconv.Atoi(text)
		number = float64(n)
		v.SetInt(int64(n))
	case reflect.Float32, reflect.Float64:
		number, err = strconv.ParseFloat(text, v.Type().Bits())
		if err == nil && (math.IsNaN(number) || math.IsInf(number, 0)) {
			err = strconv.ErrRange
		}
		v.SetFloat(number)
	case reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case reflect.String:
		v.SetString(text)
	default:
		panic(fmt.Sprintf("weights: metadata into a %s", v.Type()))
	}
	if err != nil {
		return fmt.Errorf("%.100q is no %s", text, v.Kind())
	}
	if least, ok := tag.Lookup("min"); ok {
		bound, err := strconv.ParseFloat(least, 64)
		if err != nil {
			panic(fmt.Sprintf("weights: metadata of min:%q", least))
		}
		if number < bound {
			return fmt.Errorf("%s, want at least %s", text, least)
		}
	}
	return nil
}

// key is a parsed `key` tag.
type key struct {
	names    []string // alternatives, in order
	optional bool
}

// parseKey reads a field's `key` tag; ok is false where it has none.
func parseKey(field reflect.StructField) (k key, ok bool) {
	tag, ok := field.Tag.Lookup("key")
	if !ok {
		return key{}, false
	}
	bad := func(why string) {
		panic(fmt.Sprintf("weights: field %s %s `key:%q`: %s", field.Name, field.Type, tag, why))
	}
	names, option, _ := strings.Cut(tag, ",")
	if option != "" && option != "optional" {
		bad("unknown option")
	}
	if !field.IsExported() {
		bad("not exported")
	}
	k = key{names: strings.Split(names, "|"), optional: option == "optional"}
	list := false
	switch t := field.Type; {
	case t == tensorType:
	case t.Kind() == reflect.Struct:
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		list = true
	default:
		bad("want a *Tensor, a struct, a pointer to one or a slice of them")
	}
	for i, name := range k.names {
		if name == "." {
			k.names[i] = ""
		}
		if strings.HasSuffix(name, ".*") != list {
			bad("a slice, and nothing else, ends in .*")
		}
	}
	return k, true
}

// join adds a name to a prefix, either of which may be empty.
func join(prefix, name string) string {
	if prefix == "" || name == "" {
		return prefix + name
	}
	return prefix + "." + name
}
