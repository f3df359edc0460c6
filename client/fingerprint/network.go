package fingerprint

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// defaultSpeed is assumed of an interface that does not tell its own, in
// Mbit/s.
const defaultSpeed = 1000

// hostAlias is the host network of the chosen interface, and hostMode its
// mode.
const (
	hostAlias = "default"
	hostMode  = "host"
)

// network offers the addresses of one interface: the operator's, that of the
// default route, or of a machine without a route the loopback.
func network(cfg *Config, n *structs.Node) error {
	name := cfg.NetworkInterface
	if name == "" {
		name = routeInterface()
	}
	iface, err := chosenInterface(name)
	if err != nil {
		if cfg.NetworkInterface != "" {
			return fmt.Errorf("network_interface %q: %w", cfg.NetworkInterface, err)
		}
		return err
	}
	linkLocal := cfg.Options["fingerprint.network.disallow_link_local"] != "true"
	addresses, err := interfaceAddresses(iface, linkLocal)
	if err != nil {
		return err
	}
	if len(addresses) == 0 {
		return fmt.Errorf("interface %s has no address: set network_interface to one that has", iface.Name)
	}
	speed := cfg.NetworkSpeed
	if speed == 0 {
		speed = linkSpeed(iface.Name)
	}
	own := &structs.NodeNetworkResource{Mode: hostMode, Device: iface.Name, MacAddress: iface.HardwareAddr.String(), Speed: speed}
	for _, ip := range addresses {
		family := "ipv6"
		if ip.Is4() {
			family = "ipv4"
		}
		own.Addresses = append(own.Addresses, structs.NodeNetworkAddress{
			Alias: hostAlias, Address: ip.String(), Family: family, ReservedPorts: cfg.Reserved.Ports,
		})
		n.NodeResources.Networks = append(n.NodeResources.Networks, &structs.NetworkResource{
			Mode: hostMode, Device: iface.Name, IP: ip.String(), CIDR: netip.PrefixFrom(ip, ip.BitLen()).String(), MBits: &speed,
		})
	}
	n.NodeResources.NodeNetworks = append(n.NodeResources.NodeNetworks, own)
	n.Attributes["unique.network.ip-address"] = addresses[0].String()
	return nil
}

// chosenInterface is the interface of that name, which may be "", or the
// loopback.
func chosenInterface(name string) (*net.Interface, error) {
	if name != "" {
		return net.InterfaceByName(name)
	}
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Flags&net.FlagLoopback != 0 {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("there is neither a default route nor a loopback interface: set network_interface")
}

// interfaceAddresses are the addresses of an interface that others can use,
// IPv4 first; link-local ones only when there is nothing else and they are
// allowed.
func interfaceAddresses(iface *net.Interface, linkLocal bool) ([]netip.Addr, error) {
	all, err := iface.Addrs()
	if err != nil {
		return nil, fmt.Errorf("cannot list the addresses of %s: %w", iface.Name, err)
	}
	var v4, v6, local []netip.Addr
	for _, a := range all {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		ip := prefix.Addr().Unmap()
		switch {
		case ip.IsLinkLocalUnicast():
			local = append(local, ip)
		case ip.Is4():
			v4 = append(v4, ip)
		default:
			v6 = append(v6, ip)
		}
	}
	found := append(v4, v6...)
	if len(found) == 0 && linkLocal {
		return local, nil
	}
	return found, nil
}

// routeInterface is the interface of the default route with the lowest metric,
// of IPv4 or else IPv6; "" when there is none.
func routeInterface() string {
	best, least := "", uint64(math.MaxUint64)
	readLines("/proc/net/route", func(line string) bool {
		// Iface Destination Gateway Flags RefCnt Use Metric Mask …
		f := strings.Fields(line)
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			return true
		}
		if metric, err := strconv.ParseUint(f[6], 10, 64); err == nil && metric < least {
			best, least = f[0], metric
		}
		return true
	})
	if best != "" {
		return best
	}
	any6 := strings.Repeat("0", 32)
	readLines("/proc/net/ipv6_route", func(line string) bool {
		// destination, its length, source, its length, next hop, metric, …, device
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != any6 || f[1] != "00" || f[9] == "lo" {
			return true
		}
		if metric, err := strconv.ParseUint(f[5], 16, 64); err == nil && metric < least {
			best, least = f[9], metric
		}
		return true
	})
	return best
}

// linkSpeed is an interface's speed in Mbit/s.
func linkSpeed(name string) int {
	if speed, err := strconv.Atoi(readLine(filepath.Join("/sys/class/net", name, "speed"))); err == nil && speed > 0 {
		return speed
	}
	return defaultSpeed
}
