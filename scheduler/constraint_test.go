package scheduler

import (
	"fmt"
	"testing"

	goversion "github.com/hashicorp/go-version"
	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

func TestConstraintOperands(t *testing.T) {
	n := testNode("n1")
	n.NodeClass, n.Datacenter = "big", "eu-1"
	n.Attributes["v"], n.Attributes["pre"], n.Attributes["list"] = "1.10.2", "2.0.0-beta1", "a, b,c"
	n.Attributes["nine"], n.Attributes["float"], n.Attributes["pattern"] = "9", "2.5", "^eu-"
	n.Meta["rack"] = "r1"
	for _, c := range []struct {
		left, operand, right string
		want                 bool
	}{
		{"${node.class}", "=", "big", true},
		{"${node.class}", "==", "big", true},
		{"${node.class}", "is", "small", false},
		{"${node.datacenter}", "!=", "us-1", true},
		{"${meta.none}", "!=", "x", true},
		{"${meta.none}", "not", "${meta.none}", false},
		{"${meta.none}", "=", "", false},
		{"${meta.rack}", "=", "${meta.rack}", true},
		{"${attr.nine}", "<", "10", true},
		{"${attr.nine}", ">=", "10", false},
		{"${attr.nine}", ">", "8.5", true},
		{"${attr.float}", "<=", "2.5", true},
		{"abc", "<", "abd", true},
		{"${attr.v}", "version", ">= 1.9, < 2", true},
		{"${attr.v}", "version", "~> 1.10.0", true},
		{"${attr.v}", "version", "~> 1.11", false},
		{"${attr.v}", "version", "not a version", false},
		{"${attr.pre}", "version", ">= 1.0", false},
		{"${attr.pre}", "version", ">= 2.0.0-alpha", true},
		{"${attr.pre}", "semver", ">= 1.0", true},
		{"${attr.pre}", "semver", "< 2.0.0", true},
		{"${node.datacenter}", "regexp", "^eu-[0-9]$", true},
		{"${node.datacenter}", "regexp", "${attr.pattern}", true},
		{"${node.datacenter}", "regexp", "(", false},
		{"${attr.list}", "set_contains", "a,c", true},
		{"${attr.list}", "set_contains_all", "a,d", false},
		{"${attr.list}", "set_contains_any", "d, b", true},
		{"${meta.rack}", "is_set", "", true},
		{"${meta.none}", "is_set", "", false},
		{"${meta.none}", "is_not_set", "", true},
		{"${node.region}", "=", "global", false},
		{"${node.unique.name", "=", "n1", false},
		{"${node.unique.name}", "=", "n1", true},
		{"${node.unique.id}", "=", "node-n1", true},
		{"${node.pool}", "=", "default", true},
		{"x", "odd", "x", false},
	} {
		cond := compileConstraint(&structs.Constraint{LTarget: c.left, Operand: c.operand, RTarget: c.right})
		if got := cond.holds(n); got != c.want {
			t.Errorf("%s %s %s: %v, want %v", c.left, c.operand, c.right, got, c.want)
		}
	}
}

// TestVersionsAgreeWithTheLibrary compares the version operand with the
// library whose syntax the contract names.
func TestVersionsAgreeWithTheLibrary(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		number := rapid.IntRange(0, 3)
		pre := rapid.SampledFrom([]string{"", "", "-alpha", "-beta.2", "-rc1"})
		draw := func(name string) string {
			s := fmt.Sprint(number.Draw(rt, name))
			for range rapid.IntRange(0, 2).Draw(rt, "parts") {
				s += fmt.Sprint(".", number.Draw(rt, name))
			}
			return s + pre.Draw(rt, "pre")
		}
		have := draw("have")
		terms := rapid.SampledFrom([]string{"", "=", "!=", ">", ">=", "<", "<=", "~>"}).Draw(rt, "operator") + " " + draw("want")
		v, err := goversion.NewVersion(have)
		if err != nil {
			rt.Skip(err)
		}
		c, err := goversion.NewConstraint(terms)
		if err != nil {
			rt.Skip(err)
		}
		set, err := parseVersionSet(terms, true)
		if err != nil {
			rt.Fatalf("%q: %v", terms, err)
		}
		own, err := parseVersion(have)
		if err != nil {
			rt.Fatalf("%q: %v", have, err)
		}
		if got, want := set.matches(own), c.Check(v); got != want {
			rt.Fatalf("%s %s: %v, the library says %v", have, terms, got, want)
		}
	})
}

// FuzzCondition checks that no constraint panics.
func FuzzCondition(f *testing.F) {
	f.Add("${attr.v}", "version", "~> 1.2", "1.2.3")
	f.Add("${meta.v}", "regexp", "(", "x")
	f.Add("${node.unique.", "set_contains", ",", "")
	f.Fuzz(func(_ *testing.T, left, operand, right, value string) {
		n := testNode("n")
		n.Attributes["v"], n.Meta["v"] = value, value
		c := compileConstraint(&structs.Constraint{LTarget: left, Operand: operand, RTarget: right})
		c.holds(n)
	})
}
