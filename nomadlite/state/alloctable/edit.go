package alloctable

import (
	"slices"
	"time"

	"github.com/tidwall/btree"

	"github.com/nomadlite/nomadlite/structs"
)

// Edit makes the next version of a table. There is at most one Edit at a time,
// and one that is dropped leaves the table as it was.
type Edit struct {
	Table
	owner uint64
	owned struct{ nodeNums, jobNums, byEval, byDeploy bool }
	// described shares the cold data of rows that have a description alone.
	described map[string]*Rare
}

// Edit begins a change. owner must be greater than that of every earlier Edit
// of the table and its ancestors, dropped ones included.
func (t *Table) Edit(owner uint64) *Edit { return &Edit{Table: *t, owner: owner} }

// Done returns the changed table.
func (e *Edit) Done() *Table {
	t := e.Table
	return &t
}

// SetKey replaces the key of ids; it does nothing once there are rows.
func (e *Edit) SetKey(key [16]byte) {
	if e.n == 0 {
		e.ids = newIDs(key)
	}
}

// AddNode returns the dense number of a node, a new one when it has none. A
// changed name holds for later reads of all its rows.
func (e *Edit) AddNode(n Node) uint32 {
	if num, ok := e.NodeNum(n.ID); ok {
		if e.nodes.get(int(num)) != n {
			*e.nodes.edit(e.owner, int(num)) = n
		}
		return num
	}
	num := uint32(e.nodes.add(e.owner, n))
	e.nodeRows.add(e.owner, nodeRows{})
	own(&e.nodeNums, &e.owned.nodeNums).Set(keyed{n.ID, num})
	return num
}

func own[T any](tree **btree.BTreeG[T], owned *bool) *btree.BTreeG[T] {
	if !*owned {
		*tree, *owned = (*tree).Copy(), true
	}
	return *tree
}

// AddBatch adds a batch that rows can then be appended or moved to. Rows of a
// batch that is not InPlace must be appended before the next AddBatch.
func (e *Edit) AddBatch(b Batch) uint32 {
	b.ask = Ask(b.Resources)
	b.first = e.n
	b.job = e.addJob(b.Job)
	id := uint32(e.batches.add(e.owner, &b))
	e.refs.add(e.owner, 0)
	if !b.InPlace {
		j := e.jobs.edit(e.owner, int(b.job))
		j.batches = append(j.batches, id)
	}
	if b.EvalID != "" {
		listAdd(own(&e.byEval, &e.owned.byEval), b.EvalID, id)
	}
	if b.DeploymentID != "" {
		listAdd(own(&e.byDeploy, &e.owned.byDeploy), b.DeploymentID, id)
	}
	return id
}

func (e *Edit) addJob(j *structs.Job) uint32 {
	if num, ok := e.jobNum(j.Namespace, j.ID); ok {
		return num
	}
	num := uint32(e.jobs.add(e.owner, jobRows{jobKey: jobKey{j.Namespace, j.ID}}))
	own(&e.jobNums, &e.owned.jobNums).Set(keyed{j.Namespace + "\x00" + j.ID, num})
	return num
}

func listAdd(lists *btree.BTreeG[batchList], key string, id uint32) {
	l, _ := lists.Get(batchList{key: key})
	lists.Set(batchList{key, append(l.batches, id)})
}

func listRemove(lists *btree.BTreeG[batchList], key string, id uint32) {
	l, _ := lists.Get(batchList{key: key})
	rest := without(l.batches, id)
	if len(rest) == 0 {
		lists.Delete(batchList{key: key})
		return
	}
	lists.Set(batchList{key, rest})
}

func without(list []uint32, id uint32) []uint32 {
	i := slices.Index(list, id)
	if i < 0 {
		return list
	}
	return append(append(make([]uint32, 0, len(list)-1), list[:i]...), list[i+1:]...)
}

