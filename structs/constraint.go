package structs

// Operands of constraints and affinities beyond the comparison signs.
const (
	ConstraintDistinctHosts    = "distinct_hosts"
	ConstraintDistinctProperty = "distinct_property"
	ConstraintRegex            = "regexp"
	ConstraintVersion          = "version"
	ConstraintSemver           = "semver"
	ConstraintSetContains      = "set_contains"
	ConstraintSetContainsAll   = "set_contains_all"
	ConstraintSetContainsAny   = "set_contains_any"
	ConstraintIsSet            = "is_set"
	ConstraintIsNotSet         = "is_not_set"
)

// Constraint is a condition that a node must meet. Its HCL block has shorthand
// attributes (version = "...", distinct_hosts = true, ...) that the job file
// decoder folds into these three fields.
type Constraint struct {
	LTarget string `hcl:"attribute"`
	RTarget string `hcl:"value"`
	Operand string `hcl:"operator"`
}

// Affinity is a condition that a node should meet, or with a negative weight
// should not.
type Affinity struct {
	LTarget string `hcl:"attribute"`
	RTarget string `hcl:"value"`
	Operand string `hcl:"operator"`
	Weight  *int8  `hcl:"weight"` // -100..100, not 0; default 50
}

// Spread distributes allocations over the values of an attribute.
type Spread struct {
	Attribute    string          `hcl:"attribute"`
	Weight       *int8           `hcl:"weight"` // 1..100, default 50
	SpreadTarget []*SpreadTarget `hcl:"target,block"`
}

// SpreadTarget is the wanted share of one value, in percent.
type SpreadTarget struct {
	Value   string `hcl:"value,label"`
	Percent uint8  `hcl:"percent"`
}
