package alloctable

import (
	"iter"
	"slices"
	"sort"

	"github.com/tidwall/btree"

	"github.com/nomadlite/nomadlite/structs"
)

// Desired statuses of a row.
const (
	DesiredRun uint8 = iota
	DesiredStop
	DesiredEvict
)

// Client statuses of a row. Those from ClientComplete on are terminal.
const (
	ClientPending uint8 = iota
	ClientRunning
	ClientUnknown
	ClientComplete
	ClientFailed
	ClientLost
)

var (
	desiredNames = [...]string{structs.AllocDesiredStatusRun, structs.AllocDesiredStatusStop, structs.AllocDesiredStatusEvict}
	clientNames  = [...]string{structs.AllocClientStatusPending, structs.AllocClientStatusRunning, structs.AllocClientStatusUnknown,
		structs.AllocClientStatusComplete, structs.AllocClientStatusFailed, structs.AllocClientStatusLost}
)

// DesiredOf returns the code of a desired status, false for an unknown one.
func DesiredOf(status string) (uint8, bool) {
	i := slices.Index(desiredNames[:], status)
	return uint8(max(i, 0)), i >= 0
}

// ClientOf returns the code of a client status, false for an unknown one.
func ClientOf(status string) (uint8, bool) {
	i := slices.Index(clientNames[:], status)
	return uint8(max(i, 0)), i >= 0
}

// Batch is what allocations share: those that one plan placed in one group, or
// moved in place to one job version. It is immutable.
type Batch struct {
	Job          *structs.Job // the version that they run
	Group        string
	EvalID       string
	DeploymentID string
	Resources    *structs.AllocatedResources // without ports, devices and cores
	Metrics      *structs.AllocMetric
	CreateIndex  uint64
	CreateTime   int64
	// InPlace marks a batch that changed existing rows; Description is their
	// desired description.
	InPlace bool

	ask     Usage
	job     uint32
	first   uint64   // rows that it made: first … first+count-1
	count   uint64   //
	members []uint64 // rows that it changed in place, ascending
}

// Usage is an amount of a node's resources.
type Usage struct {
	CPU, MemoryMB, DiskMB int64
	Allocs                int
}

func (u *Usage) add(v Usage, sign int64) {
	u.CPU += sign * v.CPU
	u.MemoryMB += sign * v.MemoryMB
	u.DiskMB += sign * v.DiskMB
	u.Allocs += int(sign) * v.Allocs
}

// Ask sums what one allocation with the resources takes of a node.
func Ask(r *structs.AllocatedResources) Usage {
	u := Usage{Allocs: 1}
	if r == nil {
		return u
	}
	u.DiskMB = r.Shared.DiskMB
	for _, t := range r.Tasks {
		if t != nil {
			u.CPU += t.Cpu.CpuShares
			u.MemoryMB += t.Memory.MemoryMB
		}
	}
	return u
}

// Row is one allocation, without what it shares.
type Row struct {
	Number           uint64
	Node             uint32
	NameIndex        uint32
	Made             uint32 // batch that made it
	Batch            uint32 // batch that last changed it
	Desired, Client  uint8
	ModifyIndex      uint64
	AllocModifyIndex uint64
	ModifyTime       int64

	cold   *cold
	edited bool // cold belongs to this value of the row alone
}

// Live reports whether the row counts against its node's capacity.
func (r *Row) Live() bool { return r.Desired == DesiredRun && r.Client < ClientComplete }

// ClientTerminal reports whether the node is done with the allocation.
func (r *Row) ClientTerminal() bool { return r.Client >= ClientComplete }

// Rare returns what the row has beyond its columns. It must not be changed in
// depth.
func (r *Row) Rare() Rare {
	if r.cold == nil {
		return Rare{}
	}
	x := Rare{}
	if r.cold.rare != nil {
		x = *r.cold.rare
	}
	if f := r.cold.unpack(); f.health != healthNone {
		x.Deployment = f.deployment()
	}
	return x
}

// Plain reports whether the row has nothing rare but perhaps a health.
func (r *Row) Plain() bool { return r.cold == nil || r.cold.rare == nil }

// Health is what Rare().Deployment says of the health, nil while it is unknown.
func (r *Row) Health() *bool {
	if r.cold == nil {
		return nil
	}
	if f := r.cold.unpack(); f.health != healthNone {
		return structs.Ptr(f.health == healthy)
	}
	if r.cold.rare == nil || r.cold.rare.Deployment == nil {
		return nil
	}
	return r.cold.rare.Deployment.Healthy
}

