package alloctable

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/nomadlite/nomadlite/structs"
)

// jsonCodec stands in for the codec of package state.
func jsonCodec(stored map[string]*structs.Job) Codec {
	return Codec{Encode: json.Marshal, Decode: json.Unmarshal, Stored: func(ns, id string, version, created uint64) *structs.Job {
		return stored[fmt.Sprint(ns, id, version, created)]
	}}
}

// oracle is the table as plain values in a map.
type oracle struct {
	allocs map[uint64]*structs.Allocation
	revs   map[uint64]uint64
	next   uint64
}

func (o *oracle) clone() *oracle {
	c := &oracle{allocs: make(map[uint64]*structs.Allocation, len(o.allocs)), revs: maps.Clone(o.revs), next: o.next}
	for n, a := range o.allocs {
		v := *a
		c.allocs[n] = &v
	}
	return c
}

func (o *oracle) where(keep func(*structs.Allocation) bool) []*structs.Allocation {
	var list []*structs.Allocation
	for _, n := range slices.Sorted(maps.Keys(o.allocs)) {
		if keep(o.allocs[n]) {
			list = append(list, o.allocs[n])
		}
	}
	return list
}

// machine drives a table and its oracle.
type machine struct {
	t      *Table
	o      *oracle
	owner  uint64
	index  uint64
	stored map[string]*structs.Job
	old    []version
}

type version struct {
	t *Table
	o *oracle
}

const (
	testNodes = 5
	testJobs  = 3
)

func nodeID(i uint32) string { return fmt.Sprintf("node-%d", i) }

func (m *machine) edit() *Edit {
	m.owner++
	m.index++
	return m.t.Edit(m.owner)
}

// done takes over an edit, or drops it with what the oracle learned.
func (m *machine) done(r *rapid.T, e *Edit, o *oracle) {
	if rapid.IntRange(0, 5).Draw(r, "abort") == 0 {
		return
	}
	if rapid.IntRange(0, 3).Draw(r, "keep") == 0 && len(m.old) < 8 {
		m.old = append(m.old, version{m.t, m.o})
	}
	m.t, m.o = e.Done(), o
}

func (m *machine) job(r *rapid.T) *structs.Job {
	j := &structs.Job{Namespace: "default", ID: fmt.Sprintf("job%d", rapid.IntRange(0, testJobs-1).Draw(r, "job")),
		Version: uint64(rapid.IntRange(0, 2).Draw(r, "version")), CreateIndex: 7}
	key := fmt.Sprint(j.Namespace, j.ID, j.Version, j.CreateIndex)
	if s := m.stored[key]; s != nil {
		return s
	}
	if rapid.Bool().Draw(r, "stored") {
		m.stored[key] = j
	}
	return j
}

func testResources(cpu int64) *structs.AllocatedResources {
	return &structs.AllocatedResources{
		Tasks: map[string]*structs.AllocatedTaskResources{"main": {Cpu: structs.AllocatedCpuResources{CpuShares: cpu}, Memory: structs.AllocatedMemoryResources{MemoryMB: 10}}},
	}
}

