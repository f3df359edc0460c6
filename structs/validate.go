package structs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Checks are the limits of a server and the checks that need more than the
// standard library; a nil function accepts everything.
type Checks struct {
	// Cron checks one cron expression.
	Cron func(spec string) error
	// Version and Semver check the value of a version or semver constraint.
	Version func(constraint string) error
	Semver  func(constraint string) error
	// Refused are blocks that this build cannot run, by their names in the job
	// file, such as "template"; a job that has one is refused by that name.
	Refused []string
	// MaxPriority is job_max_priority, 0 for the default.
	MaxPriority int
	// MaxCount is job_max_count, the most allocations a job may ask for; 0 is
	// no limit.
	MaxCount int
}

// ErrorList is several problems of one thing, found at once. It prints in the
// form that clients of the contract know: "N errors occurred:" and one line a
// problem, closed by an empty line.
type ErrorList struct {
	Errors []error
}

// Error implements error.
func (l *ErrorList) Error() string {
	var b strings.Builder
	if len(l.Errors) == 1 {
		b.WriteString("1 error occurred:\n")
	} else {
		fmt.Fprintf(&b, "%d errors occurred:\n", len(l.Errors))
	}
	for _, err := range l.Errors {
		fmt.Fprintf(&b, "\t* %s\n", err)
	}
	b.WriteString("\n")
	return b.String()
}

// Unwrap returns the problems.
func (l *ErrorList) Unwrap() []error { return l.Errors }

// problems collects what is wrong with one object.
type problems struct {
	ErrorList
	checks   *Checks
	warnings *[]string
	found    *int // problems of the whole job
}

// maxProblems bounds how many problems, and how many warnings, are kept.
const maxProblems = 1000

func (p *problems) add(format string, args ...any) { p.addErr(fmt.Errorf(format, args...)) }

// addErr adds err unless it is nil.
func (p *problems) addErr(err error) {
	if err == nil {
		return
	}
	if *p.found++; *p.found <= maxProblems {
		p.Errors = append(p.Errors, err)
	}
}

func (p *problems) warn(format string, args ...any) {
	if len(*p.warnings) < maxProblems {
		*p.warnings = append(*p.warnings, fmt.Sprintf(format, args...))
	}
}

// child starts a list for something inside; nest adds it under a prefix.
func (p *problems) child() *problems {
	return &problems{checks: p.checks, warnings: p.warnings, found: p.found}
}

func (p *problems) nest(prefix string, child *problems) {
	if len(child.Errors) > 0 {
		p.Errors = append(p.Errors, fmt.Errorf("%s: %w", printable(prefix), &child.ErrorList))
	}
}

// printable replaces what a terminal would take for a command: names in prefixes
// are not quoted.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// oneOf adds a problem unless value is among allowed.
func (p *problems) oneOf(what, value string, allowed ...string) {
	for _, a := range allowed {
		if value == a {
			return
		}
	}
	p.add("%s %q: use one of %s", what, value, strings.Join(withoutEmpty(allowed), ", "))
}

func withoutEmpty(list []string) []string {
	var kept []string
	for _, s := range list {
		if s != "" {
			kept = append(kept, s)
		}
	}
	return kept
}

// notNegative adds a problem when d is below zero.
func (p *problems) notNegative(what string, d time.Duration) {
	if d < 0 {
		p.add("%s must not be negative, is %v", what, d)
	}
}

// Validate reports every problem of a job at once, and warnings that do not
// keep it from running. It looks at the canonical form and changes nothing. A
// non-nil error is of kind Rejected; its text is that of an ErrorList, which
// errors.As finds inside.
func (j *Job) Validate(checks Checks) (warnings []string, err error) {
	j = j.Copy()
	j.Canonicalize()
	found := 0
	p := &problems{checks: &checks, warnings: &warnings, found: &found}
	j.validateIdentity(p)
	j.validateUnsupported(p)
	j.validateKinds(p)
	validateConstraints(p, "Constraint", j.Constraints, placementJob)
	j.validatePlacement(p)
	j.validateGroups(p)
	if len(p.Errors) == 0 {
		return warnings, nil
	}
	if found > maxProblems {
		p.Errors = append(p.Errors, fmt.Errorf("and %d more problems: the first %d are shown", found-maxProblems, maxProblems))
	}
	return warnings, &Error{Kind: Rejected, Text: p.Error(), Err: &p.ErrorList}
}

