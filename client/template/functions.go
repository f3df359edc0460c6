package template

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5" //nolint:gosec // the contract's function of that name
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"

	"github.com/BurntSushi/toml"
	"go.yaml.in/yaml/v3"
)

// maxLoop bounds the numbers that loop counts.
const maxLoop = 100_000

// consulFunctions and vaultFunctions are the contract's for systems that this
// build does not speak; denied are those that would leave the sandbox.
var (
	consulFunctions = []string{"datacenters", "exportedServices", "importedServices", "key", "keyExists", "keyOrDefault", "ls", "safeLs", "node", "nodes",
		"partitions", "peerings", "service", "connect", "services", "tree", "safeTree", "caRoots", "caLeaf"}
	vaultFunctions = []string{"secret", "secrets", "pkiCert"}
	denied         = []string{"executeTemplate", "plugin", "writeToFile"}
)

// plain are the functions that need nothing but their arguments (reference
// runtime.md 9).
var plain = template.FuncMap{
	"base64Decode":    func(s string) (string, error) { b, err := base64.StdEncoding.DecodeString(s); return string(b), err },
	"base64Encode":    func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64URLDecode": func(s string) (string, error) { b, err := base64.URLEncoding.DecodeString(s); return string(b), err },
	"base64URLEncode": func(s string) string { return base64.URLEncoding.EncodeToString([]byte(s)) },
	"sha256Hex":       func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) },
	"md5sum":          func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }, //nolint:gosec // as above
	"hmacSHA256Hex": func(message, key string) string {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(message))
		return hex.EncodeToString(h.Sum(nil))
	},
	"contains":             func(item, list any) (bool, error) { return contains(list, item) },
	"in":                   func(list, item any) (bool, error) { return contains(list, item) },
	"containsAll":          func(want, list any) (bool, error) { n, all, err := count(want, list); return n == all, err },
	"containsAny":          func(want, list any) (bool, error) { n, _, err := count(want, list); return n > 0, err },
	"containsNone":         func(want, list any) (bool, error) { n, _, err := count(want, list); return n == 0, err },
	"containsNotAll":       func(want, list any) (bool, error) { n, all, err := count(want, list); return n < all, err },
	"explode":              explode,
	"explodeMap":           explodeMap,
	"mergeMap":             func(from, into map[string]any) map[string]any { return merge(into, from, false) },
	"mergeMapWithOverride": func(from, into map[string]any) map[string]any { return merge(into, from, true) },
	"indent": func(n int, s string) (string, error) {
		if n < 0 || n > 1000 {
			return "", fmt.Errorf("indent by %d: between 0 and 1000", n)
		}
		return strings.Repeat(" ", n) + strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", n)), nil
	},
	"loop":       loop,
	"join":       func(sep string, list any) (string, error) { return join(sep, list) },
	"trim":       func(cut, s string) string { return strings.Trim(s, cut) },
	"trimPrefix": func(cut, s string) string { return strings.TrimPrefix(s, cut) },
	"trimSuffix": func(cut, s string) string { return strings.TrimSuffix(s, cut) },
	"trimSpace":  strings.TrimSpace,
	"parseBool": func(s string) (bool, error) {
		if s == "" {
			return false, nil
		}
		return strconv.ParseBool(s)
	},
	"parseFloat": func(s string) (float64, error) {
		if s == "" {
			return 0, nil
		}
		return strconv.ParseFloat(s, 64)
	},
	"parseInt": func(s string) (int64, error) {
		if s == "" {
			return 0, nil
		}
		return strconv.ParseInt(s, 10, 64)
	},
	"parseUint": func(s string) (uint64, error) {
		if s == "" {
			return 0, nil
		}
		return strconv.ParseUint(s, 10, 64)
	},
	"parseJSON": func(s string) (any, error) {
		var v any
		if s == "" {
			return map[string]any{}, nil
		}
		err := json.Unmarshal([]byte(s), &v)
		return v, err
	},
	"parseYAML": func(s string) (any, error) { var v any; err := yaml.Unmarshal([]byte(s), &v); return v, err },
	"regexReplaceAll": func(re, with, s string) (string, error) {
		r, err := regexp.Compile(re)
		if err != nil {
			return "", err
		}
		return r.ReplaceAllString(s, with), nil
	},
	"regexMatch": func(re, s string) (bool, error) {
		r, err := regexp.Compile(re)
		if err != nil {
			return false, err
		}
		return r.MatchString(s), nil
	},
	"replaceAll":            func(old, with, s string) string { return strings.ReplaceAll(s, old, with) },
	"timestamp":             timestamp,
	"toLower":               strings.ToLower,
	"toUpper":               strings.ToUpper,
	"toTitle":               title,
	"toJSON":                func(v any) (string, error) { b, err := json.Marshal(v); return string(b), err },
	"toJSONPretty":          func(v any) (string, error) { b, err := json.MarshalIndent(v, "", "  "); return string(b), err },
	"toUnescapedJSON":       func(v any) (string, error) { return unescaped(v, "") },
	"toUnescapedJSONPretty": func(v any) (string, error) { return unescaped(v, "  ") },
	"toYAML": func(v any) (string, error) {
		b, err := yaml.Marshal(v)
		return strings.TrimSuffix(string(b), "\n"), err
	},
	"toTOML": toTOML,
	"split": func(sep, s string) []string {
		if s == "" {
			return []string{}
		}
		return strings.Split(s, sep)
	},
	"splitToMap": splitToMap,
	"add":        arithmetic(func(a, b float64) (float64, error) { return b + a, nil }),
	"subtract":   arithmetic(func(a, b float64) (float64, error) { return b - a, nil }),
	"multiply":   arithmetic(func(a, b float64) (float64, error) { return b * a, nil }),
	"divide": arithmetic(func(a, b float64) (float64, error) {
		if a == 0 {
			return 0, errors.New("division by zero")
		}
		return b / a, nil
	}),
	"modulo": arithmetic(func(a, b float64) (float64, error) {
		if int64(a) == 0 {
			return 0, errors.New("division by zero")
		}
		return float64(int64(b) % int64(a)), nil
	}),
	"minimum": arithmetic(func(a, b float64) (float64, error) { return min(a, b), nil }),
	"maximum": arithmetic(func(a, b float64) (float64, error) { return max(a, b), nil }),
}