func (m *machine) place(r *rapid.T) {
	e, o := m.edit(), m.o.clone()
	for range rapid.IntRange(1, 3).Draw(r, "groups") {
		b := Batch{Job: m.job(r), Group: rapid.SampledFrom([]string{"a", "b"}).Draw(r, "group"),
			EvalID: fmt.Sprintf("eval%d", rapid.IntRange(0, 4).Draw(r, "eval")), Resources: testResources(int64(rapid.IntRange(1, 9).Draw(r, "cpu"))),
			CreateIndex: m.index, CreateTime: int64(m.index) * 10}
		if rapid.Bool().Draw(r, "deployed") {
			b.DeploymentID = fmt.Sprintf("dep%d", rapid.IntRange(0, 2).Draw(r, "deployment"))
		}
		id := e.AddBatch(b)
		count := rapid.SampledFrom([]int{1, 2, 5, 40, 150}).Draw(r, "count")
		first := uint32(rapid.IntRange(0, testNodes-1).Draw(r, "node"))
		extra := rapid.IntRange(0, 50).Draw(r, "extra")
		for i := range count {
			node := (first + uint32(i)) % testNodes
			var x Rare
			if i == extra {
				x.SetExtra(&structs.PlacementExtra{Ports: []structs.PortMapping{{Label: "http", Value: 20000 + i}}, Cores: map[string][]uint16{"main": {1}}})
			}
			n := e.Append(id, node, uint32(i), &x, m.index, int64(m.index))
			a := &structs.Allocation{ID: e.ID(n), Namespace: "default", EvalID: b.EvalID, Name: structs.AllocName(b.Job.ID, b.Group, uint(i)),
				NodeID: nodeID(node), NodeName: "name-" + nodeID(node), JobID: b.Job.ID, Job: b.Job, TaskGroup: b.Group, AllocatedResources: b.Resources,
				DesiredStatus: "run", ClientStatus: "pending", DeploymentID: b.DeploymentID,
				CreateIndex: m.index, ModifyIndex: m.index, AllocModifyIndex: m.index, CreateTime: int64(m.index) * 10, ModifyTime: int64(m.index)}
			if x.Extra != nil {
				a.AllocatedResources = withExtra(b.Resources, x.Extra)
			}
			if n != o.next {
				r.Fatalf("number %d, want %d", n, o.next)
			}
			o.allocs[n], o.next = a, n+1
		}
	}
	m.done(r, e, o)
}

// fill places and collects most of a page, so that the next rows cross into
// another one and the first is repacked.
func (m *machine) fill() {
	const rows = pageRows - 20
	e := m.edit()
	job := &structs.Job{Namespace: "default", ID: "filler", CreateIndex: 7}
	id := e.AddBatch(Batch{Job: job, Group: "a", Resources: testResources(1), CreateIndex: m.index})
	var numbers []uint64
	for i := range uint32(rows) {
		numbers = append(numbers, e.Append(id, i%testNodes, i, nil, m.index, int64(m.index)))
	}
	m.t = e.Done()
	e = m.edit()
	e.Collect(numbers, m.index)
	m.t, m.o.next = e.Done(), rows
}

