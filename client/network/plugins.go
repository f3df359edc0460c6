package network

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// A plugin is run to tell its version, some 15 processes a node. What they said
// is remembered, so that a restarted agent registers at once with all of it.

// versionTimeout bounds how long all plugins may take to tell their versions.
const versionTimeout = 3 * time.Second

// rememberedName is the file of what the plugins said, in the state directory.
const rememberedName = "plugin-versions"

// said is what a file of a plugin folder answered; Version is "" for one that
// is no plugin.
type said struct {
	Size     int64
	Modified int64 // nanoseconds since 1970
	Version  string
}

// program is a file that may be a plugin.
type program struct {
	path string
	said
}

// programs lists the executables in the plugin folders, in the order of their
// precedence.
func (m *Manager) programs() (out []program) {
	for _, dir := range m.dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				out = append(out, program{path, said{Size: info.Size(), Modified: info.ModTime().UnixNano()}})
			}
		}
	}
	return out
}

// remembered is what the plugins said when they were last asked, by path.
func (m *Manager) remembered() map[string]said {
	out := map[string]said{}
	raw, err := os.ReadFile(filepath.Join(m.cfg.StateDir, rememberedName))
	if err != nil || json.Unmarshal(raw, &out) != nil {
		return map[string]said{} // they are asked again
	}
	return out
}

// KnownPlugins are the versions of the plugins by name, as far as they are
// remembered. It is complete if no plugin is new or changed.
func (m *Manager) KnownPlugins() (versions map[string]string, complete bool) {
	versions, complete = map[string]string{}, true
	old := m.remembered()
	for _, p := range m.programs() {
		s, ok := old[p.path]
		if !ok || s.Size != p.Size || s.Modified != p.Modified {
			complete = false
			continue
		}
		addVersion(versions, p.path, s.Version)
	}
	return versions, complete
}

// addVersion adds a plugin unless an earlier folder holds one of its name.
func addVersion(versions map[string]string, path, version string) {
	name := filepath.Base(path)
	if _, earlier := versions[name]; !earlier && version != "" {
		versions[name] = version
	}
}

// Plugins are the programs in the plugin folders with their versions; those
// that do not tell are left out. All that are not remembered are asked.
func (m *Manager) Plugins(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	old, all := m.remembered(), m.programs()
	now := make(map[string]said, len(all))
	var mu sync.Mutex // guards now
	var group errgroup.Group
	group.SetLimit(parallel)
	for _, p := range all {
		if s, ok := old[p.path]; ok && s.Size == p.Size && s.Modified == p.Modified {
			mu.Lock()
			now[p.path] = s
			mu.Unlock()
			continue
		}
		group.Go(func() error {
			p.Version = pluginVersion(ctx, p.path)
			if p.Version == "" && ctx.Err() != nil {
				return nil // no answer yet
			}
			mu.Lock()
			defer mu.Unlock()
			now[p.path] = p.said
			return nil
		})
	}
	_ = group.Wait()
	if err := m.remember(now); err != nil {
		m.cfg.PluginLogger.Warn("cannot remember the versions of the CNI plugins: they are asked again at the next start", "error", err)
	}
	versions := map[string]string{}
	for _, p := range all {
		addVersion(versions, p.path, now[p.path].Version)
	}
	return versions
}

func (m *Manager) remember(now map[string]said) error {
	raw, err := json.Marshal(now)
	if err != nil {
		return err
	}
	return m.replace(filepath.Join(m.cfg.StateDir, rememberedName), raw)
}

// versionText is how a plugin names its version when it is asked nothing.
var versionText = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)^CNI .* (?:plugin )?v?(\d+\.\d+\.\d\S*|version unknown)`)
})

// pluginVersion asks one plugin. A build that does not know its version counts
// as the first that the contract accepts.
func pluginVersion(ctx context.Context, path string) string {
	text, _ := exec.CommandContext(ctx, path).CombinedOutput() // some say it with an error
	found := versionText().FindSubmatch(text)
	switch {
	case found == nil:
		return ""
	case string(found[1]) == "version unknown":
		return "1.0.0"
	}
	return string(found[1])
}
