package qemu

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// pluginConfig is the configuration of the plugin.
type pluginConfig struct {
	ImagePaths         []string `codec:"image_paths"`
	ArgsAllowlist      []string `codec:"args_allowlist"`
	EmulatorsAllowlist []string `codec:"emulators_allowlist"`
}

var pluginSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"image_paths":         hclspec.NewAttr("image_paths", "list(string)", false),
	"args_allowlist":      hclspec.NewAttr("args_allowlist", "list(string)", false),
	"emulators_allowlist": hclspec.NewAttr("emulators_allowlist", "list(string)", false),
})

func (c *pluginConfig) validate() error {
	for _, p := range c.ImagePaths {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("image_paths: %q is no absolute path", p)
		}
	}
	for _, a := range c.ArgsAllowlist {
		if !strings.HasPrefix(a, "-") {
			return fmt.Errorf("args_allowlist: %q does not begin with a dash: only options are listed", a)
		}
	}
	return nil
}

// taskConfig is the config block of a task.
type taskConfig struct {
	ImagePath        string           `codec:"image_path"`
	Emulator         string           `codec:"emulator"`
	MachineType      string           `codec:"machine_type"`
	Accelerator      string           `codec:"accelerator"`
	DriveInterface   string           `codec:"drive_interface"`
	GracefulShutdown bool             `codec:"graceful_shutdown"`
	GuestAgent       bool             `codec:"guest_agent"`
	Args             []string         `codec:"args"`
	PortMap          []map[string]int `codec:"port_map"`
}

var taskSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"image_path":        hclspec.NewAttr("image_path", "string", true),
	"emulator":          hclspec.NewText("emulator", "x86_64"),
	"machine_type":      hclspec.NewText("machine_type", "pc"),
	"accelerator":       hclspec.NewText("accelerator", "tcg"),
	"drive_interface":   hclspec.NewText("drive_interface", "ide"),
	"graceful_shutdown": hclspec.NewFlag("graceful_shutdown"),
	"guest_agent":       hclspec.NewFlag("guest_agent"),
	"args":              hclspec.NewAttr("args", "list(string)", false),
	"port_map":          hclspec.NewAttr("port_map", "list(map(number))", false),
})

// Limits of a machine, in MB of memory and bytes of a socket's path.
const (
	minMemoryMB   = 128
	maxMemoryMB   = 4000000
	maxSocketPath = 107 // sun_path less its NUL
)

var interfaces = []string{"ide", "scsi", "sd", "mtd", "floppy", "pflash", "virtio", "none"}

// emulatorPrefix begins the names of all emulators.
const emulatorPrefix = "qemu-system-"

// emulator is the program of a task.
func (c *taskConfig) emulator() string {
	return emulatorPrefix + strings.TrimPrefix(c.Emulator, emulatorPrefix)
}

// validate checks what does not depend on the host.
func (c *taskConfig) validate(p *pluginConfig, memoryMB int64) error {
	short := strings.TrimPrefix(c.Emulator, emulatorPrefix)
	switch {
	case c.ImagePath == "":
		return errors.New("image_path must be set")
	case short == "" || strings.ContainsAny(short, "/\x00"):
		return fmt.Errorf("emulator %q is no name of an emulator: use x86_64 or qemu-system-x86_64", c.Emulator)
	case len(p.EmulatorsAllowlist) > 0 && !slices.Contains(p.EmulatorsAllowlist, short) && !slices.Contains(p.EmulatorsAllowlist, c.emulator()):
		return fmt.Errorf("emulator %q is not in emulators_allowlist", c.Emulator)
	case memoryMB < minMemoryMB || memoryMB > maxMemoryMB:
		return fmt.Errorf("memory of %d MB: a virtual machine takes %d to %d", memoryMB, minMemoryMB, maxMemoryMB)
	case !slices.Contains(interfaces, c.DriveInterface):
		return fmt.Errorf("drive_interface %q is none of %s", c.DriveInterface, strings.Join(interfaces, ", "))
	}
	for field, value := range map[string]string{"machine_type": c.MachineType, "accelerator": c.Accelerator} {
		if value == "" || strings.ContainsAny(value, ", \x00") { // it is put among other options
			return fmt.Errorf("%s %q: a single name is needed", field, value)
		}
	}
	if len(p.ArgsAllowlist) > 0 {
		for _, a := range c.Args {
			if option, _, _ := strings.Cut(a, "="); strings.HasPrefix(a, "-") && !slices.Contains(p.ArgsAllowlist, option) && !slices.Contains(p.ArgsAllowlist, a) {
				return fmt.Errorf("args: %q is not in args_allowlist", a)
			}
		}
	}
	return nil
}

