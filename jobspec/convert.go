package jobspec

import (
	"fmt"
	"math"
	"math/big"
	"reflect"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// store converts a value to the type of a field and sets it. Null leaves the
// field unset.
func store(v cty.Value, into reflect.Value, expr hcl.Expression) hcl.Diagnostics {
	if into.Type() == durationType || into.Kind() == reflect.Pointer && into.Type().Elem() == durationType {
		return storeDuration(v, into, expr)
	}
	if v.IsNull() {
		return nil
	}
	t := into.Type()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	converted, err := convert.Convert(v, ctyType(t))
	if err != nil {
		return unsuitable(expr, "Unsuitable value: "+err.Error())
	}
	elem := reflect.New(t).Elem()
	if err := setValue(converted, elem); err != nil {
		return unsuitable(expr, "Unsuitable value: "+err.Error())
	}
	if into.Kind() == reflect.Pointer {
		into.Set(elem.Addr())
	} else {
		into.Set(elem)
	}
	return nil
}

func unsuitable(expr hcl.Expression, detail string) hcl.Diagnostics {
	return hcl.Diagnostics{{
		Severity: hcl.DiagError,
		Summary:  "Unsuitable value type",
		Detail:   detail,
		Subject:  expr.StartRange().Ptr(),
		Context:  expr.Range().Ptr(),
	}}
}

// storeDuration accepts Go durations and numbers of nanoseconds.
func storeDuration(v cty.Value, into reflect.Value, expr hcl.Expression) hcl.Diagnostics {
	if v.IsNull() {
		return unsuitable(expr, "Unsuitable duration value: nil")
	}
	var d time.Duration
	switch v.Type() {
	case cty.String:
		parsed, err := time.ParseDuration(v.AsString())
		if err != nil {
			return unsuitable(expr, "Unsuitable duration value: "+err.Error())
		}
		d = parsed
	case cty.Number:
		n, accuracy := v.AsBigFloat().Int64()
		if accuracy != big.Exact {
			return unsuitable(expr, "Unsuitable duration value: a number of nanoseconds must be whole and fit 64 bits")
		}
		d = time.Duration(n)
	default:
		return unsuitable(expr, "Unsuitable duration value: expected a string but found "+v.Type().FriendlyName())
	}
	if into.Kind() == reflect.Pointer {
		into.Set(reflect.ValueOf(&d))
	} else {
		into.SetInt(int64(d))
	}
	return nil
}

// ctyType is the type that a field's values are converted to.
func ctyType(t reflect.Type) cty.Type {
	switch t.Kind() {
	case reflect.String:
		return cty.String
	case reflect.Bool:
		return cty.Bool
	case reflect.Slice:
		return cty.List(ctyType(t.Elem()))
	case reflect.Map:
		return cty.Map(ctyType(t.Elem()))
	default:
		return cty.Number
	}
}

// setValue sets a Go value from a converted one.
func setValue(v cty.Value, into reflect.Value) error {
	if v.IsNull() {
		return fmt.Errorf("%s is required, not null", v.Type().FriendlyName())
	}
	if !v.IsWhollyKnown() {
		return fmt.Errorf("value is not known")
	}
	switch into.Kind() {
	case reflect.String:
		into.SetString(v.AsString())
	case reflect.Bool:
		into.SetBool(v.True())
	case reflect.Slice:
		list := reflect.MakeSlice(into.Type(), v.LengthInt(), v.LengthInt())
		i := 0
		for it := v.ElementIterator(); it.Next(); i++ {
			_, elem := it.Element()
			if err := setValue(elem, list.Index(i)); err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
		}
		into.Set(list)
	case reflect.Map:
		m := reflect.MakeMap(into.Type())
		for it := v.ElementIterator(); it.Next(); {
			key, elem := it.Element()
			value := reflect.New(into.Type().Elem()).Elem()
			if err := setValue(elem, value); err != nil {
				return fmt.Errorf("element %q: %w", key.AsString(), err)
			}
			m.SetMapIndex(reflect.ValueOf(key.AsString()), value)
		}
		into.Set(m)
	default:
		return setNumber(v.AsBigFloat(), into)
	}
	return nil
}

func setNumber(n *big.Float, into reflect.Value) error {
	if into.CanFloat() {
		f, _ := n.Float64()
		into.SetFloat(f)
		return nil
	}
	if !n.IsInt() {
		return fmt.Errorf("value must be a whole number")
	}
	if into.CanUint() {
		u, accuracy := n.Uint64()
		if accuracy != big.Exact || into.OverflowUint(u) {
			return fmt.Errorf("value must be between 0 and %d inclusive", uint64(math.MaxUint64)>>(64-into.Type().Bits()))
		}
		into.SetUint(u)
		return nil
	}
	i, accuracy := n.Int64()
	if accuracy != big.Exact || into.OverflowInt(i) {
		limit := int64(math.MaxInt64) >> (64 - into.Type().Bits())
		return fmt.Errorf("value must be between %d and %d inclusive", -limit-1, limit)
	}
	into.SetInt(i)
	return nil
}

// storeElement converts one attribute of a map block and adds it to values.
func storeElement(v cty.Value, t reflect.Type, expr hcl.Expression, values map[string]cty.Value, name string) hcl.Diagnostics {
	converted, err := convert.Convert(v, ctyType(t))
	if err == nil && converted.IsNull() {
		err = fmt.Errorf("%s is required, not null", ctyType(t).FriendlyName())
	}
	if err != nil {
		return unsuitable(expr, "Unsuitable value: "+err.Error())
	}
	values[name] = converted
	return nil
}

// storeMap sets a map field from converted elements.
func storeMap(values map[string]cty.Value, into reflect.Value) hcl.Diagnostics {
	m := reflect.MakeMapWithSize(into.Type(), len(values))
	for name, v := range values {
		elem := reflect.New(into.Type().Elem()).Elem()
		if err := setValue(v, elem); err != nil {
			return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Unsuitable value type", Detail: "Unsuitable value: " + err.Error()}}
		}
		m.SetMapIndex(reflect.ValueOf(name), elem)
	}
	into.Set(m)
	return nil
}
