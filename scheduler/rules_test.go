package scheduler

import (
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

// TestAnyPlacementRules_N21 gives a job spreads, affinities and constraints of
// any kind, weights of 0 and below, shares of 0, empty and repeated targets,
// sums beyond 100 and missing attributes among them. The scheduler never
// panics; a job that validation accepts is placed with finite scores.
func TestAnyPlacementRules_N21(t *testing.T) {
	accepted, refused := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{rapid: rt, world: newWorld()}
		for range 3 {
			h.addRandomNode()
		}
		job := testJob("a", structs.JobTypeService, 3)
		sense := rapid.Bool().Draw(rt, "sense")
		h.rules(sense, &job.Constraints, &job.Affinities, &job.Spreads)
		h.rules(sense, &job.TaskGroups[0].Constraints, &job.TaskGroups[0].Affinities, &job.TaskGroups[0].Spreads)
		job.Canonicalize()
		_, invalid := job.Validate(structs.Checks{})
		h.jobs["a"] = job
		result, err := h.process(h.eval("a", structs.EvalTriggerJobRegister))
		if invalid != nil {
			refused++
			return
		}
		accepted++
		if err != nil {
			rt.Fatalf("a valid job is not scheduled: %v", err)
		}
		for _, g := range result.Plan.Groups {
			if g.Metrics == nil {
				continue
			}
			for _, s := range g.Metrics.ScoreMetaData {
				if math.IsNaN(s.NormScore) || math.IsInf(s.NormScore, 0) {
					rt.Fatalf("score %v of %s: %v", s.NormScore, s.NodeID, s.Scores)
				}
			}
		}
	})
	if accepted == 0 || refused == 0 {
		t.Errorf("%d jobs were accepted, %d refused", accepted, refused)
	}
}

// rules draws placement rules; in a job that is to make sense only such.
func (h *history) rules(sense bool, constraints *[]*structs.Constraint, affinities *[]*structs.Affinity, spreads *[]*structs.Spread) {
	if sense {
		if rapid.Bool().Draw(h.rapid, "spread") {
			*spreads = append(*spreads, &structs.Spread{Attribute: "${meta.rack}", Weight: structs.Ptr(int8(rapid.IntRange(1, 100).Draw(h.rapid, "weight")))})
		}
		if rapid.Bool().Draw(h.rapid, "affinity") {
			*affinities = append(*affinities, &structs.Affinity{LTarget: "${meta.rack}", RTarget: h.pick("value", "a", "b"), Operand: "=",
				Weight: structs.Ptr(int8(rapid.SampledFrom([]int{-100, -1, 1, 100}).Draw(h.rapid, "weight")))})
		}
		return
	}
	attribute := func() string {
		return h.pick("attribute", "${meta.rack}", "${meta.rack}", "${node.datacenter}", "${attr.none}", "", "${", "${env.X}", "literal")
	}
	weight := func() *int8 {
		return rapid.SampledFrom([]*int8{nil, structs.Ptr(int8(50)), structs.Ptr(int8(100)), structs.Ptr(int8(-1)), structs.Ptr(int8(0)), structs.Ptr(int8(-128))}).Draw(h.rapid, "weight")
	}
	few := func() int { return rapid.IntRange(0, 2).Draw(h.rapid, "number") }
	for range few() {
		s := &structs.Spread{Attribute: attribute(), Weight: weight()}
		for range few() {
			s.SpreadTarget = append(s.SpreadTarget, &structs.SpreadTarget{
				Value:   h.pick("value", "a", "b", "dc1", ""),
				Percent: rapid.SampledFrom([]uint8{0, 1, 50, 100, 255}).Draw(h.rapid, "percent"),
			})
		}
		*spreads = append(*spreads, s)
	}
	for range few() {
		*affinities = append(*affinities, &structs.Affinity{LTarget: attribute(), RTarget: h.pick("value", "a", "", "("), Operand: h.pick("operand", operands...), Weight: weight()})
	}
	for range few() / 2 {
		*constraints = append(*constraints, &structs.Constraint{LTarget: attribute(), RTarget: h.pick("value", "a", "", "1", "("), Operand: h.pick("operand", operands...)})
	}
}

var operands = []string{"=", "!=", "<", "regexp", "version", "semver", "set_contains", "set_contains_any", "is_set", "is_not_set", "distinct_hosts", "distinct_property", "", "unknown"}
