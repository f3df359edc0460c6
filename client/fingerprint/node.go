// Package fingerprint finds out what the node is and has: attributes for
// constraints, and resources for placement. It reads the kernel's files only
// and runs no program. The names of attributes are the public contract's.
package fingerprint

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// ContractVersion is the version of the public contract that this build keeps;
// jobs may ask for it by ${attr.nomad.version}.
const ContractVersion = "2.0.6"

// Config is what the operator says of the node. Zero values mean: detect it,
// or the contract's default.
type Config struct {
	ID, SecretID string
	Name         string // default: the host's name
	Datacenter   string // default: dc1
	Class        string
	Pool         string // default: default
	Meta         map[string]string
	// Options are the client's; fingerprint.allowlist and
	// fingerprint.denylist choose among the fingerprinters.
	Options          map[string]string
	HTTPAddr         string // advertised host:port
	TLSEnabled       bool   // of the HTTP API
	NetworkInterface string // default: that of the default route
	NetworkSpeed     int    // Mbit/s
	CPUTotalCompute  int    // MHz
	MemoryTotalMB    int    // MiB, as all memory and disk here
	DiskTotalMB      int
	DiskFreeMB       int
	MinDynamicPort   int
	MaxDynamicPort   int
	NodeMaxAllocs    int
	Reserved         Reserved
	AllocDir         string // must exist; its disk is the node's
	CgroupParent     string
	HostNetworks     map[string]HostNetwork
	HostVolumes      map[string]*structs.HostVolumeInfo // by name
	VolumePlugins    map[string]string                  // versions of host volume plugins by name
	// Bridge is the interface of group networks in mode bridge, "" where that
	// mode cannot work; Hairpin is its setting. CNINetworks are the operator's.
	Bridge      string
	Hairpin     bool
	CNINetworks []string
	// Version and Revision are of this build; default: what the Go toolchain
	// recorded.
	Version, Revision string
}

// HostNetwork names those addresses of the host that lie in a CIDR, of one
// interface when it is given. ReservedPorts is as in Reserved.
type HostNetwork struct{ CIDR, Interface, ReservedPorts string }

// Reserved is withheld from tasks: MHz, MiB, core numbers as "0-3,6" and ports
// as "22,8000-8100".
type Reserved struct {
	CPU, MemoryMB, DiskMB int
	Cores, Ports          string
}

// The contract's defaults.
const (
	defaultDatacenter = "dc1"
	defaultPool       = "default"
	minDynamicPort    = 20000
	maxDynamicPort    = 32000
	maxPort           = 65535
)

// defaultMeta is meta that every node has.
var defaultMeta = map[string]string{
	"connect.sidecar_image":                           "docker.io/envoyproxy/envoy:v${NOMAD_envoy_version}",
	"connect.gateway_image":                           "docker.io/envoyproxy/envoy:v${NOMAD_envoy_version}",
	"connect.log_level":                               "info",
	"connect.proxy_concurrency":                       "1",
	"connect.transparent_proxy.default_outbound_port": "15001",
	"connect.transparent_proxy.default_uid":           "101",
}

// fingerprinters in the order they run; later ones may read what earlier ones
// found.
var fingerprinters = []struct {
	name string
	run  func(*Config, *structs.Node) error
}{
	{"arch", arch},
	{"host", host},
	{"cgroup", cgroup},
	{"landlock", landlock},
	{"signal", signals},
	{"cpu", cpu},
	{"memory", memory},
	{"storage", storage},
	{"network", network},
	{"host_network", hostNetworks},
	{"bridge", bridge},
	{"cni", cni},
	{"dynamic_host_volumes", volumePlugins},
	{"nomad", nomad},
}

