package scheduler

import (
	"fmt"
	"path"
	"slices"

	"github.com/nomadlite/nomadlite/structs"
)

// filter says where allocations of one group may run, apart from what is free.
// Checks whose answer is the same for all nodes of a class are made once a
// class.
type filter struct {
	job   *structs.Job
	group *structs.TaskGroup

	class   []condition // answered by a class
	node    []condition // on what is unique to a node
	drivers []string
	ports   portAsk
	special specialAsk
	modes   []string
	volumes []*structs.VolumeRequest

	more []Filter // selected with the algorithm
	ask  *Ask     // what those look at

	hostsOfJob, hostsOfGroup bool // distinct_hosts
	distinct                 []distinctProperty
}

// distinctProperty limits the allocations that share a value.
type distinctProperty struct {
	target string
	limit  int
	job    bool // counts all groups
}

func (d *distinctProperty) label() string {
	return fmt.Sprintf("distinct_property: %s=%d", d.target, d.limit)
}

// filterFor is newFilter with what was selected with the algorithm.
func (p *pass) filterFor(job *structs.Job, g *structs.TaskGroup) *filter {
	f := newFilter(job, g)
	if len(p.algorithm.filters) > 0 {
		f.more, f.ask = p.algorithm.filters, &newGroupAsk(job, g, p.config.oversub).Ask
	}
	return f
}

func newFilter(job *structs.Job, g *structs.TaskGroup) *filter {
	f := &filter{job: job, group: g}
	f.constrain(job.Constraints, true)
	f.constrain(g.Constraints, false)
	for _, t := range g.Tasks {
		f.constrain(t.Constraints, false)
		if t.Driver != "" && !slices.Contains(f.drivers, t.Driver) {
			f.drivers = append(f.drivers, t.Driver)
		}
		if t.Resources != nil {
			f.ports.add(t.Resources.Networks)
		}
		f.special.add(t)
	}
	f.ports.add(g.Networks)
	for _, net := range g.Networks {
		if net != nil && net.Mode != "" && net.Mode != "host" && net.Mode != "none" {
			f.modes = append(f.modes, net.Mode)
		}
	}
	f.volumes = hostVolumes(g, 0)
	return f
}

func (f *filter) constrain(list []*structs.Constraint, job bool) {
	for _, c := range list {
		switch {
		case c == nil:
		case c.Operand == structs.ConstraintDistinctHosts:
			on := c.RTarget != "false"
			f.hostsOfJob = f.hostsOfJob || on && job
			f.hostsOfGroup = f.hostsOfGroup || on && !job
		case c.Operand == structs.ConstraintDistinctProperty:
			f.distinct = append(f.distinct, distinctProperty{target: c.LTarget, limit: max(parseCount(c.RTarget), 1), job: job})
		default:
			cond := compileConstraint(c)
			if cond.unique {
				f.node = append(f.node, cond)
			} else {
				f.class = append(f.class, cond)
			}
		}
	}
}

// parseCount reads a small decimal number, 0 when it is none.
func parseCount(s string) int {
	n := 0
	for _, r := range s {
		if r < '0' || r > '9' || n > 1<<20 {
			return 0
		}
		n = n*10 + int(r-'0')
	}
	return n
}

// escapes reports whether a check looks at what is unique to a node, so that
// a class says nothing about its nodes.
func (f *filter) escapes() bool { return len(f.node) > 0 || len(f.more) > 0 }

// inPool reports whether the node is in the job's node pool.
func (f *filter) inPool(n *structs.Node) bool {
	return f.job.NodePool == structs.NodePoolAll || f.job.NodePool == "" && n.NodePool == structs.NodePoolDefault || f.job.NodePool == n.NodePool
}

func (f *filter) inDatacenters(n *structs.Node) bool {
	for _, glob := range f.job.Datacenters {
		if glob == "*" || glob == n.Datacenter {
			return true
		}
		if ok, err := path.Match(glob, n.Datacenter); err == nil && ok {
			return true
		}
	}
	return false
}

// classReason says why no node like n fits, "" when one may. It is byClass when
// all nodes of the contract's computed class share the reason; drivers and
// networks may change without it.
func (f *filter) classReason(n *structs.Node) (reason string, byClass bool) {
	for i := range f.class {
		if !f.class[i].holds(n) {
			return f.class[i].label, true
		}
	}
	return f.offerReason(n), false
}

// offerReason says which driver or network a node lacks.
func (f *filter) offerReason(n *structs.Node) string {
	for _, d := range f.drivers {
		if info := n.Drivers[d]; info == nil || !info.Detected || !info.Healthy {
			return "missing drivers"
		}
	}
	if len(f.modes) > 0 {
		have := networkModes(n)
		for _, mode := range f.modes {
			if !slices.Contains(have, mode) {
				return "missing network"
			}
		}
	}
	if f.ports.empty() {
		return ""
	}
	have := hostNetworks(n)
	if len(have) == 0 {
		return "missing network"
	}
	for _, p := range f.ports.networks() {
		if !slices.Contains(have, p.HostNetwork) {
			return fmt.Sprintf("missing host network %q for port %q", p.HostNetwork, p.Label)
		}
	}
	return ""
}

// ownReason says why this node of a fitting class does not fit, "" when it
// does.
func (f *filter) ownReason(n *structs.Node) string {
	if !f.special.hasDevices(n) {
		return "missing devices"
	}
	for i := range f.node {
		if !f.node[i].holds(n) {
			return f.node[i].label
		}
	}
	for _, v := range f.volumes {
		if !hasVolume(n, v) {
			return "missing compatible host volumes"
		}
	}
	for i := range f.more {
		if reason := f.more[i].Reason(f.ask, n); reason != "" {
			return reason
		}
	}
	return ""
}

// hasVolume reports whether the node has the volume, whose source is made out.
func hasVolume(n *structs.Node, v *structs.VolumeRequest) bool {
	have := n.HostVolumes[v.Source]
	return have != nil && (!have.ReadOnly || v.ReadOnly)
}

// nodeReason says why a node does not fit at all, "" when it does. Readiness
// and what is free are not looked at.
func (f *filter) nodeReason(n *structs.Node) string {
	if reason := f.nodeReasonOfClass(n); reason != "" {
		return reason
	}
	return f.ownReason(n)
}

// nodeReasonOfClass is nodeReason without what is unique to the node.
func (f *filter) nodeReasonOfClass(n *structs.Node) string {
	switch {
	case !f.inPool(n):
		return "node pool"
	case !f.inDatacenters(n):
		return "datacenter"
	}
	reason, _ := f.classReason(n)
	return reason
}

// perNode reports whether nodes of a fitting class must be asked one by one.
func (f *filter) perNode() bool {
	return len(f.node) > 0 || len(f.volumes) > 0 || len(f.special.devices) > 0 || len(f.more) > 0
}
