package scheduler

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// specialAsk is the cores and devices that one allocation of a group wants.
type specialAsk struct {
	cores   []coreAsk
	count   int // of all cores
	devices []deviceAsk
	weight  float64 // sum of the absolute weights of device affinities
	volumes []structs.VolumeClaim
}

// coreAsk is the cores of one task.
type coreAsk struct {
	task  string
	count int
	numa  string // how near to each other: none, prefer, require
	near  []int  // the devices, of specialAsk.devices, that shall be near too
}

// deviceAsk is one device request of one task.
type deviceAsk struct {
	task        string
	want        *structs.RequestedDevice
	count       int
	constraints []condition
	affinities  []condition
}

func (s *specialAsk) empty() bool {
	return s.count == 0 && len(s.devices) == 0 && len(s.volumes) == 0
}

func (s *specialAsk) add(t *structs.Task) {
	if t.Resources == nil {
		return
	}
	cores := coreAsk{task: t.Name, count: structs.Val(t.Resources.Cores)}
	if t.Resources.NUMA != nil {
		cores.numa = t.Resources.NUMA.Affinity
	}
	for _, d := range t.Resources.Devices {
		if d == nil {
			continue
		}
		ask := deviceAsk{task: t.Name, want: d, count: int(min(max(structs.Val(d.Count), 1), 1<<16))}
		for _, c := range d.Constraints {
			ask.constraints = append(ask.constraints, compileConstraint(c))
		}
		for _, a := range d.Affinities {
			c := compileAffinity(a)
			ask.affinities = append(ask.affinities, c)
			s.weight += abs(c.weight)
		}
		if t.Resources.NUMA != nil && slices.Contains(t.Resources.NUMA.Devices, d.Name) {
			cores.near = append(cores.near, len(s.devices))
		}
		s.devices = append(s.devices, ask)
	}
	if cores.count > 0 {
		s.cores = append(s.cores, cores)
		s.count += cores.count
	}
}

// special is the cores and devices that a placement gets, by task.
type special struct {
	cores   map[string][]uint16
	devices map[string][]*structs.AllocatedDeviceResource
	score   float64 // of the device affinities that matched
}

// matches reports whether a device group is what the request names: a type, a
// vendor and type, or a vendor, type and name.
func (d *deviceAsk) matches(r *structs.NodeDeviceResource) bool {
	parts := strings.SplitN(d.want.Name, "/", 3)
	switch len(parts) {
	case 1:
		if parts[0] != r.Type {
			return false
		}
	case 2:
		if parts[0] != r.Vendor || parts[1] != r.Type {
			return false
		}
	default:
		if parts[0] != r.Vendor || parts[1] != r.Type || parts[2] != r.Name {
			return false
		}
	}
	for i := range d.constraints {
		if !d.constraints[i].holdsFor(r) {
			return false
		}
	}
	return true
}

// holdsFor evaluates a condition on a device group. Equality and order respect
// units, "16384MiB" is more than "8 GiB"; other operands see texts.
func (c *condition) holdsFor(r *structs.NodeDeviceResource) bool {
	left, leftFound := resolveDevice(c.left, r)
	right, rightFound := resolveDevice(c.right, r)
	if !leftFound || !rightFound || !compares(c.operand) {
		return c.check(attributeText(left), leftFound, attributeText(right), rightFound)
	}
	order, comparable := left.Compare(right)
	equal := comparable && order == 0 || !comparable && attributeText(left) == attributeText(right) // a version that looks like a number
	switch c.operand {
	case "=", "==", "is":
		return equal
	case "!=", "not":
		return !equal
	}
	return comparable && left.BoolVal == nil && orderHolds(c.operand, order)
}

// compares reports whether an operand is about equality or order.
func compares(operand string) bool {
	switch operand {
	case "=", "==", "is", "!=", "not", "<", "<=", ">", ">=":
		return true
	}
	return false
}

// resolveDevice is what a side of a condition stands for: an attribute of the
// group, or a literal.
func resolveDevice(target string, r *structs.NodeDeviceResource) (*structs.Attribute, bool) {
	if !isReference(target) {
		return structs.ParseAttribute(target), true
	}
	switch name := strings.TrimSuffix(target[2:], "}"); name {
	case "device.vendor":
		return &structs.Attribute{StringVal: &r.Vendor}, true
	case "device.type":
		return &structs.Attribute{StringVal: &r.Type}, true
	case "device.model":
		return &structs.Attribute{StringVal: &r.Name}, true
	default:
		a := r.Attributes[strings.TrimPrefix(name, "device.attr.")]
		return a, a != nil
	}
}

// hasDevices reports whether a node has device groups that match every
// request, taken or not.
func (s *specialAsk) hasDevices(n *structs.Node) bool {
	for i := range s.devices {
		if n.NodeResources == nil || !slices.ContainsFunc(n.NodeResources.Devices, s.devices[i].matches) {
			return false
		}
	}
	return true
}

// usedThings are the cores and devices of a node that nobody else may have.
type usedThings struct {
	cores   []uint16
	devices []string // "vendor/type/name/id"
	volumes []structs.VolumeClaim
}

