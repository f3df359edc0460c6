package docker

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Options of the contract: reference driver-plugin.md 10.6 and 10.7.
const (
	contractPlugin = `endpoint auth.config auth.helper tls.cert tls.key tls.ca extra_labels logging.type logging.config gc.image gc.image_delay
		gc.container gc.dangling_containers.enabled gc.dangling_containers.period gc.dangling_containers.creation_grace gc.dangling_containers.dry_run
		volumes.enabled volumes.selinuxlabel allow_privileged allow_caps nvidia_runtime allow_runtimes infra_image infra_image_pull_timeout
		image_pull_timeout container_exists_attempts oom_score_adj pull_activity_timeout pids_limit disable_log_collection
		windows_allow_insecure_container_admin allowed_modes.pid allowed_modes.ipc allowed_modes.userns allowed_modes.uts`
	contractTask = `image args command entrypoint auth.username auth.password auth.email auth.server_address auth_soft_fail advertise_ipv6_address
		cap_add cap_drop cgroupns cpuset_cpus cpu_hard_limit cpu_cfs_period container_exists_attempts devices.host_path devices.container_path
		devices.cgroup_permissions dns_servers dns_search_domains dns_options extra_hosts force_pull group_add healthchecks.disable hostname init
		interactive ipc_mode ipv4_address ipv6_address mac_address pid_mode uts_mode userns_mode network_mode network_aliases runtime volume_driver
		work_dir tty isolation labels load logging.type logging.driver logging.config memory_hard_limit
		mount.type mount.target mount.source mount.readonly mount.bind_options.propagation mount.tmpfs_options.size mount.tmpfs_options.mode
		mount.volume_options.no_copy mount.volume_options.labels mount.volume_options.driver_config.name mount.volume_options.driver_config.options
		mounts.type oom_score_adj pids_limit ports port_map privileged image_pull_timeout readonly_rootfs security_opt shm_size storage_opt sysctl
		ulimit volumes`
)

// optionRow is an option, or a few that belong together, and what else it needs
// to be seen. What it changes of what the engine is asked is in the golden file.
type optionRow struct {
	plugin, task object
	with         func(*driver.TaskConfig, *fakeEngine)
	group        bool   // a network of the group is made, and no task
	elsewhere    string // the test that shows it; what the engine is asked stays the same
}

