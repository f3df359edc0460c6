package service

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// place is where something listens.
type place struct {
	host string
	port int
}

// where finds the address of a port label (a number is a port, "" none) in an
// address mode; custom is the service's own address. Reference runtime.md 14.
func where(a *alloc.Alloc, task, mode, custom, label string) (place, error) {
	at, err := listens(a, task, mode, label)
	if err != nil {
		return place{}, err
	}
	if custom != "" && (mode == "auto" || mode == "") {
		at.host = custom
	}
	if ip, err := netip.ParseAddr(at.host); err == nil && ip.IsUnspecified() {
		return place{}, fmt.Errorf("the address %s stands for every address: give one that others can reach", at.host)
	}
	if at.host == "" {
		return place{}, fmt.Errorf("the node has no address for port %q in address_mode %q", label, mode)
	}
	return at, nil
}

func listens(a *alloc.Alloc, task, mode, label string) (place, error) {
	host, inside, err := mapping(a, task, label)
	if err != nil {
		return place{}, err
	}
	own := a.Alloc.NetworkStatus
	if n := a.Network(); n != nil && n.Status != nil {
		own = n.Status
	}
	switch mode {
	case "alloc", "alloc_ipv6":
		if own == nil {
			return place{}, fmt.Errorf("address_mode %q needs a network of the allocation's own: set mode = \"bridge\" in its network block, or another address_mode", mode)
		}
		inside.host = own.Address
		if mode == "alloc_ipv6" {
			inside.host = own.AddressIPv6
		}
		return inside, nil
	case "driver":
		if own != nil {
			inside.host = own.Address
			return inside, nil
		}
	}
	return host, nil
}

// mapping finds the host's end of a port and the task's.
func mapping(a *alloc.Alloc, task, label string) (host, inside place, err error) {
	host.host = nodeIP(a)
	if label == "" {
		return host, host, nil
	}
	if n, err := strconv.ParseUint(label, 10, 16); err == nil {
		host.port = int(n)
		return host, host, nil
	}
	res := a.Alloc.AllocatedResources
	if res == nil {
		return host, host, fmt.Errorf("the allocation has no port %q", label)
	}
	for _, p := range res.Shared.Ports {
		if p.Label != label {
			continue
		}
		if p.HostIP != "" {
			host.host = p.HostIP
		}
		host.port, inside = p.Value, place{host.host, p.Value}
		if p.To > 0 {
			inside.port = p.To
		}
		return host, inside, nil
	}
	if t := res.Tasks[task]; t != nil {
		for _, n := range t.Networks {
			for _, p := range append(append([]structs.Port(nil), n.ReservedPorts...), n.DynamicPorts...) {
				if p.Label == label {
					host = place{n.IP, p.Value}
					return host, host, nil
				}
			}
		}
	}
	return host, host, fmt.Errorf("the allocation has no port %q: name one of its network block, or a number", label)
}

// nodeIP is the address of what has no port of its own.
func nodeIP(a *alloc.Alloc) string {
	if r := a.Alloc.AllocatedResources; r != nil && len(r.Shared.Networks) > 0 && r.Shared.Networks[0].IP != "" {
		return r.Shared.Networks[0].IP
	}
	if r := a.Node.NodeResources; r != nil && len(r.Networks) > 0 && r.Networks[0].IP != "" {
		return r.Networks[0].IP
	}
	return a.Node.Attributes["unique.network.ip-address"]
}
