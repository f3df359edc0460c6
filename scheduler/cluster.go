package scheduler

import (
	"slices"
	"strings"

	"github.com/nomadlite/nomadlite/structs"
)

// NodeRow is what the index keeps of one node.
type NodeRow struct {
	// Node is nil for a node that is gone. It must not be changed afterwards:
	// a new state of the node is a new value.
	Node  *structs.Node
	Usage NodeUsage
}

// NodeUsage is what the allocations of a node occupy.
type NodeUsage struct {
	// CPU (MHz), MemoryMB and DiskMB count allocations that the servers want
	// to run and whose client is not done with them; Allocs is their number.
	CPU, MemoryMB, DiskMB int64
	Allocs                int
	// Held lists the allocations with ports, cores or devices that the client
	// is not done with, stopping ones included: those stay taken until it is.
	Held []*structs.Allocation
}

// Cluster is a columnar index of the nodes for placement: one array a
// property, by dense node number. Its owner feeds it with Set and Remove and
// keeps it at the index of the snapshot that it schedules from; it is never
// rebuilt for an evaluation. It is not safe for concurrent use.
type Cluster struct {
	rows []NodeRow
	// ready is true for nodes that may take new allocations.
	ready []bool
	// class is the number of the node's class in classes.
	class   []uint32
	free    []Amount // total without what is reserved and used
	total   []Amount // without what is reserved
	used    []int32  // allocations on the node
	hot     []hotRow // what a pass over all nodes reads, see scan.go
	ports   []*nodePorts
	classes classTable

	undo   []undoEntry
	claims []portClaim // of the undo entries
	work   scratch
}

// Amount is a quantity of the three plain resources.
type Amount struct {
	CPU, MemoryMB, DiskMB int64 // MHz, MiB, MiB
}

func (a Amount) minus(b Amount) Amount {
	return Amount{a.CPU - b.CPU, a.MemoryMB - b.MemoryMB, a.DiskMB - b.DiskMB}
}

func (a Amount) plus(b Amount) Amount {
	return Amount{a.CPU + b.CPU, a.MemoryMB + b.MemoryMB, a.DiskMB + b.DiskMB}
}

// NewCluster returns an empty index.
func NewCluster() *Cluster {
	return &Cluster{classes: classTable{byKey: map[string]uint32{}}}
}

// Set stores the state of the node with the given dense number. It costs a
// few hundred nanoseconds when only the usage changed.
func (c *Cluster) Set(num uint32, row NodeRow) {
	if row.Node == nil {
		c.Remove(num)
		return
	}
	c.grow(int(num) + 1)
	old := c.rows[num].Node
	if old != row.Node {
		c.setNode(num, row.Node)
	}
	held := old == row.Node && len(c.rows[num].Usage.Held) == 0 && len(row.Usage.Held) == 0
	c.rows[num] = row
	u := row.Usage
	c.free[num] = c.total[num].minus(Amount{u.CPU, u.MemoryMB, u.DiskMB})
	c.used[num] = int32(u.Allocs)
	if !held {
		c.ports[num] = nil
	}
	c.warm(num)
}

func (c *Cluster) setNode(num uint32, n *structs.Node) {
	if old := c.rows[num].Node; old != nil {
		c.classes.leave(c.class[num], num, c.ready[num])
	}
	c.class[num] = c.classes.join(num, n)
	c.ready[num] = n.Ready()
	if c.ready[num] {
		c.classes.list[c.class[num]].addReady(num)
	}
	c.total[num] = nodeCapacity(n)
	c.ports[num] = nil
}

// Remove forgets a node.
func (c *Cluster) Remove(num uint32) {
	if int(num) >= len(c.rows) || c.rows[num].Node == nil {
		return
	}
	c.classes.leave(c.class[num], num, c.ready[num])
	c.rows[num] = NodeRow{}
	c.ready[num] = false
	c.free[num], c.total[num] = Amount{}, Amount{}
	c.used[num] = 0
	c.ports[num] = nil
	c.warm(num)
}

// Len is one more than the highest node number ever set.
func (c *Cluster) Len() int { return len(c.rows) }

// Free is what allocations may still take on a node.
func (c *Cluster) Free(num uint32) Amount {
	if int(num) >= len(c.free) {
		return Amount{}
	}
	return c.free[num]
}

// Reset forgets all nodes.
func (c *Cluster) Reset() { *c = *NewCluster() }

func (c *Cluster) grow(n int) {
	if n <= len(c.rows) {
		return
	}
	extra := n - len(c.rows)
	c.rows = append(c.rows, make([]NodeRow, extra)...)
	c.ready = append(c.ready, make([]bool, extra)...)
	c.class = append(c.class, make([]uint32, extra)...)
	c.free = append(c.free, make([]Amount, extra)...)
	c.total = append(c.total, make([]Amount, extra)...)
	c.used = append(c.used, make([]int32, extra)...)
	for range extra {
		c.hot = append(c.hot, hotRow{cpu: closed})
	}
	c.ports = append(c.ports, make([]*nodePorts, extra)...)
}

