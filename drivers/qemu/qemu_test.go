package qemu

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

func defaults() taskConfig {
	return taskConfig{ImagePath: "i", Emulator: "x86_64", MachineType: "pc", Accelerator: "tcg", DriveInterface: "ide"}
}

// TestArguments are those that the contract has for each option.
func TestArguments(t *testing.T) {
	ports := &driver.Resources{Ports: []*driver.PortMapping{{Label: "http", Value: 21000, HostIP: "10.0.0.1"}, {Label: "ssh", Value: 21001, HostIP: "fd00::1"}}}
	for name, tt := range map[string]struct {
		change func(*taskConfig, *machine)
		want   string
	}{
		"plain": {func(*taskConfig, *machine) {}, "-machine type=pc,accel=tcg -name t -m 512M -drive file=/i,if=ide -nographic"},
		"all": {func(c *taskConfig, m *machine) {
			c.MachineType, c.DriveInterface, c.Args, m.cores = "q35", "virtio", []string{"-boot", "c"}, 3
			c.Accelerator, m.monitor, m.agent = "kvm", "/a/qm.sock", "/a/qa.sock"
		}, "-machine type=q35,accel=kvm -name t -m 512M -drive file=/i,if=virtio -nographic -monitor unix:/a/qm.sock,server,nowait " +
			"-chardev socket,path=/a/qa.sock,server,nowait,id=qga0 -device virtio-serial -device virtserialport,chardev=qga0,name=org.qemu.guest_agent.0 " +
			"-boot c -enable-kvm -cpu host -smp 3"},
		"ports": {func(c *taskConfig, m *machine) {
			c.PortMap = []map[string]int{{"http": 80}, {"ssh": 22}}
			forwards, err := c.forwards(ports)
			if err != nil {
				t.Error(err)
			}
			m.forwards = forwards
		}, "-machine type=pc,accel=tcg -name t -m 512M -drive file=/i,if=ide -nographic " +
			"-netdev user,id=user.0,hostfwd=udp:10.0.0.1:21000-:80,hostfwd=udp:[fd00::1]:21001-:22,hostfwd=tcp:10.0.0.1:21000-:80,hostfwd=tcp:[fd00::1]:21001-:22 " +
			"-device virtio-net,netdev=user.0"},
		"commas": {func(_ *taskConfig, m *machine) { m.name, m.image = "a,b", "/x,readonly=on" }, "-machine type=pc,accel=tcg -name a,,b -m 512M -drive file=/x,,readonly=on,if=ide -nographic"},
	} {
		c, m := defaults(), &machine{name: "t", image: "/i", memoryMB: 512}
		tt.change(&c, m)
		if got := strings.Join(c.arguments(m), " "); got != tt.want {
			t.Errorf("%s:\n%s\n%s", name, got, tt.want)
		}
	}
}

