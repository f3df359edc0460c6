package plugin

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nomadlite/nomadlite/plugins/proto/basepb"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
	"github.com/nomadlite/nomadlite/plugins/proto/hclspecpb"
)

// isolated are the task options that every isolated program has.
const isolated = "cap_add list(string), cap_drop list(string), ipc_mode string, pid_mode string, work_dir string"

// sandboxed are the plugin options of exec, which java has as well.
const sandboxed = `allow_caps list(string), +allow_root bool=false, +chroot_env map(string), default_ipc_mode string="private", default_pid_mode string="private", ` +
	`denied_host_gids string="", denied_host_uids string="", no_pivot_root bool=false`

// mockCommand are the options of mock_driver that exec_command has as well.
var mockCommand = []string{
	"run_for string", "exit_code number", "exit_signal number", "exit_err_msg string", "signal_error string", "stdout_string string",
	"stdout_repeat number", "stdout_repeat_duration string", "stderr_string string", "stderr_repeat number", "stderr_repeat_duration string",
}

// contract is what the public contract says of our drivers that run programs:
// reference driver-plugin.md 10.1 to 10.5. A plus marks what is ours beside it.
// docker has a golden file of its own.
var contract = map[string]struct {
	plugin, task, capabilities, attributes string
	config                                 map[string]any
	needs                                  string // a program
}{
	"raw_exec": {
		plugin: `denied_envvars list(string), denied_host_gids string="", denied_host_uids string="", enabled bool=false`,
		task: `args list(string), cgroup_v1_override list(map(string)), cgroup_v2_override string, command string required, ` +
			`denied_envvars list(string), oom_score_adj number=0, work_dir string`,
		capabilities: "signals exec NONE [HOST GROUP] NO_MOUNTS", attributes: "driver.raw_exec", config: map[string]any{"enabled": true},
	},
	"exec": {
		plugin: sandboxed, task: "args list(string), command string required, " + isolated,
		capabilities: "signals exec CHROOT [HOST GROUP] ANY_MOUNTS", attributes: "driver.exec",
	},
	"java": {
		plugin:       sandboxed,
		task:         "args list(string), class string, class_path string, jar_path string, jvm_options list(string), " + isolated,
		capabilities: "signals exec CHROOT [HOST GROUP] ANY_MOUNTS", // signals and exec are ours beside it
		attributes:   "driver.java driver.java.runtime driver.java.version driver.java.vm", needs: "java",
	},
	"qemu": {
		plugin: "args_allowlist list(string), emulators_allowlist list(string), image_paths list(string)",
		task: `accelerator string="tcg", args list(string), drive_interface string="ide", emulator string="x86_64", graceful_shutdown bool=false, ` +
			`guest_agent bool=false, image_path string required, machine_type string="pc", port_map list(map(number))`,
		capabilities: "NONE [HOST GROUP] NO_MOUNTS", attributes: "driver.qemu driver.qemu.emulators driver.qemu.version", needs: "qemu-system-x86_64",
	},
	"mock_driver": {
		plugin: `fs_isolation string="none", shutdown_periodic_after bool=false, shutdown_periodic_duration number`,
		task: strings.Join(mockCommand, ", ") + ", start_error string, start_error_recoverable bool, start_block_for string, kill_after string, " +
			"plugin_exit_after string, driver_ip string, driver_advertise bool, driver_port_map string, exec_command." + strings.Join(mockCommand, ", exec_command."),
		capabilities: "signals exec NONE [] NO_MOUNTS", attributes: "driver.mock_driver",
	},
}