// Node describes this machine. Drivers are added by those who run them; the
// status is the caller's. An error names the setting that cannot be met.
func Node(cfg Config) (*structs.Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := &structs.Node{
		ID: cfg.ID, SecretID: cfg.SecretID, Name: cfg.Name, Datacenter: cfg.Datacenter, NodeClass: cfg.Class, NodePool: cfg.Pool,
		HTTPAddr: cfg.HTTPAddr, TLSEnabled: cfg.TLSEnabled, NodeMaxAllocs: cfg.NodeMaxAllocs,
		Attributes: map[string]string{}, Links: map[string]string{}, Meta: maps.Clone(defaultMeta),
		Drivers: map[string]*structs.DriverInfo{}, HostVolumes: map[string]*structs.HostVolumeInfo{},
		HostNetworks:          map[string]*structs.HostNetworkInfo{},
		NodeResources:         &structs.NodeResources{MinDynamicPort: cfg.MinDynamicPort, MaxDynamicPort: cfg.MaxDynamicPort},
		ReservedResources:     &structs.NodeReservedResources{},
		SchedulingEligibility: structs.NodeEligible, Status: structs.NodeStatusInit,
	}
	maps.Copy(n.Meta, cfg.Meta)
	maps.Copy(n.HostVolumes, cfg.HostVolumes)
	n.ReservedResources.Memory.MemoryMB = int64(cfg.Reserved.MemoryMB)
	n.ReservedResources.Disk.DiskMB = int64(cfg.Reserved.DiskMB)
	n.ReservedResources.Networks.ReservedHostPorts = cfg.Reserved.Ports
	for _, f := range fingerprinters {
		if !cfg.runs(f.name) {
			continue
		}
		if err := f.run(&cfg, n); err != nil {
			return nil, fmt.Errorf("fingerprint of %s: %w", f.name, err)
		}
	}
	return n, nil
}

// fill puts in the defaults and checks what the operator wrote.
func (cfg *Config) fill() error {
	if cfg.Name == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("the host has no name (%w): set name in the configuration", err)
		}
		cfg.Name = name
	}
	orDefault(&cfg.Datacenter, defaultDatacenter)
	orDefault(&cfg.Pool, defaultPool)
	orDefault(&cfg.MinDynamicPort, minDynamicPort)
	orDefault(&cfg.MaxDynamicPort, maxDynamicPort)
	if cfg.MinDynamicPort < 1 || cfg.MaxDynamicPort > maxPort || cfg.MinDynamicPort > cfg.MaxDynamicPort {
		return fmt.Errorf("min_dynamic_port %d and max_dynamic_port %d are not a range within 1 and %d", cfg.MinDynamicPort, cfg.MaxDynamicPort, maxPort)
	}
	for name, value := range map[string]int{
		"network_speed": cfg.NetworkSpeed, "cpu_total_compute": cfg.CPUTotalCompute, "memory_total_mb": cfg.MemoryTotalMB,
		"disk_total_mb": cfg.DiskTotalMB, "disk_free_mb": cfg.DiskFreeMB, "node_max_allocs": cfg.NodeMaxAllocs,
		"reserved.cpu": cfg.Reserved.CPU, "reserved.memory": cfg.Reserved.MemoryMB, "reserved.disk": cfg.Reserved.DiskMB,
	} {
		if value < 0 {
			return fmt.Errorf("%s is %d: it cannot be negative", name, value)
		}
	}
	if _, err := parseSet(cfg.Reserved.Ports, maxPort); err != nil {
		return fmt.Errorf("reserved_ports %q: %w", cfg.Reserved.Ports, err)
	}
	return nil
}

func orDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// runs reports whether the operator's lists let a fingerprinter run.
func (cfg *Config) runs(name string) bool {
	if allowed := commaList(cfg.Options["fingerprint.allowlist"]); len(allowed) > 0 && !slices.Contains(allowed, name) {
		return false
	}
	return !slices.Contains(commaList(cfg.Options["fingerprint.denylist"]), name)
}

func commaList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

func volumePlugins(cfg *Config, n *structs.Node) error {
	for name, version := range cfg.VolumePlugins {
		n.Attributes["plugins.host_volume."+name+".version"] = version
	}
	return nil
}

func arch(_ *Config, n *structs.Node) error {
	n.Attributes["cpu.arch"] = runtime.GOARCH
	return nil
}

// nomad says what the agent is. Contract version and our own are told apart,
// since jobs ask for the first.
func nomad(cfg *Config, n *structs.Node) error {
	version, revision := cfg.Version, cfg.Revision
	if info, ok := debug.ReadBuildInfo(); ok {
		orDefault(&version, strings.TrimPrefix(info.Main.Version, "v"))
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				orDefault(&revision, s.Value)
			}
		}
	}
	n.Attributes["nomad.version"] = ContractVersion
	setPresent(n, "nomad.revision", revision)
	setPresent(n, "nomadlite.version", version)
	n.Attributes["nomad.service_discovery"] = "true"
	setPresent(n, "unique.advertise.address", cfg.HTTPAddr)
	return nil
}
