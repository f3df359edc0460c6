package sim

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/blocked"
	"github.com/nomadlite/nomadlite/nomadlite/broker"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/planner"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/nomadlite/worker"
	"github.com/nomadlite/nomadlite/structs"
)

// bugs are faults of the cluster itself that a run must find.
type bugs struct {
	loseAcked    bool // a new leader lacks an entry that was acknowledged
	skipEntry    bool // a follower leaves an entry out
	deafWaker    bool // nobody looks at nodes for evaluations that wait
	forgetAck    bool // nodes forget which reports they have numbered
	staleRestore bool // a restored follower replays the log from one entry too late

	noDeployments bool   // nobody moves deployments on
	noDrains      bool   // nobody moves drains on
	hurriedDrains bool   // nobody paces drains
	deafSystem    bool   // system jobs do not hear of nodes that come back
	doubleLaunch  bool   // a tick is launched twice
	hasty         bool   // nodes are given up much too soon
	twice         bool   // now and then an evaluation is delivered to two workers
	fault         string // of the state, as in faults
}

// event is something that happens at a time; equal times keep their order.
type event struct {
	at  time.Time
	seq int
	do  func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at.Before(e[j].at) || e[i].at.Equal(e[j].at) && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// server is one replica.
type server struct {
	store   *state.Store
	machine *fsm.FSM
	applied int // entries of the log
	saved   []byte
	savedAt int
}

// proposal is a command on its way into the log.
type proposal struct {
	data []byte
	done func(value any, err error)
}

var errLost = errors.New("leadership was lost")

// cluster is a run.
type cluster struct {
	seed    uint64
	random  *rand.Rand
	now     time.Time
	queue   events
	seq     int
	bugs    bugs
	faults  bool
	failure string

	log      []*raft.Log
	servers  []*server
	leader   int
	term     uint64
	proposed []*proposal
	hashes   map[int][32]byte // of the state by entries applied

	broker  *broker.Broker
	overlay *planner.Overlay
	waiting *blocked.Waiting
	workers []*worker.Worker
	busy    int
	waking  bool
	working map[state.JobKey]string // evaluations that are delivered, by job
	loops   *loops

	nodes []*node
	ids   int
	acked map[string]bool // jobs whose registration was acknowledged
	check checker
}

const (
	replicas = 3
	slots    = 2 // workers
)

func newCluster(seed uint64, b bugs) *cluster {
	c := &cluster{seed: seed, random: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_800_000_000, 0).UTC(), bugs: b, faults: true,
		hashes: map[int][32]byte{}, acked: map[string]bool{}, check: newChecker()}
	for range replicas {
		c.servers = append(c.servers, c.newServer())
	}
	for i := range 4 {
		c.nodes = append(c.nodes, newNode(c, i))
	}
	c.lead(0)
	return c
}

func (c *cluster) newServer() *server {
	s := state.New(state.Options{AllocKey: [16]byte{7}})
	return &server{store: s, machine: fsm.New(s, hclog.NewNullLogger(), func(index uint64, err error) { c.fail("entry %d halts a server: %v", index, err) })}
}

func (c *cluster) fail(format string, args ...any) {
	if c.failure == "" {
		c.failure = fmt.Sprintf("at %s, entry %d: ", c.now.Format("15:04:05.000"), len(c.log)) + fmt.Sprintf(format, args...)
	}
}

func (c *cluster) after(d time.Duration, do func()) {
	c.seq++
	heap.Push(&c.queue, event{c.now.Add(d), c.seq, do})
}

// some is a time between min and max.
func (c *cluster) some(min, max time.Duration) time.Duration {
	return min + time.Duration(c.random.Int64N(int64(max-min)+1))
}

func (c *cluster) chance(p float64) bool { return c.random.Float64() < p }

// send delivers a message, perhaps late, twice or not at all.
func (c *cluster) send(deliver func()) {
	if !c.faults {
		c.after(c.some(time.Millisecond, 5*time.Millisecond), deliver)
		return
	}
	for {
		if !c.chance(0.1) {
			c.after(c.some(time.Millisecond, 80*time.Millisecond), deliver)
		}
		if !c.chance(0.1) {
			return
		}
	}
}

// run lets time pass until nothing happens, a failure or the deadline.
func (c *cluster) run(d time.Duration, until func() bool) bool {
	end := c.now.Add(d)
	for len(c.queue) > 0 && c.failure == "" && !c.queue[0].at.After(end) {
		e := heap.Pop(&c.queue).(event)
		c.now = e.at
		e.do()
		if until != nil && until() {
			return true
		}
	}
	c.now = end
	return false
}

