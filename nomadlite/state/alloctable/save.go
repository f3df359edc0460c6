package alloctable

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unique"

	"github.com/nomadlite/nomadlite/structs"
)

// Codec encodes nouns, and finds the job versions that are saved elsewhere.
type Codec struct {
	Encode func(v any) ([]byte, error)
	Decode func(b []byte, v any) error
	// Stored returns a job version of the job tables, nil when it is not there.
	// What it returns at Save it must return at Load.
	Stored func(ns, id string, version, createIndex uint64) *structs.Job
}

// Kinds of records, the first byte of each.
const (
	recordHead  = 'h'
	recordNode  = 'n'
	recordJob   = 'j'
	recordSpec  = 's'
	recordBatch = 'b'
	recordPage  = 'p'
)

type savedHead struct {
	Key                    []byte
	Numbers, Live          uint64
	Nodes, Jobs, NextBatch int
}

type savedNode struct {
	ID, Name           string
	Changed, Collected uint64
}

type savedJob struct{ NS, ID string }

// savedSpec is a job version that batches refer to by position.
type savedSpec struct {
	Stored               bool // in the job tables; Job is nil
	NS, ID               string
	Version, CreateIndex uint64
	Job                  *structs.Job
}

type savedBatch struct {
	ID, Spec      int
	Group, EvalID string
	DeploymentID  string
	Resources     *structs.AllocatedResources
	Metrics       *structs.AllocMetric
	CreateIndex   uint64
	CreateTime    int64
	InPlace       bool
	JobNum        uint32
	First, Count  uint64
	Members       []uint64
}

// Save passes the table as records, in the order in which Load needs them.
func (t *Table) Save(c Codec, put func([]byte) error) error {
	s := saver{t: t, c: c, put: put}
	s.record(recordHead, &savedHead{t.ids.key[:], t.n, t.live, t.nodes.n, t.jobs.n, t.batches.n})
	for i := range t.nodes.n {
		n, rows := t.nodes.get(i), t.nodeRows.get(i)
		s.record(recordNode, &savedNode{n.ID, n.Name, rows.changed, rows.collected})
	}
	for i := range t.jobs.n {
		j := t.jobs.get(i)
		s.record(recordJob, &savedJob{j.ns, j.id})
	}
	s.batches()
	for i := range t.pages.n {
		if p := t.pages.get(i); p != nil {
			s.page(i, p)
		}
	}
	return s.err
}

type saver struct {
	t   *Table
	c   Codec
	put func([]byte) error
	err error
}

func (s *saver) record(kind byte, v any) {
	if s.err != nil {
		return
	}
	b, err := s.c.Encode(v)
	if err != nil {
		s.err = err
		return
	}
	s.err = s.put(append([]byte{kind}, b...))
}

func (s *saver) batches() {
	specs := make(map[*structs.Job]int)
	for i := range s.t.batches.n {
		b := s.t.batches.get(i)
		if b == nil {
			continue
		}
		spec, ok := specs[b.Job]
		if !ok {
			spec = len(specs)
			specs[b.Job] = spec
			v := &savedSpec{NS: b.Job.Namespace, ID: b.Job.ID, Version: b.Job.Version, CreateIndex: b.Job.CreateIndex}
			if v.Stored = s.c.Stored(v.NS, v.ID, v.Version, v.CreateIndex) != nil; !v.Stored {
				v.Job = b.Job
			}
			s.record(recordSpec, v)
		}
		s.record(recordBatch, &savedBatch{
			ID: i, Spec: spec, Group: b.Group, EvalID: b.EvalID, DeploymentID: b.DeploymentID,
			Resources: b.Resources, Metrics: b.Metrics, CreateIndex: b.CreateIndex, CreateTime: b.CreateTime,
			InPlace: b.InPlace, JobNum: b.job, First: b.first, Count: b.count, Members: b.members,
		})
	}
}

// dict numbers distinct strings in order of appearance.
type dict struct {
	index map[string]int
	list  []string
}

func (d *dict) add(s string) uint64 {
	i, ok := d.index[s]
	if !ok {
		if d.index == nil {
			d.index = make(map[string]int)
		}
		i = len(d.list)
		d.index[s] = i
		d.list = append(d.list, s)
	}
	return uint64(i)
}

