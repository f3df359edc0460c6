package docker

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/go-connections/nat"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// decode turns a config block into what the plugin reads.
func decode(t *testing.T, spec *hclspec.Spec, config map[string]any, into any) {
	t.Helper()
	schema, err := hclspec.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := base.DecodeMsgpack(raw, into); err != nil {
		t.Fatal(err)
	}
}

func site(t *testing.T, config map[string]any) *pluginConfig {
	t.Helper()
	c := &pluginConfig{}
	decode(t, pluginSchema, config, c)
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	return c
}

// newTaskConfig is a task with a directory of its own.
func newTaskConfig(t *testing.T) *driver.TaskConfig {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"alloc/logs", "web/local", "web/secrets", "web/private", "db/secrets"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return &driver.TaskConfig{
		ID: "a1/web/1", AllocID: "a1", Name: "web", JobName: "shop", NodeID: "n1", AllocDir: dir, Env: map[string]string{"B": "2", "A": "1"},
		Resources: &driver.Resources{CPUShares: 500, MemoryMB: 64, Linux: &driver.LinuxResources{PercentTicks: 0.25}},
	}
}

// build makes the container of a task config; "image" is filled in.
func build(t *testing.T, s *pluginConfig, cfg *driver.TaskConfig, config map[string]any) (*created, error) {
	t.Helper()
	config["image"] = "img:1"
	var tc taskConfig
	decode(t, taskSchema, config, &tc)
	return (&builder{cfg: cfg, tc: &tc, site: s, image: "sha256:1", api: "1.41", cores: 4}).build()
}

type object = map[string]any
type list = []any

// TestRefused_N11_N13_N17_N49_X01: what would reach the host, or other
// containers, is refused unless the site says otherwise.
func TestRefused_N11_N13_N17_N49_X01(t *testing.T) {
	for _, tt := range []struct {
		row    string
		config object
		want   string
		allow  object // a plugin config that allows it; nil: none does
	}{
		{"N11", object{"volumes": list{"/etc:/x"}}, "volumes are not enabled", object{"volumes": list{object{"enabled": true}}}},
		{"N11", object{"volumes": list{"../../../etc:/x"}}, "volumes are not enabled", nil},
		{"N11", object{"mount": list{object{"type": "bind", "source": "/etc", "target": "/x"}}}, "volumes are not enabled", object{"volumes": list{object{"enabled": true}}}},
		{"N11", object{"mount": list{object{"type": "volume", "source": "v", "target": "/x", "volume_options": list{object{"driver_config": list{object{"options": list{object{"device": "/etc", "o": "bind", "type": "none"}}}}}}}}}, "volumes are not enabled", object{"volumes": list{object{"enabled": true}}}},
		{"N11", object{"mounts": list{object{"source": "../..", "target": "/x"}}}, "volumes are not enabled", nil},
		{"N11", object{"volume_driver": "nfs"}, "volumes are not enabled", object{"volumes": list{object{"enabled": true}}}},
		{"N13", object{"cap_add": list{"NET_RAW"}}, "does not allow the following capabilities: net_raw", object{"allow_caps": list{"net_raw"}}},
		{"N13", object{"cap_add": list{"all"}}, "does not allow the following capabilities: all", object{"allow_caps": list{"all"}}},
		{"N13", object{"cap_add": list{"root"}}, `"root" is no capability`, nil},
		{"N17", object{"privileged": true}, "privileged mode is disabled", object{"allow_privileged": true}},
		{"N17", object{"devices": list{object{"host_path": "/dev/mem"}}}, "allow_devices", object{"allow_devices": list{"/dev/m*"}}},
		{"N17", object{"devices": list{object{"host_path": "/dev/dri/../mem"}}}, "allow_devices", nil},
		{"N17", object{"sysctl": list{object{"kernel.core_pattern": "|/x"}}}, "is not allowed", nil},
		{"N17", object{"security_opt": list{"seccomp=unconfined"}}, "allow_security_opts", object{"allow_security_opts": list{"seccomp=*"}}},
		{"N17", object{"security_opt": list{"label=disable"}}, "allow_security_opts", object{"allow_privileged": true}},
		{"N17", object{"security_opt": list{"no-new-privileges=false"}}, "allow_security_opts", nil},
		{"N17", object{"runtime": "evil"}, "runtime \"evil\" is not allowed", object{"allow_runtimes": list{"evil"}}},
		{"N49", object{"pid_mode": "host"}, "pid_mode \"host\" is not allowed", object{"allowed_modes": list{object{"pid": list{"host"}}}}},
		{"N49", object{"pid_mode": "HOST"}, "is not allowed", nil},
		{"N49", object{"ipc_mode": "host"}, "is not allowed", object{"allowed_modes": list{object{"ipc": list{"h*"}}}}},
		{"N49", object{"ipc_mode": "container:other"}, "is not allowed", object{"allow_privileged": true}},
		{"N49", object{"ipc_mode": "shareable"}, "is not allowed", object{"allow_privileged": true}},
		{"N49", object{"uts_mode": "host"}, "is not allowed", object{"allow_privileged": true}},
		{"N49", object{"userns_mode": "host"}, "is not allowed", object{"allowed_modes": list{object{"userns": list{"host"}}}}},
		{"X01", object{"work_dir": "/proc/self/fd/7"}, "work_dir must not lead through /proc", nil},
		{"X01", object{"work_dir": "/x/../proc/self/fd/7"}, "work_dir must not lead through /proc", nil},
		{"X01", object{"work_dir": "//dev/fd/7"}, "work_dir must not lead through /proc", nil},
		{"X01", object{"work_dir": "relative"}, "must be an absolute path", nil},
		{"", object{"pids_limit": 100}, "", object{}},
		{"", object{"ulimit": list{object{"nofile": "9:8"}}}, "the soft limit is above", nil},
		{"", object{"cpu_cfs_period": 2000000}, "cpu_cfs_period", nil},
		{"", object{"isolation": "hyperv"}, "isolation", nil},
		{"", object{"ports": list{"nope"}}, `Port "nope" not found`, nil},
		{"", object{"memory_hard_limit": 10}, "above the hard limit", nil},
		{"", object{"logging": list{object{"type": "a", "driver": "b"}}}, "set type alone", nil},
		{"", object{"extra_hosts": list{"nocolon"}}, "name:address", nil},
		{"", object{"network_mode": "host", "network_aliases": list{"a"}}, "need a network of the task's own", nil},
	} {
		if tt.want != "" {
			_, err := build(t, site(t, object{}), newTaskConfig(t), tt.config)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%s: %v: %v, want %q", tt.row, tt.config, err, tt.want)
			}
		}
		if tt.allow != nil {
			if _, err := build(t, site(t, tt.allow), newTaskConfig(t), tt.config); err != nil {
				t.Errorf("%s: %v with %v: %v", tt.row, tt.config, tt.allow, err)
			}
		}
	}
}