func (c *cluster) snapshot() *state.Snapshot { return c.servers[c.leader].store.Snapshot() }

func (c *cluster) newID() string {
	c.ids++
	return fmt.Sprintf("%08x-0000-4000-8000-%012x", c.seed, c.ids)
}

// propose sends a command to the leader's log. done is called once, with what
// the state machine answered or an error that leaves its fate open.
func (c *cluster) propose(t fsm.Type, payload any, done func(value any, err error)) {
	data, err := fsm.Encode(t, payload)
	if err != nil {
		c.fail("%v", err)
		return
	}
	if done == nil {
		done = func(any, error) {}
	}
	p := &proposal{data, done}
	c.proposed = append(c.proposed, p)
	c.after(c.some(time.Millisecond, 15*time.Millisecond), func() { c.commit(p) })
}

// commit writes everything that was proposed up to p.
func (c *cluster) commit(p *proposal) {
	for i, one := range c.proposed {
		if one != p {
			continue
		}
		ready := c.proposed[:i+1]
		c.proposed = c.proposed[i+1:]
		for _, one := range ready {
			value, err := c.append(one.data)
			one.done(value, err)
		}
		return
	}
}

// append writes an entry and applies it on the leader.
func (c *cluster) append(data []byte) (any, error) {
	c.log = append(c.log, &raft.Log{Index: uint64(len(c.log) + 1), Term: c.term, Type: raft.LogCommand, Data: data})
	s := c.servers[c.leader]
	result := s.machine.Apply(c.log[len(c.log)-1]).(fsm.Result)
	s.applied = len(c.log)
	c.check.entry(c, s.store.Snapshot())
	c.compare(s)
	return result.Value, result.Err
}

// compare holds replicas against each other at the same entry (I-16).
func (c *cluster) compare(s *server) {
	if s.applied%16 != 0 {
		return
	}
	hash := s.store.Snapshot().Hash()
	if want, ok := c.hashes[s.applied]; ok && want != hash {
		c.fail("I-16: servers differ after entry %d", s.applied)
	}
	c.hashes[s.applied] = hash
}

// follow applies entries on a follower.
func (c *cluster) follow(i, to int) {
	s := c.servers[i]
	for s.applied < to && c.failure == "" {
		l := c.log[s.applied]
		s.applied++
		if c.bugs.skipEntry && i == 1 && s.applied%50 == 0 {
			continue
		}
		s.machine.Apply(l)
		c.compare(s)
	}
}

// restart makes a follower begin anew from its snapshot and the log.
func (c *cluster) restart(i int) {
	old := c.servers[i]
	s := c.newServer()
	if old.saved != nil {
		if err := s.machine.Restore(io.NopCloser(bytes.NewReader(old.saved))); err != nil {
			c.fail("a server cannot restore its snapshot: %v", err)
		}
		s.applied, s.saved, s.savedAt = old.savedAt, old.saved, old.savedAt
		if c.bugs.staleRestore {
			s.applied++
		}
	}
	c.servers[i] = s
}

func (c *cluster) save(i int) {
	s := c.servers[i]
	var b bytes.Buffer
	if err := s.store.Snapshot().Save(&b); err != nil {
		c.fail("%v", err)
	}
	s.saved, s.savedAt = b.Bytes(), s.applied
}

// lead makes a server the leader: some of what was proposed is in the log,
// the rest is lost, and nobody is told which.
func (c *cluster) lead(i int) {
	lost := c.proposed
	c.proposed = nil
	kept := c.random.IntN(len(lost) + 1)
	for _, p := range lost[:kept] {
		_, _ = c.append(p.data)
	}
	if c.bugs.loseAcked && len(c.log) > 60 {
		c.log = c.log[:len(c.log)-5]
		for j := range c.servers {
			if c.servers[j].applied > len(c.log) {
				c.servers[j] = c.newServer()
			}
		}
	}
	c.leader = i
	c.follow(i, len(c.log))
	c.term++
	data, _ := fsm.Encode(fsm.Epoch, &state.Epoch{Term: c.term, AllocKey: []byte("0123456789abcdef"), ClusterID: "sim"})
	if _, err := c.append(data); err != nil {
		c.fail("the epoch was refused: %v", err)
	}
	store := c.servers[i].store
	c.broker = broker.New(broker.Config{Store: store, GiveUp: c.giveUp})
	c.broker.Begin()
	c.overlay, c.waiting = planner.NewOverlay(), blocked.NewWaiting()
	c.workers, c.busy, c.working = nil, 0, map[state.JobKey]string{}
	for range slots {
		c.workers = append(c.workers, worker.New(worker.Deps{Store: store, Now: func() time.Time { return c.now }, NewID: c.newID}))
	}
	c.loops = newLoops(c, store)
	for _, p := range lost {
		p.done(nil, errLost)
	}
}

