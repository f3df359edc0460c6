package taskenv

import (
	"slices"
	"strings"
)

// Interpolates reports whether a driver's configuration has a template in any
// of its keys or values, so that variables are made only where they are used.
func Interpolates(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "${") || strings.Contains(v, "%{")
	case []any:
		return slices.ContainsFunc(v, Interpolates)
	case []string:
		return slices.ContainsFunc(v, func(s string) bool { return Interpolates(s) })
	case []map[string]any:
		return slices.ContainsFunc(v, func(m map[string]any) bool { return Interpolates(m) })
	case map[string]any:
		for k, e := range v {
			if Interpolates(k) || Interpolates(e) {
				return true
			}
		}
		return false
	case nil, bool, int, int64, uint64, float64:
		return false
	}
	return true // a shape that is not known may hold anything
}
