package state

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/nomadlite/state/alloctable"
	"github.com/nomadlite/nomadlite/structs"
)

// nodeCheck is a node during the check of a plan, with what the plan has freed
// and taken so far.
type nodeCheck struct {
	node     *structs.Node // nil when it does not exist
	capacity alloctable.Usage
	used     alloctable.Usage
	held     *holdings // nil until a placement asks for ports, cores or devices
}

// holdings are the things on a node that have one holder each.
type holdings struct {
	reserved map[int]bool // host ports that the node withholds
	ports    map[int][]holder
	cores    map[uint16]holder
	devices  map[string]holder // "vendor/type/name/id"
	volumes  []volumeHolder
}

type volumeHolder struct {
	structs.VolumeClaim
	row uint64
}

// holder is the row number plus one of the allocation that holds something, 0
// for a placement of the plan.
type holder struct {
	row uint64
	ip  string
}

func newNodeCheck(n *structs.Node, used alloctable.Usage) *nodeCheck {
	c := &nodeCheck{node: n, used: used}
	if n == nil {
		return c
	}
	if r := n.NodeResources; r != nil {
		c.capacity = alloctable.Usage{CPU: r.Cpu.CpuShares, MemoryMB: r.Memory.MemoryMB, DiskMB: r.Disk.DiskMB}
	}
	if r := n.ReservedResources; r != nil {
		c.capacity.CPU -= r.Cpu.CpuShares
		c.capacity.MemoryMB -= r.Memory.MemoryMB
		c.capacity.DiskMB -= r.Disk.DiskMB
	}
	return c
}

func (n *nodeCheck) free(u alloctable.Usage) {
	n.used.CPU -= u.CPU
	n.used.MemoryMB -= u.MemoryMB
	n.used.DiskMB -= u.DiskMB
	n.used.Allocs -= u.Allocs
}

func (n *nodeCheck) take(u alloctable.Usage) {
	n.used.CPU += u.CPU
	n.used.MemoryMB += u.MemoryMB
	n.used.DiskMB += u.DiskMB
	n.used.Allocs += u.Allocs
}

// fits returns why an ask does not fit beside what is used.
func (n *nodeCheck) fits(ask alloctable.Usage) string {
	for _, d := range []struct {
		name           string
		ask, used, has int64
	}{
		{"MHz of cpu", ask.CPU, n.used.CPU, n.capacity.CPU},
		{"MiB of memory", ask.MemoryMB, n.used.MemoryMB, n.capacity.MemoryMB},
		{"MiB of disk", ask.DiskMB, n.used.DiskMB, n.capacity.DiskMB},
	} {
		if d.ask > 0 && d.ask > d.has-d.used {
			return fmt.Sprintf("node %s has %d %s free, %d are asked for", n.id(), max(d.has-d.used, 0), d.name, d.ask)
		}
	}
	if n.node != nil && n.node.NodeMaxAllocs > 0 && n.used.Allocs+ask.Allocs > n.node.NodeMaxAllocs {
		return fmt.Sprintf("node %s has its maximum of %d allocations", n.id(), n.node.NodeMaxAllocs)
	}
	return ""
}

func (n *nodeCheck) id() string {
	if n.node == nil {
		return "(gone)"
	}
	return n.node.ID
}

// special checks and takes ports, cores and devices of a placement. Those of
// other allocations are free once their node is done with them; those of the
// predecessor pass on when it is leaving, as do those of what is evicted.
func (c *planCheck) special(n *nodeCheck, g *structs.PlanGroup, pl *structs.Placement, prev *alloctable.Row, evict []string) string {
	if pl.Extra == nil {
		return ""
	}
	want := demand(pl.Extra, c.sharedPorts(g.Group))
	if want.none() {
		return ""
	}
	if n.held == nil {
		n.held = c.holdings(pl.Node, n.node)
	}
	var from []uint64
	if prev != nil && prev.Node == pl.Node && (c.leaving[prev.Number] || prev.Desired != DesiredRun) {
		from = append(from, prev.Number+1)
	}
	for _, id := range evict {
		if number, ok := c.t.allocs().Number(id); ok {
			from = append(from, number+1)
		}
	}
	if reason := n.refuses(want, from); reason != "" {
		return reason
	}
	n.held.add(want, 0)
	return ""
}

// demands are the things with one holder that an allocation has or asks for.
type demands struct {
	ports   []portDemand
	cores   []uint16
	devices []string
	volumes []structs.VolumeClaim
}

type portDemand struct {
	port int
	ip   string
}

func (d *demands) none() bool {
	return len(d.ports) == 0 && len(d.cores) == 0 && len(d.devices) == 0 && len(d.volumes) == 0
}

// demand lists what an allocation has beyond its batch, without the ports with
// labels in shared, which several allocations may have.
func demand(x *structs.PlacementExtra, shared map[string]bool) demands {
	d := demands{volumes: x.Volumes}
	seen := make(map[portDemand]bool)
	add := func(label string, port int, ip string) {
		p := portDemand{port, ip}
		if port > 0 && !shared[label] && !seen[p] {
			seen[p] = true
			d.ports = append(d.ports, p)
		}
	}
	for _, p := range x.Ports {
		add(p.Label, p.Value, p.HostIP)
	}
	for _, nw := range x.Networks {
		if nw == nil || len(x.Ports) > 0 {
			continue // the mappings say the same with addresses
		}
		for _, p := range nw.ReservedPorts {
			add(p.Label, p.Value, nw.IP)
		}
		for _, p := range nw.DynamicPorts {
			add(p.Label, p.Value, nw.IP)
		}
	}
	for _, task := range sortedKeys(x.Cores) {
		d.cores = append(d.cores, x.Cores[task]...)
	}
	for _, task := range sortedKeys(x.Devices) {
		for _, dev := range x.Devices[task] {
			if dev == nil {
				continue
			}
			for _, id := range dev.DeviceIDs {
				d.devices = append(d.devices, deviceKey(dev.Vendor, dev.Type, dev.Name, id))
			}
		}
	}
	return d
}

