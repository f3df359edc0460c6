package alloctable

import (
	"encoding/binary"
	"errors"
	"sort"
	"time"
	"unique"

	"github.com/nomadlite/nomadlite/structs"
)

// cold is what a row has beside its columns. It is immutable.
type cold struct {
	revision uint64
	// tasks is the task states without their times, shared by all rows in the
	// same state; times are the times, as deltas.
	tasks unique.Handle[string]
	has   bool // tasks is set
	times string
	rare  *Rare // nil when all of it is zero
}

// Rare is what most allocations do not have. Links between allocations are
// numbers plus one, 0 for none.
type Rare struct {
	DesiredDescription string
	ClientDescription  string
	FollowupEvalID     string
	Transition         structs.DesiredTransition
	Deployment         *structs.AllocDeploymentStatus
	Reschedule         *structs.RescheduleTracker
	Network            *structs.AllocNetworkStatus
	Extra              *structs.PlacementExtra
	Previous           uint64
	Next               uint64
	PreemptedBy        uint64
	Preempted          []uint64
}

// SetExtra takes over what a placement has of its own; it keeps x, which must
// not be changed afterwards.
func (r *Rare) SetExtra(x *structs.PlacementExtra) {
	r.Reschedule = x.Reschedule
	rest := *x
	rest.Reschedule = nil
	if special(&rest) || rest.Metrics != nil {
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

// packTasks splits task states into a shape, which many allocations share, and
// their times.
func packTasks(states map[string]*structs.TaskState) (shape, times string) {
	names := make([]string, 0, len(states))
	for name, s := range states {
		if s != nil {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	p := packer{}
	p.number(uint64(len(names)))
	for _, name := range names {
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
			return nil, errTasks
		}
		states[name] = s
	}
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
