package fingerprint

import (
	"bufio"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/structs"
)

// maxFile bounds what is read of one of the kernel's files.
const maxFile = 4 << 20

// readLines visits the lines of a file until visit returns false; a missing
// file has none.
func readLines(path string, visit func(line string) bool) {
	f, err := os.Open(path)
	if err != nil {
		return
	}
	defer f.Close()
	scan := bufio.NewScanner(f)
	scan.Buffer(nil, maxFile)
	for scan.Scan() && visit(scan.Text()) {
	}
}

// readLine is the first line of a file, "" when there is none.
func readLine(path string) (first string) {
	readLines(path, func(line string) bool {
		first = strings.TrimSpace(line)
		return false
	})
	return first
}

func host(_ *Config, n *structs.Node) error {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return err
	}
	n.Attributes["kernel.name"] = runtime.GOOS
	n.Attributes["kernel.version"] = unix.ByteSliceToString(uts.Release[:])
	n.Attributes["kernel.arch"] = unix.ByteSliceToString(uts.Machine[:])
	n.Attributes["unique.hostname"] = unix.ByteSliceToString(uts.Nodename[:])
	release := osRelease()
	setPresent(n, "os.name", release["ID"])
	setPresent(n, "os.version", release["VERSION_ID"])
	setPresent(n, "unique.host_id", hostID())
	return nil
}

func setPresent(n *structs.Node, key, value string) {
	if value != "" {
		n.Attributes[key] = value
	}
}

// osRelease reads os-release(5).
func osRelease() map[string]string {
	values := map[string]string{}
	for _, path := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		readLines(path, func(line string) bool {
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(key, "#") {
				values[key] = strings.Trim(value, `"'`)
			}
			return true
		})
		if len(values) > 0 {
			break
		}
	}
	return values
}

// hostID is an id of the machine that outlives the agent: of the firmware, the
// installation, or else the boot.
func hostID() string {
	for _, path := range []string{"/sys/class/dmi/id/product_uuid", "/etc/machine-id", "/proc/sys/kernel/random/boot_id"} {
		id := strings.ToLower(readLine(path))
		if len(id) == 32 { // machine-id is without dashes
			id = strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
		}
		if uuidForm.MatchString(id) {
			return id
		}
	}
	return ""
}

// Cgroup parents by version, where the operator names none.
const (
	cgroupParentV1 = "/nomad"
	cgroupParentV2 = "nomad.slice"
)

// cgroup looks at what is mounted: the unified hierarchy, or the older one.
func cgroup(cfg *Config, n *structs.Node) error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/sys/fs/cgroup", &fs); err != nil {
		return nil // no cgroups: no attribute
	}
	switch fs.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		n.Attributes["os.cgroups.version"], n.CgroupParent = "2", cgroupParentV2
	case unix.TMPFS_MAGIC:
		if _, err := os.Stat("/sys/fs/cgroup/cpu"); err != nil {
			return nil
		}
		n.Attributes["os.cgroups.version"], n.CgroupParent = "1", cgroupParentV1
	default:
		return nil
	}
	if cfg.CgroupParent != "" {
		n.CgroupParent = cfg.CgroupParent
	}
	return nil
}

// landlock asks for the version of the kernel's interface.
func landlock(_ *Config, n *structs.Node) error {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno == 0 && version > 0 {
		n.Attributes["kernel.landlock"] = "v" + strconv.Itoa(int(version))
	}
	return nil
}

// signalAliases are names beside the kernel's own that jobs may use.
var signalAliases = []string{"SIGNULL", "SIGCLD", "SIGIOT", "SIGPOLL", "SIGUNUSED"}

// lastSignal is the last one before the real-time signals.
const lastSignal = 31

func signals(_ *Config, n *structs.Node) error {
	names := slices.Clone(signalAliases)
	for s := syscall.Signal(1); s <= lastSignal; s++ {
		if name := unix.SignalName(s); name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	n.Attributes["os.signals"] = strings.Join(slices.Compact(names), ",")
	return nil
}