// Special reports whether the row has ports, devices or cores.
func (r *Row) Special() bool {
	return r.cold != nil && r.cold.rare != nil && r.cold.rare.Extra != nil && special(r.cold.rare.Extra)
}

// Holds reports whether the row has something that nobody else may have, and
// its node has not said that it is done with it.
func (r *Row) Holds() bool {
	return r.Client != ClientComplete && r.Client != ClientFailed && r.Special()
}

// Revision is the revision of the last update by the node.
func (r *Row) Revision() uint64 { return r.cold.unpack().revision }

// edit returns the cold data of the row for changing.
func (r *Row) edit() *cold {
	if !r.edited {
		c := cold{}
		if r.cold != nil {
			c = *r.cold
		}
		r.cold, r.edited = &c, true
	}
	return r.cold
}

type jobKey struct{ ns, id string }

type keyed struct {
	key string
	num uint32
}

func keyedLess(a, b keyed) bool { return a.key < b.key }

type batchList struct {
	key     string
	batches []uint32
}

func listLess(a, b batchList) bool { return a.key < b.key }

// Node is the name under which rows refer to a node.
type Node struct{ ID, Name string }

type nodeRows struct {
	rows      []uint64 // ascending
	held      []uint64 // of those, what Holds, ascending
	usage     Usage
	changed   uint64 // highest AllocModifyIndex of a row
	collected uint64 // index of the last collection of a row
	// recent are the rows that the servers changed after recentFrom, in order;
	// those that were made since are left out.
	recent     []rowChange
	recentFrom uint64
}

type rowChange struct{ index, number uint64 }

// maxRecent is how many changes of a node's rows are remembered at least.
const maxRecent = 64

// remember notes that the servers changed a row.
func (n *nodeRows) remember(index, number uint64) {
	if len(n.recent) >= 2*maxRecent {
		rest := len(n.recent) - maxRecent
		n.recentFrom = n.recent[rest-1].index
		n.recent = slices.Clone(n.recent[rest:])
	}
	n.recent = append(n.recent, rowChange{index, number})
}

// hold adds a row to those that hold something, or takes it out. What older
// versions read stays as it is.
func (n *nodeRows) hold(number uint64, holds bool) {
	i, have := slices.BinarySearch(n.held, number)
	switch {
	case holds && !have && i == len(n.held):
		n.held = append(n.held, number)
	case holds && !have:
		n.held = slices.Insert(slices.Clone(n.held), i, number)
	case !holds && have:
		n.held = slices.Delete(slices.Clone(n.held), i, i+1)
	}
}

type jobRows struct {
	jobKey
	batches []uint32 // that made rows, ascending
	live    int
}

// Table is one version of all allocations.
type Table struct {
	ids *ids

	n       uint64 // numbers given out
	live    uint64 // rows that are not collected
	pages   vec[*page]
	batches vec[*Batch]
	refs    vec[uint32] // rows that refer to a batch, twice when made and last changed by it

	nodes    vec[Node]
	nodeRows vec[nodeRows]
	nodeNums *btree.BTreeG[keyed]
	jobs     vec[jobRows]
	jobNums  *btree.BTreeG[keyed]
	byEval   *btree.BTreeG[batchList]
	byDeploy *btree.BTreeG[batchList]
}

// New returns an empty table whose ids are made with the AES key.
func New(key [16]byte) *Table {
	// A write copies a path of nodes, which are small so that this costs little.
	opts := btree.Options{NoLocks: true, Degree: 8}
	return &Table{
		ids:      newIDs(key),
		nodeNums: btree.NewBTreeGOptions(keyedLess, opts),
		jobNums:  btree.NewBTreeGOptions(keyedLess, opts),
		byEval:   btree.NewBTreeGOptions(listLess, opts),
		byDeploy: btree.NewBTreeGOptions(listLess, opts),
	}
}

// Len is the number of allocations.
func (t *Table) Len() int { return int(t.live) }

// Numbers is how many numbers were given out.
func (t *Table) Numbers() uint64 { return t.n }

// ID is the id of a number.
func (t *Table) ID(number uint64) string { return t.ids.id(number) }

// Number returns the number of an id of this cluster, whether or not the
// allocation still exists.
func (t *Table) Number(id string) (uint64, bool) { return t.ids.number(id) }

