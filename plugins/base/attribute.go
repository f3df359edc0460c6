package base

import (
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/plugins/proto/sharedpb"
)

// Attribute is a typed value with an optional unit, as "2GiB". Exactly one of
// the pointers is set.
type Attribute struct {
	Float  *float64
	Int    *int64
	String *string
	Bool   *bool
	Unit   string
}

// StringAttribute is an attribute that holds text.
func StringAttribute(s string) Attribute { return Attribute{String: &s} }

// BoolAttribute is an attribute that holds a truth value.
func BoolAttribute(b bool) Attribute { return Attribute{Bool: &b} }

// IntAttribute is a number with a unit; empty where it has none.
func IntAttribute(i int64, unit string) Attribute { return Attribute{Int: &i, Unit: unit} }

// FloatAttribute is a number with a unit; empty where it has none.
func FloatAttribute(f float64, unit string) Attribute { return Attribute{Float: &f, Unit: unit} }

// Text is the value followed by its unit, as nodes show it. An attribute
// without a value is empty.
func (a Attribute) Text() string {
	switch {
	case a.Float != nil:
		return strconv.FormatFloat(*a.Float, 'g', -1, 64) + a.Unit
	case a.Int != nil:
		return strconv.FormatInt(*a.Int, 10) + a.Unit
	case a.String != nil:
		return *a.String + a.Unit
	case a.Bool != nil:
		return strconv.FormatBool(*a.Bool) + a.Unit
	}
	return ""
}

// units are those of the protocol, section 2.4.
var units = makeUnits()

func makeUnits() map[string]bool {
	out := map[string]bool{"MHz": true, "GHz": true, "mW": true, "W": true, "kW": true, "MW": true, "GW": true}
	for _, bytes := range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "kB", "KB", "MB", "GB", "TB", "PB", "EB"} {
		out[bytes] = true
		out[bytes+"/s"] = true
	}
	return out
}

// Validate reports an attribute with no or several values, an unknown unit, or
// a unit on text or a truth value.
func (a Attribute) Validate() error {
	set := 0
	for _, is := range []bool{a.Float != nil, a.Int != nil, a.String != nil, a.Bool != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("an attribute has one value, this one has %d", set)
	case a.Unit == "":
		return nil
	case a.String != nil || a.Bool != nil:
		return fmt.Errorf("unit %q on a value that is no number", a.Unit)
	case !units[a.Unit]:
		return fmt.Errorf("unknown unit %q", a.Unit)
	}
	return nil
}

// AttributeToProto converts an attribute to its wire form.
func AttributeToProto(a Attribute) *sharedpb.Attribute {
	out := &sharedpb.Attribute{Unit: a.Unit}
	switch {
	case a.Float != nil:
		out.Value = &sharedpb.Attribute_FloatVal{FloatVal: *a.Float}
	case a.Int != nil:
		out.Value = &sharedpb.Attribute_IntVal{IntVal: *a.Int}
	case a.String != nil:
		out.Value = &sharedpb.Attribute_StringVal{StringVal: *a.String}
	case a.Bool != nil:
		out.Value = &sharedpb.Attribute_BoolVal{BoolVal: *a.Bool}
	}
	return out
}

// AttributeFromProto is the reverse of AttributeToProto. What carries no value
// comes out without one.
func AttributeFromProto(p *sharedpb.Attribute) Attribute {
	out := Attribute{Unit: p.GetUnit()}
	switch v := p.GetValue().(type) {
	case *sharedpb.Attribute_FloatVal:
		out.Float = &v.FloatVal
	case *sharedpb.Attribute_IntVal:
		out.Int = &v.IntVal
	case *sharedpb.Attribute_StringVal:
		out.String = &v.StringVal
	case *sharedpb.Attribute_BoolVal:
		out.Bool = &v.BoolVal
	}
	return out
}