// MaxParts is the most groups and tasks of a job, together.
const MaxParts = 10_000

// CheckSize refuses a job with so many groups and tasks that its defaults alone
// would fill memory. Callers that read jobs from others use it before
// Canonicalize.
func (j *Job) CheckSize() error {
	parts := len(j.TaskGroups)
	for _, g := range j.TaskGroups {
		if g != nil {
			parts += len(g.Tasks)
		}
	}
	if parts > MaxParts {
		return Errorf(Invalid, "cannot take a job with %d groups and tasks: at most %d are allowed; use count for alike groups, or several jobs", parts, MaxParts)
	}
	return nil
}

// FormatWarnings joins warnings in the contract's form, "" for none.
func FormatWarnings(warnings []string) string {
	if len(warnings) == 0 {
		return ""
	}
	plural := "s"
	if len(warnings) == 1 {
		plural = ""
	}
	return fmt.Sprintf("%d warning%s:\n\n* %s", len(warnings), plural, strings.Join(warnings, "\n* "))
}

func (j *Job) validateIdentity(p *problems) {
	switch {
	case j.ID == "":
		p.add("Missing job ID")
	case strings.Contains(j.ID, " "):
		p.add("Job ID %q contains a space: use \"-\" instead", j.ID)
	case strings.Contains(j.ID, "\000"):
		p.add("Job ID %q contains a null character", j.ID)
	}
	switch {
	case j.Name == "":
		p.add("Missing job name")
	case strings.Contains(j.Name, "\000"):
		p.add("Job Name %q contains a null character", j.Name)
	}
	switch j.Type {
	case JobTypeService, JobTypeBatch, JobTypeSystem, JobTypeSysBatch:
	case JobTypeCore:
		p.add("Job type cannot be core")
	default:
		p.add("Invalid job type: %q", j.Type)
	}
	limit := p.checks.MaxPriority
	if limit == 0 {
		limit = MaxPriority
	}
	if j.Priority < MinPriority || j.Priority > limit {
		p.add("Job priority must be between [%d, %d], is %d", MinPriority, limit, j.Priority)
	}
	for _, dc := range j.Datacenters {
		if dc == "" {
			p.add("Job datacenter must be non-empty string")
		}
	}
}

// validateUnsupported refuses by name what this build cannot run.
func (j *Job) validateUnsupported(p *problems) {
	if j.Multiregion != nil {
		p.add("Multiregion jobs are unlicensed. Register the job once in each region instead")
	}
	p.refuse(reflect.ValueOf(j).Elem())
}

// refuse adds a problem for every field of a noun that the build cannot run.
func (p *problems) refuse(noun reflect.Value) {
	for i := range noun.NumField() {
		name, _, _ := strings.Cut(noun.Type().Field(i).Tag.Get("hcl"), ",")
		if slices.Contains(p.checks.Refused, name) && !emptyField(noun.Field(i)) {
			p.add("%s is not supported by this build: remove it from the job", name)
		}
	}
}

func emptyField(v reflect.Value) bool {
	if v.Kind() == reflect.Slice || v.Kind() == reflect.Map {
		return v.Len() == 0
	}
	return v.IsZero()
}

func (j *Job) validateGroups(p *problems) {
	if len(j.TaskGroups) == 0 {
		p.add("Missing job task groups")
	}
	seen := map[string]int{}
	total := 0
	for i, g := range j.TaskGroups {
		total += max(0, Val(g.Count))
		if g.Name == "" {
			p.add("Job task group %d missing name", i+1)
		} else if first, dup := seen[g.Name]; dup {
			p.add("Job task group %d redefines '%s' from group %d", i+1, g.Name, first)
		} else {
			seen[g.Name] = i + 1
		}
		if j.Type == JobTypeSystem && Val(g.Count) > 1 {
			p.add("Job task group %s has count %d. Count cannot exceed 1 with system scheduler", g.Name, Val(g.Count))
		}
	}
	if limit := p.checks.MaxCount; limit > 0 && total > limit {
		p.add("total count was greater than configured job_max_count: %d > %d", total, limit)
	}
	for _, g := range j.TaskGroups {
		inner := p.child()
		g.validate(inner, j)
		p.nest(fmt.Sprintf("Task group %s validation failed", g.Name), inner)
	}
	j.warnAutoPromote(p)
}

