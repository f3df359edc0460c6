package scheduler

import (
	"cmp"
	"regexp"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// condition is a constraint or affinity made ready for many nodes.
type condition struct {
	left, right string
	operand     string
	label       string // "<left> <operand> <right>", the key in explanations
	weight      float64
	// unique is true when a target is unique to a node, so that the answer of
	// one node says nothing about its class.
	unique bool

	pattern  *regexp.Regexp // of a literal right side
	versions *versionSet
	items    []string
	invalid  bool // the literal right side cannot be parsed: nothing matches
	// known are the answers for left sides seen before, where they are dear.
	known map[string]bool
}

func compileConstraint(c *structs.Constraint) condition {
	operand := c.Operand
	if operand == "" {
		operand = "="
	}
	cond := condition{left: c.LTarget, right: c.RTarget, operand: operand,
		label:  c.LTarget + " " + operand + " " + c.RTarget,
		unique: isUnique(c.LTarget) || isUnique(c.RTarget)}
	if !isReference(c.RTarget) {
		cond.compileRight()
	}
	return cond
}

func (c *condition) compileRight() {
	var err error
	switch c.operand {
	case structs.ConstraintRegex:
		c.pattern, err = regexp.Compile(c.right)
	case structs.ConstraintVersion, structs.ConstraintSemver:
		c.versions, err = parseVersionSet(c.right, c.operand == structs.ConstraintVersion)
	case structs.ConstraintSetContains, structs.ConstraintSetContainsAll, structs.ConstraintSetContainsAny:
		c.items = splitSet(c.right)
	}
	c.invalid = err != nil
}

func compileAffinity(a *structs.Affinity) condition {
	c := compileConstraint(&structs.Constraint{LTarget: a.LTarget, RTarget: a.RTarget, Operand: a.Operand})
	c.weight = float64(structs.Val(a.Weight))
	return c
}

// holds reports whether the node meets the condition.
func (c *condition) holds(n *structs.Node) bool {
	left, leftFound := resolveTarget(c.left, n)
	right, rightFound := resolveTarget(c.right, n)
	return c.check(left, leftFound, right, rightFound)
}

// check is the truth table of the operands; see reference jobspec 3.7 and
// runtime 11 for targets that are missing.
func (c *condition) check(left string, leftFound bool, right string, rightFound bool) bool {
	switch c.operand {
	case structs.ConstraintIsSet:
		return leftFound
	case structs.ConstraintIsNotSet:
		return !leftFound
	case "!=", "not":
		return leftFound != rightFound || leftFound && left != right
	}
	if !leftFound || !rightFound || c.invalid {
		return false
	}
	if c.pattern == nil && c.versions == nil && c.items == nil && isReference(c.right) {
		resolved := condition{operand: c.operand, right: right}
		resolved.compileRight()
		return !resolved.invalid && resolved.compareFound(left, right)
	}
	if c.pattern == nil && c.versions == nil {
		return c.compareFound(left, right)
	}
	answer, seen := c.known[left]
	if !seen {
		if c.known == nil {
			c.known = map[string]bool{}
		}
		answer = c.compareFound(left, right)
		c.known[left] = answer
	}
	return answer
}

func (c *condition) compareFound(left, right string) bool {
	switch c.operand {
	case "=", "==", "is":
		return left == right
	case "<", "<=", ">", ">=":
		return ordered(c.operand, left, right)
	case structs.ConstraintRegex:
		return c.pattern != nil && c.pattern.MatchString(left)
	case structs.ConstraintVersion, structs.ConstraintSemver:
		v, err := parseVersion(left)
		return err == nil && c.versions != nil && c.versions.matches(v)
	case structs.ConstraintSetContains, structs.ConstraintSetContainsAll:
		return containsItems(splitSet(left), c.items, true)
	case structs.ConstraintSetContainsAny:
		return containsItems(splitSet(left), c.items, false)
	}
	return false
}

// ordered compares as integers, else as floats, else as text.
func ordered(operand, left, right string) bool {
	c := strings.Compare(left, right)
	if x, err := strconv.ParseInt(left, 10, 64); err == nil {
		if y, err := strconv.ParseInt(right, 10, 64); err == nil {
			return orderHolds(operand, cmp.Compare(x, y))
		}
	}
	if x, err := strconv.ParseFloat(left, 64); err == nil {
		if y, err := strconv.ParseFloat(right, 64); err == nil {
			c = cmp.Compare(x, y)
		}
	}
	return orderHolds(operand, c)
}

func orderHolds(operand string, c int) bool {
	switch operand {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func splitSet(s string) []string {
	items := strings.Split(s, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func containsItems(have, want []string, all bool) bool {
	for _, w := range want {
		found := false
		for _, h := range have {
			if h == w {
				found = true
				break
			}
		}
		if found != all {
			return found
		}
	}
	return all
}

func isReference(target string) bool { return strings.HasPrefix(target, "${") }

func isUnique(target string) bool {
	return strings.HasPrefix(target, "${node.unique.") || strings.HasPrefix(target, "${attr.unique.") ||
		strings.HasPrefix(target, "${meta.unique.")
}

// resolveTarget returns the value of a literal or of a ${...} reference.
func resolveTarget(target string, n *structs.Node) (string, bool) {
	if !isReference(target) {
		return target, true
	}
	name, closed := strings.CutSuffix(target[2:], "}")
	if !closed {
		return "", false
	}
	switch name {
	case "node.unique.id":
		return n.ID, true
	case "node.datacenter":
		return n.Datacenter, true
	case "node.unique.name":
		return n.Name, true
	case "node.class":
		return n.NodeClass, true
	case "node.pool":
		return n.NodePool, true
	}
	if key, ok := strings.CutPrefix(name, "attr."); ok {
		v, found := n.Attributes[key]
		return v, found
	}
	if key, ok := strings.CutPrefix(name, "meta."); ok {
		v, found := n.Meta[key]
		return v, found
	}
	return "", false
}

// Unmet names the first of the constraints that a node does not meet, "" when
// it meets all.
func Unmet(n *structs.Node, constraints []*structs.Constraint) string {
	for _, c := range constraints {
		if cond := compileConstraint(c); !cond.holds(n) {
			return cond.label
		}
	}
	return ""
}