// TestContract: each driver says over the wire what the contract says of it:
// every option with its type and default, what it can do, what it finds.
func TestContract(t *testing.T) {
	for name, want := range contract {
		t.Run(name, func(t *testing.T) {
			if want.needs != "" {
				if _, err := exec.LookPath(want.needs); err != nil {
					t.Skipf("%s is not installed", want.needs)
				}
			}
			if os.Geteuid() != 0 && name != "raw_exec" && name != "mock_driver" {
				t.Skip("the driver is for root alone")
			}
			h := &foreignHost{t: t, name: name, config: want.config}
			h.connect(nil)
			defer h.client.Kill()
			h.configure()
			plugin, err := h.base.ConfigSchema(h.ctx(), &basepb.ConfigSchemaRequest{})
			if err != nil {
				t.Fatal(err)
			}
			task, err := h.driver.TaskConfigSchema(h.ctx(), &driverpb.TaskConfigSchemaRequest{})
			if err != nil {
				t.Fatal(err)
			}
			for _, side := range []struct {
				want string
				got  *hclspecpb.Spec
			}{{want.plugin, plugin.GetSpec()}, {want.task, task.GetSpec()}} {
				options := strings.Split(strings.ReplaceAll(side.want, "+", ""), ", ")
				slices.Sort(options)
				if diff := cmp.Diff(options, slices.Sorted(slices.Values(spell("", "", side.got)))); diff != "" {
					t.Errorf("options (-contract +ours):\n%s", diff)
				}
			}
			caps, err := h.driver.Capabilities(h.ctx(), &driverpb.CapabilitiesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if got := abilities(caps.GetCapabilities()); got != want.capabilities {
				t.Errorf("capabilities %q, want %q", got, want.capabilities)
			}
			stream, err := h.driver.Fingerprint(h.ctx(), &driverpb.FingerprintRequest{})
			if err != nil {
				t.Fatal(err)
			}
			fp, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for k := range fp.GetAttributes() {
				found = append(found, k)
			}
			slices.Sort(found)
			if got := strings.Join(found, " "); got != want.attributes || fp.GetHealth() != driverpb.FingerprintResponse_HEALTHY || fp.GetHealthDescription() != "Healthy" {
				t.Errorf("%v %q, attributes %q, want %q", fp.GetHealth(), fp.GetHealthDescription(), got, want.attributes)
			}
		})
	}
}

// spell writes each option of a schema as "name type", with "required" or
// "=default".
func spell(prefix, key string, spec *hclspecpb.Spec) []string {
	named := func(own string) string {
		if own == "" {
			own = key
		}
		return strings.TrimPrefix(prefix+"."+own, ".")
	}
	switch b := spec.GetBlock().(type) {
	case *hclspecpb.Spec_Object:
		var out []string
		for k, child := range b.Object.GetAttributes() {
			out = append(out, spell(prefix, k, child)...)
		}
		return out
	case *hclspecpb.Spec_Attr:
		text := named(b.Attr.GetName()) + " " + b.Attr.GetType()
		if b.Attr.GetRequired() {
			text += " required"
		}
		return []string{text}
	case *hclspecpb.Spec_BlockAttrs:
		return []string{named(b.BlockAttrs.GetName()) + " map(" + b.BlockAttrs.GetType() + ")"}
	case *hclspecpb.Spec_BlockValue:
		return spell(named(b.BlockValue.GetName()), "", b.BlockValue.GetNested())
	case *hclspecpb.Spec_Default:
		return []string{spell(prefix, key, b.Default.GetPrimary())[0] + "=" + b.Default.GetDefault().GetLiteral().GetValue()}
	}
	return []string{fmt.Sprintf("%s %v", key, spec)}
}

func abilities(c *driverpb.DriverCapabilities) string {
	var out []string
	if c.GetSendSignals() {
		out = append(out, "signals")
	}
	if c.GetExec() {
		out = append(out, "exec")
	}
	mounts := "ANY_MOUNTS" // which is another name of UNKNOWN_MOUNTS
	if c.GetMountConfigs() == driverpb.DriverCapabilities_NO_MOUNTS {
		mounts = "NO_MOUNTS"
	}
	out = append(out, c.GetFsIsolation().String(), fmt.Sprint(c.GetNetworkIsolationModes()), mounts)
	if c.GetMustCreateNetwork() {
		out = append(out, "network")
	}
	return strings.Join(out, " ")
}