// nodeCapacity is what a node offers to allocations.
func nodeCapacity(n *structs.Node) Amount {
	var total Amount
	if r := n.NodeResources; r != nil {
		total = Amount{r.Cpu.CpuShares, r.Memory.MemoryMB, r.Disk.DiskMB}
	}
	if r := n.ReservedResources; r != nil {
		total = total.minus(Amount{r.Cpu.CpuShares, r.Memory.MemoryMB, r.Disk.DiskMB})
	}
	return total
}

// undoEntry is one change made while a plan is built.
type undoEntry struct {
	num  uint32
	cost Amount // what was taken, negative when given back
	live int32
	// ports is how many of the last claims are its own: ports that were free
	// before, not those shared by ignore_collision.
	ports int
}

// take occupies an amount on a node until rollback; count is the change of the
// number of allocations.
func (c *Cluster) take(num uint32, cost Amount, count int32, ports []portClaim) {
	c.free[num] = c.free[num].minus(cost)
	c.used[num] += count
	c.warm(num)
	claimed := 0
	for _, p := range ports {
		if of := c.portsOf(num); !of.has(p) {
			of.claim(p)
			c.claims = append(c.claims, p)
			claimed++
		}
	}
	c.undo = append(c.undo, undoEntry{num: num, cost: cost, live: count, ports: claimed})
}

// rollback makes the index what it was before the first take.
func (c *Cluster) rollback() {
	for _, u := range slices.Backward(c.undo) {
		c.free[u.num] = c.free[u.num].plus(u.cost)
		c.used[u.num] -= u.live
		c.warm(u.num)
		for range u.ports {
			last := len(c.claims) - 1
			c.portsOf(u.num).release(c.claims[last])
			c.claims = c.claims[:last]
		}
	}
	c.undo = c.undo[:0]
	c.work.reset()
}

// classTable numbers the node classes. A class is all nodes that answer every
// check the same way, so it is finer than the contract's computed class: driver
// health and host networks are part of it.
type classTable struct {
	byKey map[string]uint32
	list  []nodeClass
	free  []uint32 // numbers of empty classes
}

// nodeClass is one class of nodes.
type nodeClass struct {
	key      string
	computed string // the contract's computed class
	sample   *structs.Node
	members  int
	// nodes are the ready members in ascending order.
	nodes []uint32
}

func (t *classTable) join(num uint32, n *structs.Node) uint32 {
	computed := n.ComputedClass
	if computed == "" {
		own := *n
		own.ComputeClass()
		computed = own.ComputedClass
	}
	key := classKey(computed, n)
	id, ok := t.byKey[key]
	if !ok {
		id = t.newClass(nodeClass{key: key, computed: computed})
		t.byKey[key] = id
	}
	t.list[id].sample = n
	t.list[id].members++
	return id
}

func (t *classTable) newClass(class nodeClass) uint32 {
	if last := len(t.free) - 1; last >= 0 {
		id := t.free[last]
		t.free = t.free[:last]
		t.list[id] = class
		return id
	}
	t.list = append(t.list, class)
	return uint32(len(t.list) - 1)
}

func (t *classTable) leave(id, num uint32, ready bool) {
	class := &t.list[id]
	if ready {
		if i, ok := slices.BinarySearch(class.nodes, num); ok {
			class.nodes = slices.Delete(class.nodes, i, i+1)
		}
	}
	class.members--
	if class.members == 0 {
		delete(t.byKey, class.key)
		*class = nodeClass{}
		t.free = append(t.free, id)
	}
}

func (c *nodeClass) addReady(num uint32) {
	if last := len(c.nodes) - 1; last < 0 || c.nodes[last] < num {
		c.nodes = append(c.nodes, num)
		return
	}
	i, found := slices.BinarySearch(c.nodes, num)
	if !found {
		c.nodes = slices.Insert(c.nodes, i, num)
	}
}

// classKey adds to a computed class what else decides over a whole class.
func classKey(computed string, n *structs.Node) string {
	var parts []string
	for name, d := range n.Drivers {
		if d != nil && d.Detected && d.Healthy {
			parts = append(parts, "driver "+name)
		}
	}
	for _, name := range hostNetworks(n) {
		parts = append(parts, "network "+name)
	}
	for _, mode := range networkModes(n) {
		parts = append(parts, "mode "+mode)
	}
	slices.Sort(parts)
	return computed + "\x00" + strings.Join(slices.Compact(parts), "\x00")
}
