package scheduler

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/*.txt")

// TestTranscripts runs testdata/*.txt. A file is a list of cases: commands,
// then "----", then the output of all of them up to an empty line. State is
// kept within a file until the command "reset". The commands are the methods
// of transcript below.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			input, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := runTranscript(t, string(input))
			if got == string(input) {
				return
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			reportDifference(t, file, string(input), got)
		})
	}
}

func reportDifference(t *testing.T, file, want, got string) {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			t.Fatalf("%s:%d (rewrite with -update)\nwant %s\ngot  %s", file, i+1, a, b)
		}
	}
}

func runTranscript(t *testing.T, input string) string {
	tr := &transcript{t: t, world: newWorld()}
	var out strings.Builder
	var pending []string
	lines := strings.Split(strings.TrimRight(input, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line != "----" {
			out.WriteString(line + "\n")
			if line != "" && !strings.HasPrefix(line, "#") {
				pending = append(pending, line)
			}
			continue
		}
		out.WriteString("----\n")
		for _, command := range pending {
			out.WriteString(tr.command(command))
		}
		pending = nil
		for i+1 < len(lines) && lines[i+1] != "" {
			i++
		}
	}
	if len(pending) > 0 {
		t.Fatalf("commands without ----: %q", pending)
	}
	return out.String()
}

// transcript executes the commands of a file on a world.
type transcript struct {
	*world
	t *testing.T
}

// command runs one line, "verb name key=value ...". Values with blanks are
// quoted.
func (tr *transcript) command(line string) string {
	words := fields(line)
	verb, name := words[0], ""
	if len(words) > 1 {
		name = words[1]
	}
	args := words[min(2, len(words)):]
	switch verb {
	case "reset":
		tr.world = newWorld()
	case "node":
		tr.setNode(name, args)
	case "gone":
		_, i, _ := tr.find(name)
		tr.nodes[i] = nil
	case "job":
		tr.register(name, args)
	case "group":
		tr.group(name, args)
	case "stop":
		j := *tr.jobs[name]
		j.Stop = true
		j.Version++
		tr.jobs[name] = &j
	case "purge":
		delete(tr.jobs, name)
	case "now":
		d, err := time.ParseDuration(name)
		tr.check(err)
		tr.now = tr.now.Add(d)
	case "alloc":
		tr.setAlloc(name, args)
	case "all":
		for _, a := range tr.JobAllocs("", name) {
			if !a.Terminal() {
				tr.setAlloc(a.ID, args)
			}
		}
	case "deployment":
		tr.setDeployment(name, args)
	case "forget": // an allocation
		tr.allocs = slices.DeleteFunc(tr.allocs, func(a *structs.Allocation) bool { return a.ID == name })
	case "collect": // the job's deployments
		tr.deployments = slices.DeleteFunc(tr.deployments, func(d *structs.Deployment) bool { return d.JobID == name })
	case "config":
		tr.setConfig(append(words[1:2], args...))
	case "pool":
		c := &structs.NodePoolSchedulerConfiguration{SchedulerAlgorithm: value(args, "algorithm")}
		if v := value(args, "oversubscription"); v != "" {
			c.MemoryOversubscriptionEnabled = structs.Ptr(v == "true")
		}
		tr.pools[name] = &structs.NodePool{Name: name, SchedulerConfiguration: c}
	case "run", "plan":
		return tr.run(name, args, verb == "run")
	case "show":
		return tr.show(name)
	default:
		tr.t.Fatalf("unknown command %q", line)
	}
	return ""
}

func (tr *transcript) check(err error) {
	if err != nil {
		tr.t.Fatal(err)
	}
}

// fields splits at blanks outside double quotes.
func fields(line string) []string {
	var words []string
	var word strings.Builder
	quoted := false
	for _, r := range line {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ' ' && !quoted:
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
		default:
			word.WriteRune(r)
		}
	}
	return append(words, word.String())
}

func value(args []string, key string) string {
	for _, a := range args {
		if k, v, _ := strings.Cut(a, "="); k == key {
			return v
		}
	}
	return ""
}

func (tr *transcript) number(s string) int {
	n, err := strconv.Atoi(s)
	tr.check(err)
	return n
}

func (tr *transcript) setNode(name string, args []string) {
	n, i, known := tr.find(name)
	if known {
		c := n.Copy()
		n = c
	} else {
		n = testNode(name)
		i = len(tr.nodes)
		tr.addNode(n)
	}
	for _, arg := range args {
		key, v, _ := strings.Cut(arg, "=")
		switch {
		case key == "cpu":
			n.NodeResources.Cpu.CpuShares = int64(tr.number(v))
		case key == "mem":
			n.NodeResources.Memory.MemoryMB = int64(tr.number(v))
		case key == "disk":
			n.NodeResources.Disk.DiskMB = int64(tr.number(v))
		case key == "reserved":
			n.ReservedResources = &structs.NodeReservedResources{Cpu: structs.NodeReservedCpuResources{CpuShares: int64(tr.number(v))}}
		case key == "reserved_ports":
			n.ReservedResources = &structs.NodeReservedResources{Networks: structs.NodeReservedNetworkResources{ReservedHostPorts: v}}
		case key == "ports":
			low, high, _ := strings.Cut(v, "-")
			n.NodeResources.MinDynamicPort, n.NodeResources.MaxDynamicPort = tr.number(low), tr.number(high)
		case key == "network":
			alias, ip, _ := strings.Cut(v, ":")
			n.NodeResources.NodeNetworks[0].Addresses = append(n.NodeResources.NodeNetworks[0].Addresses,
				structs.NodeNetworkAddress{Alias: alias, Address: ip})
		case key == "mode":
			n.NodeResources.NodeNetworks = append(n.NodeResources.NodeNetworks, &structs.NodeNetworkResource{Mode: v})
		case key == "nonetwork":
			n.NodeResources.NodeNetworks = nil
		case key == "max_allocs":
			n.NodeMaxAllocs = tr.number(v)
		case key == "dc":
			n.Datacenter = v
		case key == "pool":
			n.NodePool = v
		case key == "class":
			n.NodeClass = v
		case key == "status":
			n.Status = v
		case key == "eligibility":
			n.SchedulingEligibility = v
		case key == "drain":
			n.DrainStrategy = &structs.DrainStrategy{}
			n.SchedulingEligibility = structs.NodeIneligible
		case key == "driver":
			n.Drivers = map[string]*structs.DriverInfo{v: {Detected: true, Healthy: true}}
		case key == "unhealthy":
			n.Drivers = map[string]*structs.DriverInfo{v: {Detected: true}}
		case key == "volume":
			source, mode, _ := strings.Cut(v, ":")
			if n.HostVolumes == nil {
				n.HostVolumes = map[string]*structs.HostVolumeInfo{}
			}
			n.HostVolumes[source] = &structs.HostVolumeInfo{Path: "/" + source, ReadOnly: mode == "ro"}
		case key == "numa": // cores of each NUMA node: 0-1/2-3
			zones := strings.Split(v, "/")
			n.Attributes["numa.node.count"] = strconv.Itoa(len(zones))
			for k, cores := range zones {
				n.Attributes[fmt.Sprintf("numa.node%d.cores", k)] = cores
			}
		case key == "gpu_near": // the NUMA node of each GPU, of the gpu setting before it: 0,1,1
			for k, id := range strings.Split(v, ",") {
				bus := fmt.Sprint("bus", k)
				n.NodeResources.Devices[0].Instances[k].Locality = &structs.NodeDeviceLocality{PciBusID: bus}
				name := structs.NUMADevicesAttribute(tr.number(id))
				n.Attributes[name] = strings.TrimPrefix(n.Attributes[name]+","+bus, ",")
			}
		case key == "gpu":
			d := &structs.NodeDeviceResource{Vendor: "nvidia", Type: "gpu", Name: "a100"}
			for k := range tr.number(v) {
				d.Instances = append(d.Instances, &structs.NodeDevice{ID: fmt.Sprint("gpu", k), Healthy: true})
			}
			n.NodeResources.Devices = []*structs.NodeDeviceResource{d}
		case strings.HasPrefix(key, "attr."):
			n.Attributes[strings.TrimPrefix(key, "attr.")] = v
		case strings.HasPrefix(key, "meta."):
			n.Meta[strings.TrimPrefix(key, "meta.")] = v
		default:
			tr.t.Fatalf("unknown node setting %q", arg)
		}
	}
	n.ComputeClass()
	tr.nodes[i] = n
}

func (tr *transcript) register(name string, args []string) {
	old := tr.jobs[name]
	kind := structs.JobTypeService
	if v := value(args, "type"); v != "" {
		kind = v
	} else if old != nil {
		kind = old.Type
	}
	j := &structs.Job{ID: name, Type: kind, TaskGroups: []*structs.TaskGroup{testGroup("g")}}
	tr.settings(j, j.TaskGroups[0], args)
	tr.store(j, old)
}

func (tr *transcript) store(j, old *structs.Job) {
	j.Canonicalize()
	tr.index++
	j.CreateIndex, j.JobModifyIndex, j.ModifyIndex = tr.index, tr.index, tr.index
	if old != nil {
		j.CreateIndex, j.Version = old.CreateIndex, old.Version+1
	}
	tr.jobs[j.ID] = j
}

func (tr *transcript) setAlloc(id string, args []string) {
	if tr.alloc(id) == nil {
		tr.t.Fatalf("no allocation %q", id)
	}
	tr.change(id, func(a *structs.Allocation) {
		for _, arg := range args {
			key, v, _ := strings.Cut(arg, "=")
			switch key {
			case "healthy":
				s := structs.AllocDeploymentStatus{}
				if a.DeploymentStatus != nil {
					s = *a.DeploymentStatus
				}
				s.Healthy = structs.Ptr(v == "true")
				a.DeploymentStatus = &s
				tr.countHealth(a, v == "true")
			case "migrate":
				a.DesiredTransition.Migrate = structs.Ptr(true)
			case "reschedule": // as the watcher of its deployment asks
				a.DesiredTransition.Reschedule = structs.Ptr(true)
			case "force_reschedule":
				a.DesiredTransition.ForceReschedule = structs.Ptr(true)
			case "started":
				at := tr.now.Add(*tr.duration(v))
				a.TaskStates = map[string]*structs.TaskState{"t": {State: structs.TaskStateRunning, StartedAt: &at}}
			case "running", "complete", "failed", "unknown":
				a.ClientStatus = key
				if key == "failed" || key == "complete" {
					at := tr.now
					a.TaskStates = map[string]*structs.TaskState{"t": {State: structs.TaskStateDead, Failed: key == "failed", FinishedAt: &at}}
				}
			default:
				tr.t.Fatalf("unknown allocation setting %q", arg)
			}
		}
	})
}

func (tr *transcript) countHealth(a *structs.Allocation, healthy bool) {
	for i, d := range tr.deployments {
		if d.ID != a.DeploymentID {
			continue
		}
		c := *d
		c.TaskGroups = maps.Clone(d.TaskGroups)
		s := *c.TaskGroups[a.TaskGroup]
		if healthy {
			s.HealthyAllocs++
		} else {
			s.UnhealthyAllocs++
		}
		c.TaskGroups[a.TaskGroup] = &s
		tr.deployments[i] = &c
	}
}

func (tr *transcript) setDeployment(job string, args []string) {
	d := tr.LatestDeployment("", job)
	c := *d
	for _, arg := range args {
		if arg == "promote" {
			c.TaskGroups = maps.Clone(d.TaskGroups)
			for name, s := range c.TaskGroups {
				promoted := *s
				promoted.Promoted = true
				c.TaskGroups[name] = &promoted
			}
			continue
		}
		c.Status = arg
	}
	tr.deployments[slices.Index(tr.deployments, d)] = &c
}

func (tr *transcript) setConfig(args []string) {
	for _, arg := range args {
		key, v, _ := strings.Cut(arg, "=")
		switch key {
		case "algorithm":
			tr.config.SchedulerAlgorithm = v
		case "oversubscription":
			tr.config.MemoryOversubscriptionEnabled = true
		case "preempt":
			tr.config.PreemptionConfig = structs.PreemptionConfig{ServiceSchedulerEnabled: true, BatchSchedulerEnabled: true,
				SystemSchedulerEnabled: true, SysBatchSchedulerEnabled: true}
		default:
			tr.t.Fatalf("unknown configuration %q", arg)
		}
	}
}
