package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/command/agent/config"
	"github.com/nomadlite/nomadlite/drivers/docker"
	"github.com/nomadlite/nomadlite/drivers/exec"
	"github.com/nomadlite/nomadlite/drivers/java"
	"github.com/nomadlite/nomadlite/drivers/mock"
	"github.com/nomadlite/nomadlite/drivers/qemu"
	"github.com/nomadlite/nomadlite/drivers/rawexec"
	"github.com/nomadlite/nomadlite/drivers/sandbox"
	"github.com/nomadlite/nomadlite/plugins/base"
)

// builtIn are the drivers of this build. raw_exec always runs (and says when
// it is disabled), docker where the engine's socket is, exec where the agent is
// root, either where a plugin block asks for it; the mock driver runs where a
// plugin block asks for it.
// Each makes its driver so that a configuration can be checked without a process.
var builtIn = map[string]func() base.Plugin{
	rawexec.Name: func() base.Plugin { return rawexec.New(nil, hclog.NewNullLogger()) },
	mock.Name:    func() base.Plugin { return mock.New(hclog.NewNullLogger(), nil) },
	docker.Name:  func() base.Plugin { return docker.New("", "", hclog.NewNullLogger()) },
	exec.Name:    func() base.Plugin { return sandbox.New(sandbox.Kind{Name: exec.Name}, nil, hclog.NewNullLogger()) },
	java.Name:    func() base.Plugin { return sandbox.New(sandbox.Kind{Name: java.Name}, nil, hclog.NewNullLogger()) },
	qemu.Name:    func() base.Plugin { return qemu.New(nil, hclog.NewNullLogger()) },
}

// needs are what drivers need of the node where nobody configured them.
var needs = map[string]func() bool{
	"docker": hasEngine, "exec": isRoot,
	"java": func() bool { return isRoot() && java.Found() },
	"qemu": qemu.Found,
}

// late are the drivers that few jobs need.
var late = map[string]bool{"java": true, "qemu": true}

func isRoot() bool { return os.Geteuid() == 0 }

// engineSocket is where a Docker engine listens unless it is told otherwise.
const engineSocket = "/var/run/docker.sock"

// hasEngine reports whether a Docker engine may be reached as its own tools
// would.
func hasEngine() bool { return os.Getenv("DOCKER_HOST") != "" || listens(engineSocket) }

// listens reports whether somebody takes connections at a socket: an engine
// that ended may have left its file behind.
func listens(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded) // somebody is too busy to
	}
	conn.Close()
	return true
}

// driverAllowed reports whether the options of the client let a driver run.
// Facts: reference driver-plugin.md 1, "Driver allow/deny".
func driverAllowed(options map[string]string, name string) bool {
	either := func(key, old string) []string {
		text := options[key]
		if text == "" {
			text = options[old]
		}
		return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
	}
	allowed, denied := either("driver.allowlist", "driver.whitelist"), either("driver.denylist", "driver.blacklist")
	return (len(allowed) == 0 || slices.Contains(allowed, name)) && !slices.Contains(denied, name)
}

// clientOptions are the options of a client that configure a driver which has
// no plugin block: the path of the attribute in such a block, and its type.
// Facts: reference driver-plugin.md 10 and 10.6.
var clientOptions = map[string][]struct {
	option, attribute string
	typ               byte // 's' text, 'b' true or false, 'l' a list with commas
}{
	"raw_exec": {{"driver.raw_exec.enable", "enabled", 'b'}},
	"docker": {
		{"docker.endpoint", "endpoint", 's'}, {"docker.auth.config", "auth.config", 's'}, {"docker.auth.helper", "auth.helper", 's'},
		{"docker.tls.cert", "tls.cert", 's'}, {"docker.tls.key", "tls.key", 's'}, {"docker.tls.ca", "tls.ca", 's'},
		{"docker.cleanup.image", "gc.image", 'b'}, {"docker.cleanup.image.delay", "gc.image_delay", 's'}, {"docker.cleanup.container", "gc.container", 'b'},
		{"docker.volumes.enabled", "volumes.enabled", 'b'}, {"docker.volumes.selinuxlabel", "volumes.selinuxlabel", 's'},
		{"docker.caps.allowlist", "allow_caps", 'l'}, {"docker.privileged.enabled", "allow_privileged", 'b'}, {"docker.nvidia_runtime", "nvidia_runtime", 's'},
	},
}

// optionsOf is the configuration that the options of the client give a driver;
// nil when they say nothing of it.
func optionsOf(name string, options map[string]string) map[string]any {
	var out map[string]any
	for _, o := range clientOptions[name] {
		text, ok := options[o.option]
		if !ok {
			continue
		}
		if out == nil {
			out = map[string]any{}
		}
		var value any = text
		switch o.typ {
		case 'b':
			value = text == "1" || strings.EqualFold(text, "true")
		case 'l':
			list := []any{}
			for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
				list = append(list, item)
			}
			value = list
		}
		block, attribute, nested := strings.Cut(o.attribute, ".")
		if !nested {
			out[block] = value
			continue
		}
		inner, _ := out[block].([]any)
		if inner == nil {
			inner = []any{map[string]any{}}
			out[block] = inner
		}
		inner[0].(map[string]any)[attribute] = value
	}
	return out
}

// checkPlugins checks what is said of our own drivers; all problems are told at
// once. What is said of a plugin of plugin_dir, that plugin checks when it runs.
func checkPlugins(plugins map[string]config.Plugin) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(plugins)) {
		if p := plugins[name]; builtIn[name] != nil && p.Config != nil {
			errs = append(errs, driver.CheckConfig(context.Background(), name, builtIn[name](), p.Config))
		}
	}
	return errors.Join(errs...)
}

// driverSpecs lists the driver plugins to run: our own, and those of
// plugin_dir that the configuration names.
func driverSpecs(cfg *config.Config, binary string, log hclog.Logger) ([]driver.Spec, error) {
	plugins := map[string]config.Plugin{"raw_exec": {Config: optionsOf("raw_exec", cfg.Client.Options)}}
	for name := range needs {
		plugins[name] = config.Plugin{Config: optionsOf(name, cfg.Client.Options)}
	}
	var external []string
	for name, p := range cfg.Plugins {
		plugins[name] = p
		if builtIn[name] == nil {
			external = append(external, name)
		}
	}
	if err := checkPlugins(plugins); err != nil {
		return nil, err
	}
	found, err := driver.FindExternal(cfg.PluginDir, external, log.Named("plugin_loader"))
	if err != nil {
		return nil, err
	}
	var out []driver.Spec
	for name, p := range plugins {
		argv := []string{binary, "plugin", name}
		if builtIn[name] == nil {
			path, ok := found[name]
			if !ok {
				return nil, fmt.Errorf("plugin %q is configured, but this build has no such driver and plugin_dir %q holds no executable of that name", name, cfg.PluginDir)
			}
			argv = append([]string{path}, p.Args...)
		}
		if builtIn[name] != nil && !driverAllowed(cfg.Client.Options, name) {
			continue
		}
		spec := driver.Spec{Name: name, External: builtIn[name] == nil, Argv: argv, Config: p.Config}
		if _, configured := cfg.Plugins[name]; !configured && (name != "docker" || p.Config["endpoint"] == nil) {
			spec.When, spec.Late = needs[name], late[name]
		}
		out = append(out, spec)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}
