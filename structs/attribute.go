package structs

import (
	"cmp"
	"math"
	"strconv"
	"strings"
	"unicode"
)

// unit is what a device's attribute is measured in: units of one base compare.
type unit struct {
	base   string
	factor float64
}

// units are those of the device protocol (driver-plugin.md 2.4).
var units = makeUnits()

func makeUnits() map[string]unit {
	out := map[string]unit{
		"MHz": {"Hz", 1e6}, "GHz": {"Hz", 1e9},
		"mW": {"W", 1e-3}, "W": {"W", 1}, "kW": {"W", 1e3}, "MW": {"W", 1e6}, "GW": {"W", 1e9},
	}
	for i, prefix := range []string{"K", "M", "G", "T", "P", "E"} {
		binary, decimal := math.Pow(1024, float64(i+1)), math.Pow(1000, float64(i+1))
		for _, rate := range []string{"", "/s"} {
			out[prefix+"iB"+rate] = unit{"B" + rate, binary}
			out[prefix+"B"+rate] = unit{"B" + rate, decimal}
		}
	}
	out["kB"], out["kB/s"] = out["KB"], out["KB/s"]
	return out
}

// ParseAttribute reads an attribute from the text of a job: a number with or
// without a unit ("8 GiB"), a truth value, otherwise a text.
func ParseAttribute(text string) *Attribute {
	number, suffix := text, ""
	for name := range units {
		if strings.HasSuffix(text, name) && len(name) > len(suffix) {
			number, suffix = strings.TrimRightFunc(strings.TrimSuffix(text, name), unicode.IsSpace), name
		}
	}
	if i, err := strconv.ParseInt(number, 10, 64); err == nil {
		return &Attribute{IntVal: &i, Unit: suffix}
	}
	if f, err := strconv.ParseFloat(number, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
		return &Attribute{FloatVal: &f, Unit: suffix}
	}
	if b, err := strconv.ParseBool(text); err == nil {
		return &Attribute{BoolVal: &b}
	}
	return &Attribute{StringVal: &text}
}

// number is the value in the base of its unit; ok is false for what is none.
func (a *Attribute) number() (v float64, base string, ok bool) {
	u := unit{factor: 1}
	if a.Unit != "" {
		if u, ok = units[a.Unit]; !ok {
			return 0, "", false
		}
	}
	switch {
	case a.IntVal != nil:
		return float64(*a.IntVal) * u.factor, u.base, true
	case a.FloatVal != nil:
		return *a.FloatVal * u.factor, u.base, true
	}
	return 0, "", false
}

// Compare orders two attributes: numbers of units of one base, or both without
// a unit, texts, and truth values, which are only equal or not (then 1). ok is
// false for what cannot be compared.
func (a *Attribute) Compare(b *Attribute) (order int, ok bool) {
	switch {
	case a.StringVal != nil && b.StringVal != nil:
		return strings.Compare(*a.StringVal, *b.StringVal), true
	case a.BoolVal != nil && b.BoolVal != nil:
		if *a.BoolVal == *b.BoolVal {
			return 0, true
		}
		return 1, true
	case a.IntVal != nil && b.IntVal != nil && a.Unit == b.Unit:
		return cmp.Compare(*a.IntVal, *b.IntVal), true
	}
	x, xBase, xOK := a.number()
	y, yBase, yOK := b.number()
	if !xOK || !yOK || xBase != yBase {
		return 0, false
	}
	return cmp.Compare(x, y), true
}
