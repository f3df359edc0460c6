package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Finish fills what depends on other settings and on the machine.
func (c *Config) Finish() error {
	if c.NodeName == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("cannot read the hostname; set name: %w", err)
		}
		c.NodeName = host
	}
	if c.Server.DataDir == "" && c.DataDir != "" {
		c.Server.DataDir = filepath.Join(c.DataDir, "server")
	}
	if c.Client.StateDir == "" && c.DataDir != "" {
		c.Client.StateDir = filepath.Join(c.DataDir, "client")
	}
	if c.Client.AllocDir == "" && c.DataDir != "" {
		c.Client.AllocDir = filepath.Join(c.DataDir, "alloc")
	}
	if c.Client.HostVolumesDir == "" && c.DataDir != "" {
		c.Client.HostVolumesDir = filepath.Join(c.DataDir, "host_volumes")
	}
	if c.Client.HostVolumePluginDir == "" && c.DataDir != "" {
		c.Client.HostVolumePluginDir = filepath.Join(c.DataDir, "host_volume_plugins")
	}
	if c.PluginDir == "" && c.DataDir != "" {
		c.PluginDir = filepath.Join(c.DataDir, "plugins")
	}
	c.mergeJoin()
	for _, a := range []*string{&c.Addresses.HTTP, &c.Addresses.RPC, &c.Addresses.Serf} {
		if *a == "" {
			*a = c.BindAddr
		}
	}
	return nil
}

// Validate reports every problem of a finished configuration at once.
func (c *Config) Validate() error {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if !c.Server.Enabled && !c.Client.Enabled {
		bad("Must specify either server, client or dev mode for the agent.")
	}
	if c.DataDir == "" && !c.DevMode {
		bad("Must specify data_dir; set data_dir = \"/var/lib/nomadlite\" or pass -data-dir")
	}
	for _, p := range []struct{ name, path string }{
		{"data_dir", c.DataDir}, {"plugin_dir", c.PluginDir}, {"client.alloc_dir", c.Client.AllocDir},
		{"client.state_dir", c.Client.StateDir}, {"server.data_dir", c.Server.DataDir},
	} {
		if p.path != "" && !filepath.IsAbs(p.path) {
			bad("%s must be given as an absolute path: got %q", p.name, p.path)
		}
	}
	if strings.ContainsRune(c.Region, 0) || c.Region == "" {
		bad("region %q must not be empty or contain null characters", c.Region)
	}
	if strings.ContainsRune(c.Datacenter, 0) || c.Datacenter == "" || c.Datacenter == "*" {
		bad("datacenter %q must be a name without null characters, and not \"*\"", c.Datacenter)
	}
	if c.Client.NodePool == "all" {
		bad("client.node_pool must not be \"all\"; it names every node")
	}
	for _, a := range []struct{ name, addr string }{{"addresses.http", c.Addresses.HTTP}, {"addresses.rpc", c.Addresses.RPC}, {"bind_addr", c.BindAddr}} {
		if net.ParseIP(a.addr) == nil {
			bad("%s must be an IP address: got %q", a.name, a.addr)
		}
	}
	for _, p := range []struct {
		name string
		port int
	}{{"ports.http", c.Ports.HTTP}, {"ports.rpc", c.Ports.RPC}, {"ports.serf", c.Ports.Serf}} {
		if p.port < 0 || p.port > 65535 {
			bad("%s must be between 0 and 65535: got %d", p.name, p.port)
		}
	}
	problems = append(problems, c.clusterProblems()...)
	problems = append(problems, c.Client.Artifact.problems()...)
	problems = append(problems, c.Client.Template.problems()...)
	if a := c.Client.DNS.Address; a != "" {
		if _, err := netip.ParseAddrPort(a); err != nil {
			bad("client.dns.address must be an address and a port, as 127.0.0.1:8600: got %q", a)
		}
	}
	if p := c.Server.DefaultServiceProvider; p != "" && p != "consul" && p != "nomad" {
		bad("server.default_service_provider must be \"consul\" or \"nomad\": got %q", p)
	}
	if n, err := ByteSize(c.Server.JobMaxSourceSize); err != nil || n > maxJobSource {
		bad("server.job_max_source_size must be a size such as \"512K\", at most 1M: got %q", c.Server.JobMaxSourceSize)
	}
	if lo, hi := c.Client.MinDynamicPort, c.Client.MaxDynamicPort; lo < 1 || hi > 65535 || lo > hi {
		bad("client.min_dynamic_port..max_dynamic_port must lie within 1..65535: got %d..%d", lo, hi)
	}
	if lo, hi := c.Client.MinPluginPort, c.Client.MaxPluginPort; lo < 1 || hi > 65535 || lo > hi {
		bad("client.client_min_port..client_max_port must lie within 1..65535: got %d..%d", lo, hi)
	}
	for _, a := range []struct{ name, addr string }{{"statsd_address", c.Telemetry.StatsdAddress}, {"statsite_address", c.Telemetry.StatsiteAddress}} {
		if _, port, err := net.SplitHostPort(a.addr); a.addr != "" && (err != nil || port == "") {
			bad("telemetry.%s must be host:port: got %q", a.name, a.addr)
		}
	}
	for _, f := range c.Telemetry.PrefixFilter {
		if len(f) < 2 || f[0] != '+' && f[0] != '-' {
			bad("telemetry.prefix_filter must hold prefixes that begin with + or -, as in \"-nomad.raft\": got %q", f)
		}
	}
	switch strings.ToUpper(c.LogLevel) {
	case "TRACE", "DEBUG", "INFO", "WARN", "ERROR":
	default:
		bad("log_level must be TRACE, DEBUG, INFO, WARN or ERROR: got %q", c.LogLevel)
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, "\n"))
	}
	return nil
}

// maxJobSource is the most that servers keep of a job's source, in bytes: it
// travels in one log entry with the job.
const maxJobSource = 1 << 20

var byteSize = regexp.MustCompile(`^([0-9]{1,15}) ?([KMG]?)B?$`)

// ByteSize reads a size such as "1M" or "512 KB", in bytes; units are powers of
// 1024.
func ByteSize(text string) (int, error) {
	m := byteSize.FindStringSubmatch(strings.ToUpper(strings.ReplaceAll(text, "i", "")))
	if m == nil {
		return 0, fmt.Errorf("cannot read %q as a size: write a number and a unit, as in \"512K\" or \"1M\"", text)
	}
	n, err := strconv.Atoi(m[1])
	unit := map[string]int{"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}[m[2]]
	if err != nil || n > math.MaxInt/unit {
		return 0, fmt.Errorf("cannot read %q as a size: it is too large", text)
	}
	return n * unit, nil
}

// firstAddress is this machine's first non-loopback IPv4 address, else
// loopback.
func firstAddress() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}