// Get returns a row by number.
func (t *Table) Get(number uint64) (Row, bool) {
	if number >= t.n {
		return Row{}, false
	}
	p := t.pages.get(int(number >> pageBits))
	if p == nil {
		return Row{}, false
	}
	s, ok := p.slot(int(number & (pageRows - 1)))
	if !ok {
		return Row{}, false
	}
	return p.row(number, s)
}

func (p *page) row(number uint64, s int) (Row, bool) {
	l, i := p.leaves[s>>leafBits], s&(leafRows-1)
	status := l.status[i]
	if status == collected {
		return Row{}, false
	}
	return Row{
		Number: number, Node: p.node[s], NameIndex: p.name[s], Made: p.made[s],
		Batch: l.batch[i], Desired: status & 3, Client: status >> 2,
		ModifyIndex: l.modify[i], AllocModifyIndex: l.server[i], ModifyTime: l.modified[i],
		cold: l.getCold(i),
	}, true
}

// ByID returns a row by id.
func (t *Table) ByID(id string) (Row, bool) {
	n, ok := t.ids.number(id)
	if !ok {
		return Row{}, false
	}
	return t.Get(n)
}

// ByRawID returns a row by the bytes of its id.
func (t *Table) ByRawID(id [16]byte) (Row, bool) {
	n, ok := t.ids.numberOf(id)
	if !ok {
		return Row{}, false
	}
	return t.Get(n)
}

// Rows yields all rows by number.
func (t *Table) Rows() iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for i := range t.pages.n {
			p := t.pages.get(i)
			if p == nil {
				continue
			}
			first := uint64(i) << pageBits
			for s := range p.slots() {
				number := first | uint64(p.offset(s))
				if number >= t.n {
					return
				}
				if r, ok := p.row(number, s); ok && !yield(r) {
					return
				}
			}
		}
	}
}

// BatchOf returns the batch that last changed a row.
func (t *Table) BatchOf(r *Row) *Batch { return *t.batches.at(int(r.Batch)) }

// MadeBy returns the batch that made a row.
func (t *Table) MadeBy(r *Row) *Batch { return *t.batches.at(int(r.Made)) }

// Usage is what a row takes of its node while it is live.
func (t *Table) Usage(r *Row) Usage { return t.BatchOf(r).ask }

// NodeNum returns the dense number of a node.
func (t *Table) NodeNum(id string) (uint32, bool) {
	k, ok := t.nodeNums.Get(keyed{key: id})
	return k.num, ok
}

// NodeCount is how many node numbers were given out.
func (t *Table) NodeCount() uint32 { return uint32(t.nodes.n) }

// NodeOf returns the node with a dense number, zero when there is none.
func (t *Table) NodeOf(num uint32) Node { return t.nodes.get(int(num)) }

// NodeUsage is what the live rows of a node take.
func (t *Table) NodeUsage(num uint32) Usage { return t.nodeRows.get(int(num)).usage }

// NodeSync returns the highest AllocModifyIndex of the node's rows, and the
// index at which a row of it was last collected.
func (t *Table) NodeSync(num uint32) (changed, collected uint64) {
	n := t.nodeRows.get(int(num))
	return n.changed, n.collected
}

// ByNode yields the rows of a node by number.
func (t *Table) ByNode(num uint32) iter.Seq[Row] { return t.each(t.nodeRows.get(int(num)).rows) }

// HeldOn yields the rows of a node that hold something, by number.
func (t *Table) HeldOn(num uint32) iter.Seq[Row] { return t.each(t.nodeRows.get(int(num)).held) }

// ChangedOn yields the rows of a node whose AllocModifyIndex is greater than
// since, by number. It costs what changed, unless that is long ago or much.
func (t *Table) ChangedOn(num uint32, since uint64) iter.Seq[Row] {
	n := t.nodeRows.get(int(num))
	numbers := n.rows
	if since >= n.recentFrom {
		numbers = t.changedRows(&n, since)
	}
	return func(yield func(Row) bool) {
		for r := range t.each(numbers) {
			if r.AllocModifyIndex > since && !yield(r) {
				return
			}
		}
	}
}

