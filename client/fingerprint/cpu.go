package fingerprint

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/structs"
)

// unknownMHz is counted for a core whose frequency the kernel does not tell,
// as in many virtual machines on ARM.
const unknownMHz = 1000

// maxCores bounds core numbers; more do not fit a node's resources.
const maxCores = math.MaxUint16

// cpu counts the cores that the agent may run on, so that a container's cpuset
// is the node's size, and the MHz of all of them.
func cpu(cfg *Config, n *structs.Node) error {
	cores, err := usableCores()
	if err != nil {
		return err
	}
	reserved, err := parseSet(cfg.Reserved.Cores, maxCores)
	if err != nil {
		return fmt.Errorf("reserved.cores %q: %w", cfg.Reserved.Cores, err)
	}
	for _, c := range reserved {
		if !slices.Contains(cores, c) {
			return fmt.Errorf("reserved.cores %q: the node has no core %d, it has %s", cfg.Reserved.Cores, c, formatSet(cores))
		}
	}
	mhz := frequency(cores)
	total := cfg.CPUTotalCompute
	if total == 0 {
		total = mhz * len(cores)
	}
	// Cores that are held back take their share of the MHz with them.
	withheld := max(cfg.Reserved.CPU, total*len(reserved)/len(cores))
	if withheld > total {
		return fmt.Errorf("reserved.cpu is %d MHz: the node has %d", withheld, total)
	}
	a := n.Attributes
	setPresent(n, "cpu.modelname", modelName())
	a["cpu.numcores"] = strconv.Itoa(len(cores))
	a["cpu.frequency"] = strconv.Itoa(mhz)
	performance, efficiency := coreKinds(cores)
	if len(efficiency) > 0 {
		a["cpu.numcores.performance"], a["cpu.numcores.efficiency"] = strconv.Itoa(len(performance)), strconv.Itoa(len(efficiency))
		a["cpu.frequency.performance"], a["cpu.frequency.efficiency"] = strconv.Itoa(frequency(performance)), strconv.Itoa(frequency(efficiency))
	}
	a["cpu.totalcompute"] = strconv.Itoa(total)
	a["cpu.usablecompute"] = strconv.Itoa(total - withheld)
	a["cpu.reservablecores"] = strconv.Itoa(len(cores))
	numa(n, cores)
	n.NodeResources.Cpu = structs.NodeCpuResources{CpuShares: int64(total), TotalCpuCores: uint16(len(cores)), ReservableCpuCores: cores}
	n.ReservedResources.Cpu = structs.NodeReservedCpuResources{CpuShares: int64(withheld), ReservedCpuCores: reserved}
	return nil
}

// usableCores are the cores that the agent may run on.
func usableCores() ([]uint16, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("cannot ask for the cores: %w", err)
	}
	var cores []uint16
	for i := 0; len(cores) < set.Count(); i++ {
		if set.IsSet(i) {
			cores = append(cores, uint16(i))
		}
	}
	return cores, nil
}

const cpuDir = "/sys/devices/system/cpu"

// frequency is that of the slowest of the cores in MHz, the most that every
// one of them gives.
func frequency(cores []uint16) int {
	least := 0
	for _, core := range cores {
		dir := filepath.Join(cpuDir, fmt.Sprintf("cpu%d", core), "cpufreq")
		for _, file := range []string{"base_frequency", "cpuinfo_max_freq"} {
			if khz, err := strconv.Atoi(readLine(filepath.Join(dir, file))); err == nil && khz >= 1000 {
				if least == 0 || khz/1000 < least {
					least = khz / 1000
				}
				break
			}
		}
	}
	if least > 0 {
		return least
	}
	most := 0.0
	cpuInfo("cpu MHz", func(value string) {
		if mhz, err := strconv.ParseFloat(value, 64); err == nil && mhz < math.MaxInt32 {
			most = max(most, mhz)
		}
	})
	if most >= 1 {
		return int(most)
	}
	return unknownMHz
}

func modelName() (name string) {
	cpuInfo("model name", func(value string) {
		if name == "" {
			name = value
		}
	})
	return name
}

// cpuInfo visits the values of a field of /proc/cpuinfo.
func cpuInfo(field string, visit func(value string)) {
	readLines("/proc/cpuinfo", func(line string) bool {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == field {
			visit(strings.TrimSpace(value))
		}
		return true
	})
}

// coreKinds divides the cores of a hybrid processor; elsewhere all are
// performance cores.
func coreKinds(cores []uint16) (performance, efficiency []uint16) {
	slow, err := parseSet(readLine("/sys/devices/cpu_atom/cpus"), maxCores)
	if err != nil {
		return cores, nil
	}
	for _, c := range cores {
		if slices.Contains(slow, c) {
			efficiency = append(efficiency, c)
		} else {
			performance = append(performance, c)
		}
	}
	return performance, efficiency
}

// numa tells which cores are near which memory. A kernel without NUMA is one
// node.
func numa(n *structs.Node, cores []uint16) {
	const dir = "/sys/devices/system/node"
	entries, _ := os.ReadDir(dir) // missing: none
	count := 0
	for _, e := range entries {
		id, isNode := strings.CutPrefix(e.Name(), "node")
		if _, err := strconv.ParseUint(id, 10, 16); !isNode || err != nil {
			continue
		}
		count++
		near, err := parseSet(readLine(filepath.Join(dir, e.Name(), "cpulist")), maxCores)
		if err != nil {
			continue
		}
		near = slices.DeleteFunc(near, func(c uint16) bool { return !slices.Contains(cores, c) })
		setPresent(n, "numa.node"+id+".cores", formatSet(near))
	}
	if count == 0 {
		count = 1
		n.Attributes["numa.node0.cores"] = formatSet(cores)
	}
	n.Attributes["numa.node.count"] = strconv.Itoa(count)
}
