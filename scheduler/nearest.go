package scheduler

import "github.com/nomadlite/nomadlite/structs"

// dimensions are the plain resources under the contract's names.
var dimensions = [...]string{"cpu", "memory", "disk"}

// nearest collects, for each plain resource, the node that came nearest among
// those that have not enough of it.
type nearest [len(dimensions)]*structs.NearMiss

// see looks at a node that is exhausted.
func (n *nearest) see(e *engine, num uint32) {
	asked := [...]int64{e.cost(num), e.ask.MemoryMB, e.ask.DiskMB}
	free := [...]int64{e.cluster.free[num].CPU, e.cluster.free[num].MemoryMB, e.cluster.free[num].DiskMB}
	total := [...]int64{e.cluster.total[num].CPU, e.cluster.total[num].MemoryMB, e.cluster.total[num].DiskMB}
	node := e.cluster.rows[num].Node
	for d := range dimensions {
		if free[d] >= asked[d] {
			continue
		}
		m := n[d]
		if m == nil {
			m = &structs.NearMiss{Dimension: dimensions[d], Asked: asked[d], Free: free[d], NodeID: node.ID, NodeName: node.Name}
			n[d] = m
		}
		m.Largest = max(m.Largest, total[d])
		// Of equals the one with the lowest id, whatever the order of the index.
		if margin, best := free[d]-asked[d], m.Free-m.Asked; margin > best || margin == best && node.ID < m.NodeID {
			m.Asked, m.Free, m.NodeID, m.NodeName = asked[d], free[d], node.ID, node.Name
		}
	}
}

func (n *nearest) list() []*structs.NearMiss {
	var list []*structs.NearMiss
	for _, m := range n {
		if m != nil {
			list = append(list, m)
		}
	}
	return list
}
