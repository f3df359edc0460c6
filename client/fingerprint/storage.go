package fingerprint

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/structs"
)

const mib = 1 << 20

func memory(cfg *Config, n *structs.Node) error {
	total := uint64(cfg.MemoryTotalMB) * mib
	if total == 0 {
		total = memInfo()["MemTotal"]
	}
	if total == 0 {
		return fmt.Errorf("/proc/meminfo does not tell the memory: set memory_total_mb")
	}
	if int64(cfg.Reserved.MemoryMB) > int64(total/mib) {
		return fmt.Errorf("reserved.memory is %d MiB: the node has %d", cfg.Reserved.MemoryMB, total/mib)
	}
	n.Attributes["memory.totalbytes"] = strconv.FormatUint(total, 10)
	n.NodeResources.Memory.MemoryMB = int64(total / mib)
	return nil
}

// memInfo is /proc/meminfo in bytes.
func memInfo() map[string]uint64 {
	values := map[string]uint64{}
	readLines("/proc/meminfo", func(line string) bool {
		key, rest, _ := strings.Cut(line, ":")
		number, unit, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if v, err := strconv.ParseUint(number, 10, 53); err == nil {
			if unit == "kB" {
				v *= 1024
			}
			values[key] = v
		}
		return true
	})
	return values
}

// storage offers the free space of the disk that holds the allocations.
func storage(cfg *Config, n *structs.Node) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(cfg.AllocDir, &fs); err != nil {
		return fmt.Errorf("cannot look at the disk of alloc_dir %q: %w", cfg.AllocDir, err)
	}
	total, free := fs.Blocks*uint64(fs.Bsize), fs.Bavail*uint64(fs.Bsize)
	if cfg.DiskTotalMB > 0 {
		total = uint64(cfg.DiskTotalMB) * mib
	}
	if cfg.DiskFreeMB > 0 {
		free = uint64(cfg.DiskFreeMB) * mib
	}
	if free > total {
		return fmt.Errorf("disk_free_mb %d is more than disk_total_mb %d", free/mib, total/mib)
	}
	setPresent(n, "unique.storage.volume", mountOf(cfg.AllocDir, mounts()).source)
	n.Attributes["unique.storage.bytestotal"] = strconv.FormatUint(total, 10)
	n.NodeResources.Disk.DiskMB = int64(free / mib)
	return nil
}

// mount is a line of proc_pid_mountinfo(5).
type mount struct{ point, source, device string }

// mounts are this process's mounts, later ones cover earlier ones.
func mounts() (all []mount) {
	readLines("/proc/self/mountinfo", func(line string) bool {
		before, after, ok := strings.Cut(line, " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if ok && len(fields) >= 5 && len(tail) >= 2 {
			all = append(all, mount{point: unescapeMount(fields[4]), source: unescapeMount(tail[1]), device: fields[2]})
		}
		return true
	})
	return all
}

// unescapeMount undoes the octal escapes of the kernel.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// mountOf is the mount that a path is on.
func mountOf(path string, all []mount) (best mount) {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for _, m := range all {
		within := m.point == "/" || path == m.point || strings.HasPrefix(path, m.point+"/")
		if within && len(m.point) >= len(best.point) {
			best = m
		}
	}
	return best
}