func (d *dict) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.list)))
	for _, s := range d.list {
		b = appendText(b, s)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// page writes the columns as they are, then the cold data with its repeated
// parts once.
func (s *saver) page(i int, p *page) {
	first := uint64(i) << pageBits
	slots := p.slots()
	if p.offs == nil {
		slots = int(min(s.t.n-first, pageRows))
	}
	b := make([]byte, 0, slots*41+64)
	b = append(b, recordPage)
	b = binary.AppendUvarint(b, uint64(i))
	b = binary.AppendUvarint(b, uint64(slots))
	if p.offs == nil {
		b = append(b, 0)
	} else {
		b = append(b, 1)
		for _, o := range p.offs {
			b = binary.LittleEndian.AppendUint16(b, o)
		}
	}
	for _, col := range [][]uint32{p.node, p.name, p.made} {
		for _, v := range col[:slots] {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
	}
	var shapes, rares dict
	var colds []byte
	n := uint64(0)
	for slot := range slots {
		l, j := p.leaves[slot>>leafBits], slot&(leafRows-1)
		b = binary.LittleEndian.AppendUint64(b, l.modify[j])
		b = binary.LittleEndian.AppendUint64(b, l.server[j])
		b = binary.LittleEndian.AppendUint64(b, uint64(l.modified[j]))
		b = binary.LittleEndian.AppendUint32(b, l.batch[j])
		b = append(b, l.status[j])
		if c := l.getCold(j); c != nil {
			n++
			colds = binary.AppendUvarint(colds, uint64(slot))
			colds = s.cold(colds, c, &shapes, &rares)
		}
	}
	b = rares.append(shapes.append(b))
	b = append(binary.AppendUvarint(b, n), colds...)
	if s.err == nil {
		s.err = s.put(b)
	}
}

func (s *saver) cold(b []byte, c *cold, shapes, rares *dict) []byte {
	if c.tasks == (unique.Handle[string]{}) {
		b = append(b, 0)
	} else {
		b = binary.AppendUvarint(b, shapes.add(c.tasks.Value())+1)
	}
	b = appendText(b, c.facts)
	if c.rare == nil {
		return append(b, 0)
	}
	text, err := s.c.Encode(c.rare)
	if err != nil && s.err == nil {
		s.err = err
	}
	return binary.AppendUvarint(b, rares.add(string(text))+1)
}

// Loader builds a table from saved records.
type Loader struct {
	c     Codec
	e     *Edit
	head  *savedHead
	specs []*structs.Job
}

// Load begins the loading of a table; owner as for Table.Edit.
func Load(c Codec, owner uint64) *Loader {
	return &Loader{c: c, e: New([16]byte{}).Edit(owner)}
}

// ErrRecord is wrapped by all errors about records that cannot be right.
var ErrRecord = errors.New("broken allocation record")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRecord, fmt.Sprintf(format, args...))
}

// Record adds a record that Save passed.
func (l *Loader) Record(b []byte) error {
	if len(b) == 0 {
		return bad("it is empty")
	}
	kind, body := b[0], b[1:]
	if l.head == nil && kind != recordHead {
		return bad("%q comes before the head", kind)
	}
	switch kind {
	case recordHead:
		return l.loadHead(body)
	case recordNode:
		return l.loadNode(body)
	case recordJob:
		return l.loadJob(body)
	case recordSpec:
		return l.loadSpec(body)
	case recordBatch:
		return l.loadBatch(body)
	case recordPage:
		return l.loadPage(body)
	}
	return bad("unknown kind %q", kind)
}

func (l *Loader) loadHead(b []byte) error {
	var h savedHead
	if err := l.c.Decode(b, &h); err != nil {
		return bad("head: %v", err)
	}
	if l.head != nil || len(h.Key) != 16 {
		return bad("second head, or key of %d bytes", len(h.Key))
	}
	l.head = &h
	l.e.SetKey([16]byte(h.Key))
	return nil
}

