// Package volume makes and removes the dynamic host volumes of a node: folders
// by the built-in plugin mkdir, anything else by programs in the plugin folder.
// It is told what the servers want and converges to it; what it made it writes
// down, so that no volume is made twice or forgotten.
package volume

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/structs"
	"github.com/nomadlite/nomadlite/wholefile"
)

// Limits of calls to plugins.
const (
	fingerprintTimeout = 5 * time.Second
	callTimeout        = time.Minute
	maxOutput          = 64 << 10
	// mkdirVersion is that of the contract's own built-in plugin.
	mkdirVersion = "0.0.1"
)

// Config says where things are.
type Config struct {
	StateFile string
	Dir       string // of the volumes
	PluginDir string // of plugins, may be missing
	NodeID    string
	NodePool  string
	Logger    hclog.Logger
}

// Manager makes and removes volumes. Its methods may be called at the same
// time; Sync runs once at a time.
type Manager struct {
	cfg  Config
	sync sync.Mutex // held by Sync

	mu   sync.Mutex // guards have
	have map[string]*kept
}

// kept is a volume that this node has.
type kept struct {
	ID, Name, Namespace, PluginID, Path string
	Parameters                          map[string]string
	Foreign                             bool // registered as it stood: never removed
	ReadOnly                            bool
}

// New reads what an earlier agent made. A damaged record is put aside: the
// volumes that the servers know are found again by their paths.
func New(cfg Config) (*Manager, error) {
	m := &Manager{cfg: cfg, have: map[string]*kept{}}
	raw, err := os.ReadFile(cfg.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of host volumes: %w", err)
	}
	if err := json.Unmarshal(raw, &m.have); err != nil {
		aside := fmt.Sprintf("%s.bad-%d", cfg.StateFile, time.Now().Unix())
		cfg.Logger.Warn("the record of host volumes is damaged and was put aside", "file", aside, "error", err)
		m.have = map[string]*kept{}
		return m, os.Rename(cfg.StateFile, aside)
	}
	return m, nil
}

// Volumes are the volumes that tasks may mount, by name.
func (m *Manager) Volumes() map[string]*structs.HostVolumeInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]*structs.HostVolumeInfo{}
	for _, k := range m.have {
		out[k.Name] = &structs.HostVolumeInfo{Path: k.Path, ID: k.ID, ReadOnly: k.ReadOnly}
	}
	return out
}

// Namespace is the namespace of a volume, "" for an unknown one.
func (m *Manager) Namespace(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.have[id]; k != nil {
		return k.Namespace
	}
	return ""
}

// Sync makes what is wanted and missing, and removes what is not wanted any
// more. changed says that Volumes is not what it was; the error joins what did
// not work, for another try.
func (m *Manager) Sync(ctx context.Context, want []*structs.HostVolume) (changed bool, err error) {
	m.sync.Lock()
	defer m.sync.Unlock()
	m.mu.Lock()
	next := maps.Clone(m.have)
	m.mu.Unlock()
	var errs []error
	wanted := map[string]bool{}
	for _, v := range want {
		wanted[v.ID] = true
		if next[v.ID] != nil {
			continue
		}
		k, err := m.create(ctx, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot make host volume %q (%s): %w", v.Name, v.ID, err))
			continue
		}
		next[v.ID], changed = k, true
	}
	for id, k := range m.have {
		if wanted[id] {
			continue
		}
		if err := m.remove(ctx, k); err != nil {
			errs = append(errs, fmt.Errorf("cannot remove host volume %q (%s): %w", k.Name, id, err))
			continue
		}
		delete(next, id)
		changed = true
	}
	if changed {
		if err := m.write(next); err != nil {
			return false, errors.Join(append(errs, err)...)
		}
		m.mu.Lock()
		m.have = next
		m.mu.Unlock()
	}
	return changed, errors.Join(errs...)
}

func (m *Manager) write(have map[string]*kept) error {
	raw, err := json.MarshalIndent(have, "", "  ")
	if err != nil {
		return err
	}
	return wholefile.Write(m.cfg.StateFile, raw, 0o600)
}

// create makes a volume, or takes one that was registered.
func (m *Manager) create(ctx context.Context, v *structs.HostVolume) (*kept, error) {
	if strings.ContainsAny(v.ID, "/\x00") || v.ID == "" || v.ID == "." || v.ID == ".." {
		return nil, fmt.Errorf("its id %q is no file name", v.ID)
	}
	k := &kept{ID: v.ID, Name: v.Name, Namespace: v.Namespace, PluginID: v.PluginID, Parameters: v.Parameters, ReadOnly: readOnly(v)}
	own := filepath.Join(m.cfg.Dir, v.ID)
	if v.HostPath != "" && v.HostPath != own {
		info, err := os.Stat(v.HostPath)
		if err != nil {
			return nil, err
		}
		if !info.IsDir() {
			return nil, fmt.Errorf("host_path %s is not a folder", v.HostPath)
		}
		k.Path, k.Foreign = v.HostPath, v.State == structs.HostVolumeReady
		return k, nil
	}
	if v.PluginID == structs.HostVolumeMkdir {
		k.Path = own
		return k, makeDir(own, v.Parameters)
	}
	var answer struct {
		Path  string `json:"path"`
		Bytes int64  `json:"bytes"`
	}
	out, err := m.call(ctx, "create", k,
		"DHV_CAPACITY_MIN_BYTES="+strconv.FormatInt(v.RequestedCapacityMinBytes, 10),
		"DHV_CAPACITY_MAX_BYTES="+strconv.FormatInt(v.RequestedCapacityMaxBytes, 10))
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(out, &answer); err != nil || !filepath.IsAbs(answer.Path) {
		return nil, fmt.Errorf("plugin %q answered %q: JSON with an absolute path is expected", v.PluginID, out)
	}
	k.Path = answer.Path
	return k, nil
}

