package structs

import (
	"sort"
	"strings"
)

// ImplyConstraints appends to each group the constraints that follow from what
// its tasks use: signals, services of the built-in provider and the plugins of
// bridge networks (reference jobspec 7). A constraint is left out when an equal
// one, or one on the same attribute, is there already, so that it may be called
// again. Servers call it after Canonicalize; the constraints are part of the
// stored job.
func (j *Job) ImplyConstraints() {
	for _, g := range j.TaskGroups {
		if signals := g.signals(); len(signals) > 0 {
			g.imply("${attr.os.signals}", ConstraintSetContains, strings.Join(signals, ","))
		}
		if uses, checks := g.usesBuiltInServices(); uses {
			g.imply("${attr.nomad.service_discovery}", "=", "true")
			if checks {
				g.imply("${attr.nomad.version}", ConstraintSemver, ">= 1.4.0")
			}
		}
		if len(g.Networks) > 0 && strings.EqualFold(g.Networks[0].Mode, "bridge") {
			for _, plugin := range []string{"bridge", "firewall", "host-local", "loopback", "portmap"} {
				g.imply("${attr.plugins.cni.version."+plugin+"}", ConstraintSemver, ">= 0.4.0")
			}
		}
	}
}

func (g *TaskGroup) imply(attribute, operand, value string) {
	for _, c := range g.Constraints {
		if c.LTarget == attribute {
			return
		}
	}
	g.Constraints = append(g.Constraints, &Constraint{LTarget: attribute, Operand: operand, RTarget: value})
}

// signals lists the signals that tasks of the group may be sent, sorted.
func (g *TaskGroup) signals() []string {
	set := map[string]bool{}
	for _, t := range g.Tasks {
		set[strings.ToUpper(t.KillSignal)] = true
		if t.Vault != nil && t.Vault.ChangeMode == "signal" {
			set[t.Vault.ChangeSignal] = true
		}
		for _, tpl := range t.Templates {
			if tpl.ChangeMode == "signal" {
				set[tpl.ChangeSignal] = true
			}
		}
		for _, id := range append([]*WorkloadIdentity{t.Identity}, t.Identities...) {
			if id != nil && id.ChangeMode == "signal" {
				set[id.ChangeSignal] = true
			}
		}
	}
	delete(set, "")
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// usesBuiltInServices reports whether the group or its tasks register services
// with the nomad provider, and whether any of those has checks.
func (g *TaskGroup) usesBuiltInServices() (uses, checks bool) {
	lists := [][]*Service{g.Services}
	for _, t := range g.Tasks {
		lists = append(lists, t.Services)
	}
	for _, list := range lists {
		for _, s := range list {
			if s.Provider == ServiceProviderNomad {
				uses = true
				checks = checks || len(s.Checks) > 0
			}
		}
	}
	return uses, checks
}