func (l *Loader) loadNode(b []byte) error {
	var n savedNode
	if err := l.c.Decode(b, &n); err != nil {
		return bad("node: %v", err)
	}
	if _, ok := l.e.NodeNum(n.ID); ok {
		return bad("node %q comes twice", n.ID)
	}
	num := l.e.AddNode(Node{n.ID, n.Name})
	rows := l.e.nodeRows.edit(l.e.owner, int(num))
	rows.changed, rows.collected, rows.recentFrom = n.Changed, n.Collected, n.Changed
	return nil
}

func (l *Loader) loadJob(b []byte) error {
	var j savedJob
	if err := l.c.Decode(b, &j); err != nil {
		return bad("job: %v", err)
	}
	if _, ok := l.e.jobNum(j.NS, j.ID); ok {
		return bad("job %q comes twice", j.ID)
	}
	l.e.addJob(&structs.Job{Namespace: j.NS, ID: j.ID})
	return nil
}

func (l *Loader) loadSpec(b []byte) error {
	var v savedSpec
	if err := l.c.Decode(b, &v); err != nil {
		return bad("job version: %v", err)
	}
	if v.Stored {
		v.Job = l.c.Stored(v.NS, v.ID, v.Version, v.CreateIndex)
	}
	if v.Job == nil {
		return bad("version %d of job %q is missing", v.Version, v.ID)
	}
	l.specs = append(l.specs, v.Job)
	return nil
}

func (l *Loader) loadBatch(b []byte) error {
	var v savedBatch
	if err := l.c.Decode(b, &v); err != nil {
		return bad("batch: %v", err)
	}
	e := l.e
	switch {
	case v.ID < e.batches.n || v.ID >= l.head.NextBatch:
		return bad("batch %d after %d of %d", v.ID, e.batches.n, l.head.NextBatch)
	case v.Spec < 0 || v.Spec >= len(l.specs):
		return bad("batch %d has job version %d of %d", v.ID, v.Spec, len(l.specs))
	case int64(v.JobNum) >= int64(e.jobs.n):
		return bad("batch %d has job number %d of %d", v.ID, v.JobNum, e.jobs.n)
	case v.First > l.head.Numbers || v.Count > l.head.Numbers-v.First:
		return bad("batch %d has rows %d+%d of %d", v.ID, v.First, v.Count, l.head.Numbers)
	}
	l.skipBatches(v.ID)
	job := l.specs[v.Spec]
	if num, ok := e.jobNum(job.Namespace, job.ID); !ok || num != v.JobNum {
		return bad("batch %d has job number %d of another job", v.ID, v.JobNum)
	}
	id := e.AddBatch(Batch{
		Job: job, Group: v.Group, EvalID: v.EvalID, DeploymentID: v.DeploymentID, Resources: v.Resources,
		Metrics: v.Metrics, CreateIndex: v.CreateIndex, CreateTime: v.CreateTime, InPlace: v.InPlace,
	})
	n := *e.batches.at(int(id))
	n.first, n.count, n.members = v.First, v.Count, v.Members
	return nil
}

// skipBatches makes the ids below next those of dropped batches.
func (l *Loader) skipBatches(next int) {
	for l.e.batches.n < next {
		l.e.batches.add(l.e.owner, nil)
		l.e.refs.add(l.e.owner, 0)
	}
}

// Done returns the loaded table, after checking that it is whole.
func (l *Loader) Done() (*Table, error) {
	if l.head == nil {
		return nil, bad("there is no head")
	}
	e := l.e
	l.skipBatches(l.head.NextBatch)
	e.n = l.head.Numbers
	for e.pages.n<<pageBits < int(e.n) {
		e.pages.add(e.owner, nil)
	}
	if last := e.pages.n - 1; last >= 0 && e.n&(pageRows-1) != 0 && e.pages.get(last) == nil {
		*e.pages.edit(e.owner, last) = newPage(e.owner)
	}
	if e.live != l.head.Live || e.nodes.n != l.head.Nodes || e.jobs.n != l.head.Jobs {
		return nil, bad("%d rows, %d nodes, %d jobs; the head says %d, %d, %d",
			e.live, e.nodes.n, e.jobs.n, l.head.Live, l.head.Nodes, l.head.Jobs)
	}
	for i := range e.batches.n {
		if b := e.batches.get(i); b != nil && *e.refs.at(i) == 0 {
			return nil, bad("batch %d has no rows", i)
		}
	}
	return e.Done(), nil
}