// refusing is a function that fails with a reason, so that a template that
// uses it is told at its first render.
func refusing(name, why string) any {
	return func(...any) (string, error) { return "", fmt.Errorf("cannot use %s in a template: %s", name, why) }
}

func items(list any) (reflect.Value, error) {
	v := reflect.ValueOf(list)
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		return v, nil
	case reflect.Map:
		return reflect.ValueOf(func() []any {
			var out []any
			for _, k := range v.MapKeys() {
				out = append(out, k.Interface())
			}
			return out
		}()), nil
	}
	return v, fmt.Errorf("%T is no list", list)
}

func contains(list, item any) (bool, error) {
	if s, ok := list.(string); ok {
		return strings.Contains(s, fmt.Sprint(item)), nil
	}
	v, err := items(list)
	if err != nil {
		return false, err
	}
	for i := range v.Len() {
		if fmt.Sprint(v.Index(i).Interface()) == fmt.Sprint(item) {
			return true, nil
		}
	}
	return false, nil
}

// count tells how many of want are in list, and how many there are.
func count(want, list any) (found, all int, err error) {
	w, err := items(want)
	if err != nil {
		return 0, 0, err
	}
	for i := range w.Len() {
		ok, err := contains(list, w.Index(i).Interface())
		if err != nil {
			return 0, 0, err
		}
		if ok {
			found++
		}
	}
	return found, w.Len(), nil
}