// image opens the file that the machine starts from: of the allocation, or of
// a folder that the operator allows. The machine gets the opened file by its
// descriptor, so that a link cannot be put in its place meanwhile.
func (c *taskConfig) image(allocDir, task string, allowed []string) (*os.File, error) {
	if filepath.IsAbs(c.ImagePath) {
		for _, dir := range allowed {
			if name, err := filepath.Rel(dir, c.ImagePath); err == nil && filepath.IsLocal(name) {
				return openIn(dir, name)
			}
		}
	}
	name := c.ImagePath
	if filepath.IsAbs(name) {
		rel, err := filepath.Rel(allocDir, name)
		if err != nil || !filepath.IsLocal(rel) {
			return nil, fmt.Errorf("image_path %q is neither in the allocation's directory nor below an entry of image_paths", c.ImagePath)
		}
		name = rel
	}
	f, err := openIn(allocDir, name)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(c.ImagePath) {
		return openIn(allocDir, filepath.Join(task, name)) // where artifacts of the task are
	}
	return f, err
}

func openIn(base, name string) (*os.File, error) {
	dir, err := rootfs.OpenDir(base)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.Open(filepath.ToSlash(name))
	if err != nil {
		return nil, fmt.Errorf("cannot open image %q: %w", name, err)
	}
	return f, nil
}

// machine is what the arguments of an emulator are made from.
type machine struct {
	name     string
	image    string // a path
	memoryMB int64
	cores    int // reserved ones
	monitor  string
	agent    string
	forwards []forward
}

// countCores is how many cores a list such as "0,2-3" names.
func countCores(cpuset string) int {
	n := 0
	for part := range strings.SplitSeq(cpuset, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		first, err := strconv.Atoi(from)
		if err != nil {
			continue
		}
		last := first
		if isRange {
			if last, err = strconv.Atoi(to); err != nil {
				continue
			}
		}
		n += max(last-first+1, 0)
	}
	return n
}

// forward is a port of the host that leads to one of the guest.
type forward struct {
	host  string // address; "" for any
	port  int
	guest int
}

// arguments are those of the emulator.
func (c *taskConfig) arguments(m *machine) []string {
	accel := c.Accelerator
	out := []string{
		"-machine", "type=" + c.MachineType + ",accel=" + accel,
		"-name", strings.ReplaceAll(m.name, ",", ",,"),
		"-m", strconv.FormatInt(m.memoryMB, 10) + "M",
		"-drive", "file=" + strings.ReplaceAll(m.image, ",", ",,") + ",if=" + c.DriveInterface,
		"-nographic",
	}
	if m.monitor != "" {
		out = append(out, "-monitor", "unix:"+m.monitor+",server,nowait")
	}
	if m.agent != "" {
		out = append(out, "-chardev", "socket,path="+m.agent+",server,nowait,id=qga0",
			"-device", "virtio-serial", "-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0")
	}
	if len(m.forwards) > 0 {
		netdev := "user,id=user.0"
		for _, protocol := range []string{"udp", "tcp"} {
			for _, f := range m.forwards {
				host := f.host
				if strings.Contains(host, ":") {
					host = "[" + host + "]"
				}
				netdev += fmt.Sprintf(",hostfwd=%s:%s:%d-:%d", protocol, host, f.port, f.guest)
			}
		}
		out = append(out, "-netdev", netdev, "-device", "virtio-net,netdev=user.0")
	}
	out = append(out, c.Args...)
	if accel == "kvm" {
		out = append(out, "-enable-kvm", "-cpu", "host")
		if m.cores > 0 {
			out = append(out, "-smp", strconv.Itoa(m.cores))
		}
	}
	return out
}

// forwards looks the labels of port_map up among the ports of the task.
func (c *taskConfig) forwards(r *driver.Resources) ([]forward, error) {
	var out []forward
	for _, m := range c.PortMap {
		for label, guest := range m {
			f, ok := portOf(r, label)
			if !ok {
				return nil, fmt.Errorf("Unknown port label %q", label) //nolint:staticcheck // the contract's words
			}
			if guest < 1 || guest > 65535 {
				return nil, fmt.Errorf("port_map: %q = %d is no port", label, guest)
			}
			f.guest = guest
			out = append(out, f)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].port < out[j].port })
	return out, nil
}

// portOf is a port of the group, or of the task's own networks.
func portOf(r *driver.Resources, label string) (forward, bool) {
	if r == nil {
		return forward{}, false
	}
	for _, p := range r.Ports {
		if p.Label == label {
			return forward{host: address(p.HostIP), port: int(p.Value)}, true
		}
	}
	for _, n := range r.Networks {
		for _, p := range slices.Concat(n.ReservedPorts, n.DynamicPorts) {
			if p.Label == label {
				return forward{host: address(n.IP), port: int(p.Value)}, true
			}
		}
	}
	return forward{}, false
}

// address is what stands in a forward: what is no address stands for any.
func address(ip string) string {
	if net.ParseIP(ip) == nil {
		return ""
	}
	return ip
}
