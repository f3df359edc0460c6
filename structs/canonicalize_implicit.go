package structs

import (
	"sort"
	"strings"
)

// ImplyConstraints appends to each group the constraints that follow from what
// its tasks use: Vault, services of either provider, signals, the plugins of
// bridge networks, NUMA, secret providers and identities (reference jobspec 7). A constraint is left out when an equal
// one, or one on the same attribute, is there already, so that it may be called
// again. Servers call it after Canonicalize; the constraints are part of the
// stored job.
func (j *Job) ImplyConstraints() {
	for _, g := range j.TaskGroups {
		for _, t := range g.Tasks {
			if t.Vault != nil {
				g.implyVault(t.Vault.Cluster)
			}
		}
		if g.usesConsul() {
			g.imply("${attr.consul.version}", ConstraintSemver, ">= 1.8.0")
		}
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
		for _, t := range g.Tasks {
			t.implyNewer(g)
		}
	}
}

func (g *TaskGroup) implyVault(cluster string) {
	if cluster == "" || cluster == DefaultCluster {
		g.imply("${attr.vault.version}", ConstraintSemver, ">= 0.6.1")
		return
	}
	g.imply("${attr.vault."+cluster+".version}", ConstraintSemver, ">= 1.11.0")
}

// implyNewer appends what tasks need that older nodes do not have.
func (t *Task) implyNewer(g *TaskGroup) {
	if r := t.Resources; r != nil && r.NUMA != nil && r.NUMA.Affinity != "" && r.NUMA.Affinity != "none" {
		g.imply("${attr.nomad.version}", ConstraintSemver, ">= 1.6.3-dev")
		g.imply("${attr.kernel.name}", "=", "linux")
	}
	for _, s := range t.Secrets {
		if s.Provider != "nomad" && s.Provider != "vault" {
			g.imply("${attr.plugins.secrets."+s.Provider+".version}", ConstraintIsSet, "")
		}
	}
	if len(t.Identities) > 0 {
		g.imply("${attr.nomad.version}", ConstraintSemver, ">= 1.7.0-a")
	}
}

// usesConsul reports whether the group or its tasks register services with
// Consul.
func (g *TaskGroup) usesConsul() bool {
	for _, s := range g.AllServices() {
		if s.Provider == ServiceProviderConsul {
			return true
		}
	}
	return false
}

// imply appends a constraint, unless there is one on the same attribute.
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
	for _, s := range g.AllServices() {
		if s.Provider == ServiceProviderNomad {
			uses = true
			checks = checks || len(s.Checks) > 0
		}
	}
	return uses, checks
}