// readOnly reports whether every way in which the volume may be used reads.
func readOnly(v *structs.HostVolume) bool {
	for _, c := range v.RequestedCapabilities {
		if c.AccessMode != "single-node-reader-only" {
			return false
		}
	}
	return len(v.RequestedCapabilities) > 0
}

// makeDir is the built-in plugin. Parameters: mode (octal, 0700 by default),
// uid and gid.
func makeDir(path string, parameters map[string]string) error {
	mode, uid, gid := uint64(0o700), int64(-1), int64(-1)
	var err error
	if text := parameters["mode"]; text != "" {
		if mode, err = strconv.ParseUint(text, 8, 32); err != nil || mode > 0o777 {
			return fmt.Errorf("parameter mode %q is no mode like 0755", text)
		}
	}
	for name, id := range map[string]*int64{"uid": &uid, "gid": &gid} {
		if text := parameters[name]; text != "" {
			if *id, err = strconv.ParseInt(text, 10, 32); err != nil || *id < 0 {
				return fmt.Errorf("parameter %s %q is no id", name, text)
			}
		}
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
		return err
	}
	if err := os.Mkdir(path, fs.FileMode(mode)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(path, fs.FileMode(mode)); err != nil {
		return err
	}
	return os.Chown(path, int(uid), int(gid))
}

func (m *Manager) remove(ctx context.Context, k *kept) error {
	switch {
	case k.Foreign:
		return nil
	case k.PluginID == structs.HostVolumeMkdir:
		if k.Path != filepath.Join(m.cfg.Dir, k.ID) {
			return fmt.Errorf("its path %s is not the one that was made", k.Path)
		}
		return os.RemoveAll(k.Path)
	}
	_, err := m.call(ctx, "delete", k, "DHV_CREATED_PATH="+k.Path)
	return err
}

// call runs a plugin. It has no environment but what the contract gives it.
func (m *Manager) call(ctx context.Context, operation string, k *kept, env ...string) ([]byte, error) {
	path, err := m.plugin(k.PluginID)
	if err != nil {
		return nil, err
	}
	parameters, err := json.Marshal(k.Parameters)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return run(ctx, path, operation, append(env,
		"DHV_OPERATION="+operation, "DHV_VOLUMES_DIR="+m.cfg.Dir, "DHV_PLUGIN_DIR="+m.cfg.PluginDir, "DHV_NAMESPACE="+k.Namespace,
		"DHV_VOLUME_NAME="+k.Name, "DHV_VOLUME_ID="+k.ID, "DHV_NODE_ID="+m.cfg.NodeID, "DHV_NODE_POOL="+m.cfg.NodePool, "DHV_PARAMETERS="+string(parameters)))
}

func (m *Manager) plugin(name string) (string, error) {
	path := filepath.Join(m.cfg.PluginDir, name)
	info, err := os.Stat(path)
	if err != nil || filepath.Base(path) != name || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("there is no host volume plugin %q in %s", name, m.cfg.PluginDir)
	}
	return path, nil
}

func run(ctx context.Context, path, operation string, env []string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, path, operation)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	cmd.WaitDelay = time.Second // for children that hold the output open
	var stdout, stderr limited
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("plugin %s %s: %w: %s", filepath.Base(path), operation, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// limited keeps the first bytes that are written to it.
type limited struct{ bytes.Buffer }

// Write implements io.Writer.
func (l *limited) Write(p []byte) (int, error) {
	if room := maxOutput - l.Len(); room > 0 {
		l.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// Plugins are the versions of the plugins by name.
func (m *Manager) Plugins(ctx context.Context) map[string]string {
	out := map[string]string{structs.HostVolumeMkdir: mkdirVersion}
	entries, err := os.ReadDir(m.cfg.PluginDir)
	if err != nil {
		return out
	}
	for _, e := range entries {
		path, err := m.plugin(e.Name())
		if err != nil {
			continue
		}
		var answer struct {
			Version string `json:"version"`
		}
		callCtx, cancel := context.WithTimeout(ctx, fingerprintTimeout)
		raw, err := run(callCtx, path, "fingerprint", []string{"DHV_OPERATION=fingerprint"})
		cancel()
		if err == nil {
			err = json.Unmarshal(raw, &answer)
		}
		if err != nil || answer.Version == "" {
			m.cfg.Logger.Warn("a host volume plugin does not tell its version", "plugin", path, "error", err)
			continue
		}
		out[e.Name()] = answer.Version
	}
	return out
}
