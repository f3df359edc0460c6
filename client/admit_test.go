package client

import (
	"testing"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/structs"
)

// TestMustWait: a new allocation waits for what is ending, and only for that.
func TestMustWait(t *testing.T) {
	sized := func(id string, memory int64, stopping bool) *structs.Allocation {
		a := shell(id, structs.JobTypeService, "")
		a.AllocatedResources.Tasks["main"].Memory.MemoryMB = memory
		if stopping {
			a.DesiredStatus = structs.AllocDesiredStatusStop
		}
		return a
	}
	for _, tt := range []struct {
		name     string
		here     []*structs.Allocation
		memory   int64
		previous string
		want     bool
	}{
		{"an empty node", nil, 100, "", false},
		{"room beside another", []*structs.Allocation{sized(firstID, 800, false)}, 200, "", false},
		{"no room, and nobody ends", []*structs.Allocation{sized(firstID, 800, false)}, 300, "", false},
		{"no room until one has ended", []*structs.Allocation{sized(firstID, 800, true)}, 300, "", true},
		{"room beside one that ends", []*structs.Allocation{sized(firstID, 800, true)}, 200, "", false},
		{"its predecessor is ending", []*structs.Allocation{sized(firstID, 10, true)}, 10, firstID, true},
		{"its predecessor runs on", []*structs.Allocation{sized(firstID, 10, false)}, 10, firstID, false},
		{"its predecessor is elsewhere", nil, 10, firstID, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &Client{runners: map[string]*run{}, node: &structs.Node{NodeResources: &structs.NodeResources{
				Cpu: structs.NodeCpuResources{CpuShares: 10_000}, Memory: structs.NodeMemoryResources{MemoryMB: 1100}},
				ReservedResources: &structs.NodeReservedResources{Memory: structs.NodeReservedMemoryResources{MemoryMB: 100}}}}
			for _, a := range tt.here {
				runner, err := alloc.New(a, nil, alloc.Deps{Logger: hclog.NewNullLogger(), AllocBase: t.TempDir()})
				if err != nil {
					t.Fatal(err)
				}
				c.runners[a.ID] = &run{alloc: a, runner: runner}
			}
			a := sized(secondID, tt.memory, false)
			a.PreviousAllocation = tt.previous
			if got := c.mustWait(a); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