// Append adds a pending row, wanted to run, to the last batch that was added
// and returns its number.
func (e *Edit) Append(batch, node, nameIndex uint32, rare *Rare, index uint64, now int64) uint64 {
	number := e.n
	off := int(number & (pageRows - 1))
	if off == 0 && int(number>>pageBits) == e.pages.n {
		e.pages.add(e.owner, newPage(e.owner))
	}
	// The page may belong to an older version: only slots are written that no
	// reader of it knows. Its count of live rows is the page's own.
	p := e.editPage(int(number >> pageBits))
	p.live++
	p.node[off], p.name[off], p.made[off] = node, nameIndex, batch
	li, i := off>>leafBits, off&(leafRows-1)
	if i == 0 {
		p.leaves[li] = &leaf{owner: e.owner}
	}
	l := p.leaves[li]
	var c *cold
	if rare != nil && !rare.zero() {
		r := Row{}
		e.SetRare(&r, *rare)
		c = r.cold
		l = p.editLeaf(e.owner, li)
	}
	l.modify[i], l.server[i], l.modified[i] = index, index, now
	l.batch[i], l.status[i] = batch, DesiredRun|ClientPending<<2
	if l.cold != nil || c != nil {
		l.setCold(i, c)
	}
	e.n++
	e.live++

	b := *e.batches.at(int(batch))
	b.count++ // readers of older versions do not know the batch
	*e.refs.edit(e.owner, int(batch)) += 2
	n := e.nodeRows.edit(e.owner, int(node))
	n.rows = append(n.rows, number)
	if rare != nil && rare.Extra != nil && special(rare.Extra) {
		n.held = append(n.held, number)
	}
	n.usage.add(b.ask, 1)
	n.changed = index
	e.jobs.edit(e.owner, int(b.job)).live++
	return number
}

func (e *Edit) editPage(i int) *page {
	p := e.pages.get(i)
	if p.owner == e.owner {
		return p
	}
	p = p.edit(e.owner)
	*e.pages.edit(e.owner, i) = p
	return p
}

// Put writes the mutable part of a row that Get returned: Batch, statuses,
// indexes, time and what SetRare, SetTasks and SetHealth changed. It returns
// the row as it was with its batch, false when there is none.
func (e *Edit) Put(r Row) (old Row, was *Batch, ok bool) {
	if old, ok = e.Get(r.Number); !ok {
		return old, nil, false
	}
	was = e.BatchOf(&old)
	pi := int(r.Number >> pageBits)
	p := e.editPage(pi)
	s, _ := p.slot(int(r.Number & (pageRows - 1)))
	l, i := p.editLeaf(e.owner, s>>leafBits), s&(leafRows-1)
	l.modify[i], l.server[i], l.modified[i] = r.ModifyIndex, r.AllocModifyIndex, r.ModifyTime
	l.batch[i], l.status[i] = r.Batch, r.Desired|r.Client<<2
	l.setCold(i, r.cold)

	n := e.nodeRows.edit(e.owner, int(old.Node))
	if old.Live() {
		n.usage.add(was.ask, -1)
		e.jobs.edit(e.owner, int(was.job)).live--
	}
	if b := e.BatchOf(&r); r.Live() {
		n.usage.add(b.ask, 1)
		e.jobs.edit(e.owner, int(b.job)).live++
	}
	n.hold(r.Number, r.Holds())
	if n.changed = max(n.changed, r.AllocModifyIndex); r.AllocModifyIndex != old.AllocModifyIndex {
		n.remember(r.AllocModifyIndex, r.Number)
	}
	if r.Batch != old.Batch {
		b := *e.batches.at(int(r.Batch))
		b.members = append(b.members, r.Number)
		*e.refs.edit(e.owner, int(r.Batch))++
		e.release(old.Batch)
	}
	return old, was, true
}

// SetRare replaces what a row has beyond its columns.
func (e *Edit) SetRare(r *Row, rare Rare) {
	was := r.cold.unpack()
	now := was
	if now.setDeployment(rare.Deployment) {
		rare.Deployment = nil
	}
	if now == was && rare.zero() && r.Plain() {
		return
	}
	c := r.edit()
	if now != was {
		c.facts = now.pack()
	}
	switch {
	case rare.zero():
		c.rare = nil
	case rare.onlyDescription():
		c.rare = e.describe(rare.DesiredDescription)
	default:
		c.rare = &rare
	}
}

