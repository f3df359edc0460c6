package scheduler

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// Range of dynamic ports of nodes that name none; see reference runtime 11.
const (
	defaultMinDynamicPort = 20000
	defaultMaxDynamicPort = 32000
	maxPort               = 65535
)

// defaultHostNetwork is the alias of addresses that belong to no named network.
const defaultHostNetwork = "default"

// portSet is a set of ports in pages that exist only where ports are.
type portSet struct {
	pages [64]*[16]uint64
}

func (s *portSet) has(port int) bool {
	page := s.pages[port>>10]
	return page != nil && page[port>>6&15]&(1<<(port&63)) != 0
}

func (s *portSet) add(port int) {
	page := s.pages[port>>10]
	if page == nil {
		page = new([16]uint64)
		s.pages[port>>10] = page
	}
	page[port>>6&15] |= 1 << (port & 63)
}

func (s *portSet) remove(port int) {
	if page := s.pages[port>>10]; page != nil {
		page[port>>6&15] &^= 1 << (port & 63)
	}
}

// portClaim is one port of one of a node's addresses.
type portClaim struct {
	address int // index in nodePorts.addresses
	port    int
}

// nodePorts is which ports of a node are taken, by address. It is made when a
// job with ports first looks at the node.
type nodePorts struct {
	addresses []nodeAddress
	min, max  int // dynamic range, inclusive
}

type nodeAddress struct {
	alias, ip, device string
	taken             portSet
}

// portsOf returns the ports of a node, made from its row when missing.
func (c *Cluster) portsOf(num uint32) *nodePorts {
	if c.ports[num] == nil {
		c.ports[num] = newNodePorts(&c.rows[num])
	}
	return c.ports[num]
}

func newNodePorts(row *NodeRow) *nodePorts {
	n := row.Node
	p := &nodePorts{min: defaultMinDynamicPort, max: defaultMaxDynamicPort}
	if r := n.NodeResources; r != nil {
		if r.MinDynamicPort > 0 {
			p.min = r.MinDynamicPort
		}
		if r.MaxDynamicPort > 0 {
			p.max = min(r.MaxDynamicPort, maxPort)
		}
	}
	eachAddress(n, func(alias, ip, device, reserved string) {
		a := nodeAddress{alias: alias, ip: ip, device: device}
		a.reserve(reserved)
		if n.ReservedResources != nil {
			a.reserve(n.ReservedResources.Networks.ReservedHostPorts)
		}
		if h := n.HostNetworks[alias]; h != nil {
			a.reserve(h.ReservedPorts)
		}
		p.addresses = append(p.addresses, a)
	})
	for _, alloc := range row.Usage.Held {
		for _, m := range allocPorts(alloc) {
			for _, claim := range p.locate(m) {
				p.claim(claim)
			}
		}
	}
	return p
}

// eachAddress visits the addresses of a node in order, with the alias of their
// host network.
func eachAddress(n *structs.Node, visit func(alias, ip, device, reserved string)) {
	found := false
	if r := n.NodeResources; r != nil {
		for _, net := range r.NodeNetworks {
			if net == nil {
				continue
			}
			for _, a := range net.Addresses {
				alias := a.Alias
				if alias == "" {
					alias = defaultHostNetwork
				}
				found = true
				visit(alias, a.Address, net.Device, a.ReservedPorts)
			}
		}
		if found {
			return
		}
		for _, net := range r.Networks {
			if net != nil && net.IP != "" {
				found = true
				visit(defaultHostNetwork, net.IP, net.Device, "")
			}
		}
	}
	if ip := n.Attributes["unique.network.ip-address"]; !found && ip != "" {
		visit(defaultHostNetwork, ip, "", "")
	}
}

// hostNetworks are the aliases under which a node has addresses.
func hostNetworks(n *structs.Node) []string {
	var names []string
	eachAddress(n, func(alias, _, _, _ string) {
		if !slices.Contains(names, alias) {
			names = append(names, alias)
		}
	})
	return names
}

// networkModes are the modes of group networks that a node offers beside host
// and none.
func networkModes(n *structs.Node) []string {
	var modes []string
	add := func(mode string) {
		if mode != "" && mode != "host" && mode != "none" && !slices.Contains(modes, mode) {
			modes = append(modes, mode)
		}
	}
	if r := n.NodeResources; r != nil {
		for _, net := range r.NodeNetworks {
			if net != nil {
				add(net.Mode)
			}
		}
		for _, net := range r.Networks {
			if net != nil {
				add(net.Mode)
			}
		}
	}
	return modes
}

// reserve takes the ports of a list such as "22,80,8500-8600"; parts that do
// not parse are left out.
func (a *nodeAddress) reserve(list string) {
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.ParseUint(strings.TrimSpace(high), 10, 16); err != nil {
				continue
			}
		}
		for port := first; port <= last; port++ {
			a.taken.add(int(port))
		}
	}
}

// locate finds the claims that a port mapping makes: on the address that it
// names, else on all of them.
func (p *nodePorts) locate(m structs.PortMapping) []portClaim {
	if m.Value <= 0 || m.Value > maxPort {
		return nil
	}
	var all []portClaim
	for i := range p.addresses {
		if p.addresses[i].ip == m.HostIP {
			return []portClaim{{i, m.Value}}
		}
		all = append(all, portClaim{i, m.Value})
	}
	return all
}