func join(sep string, list any) (string, error) {
	v, err := items(list)
	if err != nil {
		return "", err
	}
	out := make([]string, v.Len())
	for i := range out {
		out[i] = fmt.Sprint(v.Index(i).Interface())
	}
	return strings.Join(out, sep), nil
}

// explode nests keys with slashes.
func explode(pairs map[string]any) (map[string]any, error) { return explodeMap(pairs) }

func explodeMap(flat map[string]any) (map[string]any, error) {
	out := map[string]any{}
	keys := make([]string, 0, len(flat))
	for k := range flat {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		at, parts := out, strings.Split(k, "/")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				if at[p] != nil {
					return nil, fmt.Errorf("%q is both a value and a folder", p)
				}
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = flat[k]
	}
	return out, nil
}

func merge(into, from map[string]any, override bool) map[string]any {
	out := map[string]any{}
	for k, v := range into {
		out[k] = v
	}
	for k, v := range from {
		if _, taken := out[k]; !taken || override {
			out[k] = v
		}
	}
	return out
}

// loop counts from 0 to n-1, or from a to b-1.
func loop(n int, more ...int) ([]int, error) {
	from, to := 0, n
	if len(more) == 1 {
		from, to = n, more[0]
	} else if len(more) > 1 {
		return nil, errors.New("loop takes one or two numbers")
	}
	if to-from > maxLoop {
		return nil, fmt.Errorf("loop of %d: at most %d", to-from, maxLoop)
	}
	var out []int
	for i := from; i < to; i++ {
		out = append(out, i)
	}
	return out, nil
}

func timestamp(form ...string) (string, error) {
	now := time.Now().UTC()
	switch {
	case len(form) == 0:
		return now.Format(time.RFC3339), nil
	case len(form) > 1:
		return "", errors.New("timestamp takes one format")
	case form[0] == "unix":
		return strconv.FormatInt(now.Unix(), 10), nil
	}
	return now.Format(form[0]), nil
}

func title(s string) string {
	before := ' '
	return strings.Map(func(r rune) rune {
		up := !unicode.IsLetter(before) && !unicode.IsDigit(before) && before != '\''
		before = r
		if up {
			return unicode.ToTitle(r)
		}
		return r
	}, s)
}

func unescaped(v any, indent string) (string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	err := enc.Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func toTOML(v any) (string, error) {
	var b bytes.Buffer
	err := toml.NewEncoder(&b).Encode(v)
	return strings.TrimSuffix(b.String(), "\n"), err
}

func splitToMap(itemSep, keySep, s string) map[string]any {
	out := map[string]any{}
	for _, item := range strings.Split(s, itemSep) {
		if k, v, _ := strings.Cut(item, keySep); strings.TrimSpace(k) != "" {
			out[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return out
}

// arithmetic calculates with whole numbers, unless one is not.
func arithmetic(f func(a, b float64) (float64, error)) any {
	return func(a, b any) (any, error) {
		x, xf, err := number(a)
		if err != nil {
			return nil, err
		}
		y, yf, err := number(b)
		if err != nil {
			return nil, err
		}
		r, err := f(x, y)
		if err != nil || xf || yf {
			return r, err
		}
		return int64(r), nil
	}
}

func number(v any) (n float64, fraction bool, err error) {
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return float64(r.Int()), false, nil
	case r.CanUint():
		return float64(r.Uint()), false, nil
	case r.CanFloat():
		return r.Float(), true, nil
	}
	return 0, false, fmt.Errorf("%v is no number", v)
}

// parsePerms reads the mode of a template's file.
func parsePerms(s string) (os.FileMode, error) {
	if s == "" {
		return 0o644, nil
	}
	n, err := strconv.ParseUint(s, 8, 12)
	if err != nil || n&^0o777 != 0 {
		return 0, fmt.Errorf("perms %q must be an octal number such as 0644, without setuid, setgid and sticky", s)
	}
	return os.FileMode(n), nil
}