var optionRows = []optionRow{
	{task: object{"image": "https://other:2"}},
	{task: object{"args": list{"a", "b"}}},
	{task: object{"command": "run", "args": list{"a"}}},
	{task: object{"entrypoint": list{"/init", "-v"}}},
	{task: object{"image": "r.test/a:1", "auth": list{object{"username": "u", "password": "p", "email": "u@r.test", "server_address": "r.test"}}}},
	{task: object{"image": "r.test/a:1"}, plugin: object{"auth": list{object{"config": "/no/such/file"}}}},
	{task: object{"image": "r.test/a:1", "auth_soft_fail": true}, plugin: object{"auth": list{object{"config": "/no/such/file"}}}},
	{task: object{"image": "r.test/a:1"}, plugin: object{"auth": list{object{"helper": "none-such"}}}},
	{task: object{"advertise_ipv6_address": true}},
	{task: object{"cap_add": list{"chown"}, "cap_drop": list{"all"}}},
	{task: object{"cap_add": list{"net_admin"}}, plugin: object{"allow_caps": list{"net_admin", "chown"}}},
	{task: object{"cgroupns": "private"}},
	{task: object{"cpuset_cpus": "0-1"}},
	{task: object{"cpu_hard_limit": true}},
	{task: object{"cpu_hard_limit": true, "cpu_cfs_period": 50000}},
	{task: object{"container_exists_attempts": 1}, with: func(_ *driver.TaskConfig, f *fakeEngine) { f.conflicts = 1 }},
	{task: object{}, plugin: object{"container_exists_attempts": 1}, with: func(_ *driver.TaskConfig, f *fakeEngine) { f.conflicts = 1 }},
	{task: object{"devices": list{object{"host_path": "/dev/fuse"}, object{"host_path": "/dev/null", "container_path": "/dev/x", "cgroup_permissions": "r"}}}, plugin: object{"allow_devices": list{"/dev/*"}}},
	{task: object{"dns_servers": list{"192.0.2.1"}, "dns_search_domains": list{"a.test"}, "dns_options": list{"ndots:2"}}},
	{task: object{"dns_servers": list{"192.0.2.1"}, "network_mode": "host"}},
	{task: object{"dns_servers": list{"192.0.2.1"}}, with: func(cfg *driver.TaskConfig, _ *fakeEngine) {
		cfg.DNS = &driver.DNSConfig{Servers: []string{"192.0.2.9"}}
	}},
	{task: object{"extra_hosts": list{"db:192.0.2.7"}}},
	{task: object{"extra_hosts": list{"db:192.0.2.7"}, "dns_servers": list{"192.0.2.1"}, "network_mode": "container:c9"}, plugin: object{"allow_privileged": true}},
	{task: object{"force_pull": true}},
	{task: object{"group_add": list{"audio"}}},
	{task: object{"healthchecks": list{object{"disable": true}}}},
	{task: object{"hostname": "box"}},
	{task: object{"init": true}},
	{task: object{"interactive": true, "tty": true}},
	{task: object{"ipc_mode": "host", "pid_mode": "host", "uts_mode": "host", "userns_mode": "host"}, plugin: object{"allowed_modes": list{object{
		"ipc": list{"host"}, "pid": list{"ho*"}, "uts": list{"host"}, "userns": list{"host"},
	}}}},
	{task: object{"ipv4_address": "192.0.2.5", "ipv6_address": "2001:db8::5", "mac_address": "02:00:00:00:00:01", "network_mode": "net", "network_aliases": list{"web"}}},
	{task: object{"runtime": "kata"}, plugin: object{"allow_runtimes": list{"kata"}}},
	{task: object{"volume_driver": "nfs", "volumes": list{"named:/data:ro"}}, plugin: object{"volumes": list{object{"enabled": true}}}},
	{task: object{"work_dir": "/srv"}},
	{task: object{"isolation": "process"}},
	{task: object{"labels": list{object{"a": "1", "b": "1"}, object{"a": "2"}}}},
	{task: object{"load": "image.tar"}},
	{task: object{"logging": list{object{"type": "syslog", "config": list{object{"tag": "x"}}}}}},
	{task: object{"logging": list{object{"driver": "journald"}}}},
	{task: object{"memory_hard_limit": 200}},
	{task: object{"mount": list{object{"type": "bind", "source": "local", "target": "/b", "readonly": true, "bind_options": list{object{"propagation": "rslave"}}}}}},
	{task: object{"mount": list{object{"type": "tmpfs", "target": "/t", "tmpfs_options": list{object{"size": 1000, "mode": 511}}}}}},
	{task: object{"mount": list{object{"source": "vol", "target": "/v", "volume_options": list{object{
		"no_copy": true, "labels": list{object{"l": "1"}}, "driver_config": list{object{"name": "nfs", "options": list{object{"o": "rw"}}}},
	}}}}}, plugin: object{"volumes": list{object{"enabled": true}}}},
	{task: object{"mounts": list{
		object{"type": "tmpfs", "source": "", "target": "/m", "readonly": true, "tmpfs_options": list{object{"size": 1, "mode": 1}}},
		object{"type": "bind", "source": "local", "target": "/n", "bind_options": list{object{"propagation": "rprivate"}}},
		object{"type": "volume", "source": "v", "target": "/o", "volume_options": list{object{
			"no_copy": true, "labels": list{object{"l": "1"}}, "driver_config": list{object{"name": "nfs", "options": list{object{"o": "rw"}}}},
		}}},
	}}, plugin: object{"volumes": list{object{"enabled": true}}}},
	{task: object{"oom_score_adj": 300}},
	{task: object{}, plugin: object{"oom_score_adj": 200}},
	{task: object{"pids_limit": 50}},
	{task: object{}, plugin: object{"pids_limit": 90}},
	{task: object{"pids_limit": 100}, plugin: object{"pids_limit": 90}},
	{task: object{"ports": list{"http"}}, with: func(cfg *driver.TaskConfig, _ *fakeEngine) {
		cfg.Resources.Ports = []*driver.PortMapping{{Label: "http", Value: 21000, To: 80, HostIP: "192.0.2.1"}, {Label: "other", Value: 21001}}
	}},
	{task: object{"port_map": list{object{"web": 8080}}}, with: func(cfg *driver.TaskConfig, _ *fakeEngine) {
		cfg.Resources.Networks = []*driver.NetworkResource{{IP: "192.0.2.1", DynamicPorts: []driver.NetworkPort{{Label: "web", Value: 22000}}}}
	}},
	{task: object{"privileged": true}, plugin: object{"allow_privileged": true}},
	{task: object{"readonly_rootfs": true}},
	{task: object{"security_opt": list{"seccomp=unconfined"}}, plugin: object{"allow_security_opts": list{"seccomp=*"}}},
	{task: object{"shm_size": 1048576}},
	{task: object{"storage_opt": list{object{"size": "10G"}}}},
	{task: object{"sysctl": list{object{"net.core.somaxconn": "77"}}}},
	{task: object{"ulimit": list{object{"nofile": "100:200", "nproc": "5"}}}},
	{task: object{"volumes": list{"local:/l", "/srv:/s:ro"}}, plugin: object{"volumes": list{object{"enabled": true, "selinuxlabel": "z"}}}},
	{task: object{}, plugin: object{"extra_labels": list{"job_*", "node_id"}}},
	{task: object{}, plugin: object{"logging": list{object{"type": "local", "config": list{object{"max-size": "1m"}}}}}},
	{task: object{}, plugin: object{"nvidia_runtime": "gpu", "allow_runtimes": list{"gpu"}}, with: func(cfg *driver.TaskConfig, _ *fakeEngine) {
		cfg.DeviceEnv = map[string]string{"NVIDIA_VISIBLE_DEVICES": "all"}
	}},
	{plugin: object{"infra_image": "pause:2"}, group: true},
	{elsewhere: "TestPullGivesUp", plugin: object{"image_pull_timeout": "1m", "infra_image_pull_timeout": "1m", "pull_activity_timeout": "1m"}, task: object{"image_pull_timeout": "1m"}},
	{elsewhere: "TestImageStore_B52", plugin: object{"gc": list{object{"image": false, "image_delay": "1h", "image_pins": list{"a"}, "image_disk_percent": 50}}}},
	{elsewhere: "TestDangling", plugin: object{"gc": list{object{"container": true, "dangling_containers": list{object{
		"enabled": true, "period": "1m", "creation_grace": "1m", "dry_run": true,
	}}}}}},
	{elsewhere: "TestEndpoint", plugin: object{"endpoint": "", "tls": list{object{"cert": "c", "key": "k", "ca": "a"}}}},
	{elsewhere: "TestNoLogCollection", plugin: object{"disable_log_collection": true}},
	{elsewhere: "nowhere: Windows alone", plugin: object{"windows_allow_insecure_container_admin": true}},
	{elsewhere: "TestParallelStarts", plugin: object{"max_parallel_starts": 1}},
}

