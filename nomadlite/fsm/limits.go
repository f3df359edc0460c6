package fsm

import (
	"fmt"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of an entry (design.md 10, Commit).
const (
	// MaxEntry bounds the payload of a command in bytes.
	MaxEntry = 1 << 20
	// MaxJobEntry bounds those that carry a job: 1 MiB of it beside 1 MiB of
	// its source.
	MaxJobEntry = 2 << 20
	// MaxPlacements and MaxPlan bound a plan that may be applied in parts: its
	// placements, and the bytes of all that is a list in it. Workers cut longer
	// ones into several. A plan of all or nothing stays whole, up to MaxEntry.
	MaxPlacements = 2048
	MaxPlan       = 256 << 10
)

// subject names what a payload is about.
func subject(command string, payload any) string {
	switch p := payload.(type) {
	case *state.JobRegister:
		if p.Job != nil {
			return fmt.Sprintf("job %q", p.Job.ID)
		}
	case *state.NodeRegister:
		if p.Node != nil {
			return fmt.Sprintf("node %s", p.Node.ID)
		}
	case *state.VariableSet:
		if p.Variable != nil {
			return fmt.Sprintf("variable %q", p.Variable.Path)
		}
	case *structs.Plan:
		return fmt.Sprintf("the plan of job %q", p.JobID)
	}
	return command
}

// What an allocation takes in a plan at most, in bytes: that it replaces
// another one which is stopped, and each port and device that it gets.
const (
	placementBytes = 48
	portBytes      = 96
	deviceBytes    = 128
)

// CheckWhole refuses a job whose plan could not be one entry although it has
// to: all_at_once.
func CheckWhole(job *structs.Job) error {
	if !job.AllAtOnce {
		return nil
	}
	total, count := 0, 0
	for _, g := range job.TaskGroups {
		if g == nil {
			continue
		}
		one := placementBytes + portBytes*portCount(g.Networks)
		for _, t := range g.Tasks {
			if t == nil || t.Resources == nil {
				continue
			}
			one += portBytes * portCount(t.Resources.Networks)
			for _, d := range t.Resources.Devices {
				if d != nil {
					one += deviceBytes * int(min(structs.Val(d.Count), 1<<16))
				}
			}
		}
		n := max(structs.Val(g.Count), 0)
		total, count = total+one*n, count+n
	}
	if total > MaxEntry {
		return structs.Errorf(structs.Invalid, "cannot place job %q all_at_once: its %d allocations take about %d bytes in one log entry, the limit is %d; lower the counts or leave all_at_once out",
			job.ID, count, total, MaxEntry)
	}
	return nil
}

func portCount(networks []*structs.NetworkResource) int {
	n := 0
	for _, nw := range networks {
		if nw != nil {
			n += len(nw.ReservedPorts) + len(nw.DynamicPorts)
		}
	}
	return n
}
