// Package network gives an allocation a network namespace of its own: empty,
// on the node's bridge, or on a network that the operator configured for CNI
// plugins. What it makes it writes down first, so that a later agent finds it
// again, or removes it.
//
// It knows neither jobs nor drivers. The plugins are programs of the host
// (Debian: containernetworking-plugins), called through libcni.
package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containernetworking/cni/libcni"
	types "github.com/containernetworking/cni/pkg/types/100"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/wholefile"
)

// Modes of an allocation's network beside the host's.
const (
	ModeNone   = "none"
	ModeBridge = "bridge"
	cniPrefix  = "cni/"
)

// The contract's defaults (reference agent-config.md).
const (
	DefaultBridge = "nomad"
	DefaultSubnet = "172.26.64.0/20"
	DefaultConf   = "/opt/cni/config"
	// DefaultPath has Debian's folder at its end.
	DefaultPath = "/opt/cni/bin:/usr/libexec/cni:/usr/lib/cni"
	netnsDir    = "/var/run/netns"
)

// Limits of calls to plugins.
const (
	callTimeout = time.Minute
	parallel    = 4
	ifName      = "eth0"
)

// Config says where things are. Zero values are the contract's defaults.
type Config struct {
	StateDir string // of records, and of what CNI remembers
	// Namespace is bound below this directory, for drivers and people to find.
	NetnsDir     string
	Path         string // folders of plugins, separated by colons
	ConfDir      string // of the operator's networks
	Bridge       string
	Subnet       string // of the bridge
	Subnet6      string // "" for none
	Hairpin      bool
	PluginLogger hclog.Logger
}

// Manager makes and removes networks. Its methods may be called at the same
// time for different allocations.
type Manager struct {
	cfg   Config
	dirs  []string
	slots chan struct{}
}

// New checks the configuration; it makes nothing.
func New(cfg Config) (*Manager, error) {
	orDefault(&cfg.NetnsDir, netnsDir)
	orDefault(&cfg.Path, DefaultPath)
	orDefault(&cfg.ConfDir, DefaultConf)
	orDefault(&cfg.Bridge, DefaultBridge)
	orDefault(&cfg.Subnet, DefaultSubnet)
	for name, subnet := range map[string]string{"bridge_network_subnet": cfg.Subnet, "bridge_network_subnet_ipv6": cfg.Subnet6} {
		if _, err := netip.ParsePrefix(subnet); err != nil && subnet != "" {
			return nil, fmt.Errorf("%s %q is no subnet like %s", name, subnet, DefaultSubnet)
		}
	}
	if len(cfg.Bridge) > 15 || strings.ContainsAny(cfg.Bridge, "/ :") {
		return nil, fmt.Errorf("bridge_network_name %q is no name of an interface: at most 15 characters, no slash, blank or colon", cfg.Bridge)
	}
	if cfg.PluginLogger == nil {
		cfg.PluginLogger = hclog.NewNullLogger()
	}
	return &Manager{cfg: cfg, dirs: filepath.SplitList(cfg.Path), slots: make(chan struct{}, parallel)}, nil
}

func orDefault(s *string, def string) {
	if *s == "" {
		*s = def
	}
}

// Port maps a port of the host into the namespace, for TCP and UDP.
type Port struct {
	HostIP          string
	Host, Container int
}

// Request is a network for an allocation.
type Request struct {
	AllocID string
	Mode    string // none, bridge, or cni/<name>
	Ports   []Port
	Args    map[string]string // for CNI plugins
	// Netns is a namespace that somebody else made, and will remove; "" makes
	// one.
	Netns string
}

// Network is what an allocation got.
type Network struct {
	Netns                string
	Interface            string
	Address, AddressIPv6 string
	Servers, Searches    []string // resolvers that the plugins named
	Options              []string
}

// record is what is durable about an allocation's network.
type record struct {
	AllocID string
	Mode    string
	Own     bool // the namespace is ours
	Netns   string
	List    json.RawMessage // CNI's list of plugins; null for none
	Args    [][2]string
	Ports   []portMapping
}