// asked runs a row and returns what the engine was asked, and what came back.
func (row *optionRow) asked(t *testing.T) []string {
	t.Helper()
	f := newFakeEngine(t)
	d := configured(t, f, row.plugin)
	d.cores = 4
	if row.group {
		_, _, err := d.CreateNetwork(t.Context(), "a1", "box")
		return append(f.transcript(), fmt.Sprintf("error: %v", err))
	}
	cfg := newTaskConfig(t)
	if err := os.WriteFile(filepath.Join(cfg.AllocDir, "web/local/image.tar"), []byte("an image"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.StdoutPath, cfg.StderrPath = os.DevNull, os.DevNull
	task := object{"image": "img:1"}
	maps.Copy(task, row.task)
	cfg.MsgpackConfig = encoded(t, taskSchema, task)
	if row.with != nil {
		row.with(cfg, f)
	}
	_, network, err := d.StartTask(t.Context(), cfg)
	out := f.transcript()
	if c, berr := build(t, d.run.conf(), cfg, maps.Clone(task)); berr == nil {
		for _, w := range c.warnings {
			out = append(out, "event: "+w)
		}
	}
	if network != nil {
		out = append(out, leaves("network", map[string]any{"addr": network.Addr, "auto_advertise": network.AutoAdvertise, "ports": network.PortMap})...)
	}
	if err != nil {
		out = append(out, fmt.Sprintf("error: %v", err))
	}
	for i := range out {
		out[i] = strings.ReplaceAll(strings.ReplaceAll(out[i], cfg.AllocDir, "$ALLOC"), f.URL, "$ENGINE")
	}
	return out
}

func encoded(t *testing.T, spec *hclspec.Spec, config object) []byte {
	t.Helper()
	schema, err := hclspec.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestEveryOption: what each option of the contract changes of what the engine
// is asked for. The golden file is the whole mapping; make golden rewrites it.
func TestEveryOption(t *testing.T) {
	plain := map[bool][]string{false: (&optionRow{}).asked(t), true: (&optionRow{group: true}).asked(t)}
	var out strings.Builder
	fmt.Fprintf(&out, "== no option\n%s\n== a group's network\n%s\n", strings.Join(plain[false], "\n"), strings.Join(plain[true], "\n"))
	used := map[string]map[string]bool{"plugin": {}, "task": {}}
	for _, row := range optionRows {
		collect(used["plugin"], "", row.plugin)
		collect(used["task"], "", row.task)
		if row.elsewhere != "" {
			continue
		}
		title, err := json.Marshal(map[string]object{"plugin": row.plugin, "task": row.task})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "== %s\n", title)
		got := row.asked(t)
		refused := strings.HasPrefix(got[len(got)-1], "error: ") && !row.group // then what was not asked says nothing
		for _, line := range plain[row.group] {
			if !refused && !slices.Contains(got, line) {
				fmt.Fprintln(&out, "-", line)
			}
		}
		changed := false
		for _, line := range got {
			if !slices.Contains(plain[row.group], line) {
				changed = true
				fmt.Fprintln(&out, "+", line)
			}
		}
		if !changed {
			t.Errorf("%s changes nothing", title)
		}
	}
	golden(t, "options.golden", out.String())
	for side, spec := range map[string]*hclspec.Spec{"plugin": pluginSchema, "task": taskSchema} {
		known := map[string]bool{}
		names(known, "", spec)
		for name := range known {
			if !used[side][name] {
				t.Errorf("%s option %s: no row shows what it does", side, name)
			}
		}
		for _, name := range strings.Fields(map[string]string{"plugin": contractPlugin, "task": contractTask}[side]) {
			if !known[name] {
				t.Errorf("%s option %s of the contract is missing", side, name)
			}
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// collect notes the names that a configuration uses, those of blocks included.
func collect(used map[string]bool, prefix string, v any) {
	switch v := v.(type) {
	case object:
		for k, inner := range v {
			name := strings.TrimPrefix(prefix+"."+k, ".")
			used[name] = true
			collect(used, name, inner)
		}
	case list:
		for _, inner := range v {
			collect(used, prefix, inner)
		}
	}
}

// names notes the names of a schema's attributes.
func names(known map[string]bool, prefix string, spec *hclspec.Spec) {
	switch {
	case spec.GetObject() != nil:
		for k, inner := range spec.GetObject().GetAttributes() {
			names(known, strings.TrimPrefix(prefix+"."+k, "."), inner)
		}
	case spec.GetBlockValue() != nil:
		names(known, prefix, spec.GetBlockValue().GetNested())
	case spec.GetBlockList() != nil:
		names(known, prefix, spec.GetBlockList().GetNested())
	case spec.GetDefault() != nil:
		names(known, prefix, spec.GetDefault().GetPrimary())
	default:
		known[prefix] = true
	}
}