func deviceKey(parts ...string) string { return strings.Join(parts, "/") }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// sharedPorts are the labels of a group's ports with ignore_collision.
func (c *planCheck) sharedPorts(group string) map[string]bool {
	var shared map[string]bool
	for _, g := range c.runs.TaskGroups {
		if g == nil || g.Name != group {
			continue
		}
		for _, nw := range g.Networks {
			if nw == nil {
				continue
			}
			for _, p := range slices.Concat(nw.ReservedPorts, nw.DynamicPorts) {
				if p.IgnoreCollision {
					if shared == nil {
						shared = make(map[string]bool)
					}
					shared[p.Label] = true
				}
			}
		}
	}
	return shared
}

// holdings collects what the allocations of a node hold.
func (c *planCheck) holdings(num uint32, n *structs.Node) *holdings {
	h := &holdings{
		reserved: make(map[int]bool),
		ports:    make(map[int][]holder),
		cores:    make(map[uint16]holder),
		devices:  make(map[string]holder),
	}
	if n.ReservedResources != nil {
		for _, p := range portList(n.ReservedResources.Networks.ReservedHostPorts) {
			h.reserved[p] = true
		}
	}
	// A node that was out of reach may still run what was given up as lost,
	// until it has told what it runs.
	away := n.LastMissedHeartbeatIndex > n.LastAllocUpdateIndex
	for r := range c.t.allocs().HeldOn(num) {
		if r.Client == ClientLost && !away {
			continue
		}
		h.add(demand(r.Rare().Extra, nil), r.Number+1)
	}
	return h
}

func (h *holdings) add(d demands, row uint64) {
	for _, p := range d.ports {
		h.ports[p.port] = append(h.ports[p.port], holder{row, p.ip})
	}
	for _, core := range d.cores {
		h.cores[core] = holder{row: row}
	}
	for _, dev := range d.devices {
		h.devices[dev] = holder{row: row}
	}
	for _, v := range d.volumes {
		h.volumes = append(h.volumes, volumeHolder{v, row})
	}
}

// refuses returns why demands cannot be met. What the rows from hold is
// free.
func (n *nodeCheck) refuses(d demands, from []uint64) string {
	taken := func(h holder, ok bool) bool { return ok && !slices.Contains(from, h.row) }
	for _, p := range d.ports {
		if n.held.reserved[p.port] {
			return fmt.Sprintf("port %d of node %s is reserved", p.port, n.id())
		}
		for _, h := range n.held.ports[p.port] {
			if taken(h, h.ip == p.ip || anyAddress(h.ip) || anyAddress(p.ip)) {
				return fmt.Sprintf("port %d of node %s is taken", p.port, n.id())
			}
		}
	}
	for _, v := range d.volumes {
		for _, h := range n.held.volumes {
			if taken(holder{row: h.row}, h.Excludes(v)) {
				return fmt.Sprintf("host volume %q of node %s has a writer that excludes others", v.Source, n.id())
			}
		}
	}
	for _, core := range d.cores {
		if h, ok := n.held.cores[core]; taken(h, ok) || !n.hasCore(core) {
			return fmt.Sprintf("core %d of node %s is taken or does not exist", core, n.id())
		}
	}
	for _, dev := range d.devices {
		if h, ok := n.held.devices[dev]; taken(h, ok) || !n.hasDevice(dev) {
			return fmt.Sprintf("device %s of node %s is taken, unhealthy or does not exist", dev, n.id())
		}
	}
	return ""
}

func anyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

func (n *nodeCheck) hasCore(core uint16) bool {
	r := n.node.NodeResources
	if r == nil || !slices.Contains(r.Cpu.ReservableCpuCores, core) {
		return false
	}
	return n.node.ReservedResources == nil || !slices.Contains(n.node.ReservedResources.Cpu.ReservedCpuCores, core)
}

func (n *nodeCheck) hasDevice(key string) bool {
	if n.node.NodeResources == nil {
		return false
	}
	for _, d := range n.node.NodeResources.Devices {
		if d == nil {
			continue
		}
		for _, i := range d.Instances {
			if i != nil && i.Healthy && deviceKey(d.Vendor, d.Type, d.Name, i.ID) == key {
				return true
			}
		}
	}
	return false
}

// portList expands "22,80,8500-8600"; what is not a port is left out.
func portList(s string) []int {
	var ports []int
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err1 := strconv.ParseUint(lo, 10, 16)
		last, err2 := first, error(nil)
		if isRange {
			last, err2 = strconv.ParseUint(hi, 10, 16)
		}
		if err1 != nil || err2 != nil {
			continue
		}
		for p := first; p <= last; p++ {
			ports = append(ports, int(p))
		}
	}
	return ports
}