// TestRefused_N17: what would reach the host is refused by name.
func TestRefused_N17(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*taskConfig, *pluginConfig)
		want   string
	}{
		"image":       {func(c *taskConfig, _ *pluginConfig) { c.ImagePath = "" }, "image_path must be set"},
		"emulator":    {func(c *taskConfig, _ *pluginConfig) { c.Emulator = "../../bin/sh" }, `emulator "../../bin/sh" is no name`},
		"emulators":   {func(_ *taskConfig, p *pluginConfig) { p.EmulatorsAllowlist = []string{"aarch64"} }, `emulator "x86_64" is not in emulators_allowlist`},
		"interface":   {func(c *taskConfig, _ *pluginConfig) { c.DriveInterface = "ide,readonly=on" }, `drive_interface "ide,readonly=on" is none of`},
		"machine":     {func(c *taskConfig, _ *pluginConfig) { c.MachineType = "pc,accel=kvm" }, `machine_type "pc,accel=kvm": a single name`},
		"accelerator": {func(c *taskConfig, _ *pluginConfig) { c.Accelerator = "" }, `accelerator "": a single name`},
		"option": {func(c *taskConfig, p *pluginConfig) {
			c.Args, p.ArgsAllowlist = []string{"-m", "1", "-hda", "/dev/sda"}, []string{"-m"}
		}, `args: "-hda" is not in args_allowlist`},
		"option with a value": {func(c *taskConfig, p *pluginConfig) {
			c.Args, p.ArgsAllowlist = []string{"--drive=file=/dev/sda"}, []string{"-m"}
		}, "is not in args_allowlist"},
	} {
		c, p := defaults(), pluginConfig{}
		tt.change(&c, &p)
		if err := c.validate(&p, 512); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := defaults()
	c.Emulator, c.Args = "qemu-system-x86_64", []string{"-m", "1"}
	if err := c.validate(&pluginConfig{ArgsAllowlist: []string{"-m"}, EmulatorsAllowlist: []string{"x86_64"}}, 128); err != nil {
		t.Error(err)
	}
	for _, bad := range []map[string]int{{"nothing": 80}, {"http": 0}, {"http": 70000}} {
		c.PortMap = []map[string]int{bad}
		if _, err := c.forwards(&driver.Resources{Ports: []*driver.PortMapping{{Label: "http", Value: 1}}}); err == nil {
			t.Errorf("port_map %v was taken", bad)
		}
	}
	for _, bad := range []pluginConfig{{ImagePaths: []string{"images"}}, {ArgsAllowlist: []string{"m"}}} {
		if bad.validate() == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
}

// TestImage: an image is of the allocation or of an allowed folder, wherever
// links lead.
func TestImage(t *testing.T) {
	base := t.TempDir()
	alloc, allowed, other := filepath.Join(base, "alloc"), filepath.Join(base, "images"), filepath.Join(base, "other")
	for _, dir := range []string{filepath.Join(alloc, "t", "local"), allowed, other} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{filepath.Join(alloc, "a.img"), filepath.Join(alloc, "t/local/t.img"), filepath.Join(allowed, "b.img"), filepath.Join(other, "c.img")} {
		if err := os.WriteFile(f, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{alloc, allowed} {
		if err := os.Symlink(filepath.Join(other, "c.img"), filepath.Join(dir, "link.img")); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ path, want string }{
		{"a.img", "alloc/a.img"},
		{"local/t.img", "alloc/t/local/t.img"},
		{"t/local/t.img", "alloc/t/local/t.img"},
		{filepath.Join(alloc, "a.img"), "alloc/a.img"},
		{filepath.Join(allowed, "b.img"), "images/b.img"},
		{filepath.Join(other, "c.img"), ""},
		{"../other/c.img", ""},
		{"link.img", ""},
		{filepath.Join(allowed, "link.img"), ""},
		{filepath.Join(allowed, "../other/c.img"), ""},
		{"none.img", ""},
	} {
		c := taskConfig{ImagePath: tt.path}
		f, err := c.image(alloc, "t", []string{allowed})
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s was opened", tt.path)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.path, err)
			continue
		}
		text := make([]byte, 4096)
		n, _ := f.Read(text)
		f.Close()
		if !strings.HasSuffix(string(text[:n]), tt.want) {
			t.Errorf("%s is %s", tt.path, text[:n])
		}
	}
}

// TestCores counts the cores of a list.
func TestCores(t *testing.T) {
	for list, want := range map[string]int{"": 0, "0": 1, "0,2-3": 3, "4-7, 9": 5, "x": 0, "3-1": 0} {
		if got := countCores(list); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
	if got := emulatorPrefix + "x86_64"; slices.Contains(emulators(), got) {
		t.Error("an emulator's name has its prefix")
	}
}

// TestPowerDown: a machine with graceful_shutdown has its button pressed, by
// the monitor whose path fits its folder.
func TestPowerDown(t *testing.T) {
	dir, err := os.MkdirTemp("", "q") // socket paths are short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Mkdir(filepath.Join(dir, "t"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := taskConfig{GracefulShutdown: true, GuestAgent: true}
	cfg := &driver.TaskConfig{AllocDir: dir, Name: "t"}
	monitor, agent, err := c.sockets(cfg)
	if err != nil || monitor != filepath.Join(dir, "t", "qm.sock") || agent != filepath.Join(dir, "t", "qa.sock") {
		t.Fatalf("%s, %s, %v", monitor, agent, err)
	}
	l, err := net.Listen("unix", monitor)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pressed := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			pressed <- err.Error()
			return
		}
		defer conn.Close()
		text, _ := io.ReadAll(conn)
		pressed <- string(text)
	}()
	if err := powerDown(monitor); err != nil {
		t.Fatal(err)
	}
	if got := <-pressed; got != "system_powerdown\n" {
		t.Errorf("%q", got)
	}
	if monitor, agent, err := (&taskConfig{}).sockets(cfg); monitor+agent != "" || err != nil {
		t.Errorf("without the options: %q, %q, %v", monitor, agent, err)
	}
	cfg.Name = strings.Repeat("long", 30)
	if _, _, err := c.sockets(cfg); err == nil || !strings.Contains(err.Error(), "use a shorter alloc_dir") {
		t.Errorf("a long path: %v", err)
	}
}