// portMapping is in the words of CNI's convention.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// Setup makes the network, or finds it as an earlier agent left it.
func (m *Manager) Setup(ctx context.Context, req Request) (*Network, error) {
	if !plainName(req.AllocID) {
		return nil, fmt.Errorf("cannot make a network for %q: the id is no file name", req.AllocID)
	}
	list, err := m.list(req.Mode)
	if err != nil {
		return nil, err
	}
	if found, err := m.find(req.AllocID); err != nil || found != nil {
		return found, err
	}
	if err := m.Teardown(ctx, req.AllocID); err != nil { // left of a boot before
		return nil, err
	}
	rec := &record{AllocID: req.AllocID, Mode: req.Mode, Netns: req.Netns, Args: [][2]string{{"IgnoreUnknown", "true"}}}
	if list != nil {
		rec.List = list.Bytes
	}
	for k, v := range req.Args {
		rec.Args = append(rec.Args, [2]string{k, v})
	}
	for _, p := range req.Ports {
		for _, protocol := range []string{"tcp", "udp"} {
			rec.Ports = append(rec.Ports, portMapping{p.Host, p.Container, protocol, p.HostIP})
		}
	}
	if rec.Netns == "" {
		rec.Netns, rec.Own = filepath.Join(m.cfg.NetnsDir, req.AllocID), true
	}
	if err := m.write(rec); err != nil {
		return nil, err
	}
	n, err := m.make(ctx, rec, list)
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return nil, errors.Join(err, m.Teardown(undo, req.AllocID))
	}
	return n, nil
}

func (m *Manager) make(ctx context.Context, rec *record, list *libcni.NetworkConfigList) (*Network, error) {
	if rec.Own {
		if err := createNetns(rec.Netns); err != nil {
			return nil, fmt.Errorf("cannot make the network namespace: %w", err)
		}
	}
	if list == nil {
		return &Network{Netns: rec.Netns}, nil
	}
	release, err := m.slot(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	result, err := m.cni().AddNetworkList(ctx, list, m.runtime(rec))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to network %q: %w", list.Name, err)
	}
	converted, err := types.GetResult(result)
	if err != nil {
		return nil, fmt.Errorf("cannot read what network %q answered: %w", list.Name, err)
	}
	return networkOf(rec, converted), nil
}

// find is the network that an earlier agent made and that still stands; nil
// when there is none.
func (m *Manager) find(allocID string) (*Network, error) {
	rec, err := m.read(allocID)
	if rec == nil || err != nil {
		return nil, err
	}
	if !isNetns(rec.Netns) {
		return nil, nil
	}
	if rec.List == nil {
		return &Network{Netns: rec.Netns}, nil
	}
	list, err := libcni.NetworkConfFromBytes(rec.List)
	if err != nil {
		return nil, nil
	}
	cached, err := m.cni().GetNetworkListCachedResult(list, m.runtime(rec))
	if err != nil || cached == nil {
		return nil, nil
	}
	converted, err := types.GetResult(cached)
	if err != nil {
		return nil, nil
	}
	return networkOf(rec, converted), nil
}

// networkOf reads the addresses of the namespace's interface.
func networkOf(rec *record, result *types.Result) *Network {
	n := &Network{Netns: rec.Netns, Interface: ifName, Servers: result.DNS.Nameservers, Searches: result.DNS.Search, Options: result.DNS.Options}
	for _, ip := range result.IPs {
		if i := ip.Interface; i != nil && *i >= 0 && *i < len(result.Interfaces) {
			if result.Interfaces[*i].Sandbox == "" {
				continue // of the host's end
			}
			n.Interface = result.Interfaces[*i].Name
		}
		switch {
		case ip.Address.IP.To4() != nil && n.Address == "":
			n.Address = ip.Address.IP.String()
		case ip.Address.IP.To4() == nil && n.AddressIPv6 == "":
			n.AddressIPv6 = ip.Address.IP.String()
		}
	}
	return n
}

