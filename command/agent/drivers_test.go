package agent

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/command/agent/config"
)

// specsOf are the drivers of a node with options and plugin blocks, by name.
func specsOf(t *testing.T, options map[string]string, plugins map[string]config.Plugin) map[string]driver.Spec {
	t.Helper()
	cfg := config.Default()
	cfg.Client.Options, cfg.Plugins = options, plugins
	list, err := driverSpecs(cfg, "/bin/nomadlite", hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]driver.Spec{}
	for _, s := range list {
		out[s.Name] = s
	}
	return out
}

// TestDriverLists: the options of the client say which drivers run, in the new
// spelling or the old.
func TestDriverLists(t *testing.T) {
	for _, tt := range []struct {
		options map[string]string
		want    string
	}{
		{nil, "docker exec java qemu raw_exec"},
		{map[string]string{"driver.allowlist": "docker, raw_exec"}, "docker raw_exec"},
		{map[string]string{"driver.whitelist": "docker"}, "docker"},
		{map[string]string{"driver.denylist": "docker,qemu"}, "exec java raw_exec"},
		{map[string]string{"driver.blacklist": "raw_exec", "driver.allowlist": "raw_exec,exec"}, "exec"},
	} {
		var got []string
		for _, name := range []string{"docker", "exec", "java", "qemu", "raw_exec"} {
			if _, ok := specsOf(t, tt.options, nil)[name]; ok {
				got = append(got, name)
			}
		}
		if text := strings.Join(got, " "); text != tt.want {
			t.Errorf("%v: %s, want %s", tt.options, text, tt.want)
		}
	}
	if driverAllowed(map[string]string{"driver.denylist": "acme"}, "acme") || !driverAllowed(map[string]string{"driver.denylist": "acme"}, "other") {
		t.Error("the list does not hold for drivers of plugin_dir")
	}
}

// TestClientOptions: what the options of the client say of a driver is its
// configuration, unless a plugin block is.
func TestClientOptions(t *testing.T) {
	options := map[string]string{
		"driver.raw_exec.enable": "1", "docker.endpoint": "unix:///x", "docker.auth.config": "/c", "docker.auth.helper": "h",
		"docker.tls.cert": "/cert", "docker.tls.key": "/key", "docker.tls.ca": "/ca", "docker.cleanup.image": "false",
		"docker.cleanup.image.delay": "5m", "docker.cleanup.container": "true", "docker.volumes.enabled": "true", "docker.volumes.selinuxlabel": "z",
		"docker.caps.allowlist": "chown,kill", "docker.privileged.enabled": "true", "docker.nvidia_runtime": "gpu",
	}
	if diff := cmp.Diff(map[string]any{"enabled": true}, optionsOf("raw_exec", options)); diff != "" {
		t.Error(diff)
	}
	block := func(m map[string]any) []any { return []any{m} }
	want := map[string]any{
		"endpoint": "unix:///x", "auth": block(map[string]any{"config": "/c", "helper": "h"}),
		"tls": block(map[string]any{"cert": "/cert", "key": "/key", "ca": "/ca"}),
		"gc":  block(map[string]any{"image": false, "image_delay": "5m", "container": true}), "allow_privileged": true, "nvidia_runtime": "gpu",
		"volumes": block(map[string]any{"enabled": true, "selinuxlabel": "z"}), "allow_caps": []any{"chown", "kill"},
	}
	if diff := cmp.Diff(want, optionsOf("docker", options)); diff != "" {
		t.Error(diff)
	}
	for name := range options {
		if strings.HasPrefix(name, "docker.tls") || name == "docker.auth.config" { // files that do not exist
			delete(options, name)
		}
	}
	if specsOf(t, options, nil)["docker"].When != nil {
		t.Error("an engine that is named is waited for at the usual socket")
	}
	own := config.Plugin{Config: map[string]any{"infra_image": "pause:1"}}
	if diff := cmp.Diff(own.Config, specsOf(t, options, map[string]config.Plugin{"docker": own})["docker"].Config); diff != "" {
		t.Errorf("with a plugin block: %s", diff)
	}
}

// TestListens: a socket that an engine left behind is no engine.
func TestListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if listens(path) {
		t.Error("nothing is there")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if !listens(path) {
		t.Error("somebody listens")
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if listens(path) {
		t.Error("the file alone is left")
	}
}

// TestPluginBlocksAreChecked: what a plugin block of our own drivers says wrong
// keeps the agent from starting, all of it at once.
func TestPluginBlocksAreChecked(t *testing.T) {
	cfg := config.Default()
	wrong := map[string]struct {
		config map[string]any
		want   string
	}{
		"raw_exec":    {map[string]any{"enabled": "perhaps"}, `cannot configure plugin "raw_exec"`},
		"docker":      {map[string]any{"gc": []any{map[string]any{"image_delay": "soon"}}}, `cannot use gc.image_delay "soon"`},
		"exec":        {map[string]any{"default_pid_mode": "shared"}, `cannot configure plugin "exec": default_pid_mode`},
		"java":        {map[string]any{"allow_caps": []any{"fly"}}, `"fly" is no capability`},
		"qemu":        {map[string]any{"image_paths": []any{"images"}}, `"images" is no absolute path`},
		"mock_driver": {map[string]any{"bogus": 1}, `cannot configure plugin "mock_driver"`},
	}
	cfg.Plugins = map[string]config.Plugin{}
	for name, w := range wrong {
		cfg.Plugins[name] = config.Plugin{Config: w.config}
	}
	_, err := driverSpecs(cfg, "/bin/nomadlite", hclog.NewNullLogger())
	if err == nil {
		t.Fatal("all of it was taken")
	}
	for name, w := range wrong {
		if !strings.Contains(err.Error(), w.want) {
			t.Errorf("%s: want %q in\n%v", name, w.want, err)
		}
	}
	for name := range wrong {
		cfg.Plugins[name] = config.Plugin{Config: map[string]any{}}
	}
	if _, err := driverSpecs(cfg, "/bin/nomadlite", hclog.NewNullLogger()); err != nil {
		t.Errorf("empty blocks: %v", err)
	}
}
