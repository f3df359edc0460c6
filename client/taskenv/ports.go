package taskenv

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/nomadlite/nomadlite/structs"
)

// setPorts sets the variables of the group's ports, and of ports that tasks
// asked for themselves (the legacy form).
func (e *Env) setPorts(in Input) {
	given := in.Alloc.AllocatedResources
	if given == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(given.Tasks)) {
		if given.Tasks[name] == nil {
			continue
		}
		for _, n := range given.Tasks[name].Networks {
			e.setTaskPorts(name, name == in.Task.Name, n)
		}
	}
	for _, p := range given.Shared.Ports {
		e.setGroupPort(p, hostIP(p, given), in.Alloc.NetworkStatus)
	}
}

// hostIP is the address that a port is on.
func hostIP(p structs.PortMapping, given *structs.AllocatedResources) string {
	if p.HostIP == "" && len(given.Shared.Networks) > 0 {
		return given.Shared.Networks[0].IP
	}
	return p.HostIP
}

func (e *Env) setGroupPort(p structs.PortMapping, ip string, own *structs.AllocNetworkStatus) {
	host, inside := strconv.Itoa(p.Value), strconv.Itoa(p.Value)
	if p.To > 0 {
		inside = strconv.Itoa(p.To)
	}
	e.set("NOMAD_PORT_"+p.Label, inside)
	e.set("NOMAD_ALLOC_PORT_"+p.Label, inside)
	e.set("NOMAD_HOST_PORT_"+p.Label, host)
	e.set("NOMAD_IP_"+p.Label, ip)
	e.set("NOMAD_ADDR_"+p.Label, net.JoinHostPort(ip, host))
	e.set("NOMAD_HOST_IP_"+p.Label, ip)
	e.set("NOMAD_HOST_ADDR_"+p.Label, net.JoinHostPort(ip, host))
	if own == nil {
		return
	}
	e.setPresent("NOMAD_ALLOC_INTERFACE_"+p.Label, own.InterfaceName)
	if own.Address != "" {
		port := p.Value
		if p.To != 0 {
			port = p.To // -1 too: the contract's own words
		}
		e.set("NOMAD_ALLOC_IP_"+p.Label, own.Address)
		e.set("NOMAD_ALLOC_ADDR_"+p.Label, net.JoinHostPort(own.Address, strconv.Itoa(port)))
	}
}

// setTaskPorts sets the variables of ports that a task asked for: its own, and
// under the task's name those of the others.
func (e *Env) setTaskPorts(task string, own bool, n *structs.NetworkResource) {
	for _, p := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
		port := strconv.Itoa(p.Value)
		label := p.Label
		if !own {
			label = task + "_" + p.Label
		}
		e.set("NOMAD_IP_"+label, n.IP)
		e.set("NOMAD_PORT_"+label, port)
		e.set("NOMAD_ADDR_"+label, net.JoinHostPort(n.IP, port))
		if !own {
			continue
		}
		e.set("NOMAD_HOST_PORT_"+label, port)
		if ip, err := netip.ParseAddr(n.IP); err == nil && ip.Unmap().Is4() {
			e.set("NOMAD_IPv4_"+label, n.IP)
		} else if err == nil {
			e.set("NOMAD_IPv6_"+label, n.IP)
		}
	}
}

// upstreamIP is where a sidecar proxy offers its upstreams.
const upstreamIP = "127.0.0.1"

// setUpstreams sets the addresses of the group's connect upstreams, under the
// name as written and as a shell can use it.
func (e *Env) setUpstreams(in Input) {
	for _, s := range in.Group.Services {
		if s.Connect == nil || s.Connect.SidecarService == nil || s.Connect.SidecarService.Proxy == nil {
			continue
		}
		for _, u := range s.Connect.SidecarService.Proxy.Upstreams {
			port := strconv.Itoa(u.LocalBindPort)
			for _, name := range []string{u.DestinationName, cleanName(u.DestinationName)} {
				e.set("NOMAD_UPSTREAM_IP_"+name, upstreamIP)
				e.set("NOMAD_UPSTREAM_PORT_"+name, port)
				e.set("NOMAD_UPSTREAM_ADDR_"+name, net.JoinHostPort(upstreamIP, port))
			}
		}
	}
}
