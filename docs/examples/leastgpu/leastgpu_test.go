package leastgpu_test

import (
	"fmt"
	"testing"

	"github.com/nomadlite/nomadlite/docs/examples/leastgpu"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// TestLeastGPU places jobs that select the example in the three ways there are:
// by the scheduler configuration, by the node pool and by the job.
func TestLeastGPU(t *testing.T) {
	if err := leastgpu.Register(); err != nil {
		t.Fatal(err)
	}
	if leastgpu.Register() == nil {
		t.Error("a taken name was registered again")
	}
	const both = leastgpu.Algorithm + "+" + leastgpu.Filter + "+" + leastgpu.Scorer
	gpu := func(j *structs.Job) {
		j.TaskGroups[0].Count = structs.Ptr(4)
		j.TaskGroups[0].Tasks[0].Resources.Devices = []*structs.RequestedDevice{{Name: "gpu", Count: structs.Ptr(uint64(1))}}
	}
	for _, c := range []struct {
		name    string
		state   state
		devices []int
		want    string // nodes of the placements, or what went wrong
	}{
		{"configuration", state{config: leastgpu.Algorithm, job: job(gpu)}, []int{2, 4}, "[1 0 1 0]"},
		{"pool", state{pool: leastgpu.Algorithm, job: job(gpu)}, []int{2, 4}, "[1 0 1 0]"},
		{"job over both", state{config: "binpack", pool: "spread", job: job(func(j *structs.Job) {
			gpu(j)
			j.Meta = map[string]string{scheduler.MetaAlgorithm: leastgpu.Algorithm}
		})}, []int{2, 4}, "[1 0 1 0]"},
		{"filter", state{config: both, job: job(nil)}, []int{2, 0}, "[1]"},
		{"filter without another node", state{config: both, job: job(nil)}, []int{2}, "map[kept for work with devices:1]"},
		{"unknown", state{config: "binpack+magic", job: job(nil)}, []int{0}, `no scheduler filter or scorer "magic" in "binpack+magic": this build has ["no-cpu-work-on-gpus" "few-allocations"]`},
	} {
		if got := c.state.place(c.devices); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// place runs the scheduler on nodes with the given numbers of devices.
func (s *state) place(devices []int) string {
	cluster := scheduler.NewCluster()
	for num, n := range devices {
		s.nodes = append(s.nodes, node(num, n))
		cluster.Set(uint32(num), scheduler.NodeRow{Node: s.nodes[num]})
	}
	r, err := scheduler.Process(s, cluster, &structs.Evaluation{ID: "e", Namespace: "default", JobID: "job", Type: s.job.Type}, scheduler.Options{Seed: 1})
	if err != nil {
		return err.Error()
	}
	if m := r.Plan.Eval.FailedTGAllocs["g"]; m != nil {
		return fmt.Sprint(m.ConstraintFiltered)
	}
	on := []uint32{}
	for _, g := range r.Plan.Groups {
		for _, p := range g.Placements {
			on = append(on, p.Node)
		}
	}
	return fmt.Sprint(on)
}

func node(num, devices int) *structs.Node {
	n := &structs.Node{ID: fmt.Sprint("node-", num), Datacenter: "dc1", NodePool: "default",
		Status: structs.NodeStatusReady, SchedulingEligibility: structs.NodeEligible,
		Drivers: map[string]*structs.DriverInfo{"raw_exec": {Detected: true, Healthy: true}},
		NodeResources: &structs.NodeResources{Cpu: structs.NodeCpuResources{CpuShares: 4000},
			Memory: structs.NodeMemoryResources{MemoryMB: 4096}, Disk: structs.NodeDiskResources{DiskMB: 10000}}}
	group := &structs.NodeDeviceResource{Vendor: "acme", Type: "gpu", Name: "x"}
	for i := range devices {
		group.Instances = append(group.Instances, &structs.NodeDevice{ID: fmt.Sprint(i), Healthy: true})
	}
	n.NodeResources.Devices = []*structs.NodeDeviceResource{group}
	n.ComputeClass()
	return n
}

func job(change func(*structs.Job)) *structs.Job {
	j := &structs.Job{ID: "job", Type: structs.JobTypeBatch, TaskGroups: []*structs.TaskGroup{{Name: "g",
		Tasks: []*structs.Task{{Name: "t", Driver: "raw_exec", Resources: &structs.Resources{}}}}}}
	if change != nil {
		change(j)
	}
	j.Canonicalize()
	return j
}

// state is the smallest scheduler.Snapshot: some nodes and one new job.
type state struct {
	job          *structs.Job
	nodes        []*structs.Node
	config, pool string
}

func (s *state) Index() uint64                                    { return 1 }
func (s *state) Job(_, _ string) *structs.Job                     { return s.job }
func (s *state) JobAllocs(_, _ string) []*structs.Allocation      { return nil }
func (s *state) NodeByNum(num uint32) *structs.Node               { return s.nodes[num] }
func (s *state) NodeNum(string) (uint32, bool)                    { return 0, false }
func (s *state) NodeAllocs(uint32) []*structs.Allocation          { return nil }
func (s *state) LatestDeployment(_, _ string) *structs.Deployment { return nil }
func (s *state) NodePool(string) *structs.NodePool {
	return &structs.NodePool{SchedulerConfiguration: &structs.NodePoolSchedulerConfiguration{SchedulerAlgorithm: s.pool}}
}
func (s *state) Eval(string) *structs.Evaluation { return nil }
func (s *state) SchedulerConfig() *structs.SchedulerConfiguration {
	return &structs.SchedulerConfiguration{SchedulerAlgorithm: s.config}
}
