package weights

import "reflect"

// Collect lists the tensors that Fill has set in the struct that network points
// to, in the order of its fields.
func Collect(network any) []*Tensor {
	var list []*Tensor
	collect(reflect.ValueOf(network), &list)
	return list
}

func collect(v reflect.Value, list *[]*Tensor) {
	switch {
	case v.Type() == tensorType:
		if !v.IsNil() {
			*list = append(*list, v.Interface().(*Tensor))
		}
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			collect(v.Elem(), list)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			collect(v.Index(i), list)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if _, tagged := v.Type().Field(i).Tag.Lookup("key"); tagged {
				collect(v.Field(i), list)
			}
		}
	}
}
