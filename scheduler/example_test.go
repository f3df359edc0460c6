package scheduler_test

import (
	"fmt"

	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// A third party adds an algorithm without touching this package: it prefers
// nodes with few devices, so that those with many stay free for work that
// needs them.
func ExampleRegisterAlgorithm() {
	err := scheduler.RegisterAlgorithm(scheduler.Algorithm{
		Name: "few-devices",
		Score: func(_ *scheduler.Ask, n *scheduler.NodeView) float64 {
			devices := 0
			for _, d := range n.Node.NodeResources.Devices {
				devices += len(d.Instances)
			}
			return 1 / float64(1+devices)
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	cluster := scheduler.NewCluster()
	state := &snapshot{job: exampleJob()}
	for num, devices := range []int{4, 0, 8} {
		n := exampleNode(num, devices)
		state.nodes = append(state.nodes, n)
		cluster.Set(uint32(num), scheduler.NodeRow{Node: n})
	}
	eval := &structs.Evaluation{ID: "e", Namespace: "default", JobID: "job", Type: structs.JobTypeBatch}
	result, err := scheduler.Process(state, cluster, eval, scheduler.Options{Algorithm: "few-devices"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("node", result.Plan.Groups[0].Placements[0].Node)
	// Output: node 1
}

func exampleNode(num, devices int) *structs.Node {
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

func exampleJob() *structs.Job {
	j := &structs.Job{ID: "job", Type: structs.JobTypeBatch, TaskGroups: []*structs.TaskGroup{{Name: "g",
		Tasks: []*structs.Task{{Name: "t", Driver: "raw_exec"}}}}}
	j.Canonicalize()
	return j
}

// snapshot is the smallest scheduler.Snapshot: some nodes and one new job.
type snapshot struct {
	job   *structs.Job
	nodes []*structs.Node
}

func (s *snapshot) Index() uint64                                    { return 1 }
func (s *snapshot) Job(_, _ string) *structs.Job                     { return s.job }
func (s *snapshot) JobAllocs(_, _ string) []*structs.Allocation      { return nil }
func (s *snapshot) NodeByNum(num uint32) *structs.Node               { return s.nodes[num] }
func (s *snapshot) NodeNum(string) (uint32, bool)                    { return 0, false }
func (s *snapshot) NodeAllocs(uint32) []*structs.Allocation          { return nil }
func (s *snapshot) LatestDeployment(_, _ string) *structs.Deployment { return nil }
func (s *snapshot) NodePool(string) *structs.NodePool                { return nil }
func (s *snapshot) Eval(string) *structs.Evaluation                  { return nil }
func (s *snapshot) SchedulerConfig() *structs.SchedulerConfiguration { return nil }
