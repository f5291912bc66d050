package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"

	"supir"
)

// A textValue is a flag for a text: see text.
type textValue struct {
	target *string
	kind   string
	words  []string
}

// String is the text; part of pflag.Value.
func (v *textValue) String() string {
	if v.target == nil {
		return ""
	}
	return *v.target
}

// Type names the value in help; part of pflag.Value.
func (v *textValue) Type() string { return v.kind }

// Set takes a value; part of pflag.Value.
func (v *textValue) Set(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	if v.words != nil {
		if s = strings.ToLower(s); !slices.Contains(v.words, s) {
			return fmt.Errorf("must be %s", list(v.words))
		}
	}
	*v.target = s
	return nil
}

// text is a flag for a text that is not empty and, if words are given, one of
// them.
func text(target *string, kind string, words ...string) *textValue {
	return &textValue{target, kind, words}
}

// An intValue is a flag for a whole number within bounds.
type intValue struct {
	target      *int
	least, most int
}

// String is the number; part of pflag.Value.
func (v *intValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *intValue) Type() string { return "N" }

// Set takes a value; part of pflag.Value.
func (v *intValue) Set(s string) error {
	i, err := strconv.Atoi(s)
	if err != nil || i < v.least || i > v.most {
		return fmt.Errorf("must be a whole number in %d to %d", v.least, v.most)
	}
	*v.target = i
	return nil
}

// A multipleValue is a flag for a multiple of step, up to most.
type multipleValue struct {
	target     *int
	step, most int
}

// String is the number; part of pflag.Value.
func (v *multipleValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *multipleValue) Type() string { return "N" }

// Set takes a value; part of pflag.Value.
func (v *multipleValue) Set(s string) error {
	i, err := strconv.Atoi(s)
	if err != nil || i < v.step || i > v.most || i%v.step != 0 {
		return fmt.Errorf("must be a multiple of %d up to %d", v.step, v.most)
	}
	*v.target = i
	return nil
}

// A sizeValue is a flag for an amount of memory.
type sizeValue struct{ target *int64 }

// String is the size; part of pflag.Value.
func (v *sizeValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *sizeValue) Type() string { return "SIZE" }

// Set takes a value; part of pflag.Value.
func (v *sizeValue) Set(s string) (err error) {
	*v.target, err = parseSize(s)
	return err
}

// parseSize reads an amount of memory, in bytes.
func parseSize(s string) (int64, error) {
	n, err := humanize.ParseBytes(s)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, errors.New("must be a size such as 6GiB or 800MB")
	}
	return int64(n), nil
}

// A computeValue is a flag for a type of products.
type computeValue struct{ target *supir.Compute }

// String is the type's name; part of pflag.Value.
func (v *computeValue) String() string { return "" }

// Type names the value in help; part of pflag.Value.
func (v *computeValue) Type() string { return "auto|f32|bf16|int8" }

// Set takes a value; part of pflag.Value.
func (v *computeValue) Set(s string) error {
	for _, c := range computeTypes {
		if strings.EqualFold(s, c.String()) {
			*v.target = c
			return nil
		}
	}
	return errors.New("must be auto, f32, bf16 or int8")
}

var computeTypes = []supir.Compute{supir.ComputeAuto, supir.ComputeF32, supir.ComputeBF16, supir.ComputeInt8}

// show is a file's name for people: as it is, unless it would disturb a
// terminal.
func show(name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(name)
	}
	return name
}
