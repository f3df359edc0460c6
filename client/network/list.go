package network

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containernetworking/cni/libcni"
)

// bridgePlugins are the programs that mode bridge needs.
var bridgePlugins = []string{"loopback", "bridge", "host-local", "firewall", "portmap"}

// maxConfig bounds a file of the operator's.
const maxConfig = 1 << 20

// list is what CNI is to do for a mode; nil for an empty namespace.
func (m *Manager) list(mode string) (*libcni.NetworkConfigList, error) {
	switch {
	case mode == ModeNone:
		return nil, nil
	case mode == ModeBridge:
		if missing := m.missing(bridgePlugins); len(missing) > 0 {
			return nil, fmt.Errorf("network mode bridge needs the CNI plugins %s: none of %s holds them; install containernetworking-plugins or set cni_path",
				strings.Join(missing, ", "), m.cfg.Path)
		}
		return m.bridge()
	case strings.HasPrefix(mode, cniPrefix):
		name := strings.TrimPrefix(mode, cniPrefix)
		list, ok := m.configured()[name]
		if !ok {
			return nil, fmt.Errorf("there is no CNI network %q: %s holds no such configuration", name, m.cfg.ConfDir)
		}
		return list, nil
	}
	return nil, fmt.Errorf("network mode %q is not one of host, bridge, none and cni/<name>", mode)
}

// missing lists those of the plugins that no folder holds.
func (m *Manager) missing(plugins []string) (out []string) {
	for _, p := range plugins {
		if !slices.ContainsFunc(m.dirs, func(dir string) bool {
			info, err := os.Stat(filepath.Join(dir, p))
			return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
		}) {
			out = append(out, p)
		}
	}
	return out
}

// bridge is the list of mode bridge: an address of the subnet behind the
// node's bridge, masqueraded, let through the host's firewall, with mapped
// ports.
func (m *Manager) bridge() (*libcni.NetworkConfigList, error) {
	ranges := [][]map[string]string{{{"subnet": m.cfg.Subnet}}}
	routes := []map[string]string{{"dst": "0.0.0.0/0"}}
	if m.cfg.Subnet6 != "" {
		ranges = append(ranges, []map[string]string{{"subnet": m.cfg.Subnet6}})
		routes = append(routes, map[string]string{"dst": "::/0"})
	}
	raw, err := json.Marshal(map[string]any{
		"cniVersion": "0.4.0", "name": m.cfg.Bridge,
		"plugins": []map[string]any{
			{"type": "loopback"},
			{"type": "bridge", "bridge": m.cfg.Bridge, "ipMasq": true, "isGateway": true, "forceAddress": true, "hairpinMode": m.cfg.Hairpin,
				"ipam": map[string]any{"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": filepath.Join(m.cfg.StateDir, "ipam")}},
			{"type": "firewall", "backend": "iptables", "iptablesAdminChainName": "NOMAD-ADMIN"},
			{"type": "portmap", "capabilities": map[string]bool{"portMappings": true}, "snat": true},
		},
	})
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(raw)
}

// configured are the operator's networks by name; files that cannot be read
// are left out, with a warning.
func (m *Manager) configured() map[string]*libcni.NetworkConfigList {
	out := map[string]*libcni.NetworkConfigList{}
	entries, err := os.ReadDir(m.cfg.ConfDir)
	if err != nil {
		return out
	}
	for _, e := range entries { // by name: of two networks of one name the first holds
		path := filepath.Join(m.cfg.ConfDir, e.Name())
		list, err := readConf(path)
		if err != nil {
			m.cfg.PluginLogger.Warn("cannot read a CNI network", "file", path, "error", err)
			continue
		}
		if list != nil && out[list.Name] == nil {
			out[list.Name] = list
		}
	}
	return out
}

// readConf reads a .conflist, or a .conf or .json of one plugin; nil for any
// other file.
func readConf(path string) (*libcni.NetworkConfigList, error) {
	ext := filepath.Ext(path)
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || !slices.Contains([]string{".conflist", ".conf", ".json"}, ext) {
		return nil, err
	}
	if info.Size() > maxConfig {
		return nil, fmt.Errorf("it has %d bytes: at most %d are read", info.Size(), maxConfig)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if ext != ".conflist" {
		if raw, err = listOfOne(raw); err != nil {
			return nil, err
		}
	}
	list, err := libcni.NetworkConfFromBytes(raw)
	if err == nil && list.Name == "" {
		err = fmt.Errorf("it has no name")
	}
	if err == nil && len(list.Plugins) == 0 {
		err = fmt.Errorf("it has no plugins")
	}
	return list, err
}

// listOfOne is the .conflist of a network with one plugin.
func listOfOne(plugin []byte) ([]byte, error) {
	one, err := libcni.NetworkPluginConfFromBytes(plugin)
	if err != nil {
		return nil, err
	}
	return json.Marshal(map[string]any{
		"cniVersion": one.Network.CNIVersion, "name": one.Network.Name, "plugins": []json.RawMessage{plugin},
	})
}

// Bridge reports whether mode bridge can work here, and the bridge's name.
func (m *Manager) Bridge() (name string, ok bool) {
	return m.cfg.Bridge, os.Geteuid() == 0 && len(m.missing(bridgePlugins)) == 0
}

// Networks lists the operator's networks that can work here.
func (m *Manager) Networks() []string {
	if os.Geteuid() != 0 {
		return nil
	}
	var out []string
	for name, list := range m.configured() {
		var types []string
		for _, p := range list.Plugins {
			types = append(types, p.Network.Type)
		}
		if missing := m.missing(types); len(missing) > 0 {
			m.cfg.PluginLogger.Warn("a CNI network needs plugins that are not there", "network", name, "missing", missing, "cni_path", m.cfg.Path)
			continue
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Hairpin is the setting of the bridge.
func (m *Manager) Hairpin() bool { return m.cfg.Hairpin }