// giveUp is the follow-up of an evaluation that was delivered too often.
func (c *cluster) giveUp(_ context.Context, eval *structs.Evaluation) error {
	failed, next := *eval, *eval
	failed.Status, failed.StatusDescription = structs.EvalStatusFailed, "evaluation reached delivery limit"
	at := c.now.Add(10 * time.Second)
	next.ID, next.TriggeredBy, next.PreviousEval, next.WaitUntil = c.newID(), structs.EvalTriggerFailedFollowUp, eval.ID, &at
	failed.NextEval = next.ID
	c.propose(fsm.EvalUpsert, &state.EvalUpsert{Evals: []*structs.Evaluation{&failed, &next}}, nil)
	return nil
}

// schedule delivers what is ready to workers that are free.
func (c *cluster) schedule() {
	_ = c.broker.Sync(context.Background(), c.now)
	types := []string{structs.JobTypeService, structs.JobTypeBatch, structs.JobTypeSystem}
	for c.busy < slots {
		eval, token := c.broker.Take(types, c.now)
		if eval == nil {
			return
		}
		c.deliver(eval, token)
		if c.bugs.twice && c.chance(0.1) {
			c.deliver(eval, token)
		}
	}
}

// deliver lets a worker begin with an evaluation.
func (c *cluster) deliver(eval *structs.Evaluation, token string) {
	key := state.JobKey{Namespace: eval.Namespace, ID: eval.JobID}
	if other := c.working[key]; other != "" {
		c.fail("I-06: evaluations %s and %s of job %q are worked on at once", other, eval.ID, key.ID)
	}
	c.working[key] = eval.ID
	p := c.workers[c.busy%slots].Begin(eval)
	c.busy++
	c.pass(p, eval, token, c.term)
}

// pass takes the next step of a pass. Passes of earlier terms are over.
func (c *cluster) pass(p *worker.Pass, eval *structs.Evaluation, token string, term uint64) {
	if term != c.term || c.failure != "" {
		return
	}
	if done, err := p.Done(); done {
		c.busy--
		delete(c.working, state.JobKey{Namespace: eval.Namespace, ID: eval.JobID})
		if err == nil {
			_ = c.broker.Ack(eval.ID, token)
		} else {
			_ = c.broker.Nack(eval.ID, token)
		}
		return
	}
	again := func() { c.pass(p, eval, token, term) }
	part := p.Next()
	if part == nil {
		p.Plan(c.snapshot(), c.overlay.InFlight())
		c.after(c.some(0, 30*time.Millisecond), again) // a slow worker: the state moves on
		return
	}
	ticket, other := c.overlay.Admit(c.snapshot(), part)
	if other != nil {
		c.collided(p, other, term, again)
		return
	}
	overlay := c.overlay
	c.propose(fsm.PlanApply, part, func(value any, err error) {
		result, _ := value.(*structs.PlanResult)
		overlay.Settle(ticket, result)
		if err != nil {
			p.Fail(err)
		} else {
			p.Result(result)
		}
		again()
	})
}

// collided waits for the plan in flight that took the room.
func (c *cluster) collided(p *worker.Pass, other *planner.Ticket, term uint64, again func()) {
	select {
	case <-other.Done():
		p.Result(&structs.PlanResult{Collided: true, Applied: other.Applied()})
		again()
	default:
		if term == c.term {
			c.after(2*time.Millisecond, func() { c.collided(p, other, term, again) })
		}
	}
}

// wake looks at what waits for room.
func (c *cluster) wake(all bool) {
	if c.waking {
		return
	}
	snap := c.snapshot()
	c.waiting.Follow(snap, all)
	d := c.waiting.Decide(snap, 4)
	if c.bugs.deafWaker {
		d.Wake = nil
	}
	if evals := d.Evals(snap, c.now); len(evals) > 0 {
		c.waking = true
		c.propose(fsm.EvalUpsert, &state.EvalUpsert{Evals: evals}, func(_ any, err error) {
			if c.waking = false; err == nil {
				c.waiting.Woke(d)
			}
		})
	}
}