// Teardown removes the network of an allocation; an unknown one is none.
func (m *Manager) Teardown(ctx context.Context, allocID string) error {
	rec, err := m.read(allocID)
	if rec == nil || err != nil {
		return err
	}
	if rec.List != nil {
		if err := m.disconnect(ctx, rec); err != nil {
			return err
		}
	}
	if rec.Own {
		if err := removeNetns(rec.Netns); err != nil {
			return fmt.Errorf("cannot remove the network namespace %s: %w", rec.Netns, err)
		}
	}
	return os.Remove(m.path(allocID))
}

func (m *Manager) disconnect(ctx context.Context, rec *record) error {
	list, err := libcni.NetworkConfFromBytes(rec.List)
	if err != nil {
		return fmt.Errorf("cannot read the recorded network of allocation %s: %w", rec.AllocID, err)
	}
	release, err := m.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	rt := m.runtime(rec)
	gone := !isNetns(rec.Netns)
	if gone {
		rt.NetNS = "" // after a reboot, or removed by others: what is left is the host's part
	}
	if err := m.cni().DelNetworkList(ctx, list, rt); err != nil {
		return fmt.Errorf("cannot disconnect allocation %s from network %q: %w", rec.AllocID, list.Name, err)
	}
	if gone {
		return dropMasquerade(ctx, rec.AllocID)
	}
	return nil
}

// Sweep removes the networks of allocations that nobody knows any more.
func (m *Manager) Sweep(ctx context.Context, known func(allocID string) bool) error {
	entries, err := os.ReadDir(m.cfg.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), recordSuffix)
		if ok && !known(id) {
			errs = append(errs, m.Teardown(ctx, id))
		}
	}
	return errors.Join(errs...)
}

// slot bounds how many plugins run at once: they share locks of the host.
func (m *Manager) slot(ctx context.Context) (release func(), err error) {
	select {
	case m.slots <- struct{}{}:
		return func() { <-m.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *Manager) cni() *libcni.CNIConfig {
	return libcni.NewCNIConfigWithCacheDir(m.dirs, filepath.Join(m.cfg.StateDir, "cni"), nil)
}

func (m *Manager) runtime(rec *record) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{ContainerID: rec.AllocID, NetNS: rec.Netns, IfName: ifName, Args: rec.Args}
	if len(rec.Ports) > 0 {
		rt.CapabilityArgs = map[string]any{"portMappings": rec.Ports}
	}
	return rt
}

// Records are JSON files by allocation.
const recordSuffix = ".json"

func (m *Manager) path(allocID string) string {
	return filepath.Join(m.cfg.StateDir, allocID+recordSuffix)
}

func (m *Manager) write(rec *record) error {
	raw, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return m.replace(m.path(rec.AllocID), raw)
}

// replace writes a file of the state directory.
func (m *Manager) replace(path string, raw []byte) error {
	if err := os.MkdirAll(m.cfg.StateDir, 0o700); err != nil {
		return err
	}
	return wholefile.Write(path, raw, 0o600)
}

// read is nil without an error when there is no record. One that cannot be
// read is as good as none, but its namespace may be left.
func (m *Manager) read(allocID string) (*record, error) {
	if !plainName(allocID) {
		return nil, nil
	}
	raw, err := os.ReadFile(m.path(allocID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rec := &record{}
	if err := json.Unmarshal(raw, rec); err != nil || rec.AllocID != allocID {
		m.cfg.PluginLogger.Warn("the record of an allocation's network is damaged; its namespace is removed, rules of the host may be left", "alloc_id", allocID)
		rec = &record{AllocID: allocID, Own: true, Netns: filepath.Join(m.cfg.NetnsDir, allocID)}
	}
	if string(rec.List) == "null" {
		rec.List = nil
	}
	return rec, nil
}

func plainName(id string) bool {
	return id != "" && id != "." && id != ".." && !strings.ContainsAny(id, "/\x00")
}
