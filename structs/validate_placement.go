package structs

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// placementLevel is where a constraint stands.
type placementLevel uint8

const (
	placementJob placementLevel = iota
	placementGroup
	placementTask
	placementDevice
)

// Limits of patterns, in bytes (reliability.md 1d).
const (
	maxPattern = 256  // of versions, cron expressions and globs
	maxRegexp  = 1024 // of regular expressions
)

func validateConstraints(p *problems, what string, list []*Constraint, level placementLevel) {
	for i, c := range list {
		inner := p.child()
		c.validate(inner, level)
		p.nest(fmt.Sprintf("%s %d validation failed", what, i+1), inner)
	}
}

func (c *Constraint) validate(p *problems, level placementLevel) {
	needsL, needsR := true, true
	switch c.Operand {
	case "":
		p.add("Missing constraint operand")
		return
	case ConstraintDistinctHosts:
		needsL, needsR = false, false
		if _, err := strconv.ParseBool(c.RTarget); err != nil && c.RTarget != "" {
			p.add("distinct_hosts value must be a bool, is %q", c.RTarget)
		}
	case ConstraintDistinctProperty:
		needsR = false
		if n, err := strconv.ParseUint(c.RTarget, 10, 64); c.RTarget != "" && (err != nil || n == 0) {
			p.add("Distinct Property must have an allowed count of 1 or greater: %q", c.RTarget)
		}
	case ConstraintIsSet, ConstraintIsNotSet:
		needsR = false
		if c.RTarget != "" {
			p.add("Operator %q does not support an RTarget, is %q", c.Operand, c.RTarget)
		}
	default:
		validateOperand(p, c.Operand, c.RTarget, "constraint")
	}
	if level >= placementTask && (c.Operand == ConstraintDistinctHosts || c.Operand == ConstraintDistinctProperty) {
		p.add("%s is only allowed on a job or a group", c.Operand)
	}
	if needsL && c.LTarget == "" {
		p.add("no attribute provided but is required by operator %q", c.Operand)
	}
	if needsR && c.RTarget == "" {
		p.add("Operator %q requires an RTarget", c.Operand)
	}
	validateTarget(p, c.LTarget)
}

// validateOperand checks the operands that constraints and affinities share,
// and the form of their value.
func validateOperand(p *problems, operand, value, what string) {
	var err error
	switch operand {
	case "=", "==", "is", "!=", "not", "<", "<=", ">", ">=",
		ConstraintSetContains, ConstraintSetContainsAll, ConstraintSetContainsAny:
	case ConstraintRegex:
		if err = checkLength(value, maxRegexp); err == nil {
			_, err = regexp.Compile(value)
		}
	case ConstraintVersion, ConstraintSemver:
		if err = checkLength(value, maxPattern); err != nil {
			break
		}
		err = p.checkVersion(operand, value)
	default:
		p.add("Unknown %s type %q", what, operand)
	}
	if err != nil {
		p.add("%s %s %.80q failed to compile: %v", operand, what, value, err)
	}
}

func checkLength(pattern string, limit int) error {
	if len(pattern) > limit {
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(pattern), limit)
	}
	return nil
}

func (p *problems) checkVersion(operand, value string) error {
	check := p.checks.Version
	if operand == ConstraintSemver {
		check = p.checks.Semver
	}
	if check == nil || value == "" {
		return nil
	}
	return check(value)
}

// validateTarget checks an interpolated left side; text without "$" is literal.
func validateTarget(p *problems, target string) {
	if !strings.HasPrefix(target, "$") {
		return
	}
	switch target {
	case "${node.unique.id}", "${node.datacenter}", "${node.unique.name}", "${node.class}", "${node.pool}":
		return
	}
	if strings.HasPrefix(target, "${") && !strings.HasSuffix(target, "}") {
		p.add("attribute %q is missing a closing brace", target)
		return
	}
	for _, prefix := range []string{"${attr.", "${device.", "${meta."} {
		if strings.HasPrefix(target, prefix) {
			return
		}
	}
	p.add("unsupported attribute %q: use ${node.…}, ${attr.…}, ${meta.…} or ${device.…}", target)
}

func validateAffinities(p *problems, list []*Affinity) {
	for i, a := range list {
		inner := p.child()
		a.validate(inner)
		p.nest(fmt.Sprintf("Affinity %d validation failed", i+1), inner)
	}
}

func (a *Affinity) validate(p *problems) {
	switch a.Operand {
	case "":
		p.add("Missing affinity operand")
		return
	case ConstraintIsSet, ConstraintIsNotSet:
	default:
		validateOperand(p, a.Operand, a.RTarget, "affinity")
		if a.RTarget == "" {
			p.add("Operator %q requires an RTarget", a.Operand)
		}
	}
	if a.LTarget == "" {
		p.add("No LTarget provided but is required by affinity")
	}
	validateTarget(p, a.LTarget)
	if w := Val(a.Weight); w < -100 || w > 100 {
		p.add("Affinity weight must be within the range [-100,100], is %d", w)
	} else if w == 0 {
		p.add("Affinity weight cannot be zero")
	}
}

func validateSpreads(p *problems, list []*Spread) {
	for i, s := range list {
		inner := p.child()
		s.validate(inner)
		p.nest(fmt.Sprintf("Spread %d validation failed", i+1), inner)
	}
}

func (s *Spread) validate(p *problems) {
	if s.Attribute == "" {
		p.add("Missing spread attribute")
	}
	validateTarget(p, s.Attribute)
	if w := Val(s.Weight); w < 1 || w > 100 {
		p.add("Spread block must have a positive weight from 1 to 100, is %d", w)
	}
	seen := map[string]bool{}
	sum := 0
	for _, t := range s.SpreadTarget {
		if seen[t.Value] {
			p.add("Spread target value %q already defined", t.Value)
		}
		seen[t.Value] = true
		if t.Percent > 100 {
			p.add("Spread target percentage for value %q must be between 0 and 100, is %d", t.Value, t.Percent)
		}
		sum += int(t.Percent)
	}
	if sum > 100 {
		p.add("Sum of spread target percentages must not be greater than 100, is %d", sum)
	}
}
