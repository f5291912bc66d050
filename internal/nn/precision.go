package nn

import (
	"reflect"

	"supir/csrc"
	"supir/internal/weights"
)

// A Precision says how weights are kept on the device, and in what their
// products are computed.
type Precision int

// The precisions. Where there are no kernels of our own (see Engine.Kernels), the
// last four are Stored.
const (
	F32        Precision = iota // as 32-bit numbers, whatever the file holds
	Stored                      // matrices as the file holds them, vectors in F32
	BF16                        // matrices packed for products in BF16
	Int8                        // matrices packed for products in int8
	StoredBF16                  // matrices as stored, unpacked for products in BF16 at every use
	StoredInt8                  // matrices as stored, unpacked for products in int8 at every use

	// Mapped, added to one of those that keep matrices as stored, leaves them in
	// mapped files, where the CPU computes: they are read as they are used.
	Mapped Precision = 1 << 8
)

// String names the type of the products.
func (p Precision) String() string { return p.products().String() }

// stored says whether matrices are kept as the file holds them.
func (p Precision) stored() bool {
	p &^= Mapped
	return p == Stored || p == StoredBF16 || p == StoredInt8
}

// products is the type of products by our own kernels.
func (p Precision) products() csrc.Type {
	switch p &^ Mapped {
	case BF16, StoredBF16:
		return csrc.BF16
	case Int8, StoredInt8:
		return csrc.Int8
	}
	return csrc.F32
}

// A use is what a network does with a weight.
type use int

const (
	otherUse use = iota // tables, vectors, and matrices of vectors
	linearUse
	gegluUse
	convUse
)

var layerUses = map[reflect.Type]use{
	reflect.TypeFor[Linear](): linearUse, reflect.TypeFor[GEGLU](): gegluUse, reflect.TypeFor[Conv2D](): convUse,
}

// uses finds the matrices of the layers in networks, by the layers' types.
// Layers whose field is tagged `compute:"f32"` are not among them: they meet a
// few vectors only.
func uses(networks []any) map[*weights.Tensor]use {
	found := map[*weights.Tensor]use{}
	for _, n := range networks {
		findUses(reflect.ValueOf(n), found)
	}
	return found
}

func findUses(v reflect.Value, found map[*weights.Tensor]use) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			findUses(v.Elem(), found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			findUses(v.Index(i), found)
		}
	case reflect.Struct:
		if u, ok := layerUses[v.Type()]; ok {
			if w := v.FieldByName("Weight").Interface().(*weights.Tensor); w != nil {
				found[w] = u
			}
			return
		}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if _, tagged := field.Tag.Lookup("key"); tagged && field.Tag.Get("compute") != "f32" {
				findUses(v.Field(i), found)
			}
		}
	}
}