func (p *nodePorts) has(c portClaim) bool { return p.addresses[c.address].taken.has(c.port) }
func (p *nodePorts) claim(c portClaim)    { p.addresses[c.address].taken.add(c.port) }
func (p *nodePorts) release(c portClaim)  { p.addresses[c.address].taken.remove(c.port) }

// allocPorts are the host ports that an allocation holds.
func allocPorts(a *structs.Allocation) []structs.PortMapping {
	r := a.AllocatedResources
	if r == nil {
		return nil
	}
	if len(r.Shared.Ports) > 0 {
		return r.Shared.Ports
	}
	var ports []structs.PortMapping
	add := func(nets []*structs.NetworkResource) {
		for _, net := range nets {
			if net == nil {
				continue
			}
			for _, list := range [][]structs.Port{net.ReservedPorts, net.DynamicPorts} {
				for _, p := range list {
					ports = append(ports, structs.PortMapping{Label: p.Label, Value: p.Value, To: p.To, HostIP: net.IP})
				}
			}
		}
	}
	add(r.Shared.Networks)
	for _, t := range r.Tasks {
		if t != nil {
			add(t.Networks)
		}
	}
	return ports
}

// portAsk is the ports that one allocation of a group wants.
type portAsk struct {
	static, dynamic []structs.Port
}

func (a *portAsk) count() int  { return len(a.static) + len(a.dynamic) }
func (a *portAsk) empty() bool { return a.count() == 0 }

func (a *portAsk) add(nets []*structs.NetworkResource) {
	for _, net := range nets {
		if net == nil {
			continue
		}
		for _, list := range [][]structs.Port{net.ReservedPorts, net.DynamicPorts} {
			for _, p := range list {
				if p.Value > 0 {
					a.static = append(a.static, p)
				} else {
					a.dynamic = append(a.dynamic, p)
				}
			}
		}
	}
}

// networks are the host networks that the ports need, sorted.
func (a *portAsk) networks() []structs.Port {
	var need []structs.Port
	for _, list := range [][]structs.Port{a.static, a.dynamic} {
		for _, p := range list {
			if p.HostNetwork == "" {
				p.HostNetwork = defaultHostNetwork
			}
			if !slices.ContainsFunc(need, func(q structs.Port) bool { return q.HostNetwork == p.HostNetwork }) {
				need = append(need, p)
			}
		}
	}
	slices.SortFunc(need, func(a, b structs.Port) int { return strings.Compare(a.HostNetwork, b.HostNetwork) })
	return need
}

func (a *nodeAddress) serves(p *structs.Port) bool {
	return a.alias == p.HostNetwork || p.HostNetwork == "" && a.alias == defaultHostNetwork
}

// staticFree reports whether the static ports of the ask are free; granted
// ports, which pass on from a predecessor, count as free.
func (p *nodePorts) staticFree(ask *portAsk, granted []portClaim) bool {
	for i := range ask.static {
		if _, ok := p.findStatic(&ask.static[i], granted); !ok {
			return false
		}
	}
	return true
}

func (p *nodePorts) findStatic(port *structs.Port, granted []portClaim) (portClaim, bool) {
	for i := range p.addresses {
		c := portClaim{i, port.Value}
		if p.addresses[i].serves(port) && (port.IgnoreCollision || !p.addresses[i].taken.has(port.Value) || slices.Contains(granted, c)) {
			return c, true
		}
	}
	return portClaim{}, false
}

// findDynamic picks a free port at or after a seeded start, so that a port
// that was just let go is rarely handed out again. Granted ports are the last
// resort.
func (p *nodePorts) findDynamic(port *structs.Port, seed uint64, granted, used []portClaim) (portClaim, bool) {
	size := p.max - p.min + 1
	if size <= 0 {
		return portClaim{}, false
	}
	start := int(seed % uint64(size))
	for i := range p.addresses {
		if !p.addresses[i].serves(port) {
			continue
		}
		for k := range size {
			c := portClaim{i, p.min + (start+k)%size}
			if !p.addresses[i].taken.has(c.port) && !slices.Contains(used, c) {
				return c, true
			}
		}
	}
	for _, c := range granted {
		if c.port >= p.min && c.port <= p.max && p.addresses[c.address].serves(port) && !slices.Contains(used, c) {
			return c, true
		}
	}
	return portClaim{}, false
}

// assignment is the ports that one placement gets.
type assignment struct {
	ports  []structs.PortMapping
	claims []portClaim
}

// assign picks all ports of an ask, into out. It reports false when the node
// has not enough, and changes nothing on the node.
func (p *nodePorts) assign(ask *portAsk, granted []portClaim, seed uint64, out *assignment) bool {
	out.ports, out.claims = out.ports[:0], out.claims[:0]
	for i := range ask.static {
		c, found := p.findStatic(&ask.static[i], granted)
		if !found {
			return false
		}
		out.give(p, &ask.static[i], c)
	}
	for i := range ask.dynamic {
		c, found := p.findDynamic(&ask.dynamic[i], mix(seed+uint64(i)), granted, out.claims)
		if !found {
			return false
		}
		out.give(p, &ask.dynamic[i], c)
	}
	return true
}

func (o *assignment) give(p *nodePorts, port *structs.Port, c portClaim) {
	to := port.To
	if to == -1 {
		to = c.port
	}
	o.ports = append(o.ports, structs.PortMapping{Label: port.Label, Value: c.port, To: to, HostIP: p.addresses[c.address].ip})
	o.claims = append(o.claims, c)
}