// warnAutoPromote warns when only some canary groups promote themselves, since
// a deployment is promoted as a whole.
func (j *Job) warnAutoPromote(p *problems) {
	auto, canaries := 0, 0
	for _, g := range j.TaskGroups {
		if u := g.Update; u != nil && Val(u.Canary) > 0 {
			canaries++
			if Val(u.AutoPromote) {
				auto++
			}
		}
	}
	if auto > 0 && auto < canaries {
		p.warn("auto_promote must be true for all groups to enable automatic promotion")
	}
}

func (j *Job) validatePlacement(p *problems) {
	if j.Type == JobTypeSystem {
		if len(j.Affinities) > 0 {
			p.add("System jobs may not have an affinity block")
		}
		if len(j.Spreads) > 0 {
			p.add("System jobs may not have a spread block")
		}
	}
	validateAffinities(p, j.Affinities)
	validateSpreads(p, j.Spreads)
}

func (j *Job) validateKinds(p *problems) {
	if pc := j.Periodic; pc != nil {
		if !j.runsToCompletion() {
			p.add("Periodic can only be used with %q or %q scheduler", JobTypeBatch, JobTypeSysBatch)
		}
		pc.validate(p)
	}
	if pj := j.ParameterizedJob; pj != nil {
		if !j.runsToCompletion() {
			p.add("Parameterized job can only be used with %q or %q scheduler", JobTypeBatch, JobTypeSysBatch)
		}
		pj.validate(p)
	}
	if len(j.Payload) > 0 && !j.Dispatched {
		p.add("Job can't be submitted with a payload, only dispatched")
	}
	if j.UI != nil {
		if n := utf8.RuneCountInString(j.UI.Description); n > MaxUIDescription {
			p.add("UI description must be under %d characters currently %d", MaxUIDescription, n)
		}
	}
	if j.Type != JobTypeService && j.Migrate != nil && !isZeroPolicy(j.Migrate) {
		p.add("Job type %q does not allow migrate block", j.Type)
	}
}

// MaxUIDescription is the most characters of a job's ui description.
const MaxUIDescription = 1000

func (c *PeriodicConfig) validate(p *problems) {
	if !Val(c.Enabled) {
		return
	}
	switch {
	case c.Spec == "" && len(c.Specs) == 0:
		p.add("Must specify a spec: set cron or crons in the periodic block")
	case c.Spec != "" && len(c.Specs) > 0:
		p.add("Only cron or crons may be used, not both")
	}
	if c.Spec != "" {
		p.warn("cron is deprecated and may be removed in a future release. Use crons instead")
	}
	if c.SpecType != "cron" {
		p.add("Unknown periodic specification type %q", c.SpecType)
	}
	if _, err := time.LoadLocation(c.TimeZone); err != nil {
		p.add("Invalid time zone %q: %v", c.TimeZone, err)
	}
	for _, spec := range c.All() {
		if len(spec) > maxPattern {
			p.add("Invalid cron spec: it has %d characters, at most %d are allowed", len(spec), maxPattern)
			continue
		}
		if p.checks.Cron == nil {
			continue
		}
		if err := p.checks.Cron(spec); err != nil {
			p.add("Invalid cron spec %q: %v", spec, err)
		}
	}
}

// All returns the cron expressions of both forms.
func (c *PeriodicConfig) All() []string {
	if c.Spec == "" {
		return c.Specs
	}
	return append([]string{c.Spec}, c.Specs...)
}

func (c *ParameterizedJobConfig) validate(p *problems) {
	p.oneOf("Unknown payload requirement", c.Payload, "optional", "required", "forbidden")
	required := map[string]bool{}
	for _, key := range c.MetaRequired {
		required[key] = true
	}
	for _, key := range c.MetaOptional {
		if required[key] {
			p.add("Required and optional meta keys should be disjoint. Following keys exist in both: [%s]", key)
		}
	}
}