// TestMountsStayInside_N50: links that a task left behind lead nowhere, and no
// task sees the secrets of another.
func TestMountsStayInside_N50(t *testing.T) {
	cfg := newTaskConfig(t)
	for link, to := range map[string]string{
		"web/local/etc": "/etc", "web/local/up": "../../..", "web/local/other": "../../db/secrets", "alloc/abs": filepath.Join(cfg.AllocDir, "db"),
	} {
		if err := os.Symlink(to, filepath.Join(cfg.AllocDir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s := site(t, object{})
	for _, source := range []string{"local/etc", "local/up", "local/other", "../alloc/abs/secrets", "../db/secrets", "private", "..", "../db", "local/etc/ssh"} {
		for _, config := range []object{
			{"volumes": list{source + ":/h"}}, {"mount": list{object{"type": "bind", "source": source, "target": "/h"}}},
		} {
			if c, err := build(t, s, cfg, config); err == nil {
				t.Errorf("%v is mounted: %v %v", config, c.host.Binds, c.host.Mounts)
			}
		}
	}
	for source, want := range map[string]string{"local": "web/local", "local/new/deep": "web/local/new/deep", "../alloc/data": "alloc/data", "secrets": "web/secrets"} {
		c, err := build(t, s, cfg, object{"volumes": list{source + ":/h:ro"}})
		if err != nil || !slices.Contains(c.host.Binds, filepath.Join(cfg.AllocDir, want)+":/h:ro") {
			t.Errorf("volume %s: %v, want %s", source, err, want)
		}
	}
}

// TestLogsAreReadOnly_N47: a task cannot swap the files of its log.
func TestLogsAreReadOnly_N47(t *testing.T) {
	c, err := build(t, site(t, object{}), newTaskConfig(t), object{})
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(c.host.Mounts, func(m mount.Mount) bool { return m.Target == "/alloc/logs" })
	if i < 0 || !c.host.Mounts[i].ReadOnly {
		t.Errorf("mounts %+v", c.host.Mounts)
	}
}

func TestDefaults(t *testing.T) {
	c, err := build(t, site(t, object{}), newTaskConfig(t), object{"command": "run", "args": list{"a", "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.name != "web-a1" || c.config.Labels[labelAlloc] != "a1" || c.config.Labels[labelNode] != "n1" {
		t.Errorf("name %s, labels %v", c.name, c.config.Labels)
	}
	if diff := cmp.Diff([]string{"run", "a", "b"}, []string(c.config.Cmd)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"A=1", "B=2"}, c.config.Env); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"NET_RAW"}, []string(c.host.CapDrop)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(container.LogConfig{Type: "json-file", Config: map[string]string{"max-file": "2", "max-size": "2m"}}, c.host.LogConfig); diff != "" {
		t.Error(diff)
	}
	h := c.host
	if h.Memory != 64<<20 || h.MemorySwap != 64<<20 || h.MemoryReservation != 0 || h.CPUShares != 500 || h.NetworkMode != "default" || h.CPUQuota != 0 {
		t.Errorf("limits %+v", h.Resources)
	}
}

func TestOptions(t *testing.T) {
	cfg := newTaskConfig(t)
	cfg.Resources.MemoryMaxMB, cfg.User = 128, "1000:1000"
	cfg.Resources.Ports = []*driver.PortMapping{{Label: "http", Value: 21000, To: 80, HostIP: "10.0.0.1"}}
	cfg.DNS = &driver.DNSConfig{Servers: []string{"1.1.1.1"}, Searches: []string{"a", "b"}}
	s := site(t, object{"allow_devices": list{"/dev/fuse"}, "pids_limit": 500, "extra_labels": list{"job_*"}, "allow_caps": list{"net_raw", "chown"}})
	c, err := build(t, s, cfg, object{
		"ports": list{"http"}, "cap_drop": list{"CAP_CHOWN"}, "cap_add": list{"net_raw"}, "cpu_hard_limit": true, "pids_limit": 10,
		"devices": list{object{"host_path": "/dev/fuse"}}, "ulimit": list{object{"nofile": "10:20"}}, "sysctl": list{object{"net.core.somaxconn": "9"}},
		"labels": list{object{"a": "1"}, object{"a": "2"}}, "init": true, "hostname": "h", "healthchecks": list{object{"disable": true}},
		"mount": list{object{"type": "tmpfs", "target": "/t", "tmpfs_options": list{object{"size": 1000, "mode": 511}}}}, "logging": list{object{"type": "none"}},
		"work_dir": "/w", "readonly_rootfs": true, "extra_hosts": list{"x:1.2.3.4"}, "tty": true, "shm_size": 1 << 20, "mac_address": "02:00:00:00:00:01",
	})
	if err != nil {
		t.Fatal(err)
	}
	h := c.host
	if h.Memory != 128<<20 || h.MemoryReservation != 64<<20 || h.CPUPeriod != 100000 || h.CPUQuota != 100000 || *h.PidsLimit != 10 {
		t.Errorf("limits %+v", h.Resources)
	}
	if diff := cmp.Diff([]string{"NET_RAW"}, []string(h.CapAdd)); diff != "" {
		t.Error(diff)
	}
	if !slices.Contains(h.CapDrop, "CHOWN") || slices.Contains(h.CapDrop, "NET_RAW") || !slices.Contains(h.CapDrop, "KILL") {
		t.Errorf("dropped %v", h.CapDrop)
	}
	for _, proto := range []string{"tcp", "udp"} {
		if b := h.PortBindings[nat.Port("80/"+proto)]; len(b) != 1 || b[0].HostPort != "21000" || b[0].HostIP != "10.0.0.1" {
			t.Errorf("%s: %v", proto, b)
		}
	}
	if c.config.Labels["a"] != "2" || c.config.Labels["com.hashicorp.nomad.job_name"] != "shop" || c.config.User != "1000:1000" || !c.config.Tty {
		t.Errorf("config %+v", c.config)
	}
	raw, err := os.ReadFile(filepath.Join(cfg.AllocDir, "web/resolv.conf"))
	if err != nil || string(raw) != "search a b\nnameserver 1.1.1.1\n" {
		t.Errorf("resolv.conf %q, %v", raw, err)
	}
	if h.Devices[0].PathInContainer != "/dev/fuse" || h.Devices[0].CgroupPermissions != "rwm" || h.Ulimits[0].Hard != 20 || *h.Init != true {
		t.Errorf("host %+v", h)
	}
}

func TestGroupNetwork(t *testing.T) {
	cfg := newTaskConfig(t)
	cfg.NetworkIsolation = &driver.NetworkIsolationSpec{
		Mode: driver.NetworkGroup, Labels: map[string]string{sandboxContainer: "p1"}, Hosts: &driver.HostsConfig{Hostname: "box", Address: "172.26.64.2"},
	}
	cfg.Resources.Ports = []*driver.PortMapping{{Label: "http", Value: 21000, To: 80}}
	c, err := build(t, site(t, object{}), cfg, object{"ports": list{"http"}, "hostname": "ignored", "extra_hosts": list{"x:1.2.3.4"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.host.NetworkMode != "container:p1" || len(c.host.PortBindings) != 0 || c.config.Hostname != "" {
		t.Errorf("host %+v", c.host)
	}
	raw, err := os.ReadFile(filepath.Join(cfg.AllocDir, "web/hosts"))
	if err != nil || !strings.Contains(string(raw), "172.26.64.2 box\n1.2.3.4 x\n") {
		t.Errorf("hosts %q, %v", raw, err)
	}
	cfg.NetworkIsolation.Labels = nil
	if _, err := build(t, site(t, object{}), cfg, object{}); err == nil {
		t.Error("joined a network that the engine did not make")
	}
}

func TestCPUShares(t *testing.T) {
	for _, tt := range []struct {
		mhz   int64
		share float64
		want  int64
	}{{0, 0, 2}, {1, 0.1, 2}, {1000, 0.5, 1000}, {262144, 0.5, 131072}, {600000, 1, 262144}} {
		if got := cpuShares(tt.mhz, tt.share); got != tt.want {
			t.Errorf("cpuShares(%d, %v) = %d, want %d", tt.mhz, tt.share, got, tt.want)
		}
	}
}

func TestPluginConfigRefused(t *testing.T) {
	for _, config := range []object{
		{"image_pull_timeout": "soon"}, {"pull_activity_timeout": "1s"}, {"allow_caps": list{"nope"}}, {"pids_limit": -1},
		{"gc": list{object{"image_delay": "-1s"}}}, {"gc": list{object{"dangling_containers": list{object{"creation_grace": "1s"}}}}},
		{"allowed_modes": list{object{"pid": list{"["}}}}, {"auth": list{object{"helper": "../../bin/sh"}}}, {"tls": list{object{"cert": "x"}}},
	} {
		c := &pluginConfig{}
		decode(t, pluginSchema, config, c)
		if err := c.complete(); err == nil {
			t.Errorf("%v is accepted", config)
		}
	}
}

func TestNormalize(t *testing.T) {
	for name, want := range map[string]struct {
		full   string
		latest bool
	}{
		"redis": {"redis:latest", true}, "redis:7": {"redis:7", false}, "r.example:5000/a/b": {"r.example:5000/a/b:latest", true},
		"redis@sha256:" + strings.Repeat("a", 64): {"redis@sha256:" + strings.Repeat("a", 64), false},
	} {
		full, latest, err := normalize(name)
		if err != nil || full != want.full || latest != want.latest {
			t.Errorf("normalize(%q) = %q %v %v", name, full, latest, err)
		}
	}
	if _, _, err := normalize("Not A Name"); err == nil {
		t.Error("a bad name is accepted")
	}
}

// TestImageStore_B52: images go when nobody has used them for the delay, not
// earlier, never when they were not ours or are pinned, and what was fetched
// is known after a restart.
func TestImageStore_B52(t *testing.T) {
	now := time.Unix(1000, 0)
	var removed []string
	dir := t.TempDir()
	open := func() *imageStore {
		s := newImageStore(dir, hclog.NewNullLogger(), func(_ context.Context, id string, _ []string) error {
			removed = append(removed, id)
			return nil
		})
		s.now = func() time.Time { return now }
		for _, f := range s.fetched {
			f.Idle = now
		}
		return s
	}
	conf := site(t, object{"gc": list{object{"image_delay": "1m", "image_pins": list{"base:*"}}}})
	full, never := func() bool { return true }, func() bool { return false }
	s := open()
	s.use("old", "t0", "old:1", false)
	s.use("a", "t1", "a:1", true)
	s.use("a", "t2", "a:1", false)
	s.use("p", "t3", "base:1", true)
	s.release("old", "t0")
	s.release("a", "t1")
	s.release("p", "t3")
	now = now.Add(time.Hour)
	if s.sweep(t.Context(), conf, full); removed != nil {
		t.Fatalf("removed %v", removed)
	}
	s.release("a", "t2")
	now = now.Add(59 * time.Second)
	if s.sweep(t.Context(), conf, never); removed != nil {
		t.Fatalf("removed %v before the delay", removed)
	}
	s = open() // a restart
	s.use("a", "t4", "", false)
	now = now.Add(time.Hour)
	if s.sweep(t.Context(), conf, full); removed != nil {
		t.Fatalf("removed %v of a recovered task", removed)
	}
	s.release("a", "t4")
	if s.sweep(t.Context(), site(t, object{"gc": list{object{"image": false}}}), full); removed != nil {
		t.Fatalf("removed %v though nothing shall be", removed)
	}
	if s.sweep(t.Context(), conf, full); !slices.Equal(removed, []string{"a"}) {
		t.Fatalf("removed %v under pressure, want a", removed)
	}
	if s = open(); len(s.fetched) != 1 || s.fetched["p"] == nil {
		t.Errorf("remembered %v", s.fetched)
	}
}
