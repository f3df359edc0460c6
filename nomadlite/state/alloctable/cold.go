package alloctable

import (
	"encoding/binary"
	"errors"
	"sort"
	"strings"
	"time"
	"unique"

	"github.com/nomadlite/nomadlite/structs"
)

// cold is what a row has beside its columns. It is immutable, and small: most
// rows that run have one.
type cold struct {
	// tasks is the task states without their times, shared by all rows in the
	// same state; the zero handle for none.
	tasks unique.Handle[string]
	facts string // what packFacts makes
	rare  *Rare  // nil when all of it is zero
}

// facts are what a node reports that differs from row to row.
type facts struct {
	revision uint64
	health   uint8  // healthNone…
	at       int64  // when health was decided, unix nanoseconds
	index    uint64 // at which it was written
	times    string // of the task states
}

const (
	healthNone uint8 = iota
	healthy
	unhealthy
)

func (f *facts) pack() string {
	var room [64]byte
	b := append(binary.AppendUvarint(room[:0], f.revision), f.health)
	if f.health != healthNone {
		b = binary.AppendUvarint(binary.AppendVarint(b, f.at-int64(f.revision)), f.index)
	}
	return string(append(b, f.times...))
}

// facts reads what pack wrote.
func (c *cold) unpack() facts {
	if c == nil {
		return facts{}
	}
	f, ok := unpackFacts(c.facts)
	if !ok {
		panic("alloctable: facts that were packed here are cut short")
	}
	return f
}

func unpackFacts(s string) (f facts, ok bool) {
	if s == "" {
		return f, true
	}
	u := unpacker{shape: s}
	f.revision = u.number()
	if f.health = uint8(u.number()); f.health > unhealthy {
		return f, false
	}
	if f.health != healthNone {
		u.times = u.shape
		f.at = u.nanos() + int64(f.revision)
		u.shape = u.times
		f.index = u.number()
	}
	f.times = u.shape
	return f, !u.bad
}

// deployment is the deployment status that the facts tell, nil for none.
func (f *facts) deployment() *structs.AllocDeploymentStatus {
	if f.health == healthNone {
		return nil
	}
	return &structs.AllocDeploymentStatus{Healthy: structs.Ptr(f.health == healthy), Timestamp: time.Unix(0, f.at).UTC(), ModifyIndex: f.index}
}

// setDeployment takes over a deployment status, false when it is more than
// facts can tell.
func (f *facts) setDeployment(d *structs.AllocDeploymentStatus) bool {
	f.health, f.at, f.index = healthNone, 0, 0
	if d == nil {
		return true
	}
	at := d.Timestamp.UnixNano()
	if d.Canary || d.Healthy == nil || !time.Unix(0, at).Equal(d.Timestamp) {
		return false
	}
	f.health, f.at, f.index = unhealthy, at, d.ModifyIndex
	if *d.Healthy {
		f.health = healthy
	}
	return true
}

// Rare is what most allocations do not have. Links between allocations are
// numbers plus one, 0 for none.
type Rare struct {
	DesiredDescription string
	ClientDescription  string
	FollowupEvalID     string
	Transition         structs.DesiredTransition
	// Deployment is kept among a row's facts where they can tell it.
	Deployment  *structs.AllocDeploymentStatus
	Reschedule  *structs.RescheduleTracker
	Network     *structs.AllocNetworkStatus
	Extra       *structs.PlacementExtra
	Previous    uint64
	Next        uint64
	PreemptedBy uint64
	Preempted   []uint64
}

// SetExtra takes over what a placement has of its own; it keeps x, which must
// not be changed afterwards.
func (r *Rare) SetExtra(x *structs.PlacementExtra) {
	r.Reschedule = x.Reschedule
	rest := *x
	rest.Reschedule = nil
	if special(&rest) {
		r.Extra = &rest
	}
}

func special(x *structs.PlacementExtra) bool {
	return len(x.Ports) > 0 || len(x.Networks) > 0 || len(x.Cores) > 0 || len(x.Devices) > 0 || len(x.Volumes) > 0
}

func (r *Rare) zero() bool {
	return r.DesiredDescription == "" && r.ClientDescription == "" && r.FollowupEvalID == "" &&
		r.Transition == (structs.DesiredTransition{}) && r.Deployment == nil && r.Reschedule == nil &&
		r.Network == nil && r.Extra == nil && r.Previous == 0 && r.Next == 0 && r.PreemptedBy == 0 && len(r.Preempted) == 0
}

// onlyDescription reports whether nothing but the desired description is set;
// such values are shared between the rows of an Edit.
func (r *Rare) onlyDescription() bool {
	c := *r
	c.DesiredDescription = ""
	return c.zero()
}

// Tasks are task states split into a shape, which many allocations share, and
// their times. The zero value is none.
type Tasks struct {
	shape unique.Handle[string]
	times string
	set   bool
}

// Set reports whether there are any.
func (t Tasks) Set() bool { return t.set }

// Shape is the part that allocations share.
func (t Tasks) Shape() string { return t.shape.Value() }

// Times is the rest.
func (t Tasks) Times() string { return t.times }

// PackTasks splits task states; nil are none.
func PackTasks(states map[string]*structs.TaskState) Tasks {
	if states == nil {
		return Tasks{}
	}
	shape, times := packTasks(states)
	return Tasks{shape: unique.Make(shape), times: times, set: true}
}

// Shape is a shape of task states that somebody else made, and was checked.
type Shape struct {
	shape unique.Handle[string]
	times int // how many belong to it
}