func (e *Edit) describe(text string) *Rare {
	if rare := e.described[text]; rare != nil {
		return rare
	}
	if e.described == nil {
		e.described = make(map[string]*Rare)
	}
	rare := &Rare{DesiredDescription: text}
	e.described[text] = rare
	return rare
}

// SetTasks replaces the task states of a row, none keeping them, and its
// revision.
func (e *Edit) SetTasks(r *Row, tasks Tasks, revision uint64) {
	c := r.edit()
	f := c.unpack()
	f.revision = revision
	if tasks.set {
		c.tasks, f.times = tasks.shape, tasks.times
	}
	c.facts = f.pack()
}

// SetHealth sets the health of a row in its deployment, decided at a time and
// written at an index.
func (e *Edit) SetHealth(r *Row, healthy bool, at int64, index uint64) {
	status := structs.AllocDeploymentStatus{Healthy: &healthy, Timestamp: time.Unix(0, at).UTC(), ModifyIndex: index}
	if r.Plain() {
		c := r.edit()
		f := c.unpack()
		f.setDeployment(&status)
		c.facts = f.pack()
		return
	}
	x := r.Rare()
	status.Canary = x.Deployment != nil && x.Deployment.Canary
	x.Deployment = &status
	e.SetRare(r, x)
}

// release drops one reference to a batch, and the batch with the last one.
func (e *Edit) release(id uint32) {
	refs := e.refs.edit(e.owner, int(id))
	*refs--
	if *refs > 0 {
		return
	}
	b := *e.batches.at(int(id))
	*e.batches.edit(e.owner, int(id)) = nil
	if !b.InPlace {
		j := e.jobs.edit(e.owner, int(b.job))
		j.batches = without(j.batches, id)
	}
	if b.EvalID != "" {
		listRemove(own(&e.byEval, &e.owned.byEval), b.EvalID, id)
	}
	if b.DeploymentID != "" {
		listRemove(own(&e.byDeploy, &e.owned.byDeploy), b.DeploymentID, id)
	}
}

// Collect removes rows; their numbers stay taken. Pages without rows are
// dropped, pages with few are repacked.
func (e *Edit) Collect(numbers []uint64, index uint64) {
	touched := make(map[uint32]struct{})
	pages := make(map[int]struct{})
	for _, number := range numbers {
		r, ok := e.Get(number)
		if !ok {
			continue
		}
		pi := int(number >> pageBits)
		p := e.editPage(pi)
		s, _ := p.slot(int(number & (pageRows - 1)))
		l := p.editLeaf(e.owner, s>>leafBits)
		l.status[s&(leafRows-1)] = collected
		l.setCold(s&(leafRows-1), nil)
		p.live--
		e.live--
		if r.Live() {
			b := e.BatchOf(&r)
			e.nodeRows.edit(e.owner, int(r.Node)).usage.add(b.ask, -1)
			e.jobs.edit(e.owner, int(b.job)).live--
		}
		touched[r.Node], pages[pi] = struct{}{}, struct{}{}
		e.release(r.Batch)
		e.release(r.Made)
	}
	for node := range touched {
		e.forget(node, index)
	}
	for pi := range pages {
		e.repack(pi)
	}
}

// forget drops collected rows from a node's list.
func (e *Edit) forget(node uint32, index uint64) {
	n := e.nodeRows.edit(e.owner, int(node))
	n.collected = index
	n.rows, n.held = e.present(n.rows), e.present(n.held)
}

// present lists the numbers that are not collected.
func (e *Edit) present(numbers []uint64) []uint64 {
	var rest []uint64
	for _, number := range numbers {
		if _, ok := e.Get(number); ok {
			rest = append(rest, number)
		}
	}
	return rest
}

func (e *Edit) repack(pi int) {
	if uint64(pi+1)<<pageBits > e.n {
		return // rows are still appended to it
	}
	p := e.pages.get(pi)
	switch {
	case p.live == 0:
		*e.pages.edit(e.owner, pi) = nil
	case p.live <= p.slots()/4:
		*e.pages.edit(e.owner, pi) = p.repacked(e.owner)
	}
}
