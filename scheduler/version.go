package scheduler

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// version is a parsed version: numbers, then an optional pre-release.
type version struct {
	core []uint64
	pre  string
}

// parseVersion accepts "1", "v1.2", "1.2.3-beta.1+build" and "1.2.3beta".
func parseVersion(s string) (version, error) {
	text := strings.TrimPrefix(strings.TrimSpace(s), "v")
	text, _, _ = strings.Cut(text, "+")
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	core := text
	var v version
	if end >= 0 {
		core, v.pre = text[:end], strings.TrimPrefix(text[end:], "-")
		if v.pre == "" {
			return version{}, fmt.Errorf("%q is not a version: nothing follows the dash", s)
		}
	}
	for part := range strings.SplitSeq(core, ".") {
		n, err := strconv.ParseUint(part, 10, 63)
		if err != nil {
			return version{}, fmt.Errorf("%q is not a version: want numbers between dots, such as 1.2.3", s)
		}
		v.core = append(v.core, n)
	}
	return v, nil
}

// number is the i-th number of the core, 0 beyond its end.
func (v version) number(i int) uint64 {
	if i < len(v.core) {
		return v.core[i]
	}
	return 0
}

func (v version) sameCore(w version) bool { return v.compareCore(w) == 0 }

func (v version) compareCore(w version) int {
	for i := range max(len(v.core), len(w.core)) {
		if c := cmp.Compare(v.number(i), w.number(i)); c != 0 {
			return c
		}
	}
	return 0
}

// compare orders by SemVer 2.0 precedence.
func (v version) compare(w version) int {
	if c := v.compareCore(w); c != 0 {
		return c
	}
	switch {
	case v.pre == w.pre:
		return 0
	case v.pre == "":
		return 1
	case w.pre == "":
		return -1
	}
	return comparePre(v.pre, w.pre)
}

func comparePre(a, b string) int {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, xerr := strconv.ParseUint(as[i], 10, 64)
		y, yerr := strconv.ParseUint(bs[i], 10, 64)
		c := 0
		switch {
		case xerr == nil && yerr == nil:
			c = cmp.Compare(x, y)
		case xerr == nil:
			c = -1 // numbers come before words
		case yerr == nil:
			c = 1
		default:
			c = strings.Compare(as[i], bs[i])
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(as), len(bs))
}

// versionTerm is one comparison of a version constraint.
type versionTerm struct {
	op   string
	want version
}

// versionSet is a comma-separated list of terms that must all hold.
type versionSet struct {
	terms []versionTerm
	// strict is the version operand's rule: a pre-release matches only a term
	// that names a pre-release of the same core, and "~>" with a pre-release
	// matches nothing else.
	strict bool
}

var versionOps = []string{">=", "<=", "!=", "~>", "=", ">", "<"}

func parseVersionSet(s string, strict bool) (*versionSet, error) {
	set := &versionSet{strict: strict}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		term := versionTerm{op: "="}
		for _, op := range versionOps {
			if rest, ok := strings.CutPrefix(part, op); ok {
				term.op, part = op, rest
				break
			}
		}
		v, err := parseVersion(part)
		if err != nil {
			return nil, err
		}
		term.want = v
		set.terms = append(set.terms, term)
	}
	return set, nil
}

func (s *versionSet) matches(v version) bool {
	for _, t := range s.terms {
		if s.strict && t.op != "=" && t.op != "!=" && v.pre != "" && (t.want.pre == "" || !v.sameCore(t.want)) {
			return false
		}
		if s.strict && t.op == "~>" && v.pre == "" && t.want.pre != "" || !t.holds(v) {
			return false
		}
	}
	return true
}

func (t versionTerm) holds(v version) bool {
	c := v.compare(t.want)
	switch t.op {
	case "=":
		return c == 0
	case "!=":
		return c != 0
	case ">":
		return c > 0
	case ">=":
		return c >= 0
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	}
	// ~> allows the last given number to grow.
	if c < 0 {
		return false
	}
	for i := range len(t.want.core) - 1 {
		if v.number(i) != t.want.core[i] {
			return false
		}
	}
	return true
}
