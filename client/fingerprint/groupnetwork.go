package fingerprint

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"github.com/nomadlite/nomadlite/structs"
)

// hostNetworks offers the addresses that the operator named.
func hostNetworks(cfg *Config, n *structs.Node) error {
	for _, name := range slices.Sorted(maps.Keys(cfg.HostNetworks)) {
		hn := cfg.HostNetworks[name]
		if _, err := parseSet(hn.ReservedPorts, maxPort); err != nil {
			return fmt.Errorf("host_network %q: reserved_ports %q: %w", name, hn.ReservedPorts, err)
		}
		found, err := hn.find()
		if err != nil {
			return fmt.Errorf("host_network %q: %w", name, err)
		}
		n.HostNetworks[name] = &structs.HostNetworkInfo{Name: name, CIDR: hn.CIDR, Interface: hn.Interface, ReservedPorts: hn.ReservedPorts}
		for _, device := range slices.Sorted(maps.Keys(found)) {
			own := &structs.NodeNetworkResource{Mode: hostMode, Device: device}
			for _, ip := range found[device] {
				family := "ipv6"
				if ip.Is4() {
					family = "ipv4"
				}
				own.Addresses = append(own.Addresses, structs.NodeNetworkAddress{Alias: name, Address: ip.String(), Family: family, ReservedPorts: hn.ReservedPorts})
			}
			n.NodeResources.NodeNetworks = append(n.NodeResources.NodeNetworks, own)
		}
	}
	return nil
}

// find lists the network's addresses by interface.
func (hn HostNetwork) find() (map[string][]netip.Addr, error) {
	var within netip.Prefix
	if hn.CIDR != "" {
		var err error
		if within, err = netip.ParsePrefix(hn.CIDR); err != nil {
			return nil, fmt.Errorf("cidr %q is no subnet like 10.0.0.0/8", hn.CIDR)
		}
	}
	if hn.CIDR == "" && hn.Interface == "" {
		return nil, fmt.Errorf("give it a cidr, an interface, or both")
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := map[string][]netip.Addr{}
	for i := range all {
		if hn.Interface != "" && all[i].Name != hn.Interface {
			continue
		}
		addresses, err := interfaceAddresses(&all[i], true)
		if err != nil {
			return nil, err
		}
		for _, ip := range addresses {
			if hn.CIDR == "" || within.Contains(ip) {
				out[all[i].Name] = append(out[all[i].Name], ip)
			}
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no address of this machine is in it")
	}
	return out, nil
}

// bridge offers group networks behind the node's bridge.
func bridge(cfg *Config, n *structs.Node) error {
	n.Attributes["nomad.bridge.hairpin_mode"] = strconv.FormatBool(cfg.Hairpin)
	if cfg.Bridge != "" {
		n.NodeResources.NodeNetworks = append(n.NodeResources.NodeNetworks, &structs.NodeNetworkResource{Mode: "bridge", Device: cfg.Bridge})
		n.NodeResources.Networks = append(n.NodeResources.Networks, &structs.NetworkResource{Mode: "bridge"})
	}
	return nil
}

// cni offers the operator's networks.
func cni(cfg *Config, n *structs.Node) error {
	for _, name := range cfg.CNINetworks {
		n.NodeResources.NodeNetworks = append(n.NodeResources.NodeNetworks, &structs.NodeNetworkResource{Mode: "cni/" + name})
		n.NodeResources.Networks = append(n.NodeResources.Networks, &structs.NetworkResource{Mode: "cni/" + name})
	}
	return nil
}

// CNIPlugins offers the CNI plugins of a node, versions by name. It stands apart
// from Node because each plugin must be run to tell its version.
func CNIPlugins(n *structs.Node, versions map[string]string) {
	for name, version := range versions {
		n.Attributes["plugins.cni.version."+name] = version
	}
}