// ParseShape checks a shape.
func ParseShape(shape string) (Shape, error) {
	zeros := strings.Repeat("\x00", len(shape)) // more than it can need
	u := unpacker{shape: shape, times: zeros}
	u.states()
	if u.bad || u.shape != "" {
		return Shape{}, errTasks
	}
	return Shape{unique.Make(shape), len(zeros) - len(u.times)}, nil
}

// Tasks are task states of the shape.
func (s Shape) Tasks(times string) (Tasks, error) {
	n, size := 0, 0
	for i := range len(times) {
		if size++; size == binary.MaxVarintLen64 && times[i] > 1 {
			return Tasks{}, errTasks // more than 64 bits
		}
		if times[i] < 0x80 {
			n, size = n+1, 0
		}
	}
	if n != s.times || size != 0 {
		return Tasks{}, errTasks
	}
	return Tasks{shape: s.shape, times: times, set: true}, nil
}

func packTasks(states map[string]*structs.TaskState) (shape, times string) {
	var names [8]string
	list := names[:0]
	for name, s := range states {
		if s != nil {
			list = append(list, name)
		}
	}
	sort.Strings(list)
	var room [512]byte
	p := packer{shape: room[:0:384], times: room[384:384]}
	p.number(uint64(len(list)))
	for _, name := range list {
		s := states[name]
		p.text(name)
		p.text(s.State)
		p.flag(s.Failed)
		p.number(s.Restarts)
		p.text(s.Paused)
		p.when(s.LastRestart)
		p.when(s.StartedAt)
		p.when(s.FinishedAt)
		p.number(uint64(len(s.Events)))
		for _, e := range s.Events {
			p.event(e)
		}
	}
	return string(p.shape), string(p.times)
}

type packer struct {
	shape, times []byte
	last         int64
}

func (p *packer) number(n uint64) { p.shape = binary.AppendUvarint(p.shape, n) }

func (p *packer) text(s string) {
	p.number(uint64(len(s)))
	p.shape = append(p.shape, s...)
}

func (p *packer) flag(b bool) {
	if b {
		p.number(1)
	} else {
		p.number(0)
	}
}

func (p *packer) nanos(t int64) {
	p.times = binary.AppendVarint(p.times, t-p.last)
	p.last = t
}

func (p *packer) when(t *time.Time) {
	set := t != nil && !t.IsZero()
	p.flag(set)
	if set {
		p.nanos(t.UnixNano())
	}
}

func (p *packer) event(e *structs.TaskEvent) {
	if e == nil {
		e = &structs.TaskEvent{}
	}
	p.text(e.Type)
	p.text(e.Message)
	p.text(e.DisplayMessage)
	p.nanos(e.Time)
	p.number(uint64(len(e.Details)))
	keys := make([]string, 0, len(e.Details))
	for k := range e.Details {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	for _, k := range keys {
		p.text(k)
		p.text(e.Details[k])
	}
}

var errTasks = errors.New("task states are cut short")

// unpackTasks is the inverse of packTasks.
func unpackTasks(shape, times string) (map[string]*structs.TaskState, error) {
	u := unpacker{shape: shape, times: times}
	states := u.states()
	if u.bad || u.shape != "" || u.times != "" {
		return nil, errTasks
	}
	return states, nil
}

type unpacker struct {
	shape, times string
	last         int64
	bad          bool
}

func (u *unpacker) states() map[string]*structs.TaskState {
	n := u.count()
	states := make(map[string]*structs.TaskState, n)
	for range n {
		name := u.text()
		s := &structs.TaskState{State: u.text(), Failed: u.flag(), Restarts: u.number(), Paused: u.text()}
		s.LastRestart, s.StartedAt, s.FinishedAt = u.when(), u.when(), u.when()
		if events := u.count(); events > 0 {
			s.Events = make([]*structs.TaskEvent, 0, events)
			for range events {
				s.Events = append(s.Events, u.event())
			}
		}
		if u.bad {
			return nil
		}
		states[name] = s
	}
	return states
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint([]byte(u.shape[:min(len(u.shape), binary.MaxVarintLen64)]))
	if size <= 0 {
		u.bad, u.shape = true, ""
		return 0
	}
	u.shape = u.shape[size:]
	return n
}

// count reads a number of things that each take at least one byte.
func (u *unpacker) count() int {
	n := u.number()
	if n > uint64(len(u.shape)) {
		u.bad = true
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	n := u.count()
	s := u.shape[:n]
	u.shape = u.shape[n:]
	return s
}

func (u *unpacker) flag() bool { return u.number() != 0 }

func (u *unpacker) nanos() int64 {
	d, size := binary.Varint([]byte(u.times[:min(len(u.times), binary.MaxVarintLen64)]))
	if size <= 0 {
		u.bad, u.times = true, ""
		return 0
	}
	u.times = u.times[size:]
	u.last += d
	return u.last
}

func (u *unpacker) when() *time.Time {
	if !u.flag() {
		return nil
	}
	t := time.Unix(0, u.nanos()).UTC()
	return &t
}

func (u *unpacker) event() *structs.TaskEvent {
	e := &structs.TaskEvent{Type: u.text(), Message: u.text(), DisplayMessage: u.text(), Time: u.nanos()}
	n := u.count()
	e.Details = make(map[string]string, n)
	for range n {
		k := u.text()
		e.Details[k] = u.text()
	}
	return e
}