// some draws numbers of existing rows.
func (m *machine) some(r *rapid.T, most int) []uint64 {
	all := slices.Sorted(maps.Keys(m.o.allocs))
	if len(all) == 0 {
		return nil
	}
	var list []uint64
	for range rapid.IntRange(1, most).Draw(r, "rows") {
		list = append(list, all[rapid.IntRange(0, len(all)-1).Draw(r, "row")])
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (m *machine) update(r *rapid.T) {
	e, o := m.edit(), m.o.clone()
	for _, n := range m.some(r, rapid.SampledFrom([]int{20, 20, 300}).Draw(r, "most")) {
		row, ok := e.Get(n)
		if !ok {
			r.Fatalf("row %d is missing", n)
		}
		a := o.allocs[n]
		row.Desired = uint8(rapid.IntRange(0, 2).Draw(r, "desired"))
		row.Client = uint8(rapid.IntRange(0, 5).Draw(r, "client"))
		row.ModifyIndex, row.ModifyTime = m.index, int64(m.index)
		a.DesiredStatus, a.ClientStatus, a.ModifyIndex, a.ModifyTime = desiredNames[row.Desired], clientNames[row.Client], m.index, int64(m.index)
		if rapid.Bool().Draw(r, "server") {
			row.AllocModifyIndex, a.AllocModifyIndex = m.index, m.index
		}
		x := row.Rare()
		switch rapid.IntRange(0, 4).Draw(r, "rare") {
		case 0:
			x.DesiredDescription = rapid.SampledFrom([]string{"", "because", "so"}).Draw(r, "description")
			a.DesiredDescription = x.DesiredDescription
		case 1:
			x.Next, a.NextAllocation = n+1, e.ID(n)
		case 2:
			x.Deployment = &structs.AllocDeploymentStatus{Healthy: structs.Ptr(true), ModifyIndex: m.index}
			a.DeploymentStatus = x.Deployment
		}
		e.SetRare(&row, x)
		if rapid.Bool().Draw(r, "tasks") {
			a.TaskStates = testStates(rapid.IntRange(0, 3).Draw(r, "state"), int64(m.index))
			o.revs[n] = m.index
			e.SetTasks(&row, PackTasks(a.TaskStates), m.index)
		}
		e.Put(row)
	}
	m.done(r, e, o)
}

func testStates(kind int, at int64) map[string]*structs.TaskState {
	started := time.Unix(1_700_000_000, at).UTC()
	s := &structs.TaskState{State: structs.TaskStatePending}
	if kind > 0 {
		s.State, s.StartedAt = structs.TaskStateRunning, &started
		s.Events = []*structs.TaskEvent{{Type: structs.TaskReceived, Time: at, Details: map[string]string{}}, {Type: structs.TaskStarted, Time: at + 5, Details: map[string]string{"k": "v"}}}
	}
	if kind > 1 {
		s.State, s.Failed, s.FinishedAt, s.Restarts = structs.TaskStateDead, kind == 2, &started, 3
	}
	return map[string]*structs.TaskState{"main": s, "side": {State: structs.TaskStatePending}}
}

func (m *machine) inPlace(r *rapid.T) {
	e, o := m.edit(), m.o.clone()
	batches := make(map[uint32]uint32)
	deployment := rapid.SampledFrom([]string{"", "dep1", "dep9"}).Draw(r, "deployment")
	version := uint64(rapid.IntRange(0, 2).Draw(r, "to"))
	for _, n := range m.some(r, 10) {
		row, _ := e.Get(n)
		id, ok := batches[row.Batch]
		if !ok {
			old := e.BatchOf(&row)
			job := *old.Job
			job.Version = version
			id = e.AddBatch(Batch{Job: &job, Group: old.Group, EvalID: "eval-inplace", DeploymentID: deployment, Resources: old.Resources,
				CreateIndex: m.index, InPlace: true})
			batches[row.Batch] = id
		}
		row.Batch, row.ModifyIndex, row.AllocModifyIndex, row.ModifyTime = id, m.index, m.index, int64(m.index)
		e.Put(row)
		a := o.allocs[n]
		a.Job, a.EvalID, a.DeploymentID = e.BatchOf(&row).Job, "eval-inplace", deployment
		a.ModifyIndex, a.AllocModifyIndex, a.ModifyTime = m.index, m.index, int64(m.index)
	}
	m.done(r, e, o)
}

func (m *machine) collect(r *rapid.T) {
	e, o := m.edit(), m.o.clone()
	numbers := m.some(r, 10)
	if all := slices.Sorted(maps.Keys(m.o.allocs)); len(all) > 0 && rapid.Bool().Draw(r, "many") {
		keep := rapid.IntRange(2, 9).Draw(r, "keep one in")
		numbers = slices.DeleteFunc(all, func(n uint64) bool { return n%uint64(keep) == 0 })
	}
	e.Collect(numbers, m.index)
	for _, n := range numbers {
		delete(o.allocs, n)
		delete(o.revs, n)
	}
	m.done(r, e, o)
}

func (m *machine) reload(r *rapid.T) {
	var records [][]byte
	c := jsonCodec(m.stored)
	if err := m.t.Save(c, func(b []byte) error { records = append(records, slices.Clone(b)); return nil }); err != nil {
		r.Fatal(err)
	}
	m.owner++
	l := Load(c, m.owner)
	for _, b := range records {
		if err := l.Record(b); err != nil {
			r.Fatal(err)
		}
	}
	t, err := l.Done()
	if err != nil {
		r.Fatal(err)
	}
	m.t = t
}

func check(r *rapid.T, t *Table, o *oracle) {
	if t.Len() != len(o.allocs) || t.Numbers() != o.next {
		r.Fatalf("%d rows of %d numbers, want %d of %d", t.Len(), t.Numbers(), len(o.allocs), o.next)
	}
	same := func(what string, rows iter.Seq[Row], want []*structs.Allocation) {
		var got []*structs.Allocation
		for row := range rows {
			got = append(got, t.Alloc(&row))
			if row.Revision() != o.revs[row.Number] {
				r.Fatalf("%s: row %d has revision %d, want %d", what, row.Number, row.Revision(), o.revs[row.Number])
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			r.Fatalf("%s (-want +got):\n%s", what, d)
		}
	}
	same("all", t.Rows(), o.where(func(*structs.Allocation) bool { return true }))
	for i := range uint32(testNodes) {
		list := o.where(func(a *structs.Allocation) bool { return a.NodeID == nodeID(i) })
		same(nodeID(i), t.ByNode(i), list)
		var u Usage
		for _, a := range list {
			if !a.Terminal() {
				u.add(Ask(a.AllocatedResources), 1)
			}
		}
		same(nodeID(i)+" held", t.HeldOn(i), o.where(func(a *structs.Allocation) bool {
			return a.NodeID == nodeID(i) && a.AllocatedResources.Shared.Ports != nil && a.ClientStatus != "complete" && a.ClientStatus != "failed"
		}))
		top := uint64(1)
		for _, a := range o.allocs {
			top = max(top, a.AllocModifyIndex)
		}
		for _, since := range []uint64{0, top / 2, top - 1, top} {
			same(fmt.Sprint(nodeID(i), " since ", since), t.ChangedOn(i, since), o.where(func(a *structs.Allocation) bool {
				return a.NodeID == nodeID(i) && a.AllocModifyIndex > since
			}))
		}
		if u != t.NodeUsage(i) {
			r.Fatalf("node %d: usage %+v, want %+v", i, t.NodeUsage(i), u)
		}
	}
	for i := range testJobs {
		id := fmt.Sprintf("job%d", i)
		list := o.where(func(a *structs.Allocation) bool { return a.JobID == id })
		same(id, t.ByJob("default", id), list)
		live := 0
		for _, a := range list {
			if !a.Terminal() {
				live++
			}
		}
		if t.JobLive("default", id) != live {
			r.Fatalf("%s: %d live, want %d", id, t.JobLive("default", id), live)
		}
	}
	for _, id := range []string{"eval0", "eval1", "eval2", "eval3", "eval4", "eval-inplace"} {
		same(id, t.ByEval(id), o.where(func(a *structs.Allocation) bool { return a.EvalID == id }))
	}
	for _, id := range []string{"dep0", "dep1", "dep2", "dep9"} {
		same(id, t.ByDeployment(id), o.where(func(a *structs.Allocation) bool { return a.DeploymentID == id }))
	}
	for _, p := range []string{"3", "a0", "7f", "zz"} {
		want := o.where(func(a *structs.Allocation) bool { return strings.HasPrefix(a.ID, p) })
		slices.SortFunc(want, func(a, b *structs.Allocation) int { return strings.Compare(a.ID, b.ID) })
		same("prefix "+p, t.WithPrefix(p), want)
	}
}

// TestAgainstOracle drives a table with random changes, dropped edits and
// reloads, and compares it and versions kept from before with plain maps.
func TestAgainstOracle(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := &machine{t: New([16]byte{7}), o: &oracle{allocs: map[uint64]*structs.Allocation{}, revs: map[uint64]uint64{}}, stored: map[string]*structs.Job{}}
		e := m.edit()
		for i := range uint32(testNodes) {
			e.AddNode(Node{nodeID(i), "name-" + nodeID(i)})
		}
		m.t = e.Done()
		if rapid.IntRange(0, 3).Draw(r, "full page") == 0 {
			m.fill()
		}
		ops := []func(*rapid.T){m.place, m.place, m.update, m.update, m.inPlace, m.collect, m.reload}
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			rapid.SampledFrom(ops).Draw(r, "op")(r)
		}
		check(r, m.t, m.o)
		for _, v := range m.old {
			check(r, v.t, v.o)
		}
	})
}