func (u *usedThings) add(r *structs.AllocatedResources) {
	for _, t := range r.Tasks {
		if t == nil {
			continue
		}
		u.cores = append(u.cores, t.Cpu.ReservedCores...)
		for _, d := range t.Devices {
			for _, id := range d.DeviceIDs {
				u.devices = append(u.devices, deviceKey(d.Vendor, d.Type, d.Name, id))
			}
		}
	}
}

func deviceKey(vendor, kind, name, id string) string {
	return vendor + "/" + kind + "/" + name + "/" + id
}

// usedOn collects what is taken on a node: reserved, held by allocations other
// than those that pass on to the placement at hand, and given by this plan.
func (e *engine) usedOn(num uint32) usedThings {
	var u usedThings
	row := &e.cluster.rows[num]
	if r := row.Node.ReservedResources; r != nil {
		u.cores = append(u.cores, r.Cpu.ReservedCpuCores...)
	}
	for _, a := range row.Usage.Held {
		if a.AllocatedResources != nil && !slices.Contains(e.handover, a.ID) {
			u.add(a.AllocatedResources)
			u.volumes = append(u.volumes, volumesOf(a)...)
		}
	}
	given := e.given[num]
	u.cores = append(u.cores, given.cores...)
	u.devices = append(u.devices, given.devices...)
	u.volumes = append(u.volumes, given.volumes...)
	return u
}

// assignSpecial picks cores and devices on a node; the reason says what is
// exhausted, "" when all were found.
func (e *engine) assignSpecial(num uint32) (special, string) {
	ask, used := &e.ask.special, e.usedOn(num)
	out := special{}
	r := e.cluster.rows[num].Node.NodeResources
	if r == nil {
		return out, "cores"
	}
	for _, want := range ask.volumes {
		if slices.ContainsFunc(used.volumes, want.Excludes) {
			return out, fmt.Sprintf("host volume: %s has a writer", want.Source)
		}
	}
	done := make([]bool, len(ask.devices))
	if ask.count > 0 {
		if reason := out.takeCores(ask, e.cluster.rows[num].Node, &used, done); reason != "" {
			return out, reason
		}
	}
	for i := range ask.devices {
		if !done[i] && !out.takeDevices(&ask.devices[i], r.Devices, &used, anywhere) {
			return out, "devices: no free " + ask.devices[i].want.Name
		}
	}
	return out, ""
}

// anywhere takes every instance of a device.
func anywhere(*structs.NodeDevice) bool { return true }

// takeDevices picks the instances of one request, those that may be taken, from
// the matching group with the best affinity.
func (s *special) takeDevices(ask *deviceAsk, groups []*structs.NodeDeviceResource, used *usedThings, may func(*structs.NodeDevice) bool) bool {
	var best *structs.AllocatedDeviceResource
	var bestScore float64
	for _, g := range groups {
		if g == nil || !ask.matches(g) {
			continue
		}
		score := 0.0
		for i := range ask.affinities {
			if ask.affinities[i].holdsFor(g) {
				score += ask.affinities[i].weight
			}
		}
		if best != nil && score <= bestScore {
			continue
		}
		var ids []string
		for _, d := range g.Instances {
			if d != nil && d.Healthy && len(ids) < ask.count && may(d) && !slices.Contains(used.devices, deviceKey(g.Vendor, g.Type, g.Name, d.ID)) {
				ids = append(ids, d.ID)
			}
		}
		if len(ids) == ask.count {
			best, bestScore = &structs.AllocatedDeviceResource{Vendor: g.Vendor, Type: g.Type, Name: g.Name, DeviceIDs: ids}, score
		}
	}
	if best == nil {
		return false
	}
	for _, id := range best.DeviceIDs {
		used.devices = append(used.devices, deviceKey(best.Vendor, best.Type, best.Name, id))
	}
	if s.devices == nil {
		s.devices = map[string][]*structs.AllocatedDeviceResource{}
	}
	s.devices[ask.task] = append(s.devices[ask.task], best)
	s.score += bestScore
	return true
}

// give records that the plan gives cores and devices of a node away.
func (e *engine) give(num uint32, s *special) {
	u := e.given[num]
	u.volumes = append(u.volumes, e.ask.special.volumes...)
	for _, c := range s.cores {
		u.cores = append(u.cores, c...)
	}
	for _, list := range s.devices {
		for _, d := range list {
			for _, id := range d.DeviceIDs {
				u.devices = append(u.devices, deviceKey(d.Vendor, d.Type, d.Name, id))
			}
		}
	}
	e.given[num] = u
}

// coreShares is the MHz of one core of a node.
func coreShares(n *structs.Node) int64 {
	if n.NodeResources == nil || n.NodeResources.Cpu.TotalCpuCores == 0 {
		return 0
	}
	return n.NodeResources.Cpu.CpuShares / int64(n.NodeResources.Cpu.TotalCpuCores)
}

// attributeText is a device attribute as constraints compare it.
func attributeText(a *structs.Attribute) string {
	switch {
	case a == nil:
		return ""
	case a.StringVal != nil:
		return *a.StringVal
	case a.IntVal != nil:
		return strconv.FormatInt(*a.IntVal, 10) + a.Unit
	case a.FloatVal != nil:
		return strconv.FormatFloat(*a.FloatVal, 'g', -1, 64) + a.Unit
	case a.BoolVal != nil:
		return strconv.FormatBool(*a.BoolVal)
	}
	return ""
}
