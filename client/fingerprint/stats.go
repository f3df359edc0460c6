package fingerprint

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/api"
)

// sampler turns the kernel's counters of CPU time into shares of the time
// since it was asked before.
type sampler struct {
	mu   sync.Mutex
	last map[string]cpuTimes
}

// machine is the one that this process runs on.
var machine sampler

// HostStats tells what the machine uses. CPU shares are of the time since the
// previous call, at the first call since the boot.
func HostStats(allocDir string) (*api.HostStats, error) {
	memory := memInfo()
	all := mounts()
	own := mountOf(allocDir, all)
	disk, err := diskStats(mount{point: allocDir, source: own.source})
	if err != nil {
		return nil, fmt.Errorf("cannot look at the disk of alloc_dir %q: %w", allocDir, err)
	}
	disk.Mountpoint = own.point
	out := &api.HostStats{
		Memory: &api.HostMemoryStats{
			Total: memory["MemTotal"], Available: memory["MemAvailable"], Free: memory["MemFree"],
			Used: memory["MemTotal"] - min(memory["MemTotal"], memory["MemAvailable"]),
		},
		AllocDirStats: disk, DiskStats: realDisks(all), DeviceStats: []*api.DeviceGroupStats{},
		Uptime: uptime(), Timestamp: time.Now().UnixNano(),
	}
	out.CPU = machine.sample(cpuCounters())
	for _, c := range out.CPU {
		out.CPUTicksConsumed += c.TotalTicks
	}
	return out, nil
}

// cpuTimes are a CPU's counters since the boot, in the kernel's ticks.
type cpuTimes struct {
	name               string
	user, system, idle float64
}

func (t cpuTimes) since(old cpuTimes) cpuTimes {
	return cpuTimes{t.name, max(0, t.user-old.user), max(0, t.system-old.system), max(0, t.idle-old.idle)}
}

// cpuCounters reads the lines of the single CPUs in proc_stat(5).
func cpuCounters() (all []cpuTimes) {
	readLines("/proc/stat", func(line string) bool {
		f := strings.Fields(line)
		if len(f) < 9 || !strings.HasPrefix(f[0], "cpu") || f[0] == "cpu" {
			return strings.HasPrefix(line, "cpu") // the other lines follow
		}
		var v [8]float64 // user nice system idle iowait irq softirq steal
		for i := range v {
			v[i], _ = strconv.ParseFloat(f[i+1], 64) // else 0
		}
		all = append(all, cpuTimes{name: f[0], user: v[0] + v[1], system: v[2] + v[5] + v[6] + v[7], idle: v[3] + v[4]})
		return true
	})
	return all
}

func (s *sampler) sample(now []cpuTimes) []*api.HostCPUStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := make(map[string]cpuTimes, len(now))
	out := make([]*api.HostCPUStats, 0, len(now))
	for _, t := range now {
		last[t.name] = t
		out = append(out, share(t.since(s.last[t.name])))
	}
	s.last = last
	mhz := sync.OnceValue(func() float64 {
		cores, err := usableCores()
		if err != nil {
			return unknownMHz
		}
		return float64(frequency(cores))
	})
	for _, c := range out {
		c.TotalTicks = c.TotalPercent / 100 * mhz()
	}
	return out
}

// share is the use in percent. Without any time passed the CPU was idle.
func share(t cpuTimes) *api.HostCPUStats {
	total := t.user + t.system + t.idle
	if total == 0 {
		return &api.HostCPUStats{CPU: t.name, Idle: 100}
	}
	return &api.HostCPUStats{
		CPU: t.name, User: 100 * t.user / total, System: 100 * t.system / total, Idle: 100 * t.idle / total,
		TotalPercent: 100 * (t.user + t.system) / total,
	}
}

// realDisks are the mounted block devices, each once, by its first mount.
func realDisks(all []mount) []*api.HostDiskStats {
	disks := []*api.HostDiskStats{}
	seen := map[string]bool{}
	for _, m := range all {
		if seen[m.device] || !strings.HasPrefix(m.source, "/dev/") {
			continue
		}
		seen[m.device] = true
		if d, err := diskStats(m); err == nil && d.Size > 0 {
			disks = append(disks, d)
		}
	}
	return disks
}

func diskStats(m mount) (*api.HostDiskStats, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(m.point, &fs); err != nil {
		return nil, err
	}
	block := uint64(fs.Bsize)
	used := fs.Blocks - min(fs.Blocks, fs.Bfree)
	return &api.HostDiskStats{
		Device: m.source, Mountpoint: m.point, Size: fs.Blocks * block, Used: used * block, Available: fs.Bavail * block,
		// As df does: of what is there for users, without the reserve of root.
		UsedPercent:       percent(used, used+fs.Bavail),
		InodesUsedPercent: percent(fs.Files-min(fs.Files, fs.Ffree), fs.Files),
	}, nil
}

func percent(part, whole uint64) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// uptime is how long the machine runs, in seconds.
func uptime() uint64 {
	text, _, _ := strings.Cut(readLine("/proc/uptime"), " ")
	seconds, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return uint64(seconds)
}