// changedRows lists the rows of a node that were changed after since, and those
// that were made after it: numbers are given out in the order of indexes.
func (t *Table) changedRows(n *nodeRows, since uint64) []uint64 {
	made := sort.Search(len(n.rows), func(i int) bool {
		r, ok := t.Get(n.rows[i])
		return ok && t.MadeBy(&r).CreateIndex > since
	})
	var numbers []uint64
	for i := len(n.recent) - 1; i >= 0 && n.recent[i].index > since; i-- {
		numbers = append(numbers, n.recent[i].number)
	}
	if len(numbers) == 0 {
		return n.rows[made:]
	}
	numbers = append(numbers, n.rows[made:]...)
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

func (t *Table) each(numbers []uint64) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		for _, n := range numbers {
			if r, ok := t.Get(n); ok && !yield(r) {
				return
			}
		}
	}
}

func (t *Table) jobNum(ns, id string) (uint32, bool) {
	k, ok := t.jobNums.Get(keyed{key: ns + "\x00" + id})
	return k.num, ok
}

// ByJob yields the rows of a job by number.
func (t *Table) ByJob(ns, id string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		num, ok := t.jobNum(ns, id)
		if !ok {
			return
		}
		for _, b := range t.jobs.get(int(num)).batches {
			for r := range t.madeRows(b) {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// JobLive is how many rows of a job are live.
func (t *Table) JobLive(ns, id string) int {
	num, ok := t.jobNum(ns, id)
	if !ok {
		return 0
	}
	return t.jobs.get(int(num)).live
}

// JobInUse returns a version of a job that a row refers to, nil when none
// does. createIndex tells the job from an earlier one of the same name.
func (t *Table) JobInUse(ns, id string, version, createIndex uint64) *structs.Job {
	for r := range t.ByJob(ns, id) {
		if j := t.BatchOf(&r).Job; j.Version == version && j.CreateIndex == createIndex {
			return j
		}
	}
	return nil
}

// madeRows yields the rows that a batch made.
func (t *Table) madeRows(id uint32) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		b := t.batches.get(int(id))
		if b == nil {
			return
		}
		for n := b.first; n < b.first+b.count; n++ {
			if r, ok := t.Get(n); ok && !yield(r) {
				return
			}
		}
	}
}

// ByEval yields the rows whose evaluation is id, by number.
func (t *Table) ByEval(id string) iter.Seq[Row] {
	return t.byList(t.byEval, id, func(b *Batch) bool { return b.EvalID == id })
}

// ByDeployment yields the rows whose deployment is id, by number.
func (t *Table) ByDeployment(id string) iter.Seq[Row] {
	return t.byList(t.byDeploy, id, func(b *Batch) bool { return b.DeploymentID == id })
}

// byList yields the rows of the batches listed under key that still refer to a
// batch with that key.
func (t *Table) byList(lists *btree.BTreeG[batchList], key string, is func(*Batch) bool) iter.Seq[Row] {
	list, _ := lists.Get(batchList{key: key})
	if len(list.batches) == 0 {
		return func(func(Row) bool) {}
	}
	inPlace := false
	for _, id := range list.batches {
		b := t.batches.get(int(id))
		inPlace = inPlace || b != nil && b.InPlace
	}
	if !inPlace {
		return func(yield func(Row) bool) {
			for _, id := range list.batches {
				for r := range t.madeRows(id) {
					if is(t.BatchOf(&r)) && !yield(r) {
						return
					}
				}
			}
		}
	}
	return t.each(t.numbersIn(list.batches, is))
}

func (t *Table) numbersIn(batches []uint32, is func(*Batch) bool) []uint64 {
	var numbers []uint64
	keep := func(r Row) {
		if is(t.BatchOf(&r)) {
			numbers = append(numbers, r.Number)
		}
	}
	for _, id := range batches {
		b := t.batches.get(int(id))
		if b == nil {
			continue
		}
		for r := range t.madeRows(id) {
			keep(r)
		}
		for r := range t.each(b.members) {
			keep(r)
		}
	}
	slices.Sort(numbers)
	return slices.Compact(numbers)
}

// WithPrefix yields the rows whose id begins with prefix, by id.
func (t *Table) WithPrefix(prefix string) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		numbers := t.ids.withPrefix(prefix, t.n)
		slices.SortFunc(numbers, func(a, b uint64) int {
			x, y := t.ids.bytes(a), t.ids.bytes(b)
			return slices.Compare(x[:], y[:])
		})
		for r := range t.each(numbers) {
			if !yield(r) {
				return
			}
		}
	}
}
