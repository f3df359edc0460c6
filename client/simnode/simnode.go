// Package simnode joins light nodes to a cluster for capacity tests: they
// register, send heartbeats, accept allocations, "run" and finish them by a
// profile of times and failures, and start nothing. Thousands live in one
// process. Servers cannot tell them from others but by their name and meta.
package simnode

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// MaxNodes is how many nodes one process may simulate.
const MaxNodes = 200_000

// Profile says how allocations go.
type Profile struct {
	Start time.Duration // from pending to running
	Run   time.Duration // mean time until a batch allocation ends; times vary around it
	Fail  float64       // the part of all allocations that fails after Run, 0 to 1
}

// DefaultProfile is that of ParseProfile("").
var DefaultProfile = Profile{Start: 50 * time.Millisecond, Run: 30 * time.Second}

// ParseProfile reads "start=50ms,run=30s,fail=0.01"; what is missing is the
// default's.
func ParseProfile(s string) (Profile, error) {
	p := DefaultProfile
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		key, val, _ := strings.Cut(part, "=")
		var err error
		switch key {
		case "start":
			p.Start, err = time.ParseDuration(val)
		case "run":
			p.Run, err = time.ParseDuration(val)
		case "fail":
			if p.Fail, err = strconv.ParseFloat(val, 64); err == nil && (p.Fail < 0 || p.Fail > 1) {
				err = fmt.Errorf("want 0 to 1")
			}
		default:
			err = fmt.Errorf("want start, run or fail")
		}
		if err == nil && (p.Start < 0 || p.Run < 0) {
			err = fmt.Errorf("want a time that is not negative")
		}
		if err != nil {
			return p, fmt.Errorf("cannot use the profile %q: %q: %w", s, part, err)
		}
	}
	return p, nil
}

// Config is what simulated nodes are told.
type Config struct {
	Servers    api.Servers
	Count      int
	Profile    Profile
	Name       string // the nodes are Name-0, Name-1, …; the same name is the same nodes
	Datacenter string
	Pool       string
	Logger     hclog.Logger
}

// Nodes are simulated nodes.
type Nodes struct{ cfg Config }

// New checks the configuration.
func New(cfg Config) (*Nodes, error) {
	if cfg.Count < 1 || cfg.Count > MaxNodes {
		return nil, fmt.Errorf("cannot simulate %d nodes: want 1 to %d", cfg.Count, MaxNodes)
	}
	return &Nodes{cfg}, nil
}

// Run keeps the nodes alive until ctx ends.
func (s *Nodes) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for i := range s.cfg.Count {
		n := newNode(&s.cfg, i)
		all.Go(func() { n.run(ctx) })
	}
	all.Wait()
	return nil
}

// work is an allocation whose status will change. What only runs needs none:
// the servers know it.
type work struct {
	alloc *structs.Allocation
	next  string    // the status that comes next
	due   time.Time // when
	began time.Time
}

// node is one simulated node; one goroutine has it.
type node struct {
	cfg    *Config
	node   *structs.Node
	random *rand.Rand
	since  uint64
	beat   time.Time // of the next heartbeat
	work   map[string]*work
}

// identity makes a UUID that a name always has.
func identity(parts ...string) string {
	h := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

func newNode(cfg *Config, i int) *node {
	name := fmt.Sprintf("%s-%d", cfg.Name, i)
	n := &structs.Node{
		ID: identity("node", name), SecretID: identity("secret", name), Name: name, Datacenter: cfg.Datacenter, NodePool: cfg.Pool,
		HTTPAddr: "127.0.0.1:0", Status: structs.NodeStatusInit, Drivers: map[string]*structs.DriverInfo{},
		Attributes: map[string]string{"kernel.name": "linux", "cpu.arch": "amd64", "os.name": "simulated", "os.signals": "SIGINT,SIGTERM,SIGKILL,SIGHUP", "unique.hostname": name},
		Meta:       map[string]string{"simulated": "true"},
		NodeResources: &structs.NodeResources{
			Cpu:    structs.NodeCpuResources{CpuShares: 64_000, TotalCpuCores: 32},
			Memory: structs.NodeMemoryResources{MemoryMB: 256 << 10}, Disk: structs.NodeDiskResources{DiskMB: 4 << 20},
			MinDynamicPort: 20000, MaxDynamicPort: 32000,
		},
	}
	for _, d := range []string{"raw_exec", "exec", "docker", "mock_driver", "java", "qemu"} {
		n.Drivers[d] = &structs.DriverInfo{Detected: true, Healthy: true, HealthDescription: "simulated", UpdateTime: time.Unix(0, 0).UTC()}
		n.Attributes["driver."+d] = "1"
	}
	return &node{cfg: cfg, node: n, random: rand.New(rand.NewPCG(uint64(i), 7)), work: map[string]*work{}}
}

// Pauses.
const (
	retry   = time.Second
	maxWait = 5 * time.Minute
	// grain is what times of changes are rounded up to, so that a node reports
	// what changes together together.
	grain = 20 * time.Millisecond
)

func (n *node) run(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.live(ctx)
		if ctx.Err() != nil {
			return
		}
		n.cfg.Logger.Debug("a simulated node begins again", "node", n.node.Name, "error", err)
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
	}
}

// live registers the node and works until something fails.
func (n *node) live(ctx context.Context) error {
	resp, err := n.cfg.Servers.Register(ctx, n.node)
	if err != nil {
		return err
	}
	n.since = 0
	n.alive(resp.HeartbeatTTL)
	for {
		got, err := n.cfg.Servers.Allocs(ctx, api.NodeAllocsRequest{NodeID: n.node.ID, SecretID: n.node.SecretID, Since: n.since, Wait: n.wait(time.Now())})
		if err != nil {
			return err
		}
		now := time.Now()
		n.take(got, now)
		if updates := n.step(now); len(updates) > 0 {
			if err := n.cfg.Servers.UpdateAllocs(ctx, api.NodeAllocUpdateRequest{NodeID: n.node.ID, SecretID: n.node.SecretID, Updates: updates}); err != nil {
				return err
			}
		}
		if now = time.Now(); now.After(n.beat) {
			resp, err := n.cfg.Servers.Heartbeat(ctx, api.NodeHeartbeat{NodeID: n.node.ID, SecretID: n.node.SecretID})
			if err != nil {
				return err
			}
			n.alive(resp.HeartbeatTTL)
		}
	}
}

// alive sets the time of the next heartbeat.
func (n *node) alive(ttl time.Duration) {

	if ttl = ttl / 2; ttl > 0 {
		n.beat = time.Now().Add(ttl - time.Duration(n.random.Int64N(int64(ttl)/4+1)))
	}
}

// wait is how long the node has nothing to do.
func (n *node) wait(now time.Time) time.Duration {
	first := n.beat
	for _, w := range n.work {
		if w.due.Before(first) {
			first = w.due
		}
	}
	return min(max(first.Sub(now), time.Millisecond), maxWait)
}

// take takes what the servers changed, or the whole list.
func (n *node) take(got *api.NodeAllocsResponse, now time.Time) {
	n.since = got.Index
	if got.Full {
		listed := map[string]bool{}
		for _, a := range got.Allocs {
			listed[a.ID] = true
		}
		for id := range n.work {
			if !listed[id] {
				delete(n.work, id)
			}
		}
	}
	for _, a := range got.Allocs {
		w := n.work[a.ID]
		switch {
		case a.ClientTerminal():
			delete(n.work, a.ID)
		case a.ServerTerminal():
			n.work[a.ID] = &work{alloc: a, next: structs.AllocClientStatusComplete, due: now, began: began(a)}
		case w != nil:
			w.alloc = a
		case a.ClientStatus == structs.AllocClientStatusRunning:
			n.goOn(&work{alloc: a, began: began(a)}, now)
		default:
			n.work[a.ID] = &work{alloc: a, next: structs.AllocClientStatusRunning, due: n.at(now, n.cfg.Profile.Start)}
		}
	}
}

// began is when an allocation began to run, as the servers know it.
func began(a *structs.Allocation) time.Time {
	for _, t := range a.TaskStates {
		if t.StartedAt != nil {
			return *t.StartedAt
		}
	}
	return time.Time{}
}

// at is a time after now, on the grain.
func (n *node) at(now time.Time, after time.Duration) time.Time {
	if after == 0 {
		return now
	}
	return now.Add(after).Truncate(grain).Add(grain)
}

// goOn decides how an allocation that runs ends; whether it fails depends on its
// id alone.
func (n *node) goOn(w *work, now time.Time) {
	p, job := n.cfg.Profile, w.alloc.Job
	h := fnv.New32a()
	h.Write([]byte(w.alloc.ID))
	switch {
	case float64(h.Sum32())/(1<<32) < p.Fail:
		w.next = structs.AllocClientStatusFailed
	case job != nil && (job.Type == structs.JobTypeBatch || job.Type == structs.JobTypeSysBatch):
		w.next = structs.AllocClientStatusComplete
	default:
		delete(n.work, w.alloc.ID)
		return
	}
	w.due = n.at(now, p.Run/2+time.Duration(n.random.Int64N(int64(p.Run)+1)))
	n.work[w.alloc.ID] = w
}

// step makes the changes that are due, and returns what to report.
func (n *node) step(now time.Time) []*structs.AllocUpdate {
	var updates []*structs.AllocUpdate
	var like *work // the one before, and its report
	for id, w := range n.work {
		if w.due.After(now) {
			continue
		}
		status := w.next
		if status == structs.AllocClientStatusRunning {
			w.began = now
			n.goOn(w, now)
		} else {
			delete(n.work, id)
		}
		u := w.report(status, now)
		if like != nil && like.alloc.Job == w.alloc.Job && like.alloc.TaskGroup == w.alloc.TaskGroup && like.began.Equal(w.began) && updates[len(updates)-1].ClientStatus == status {
			u.TaskStates = updates[len(updates)-1].TaskStates
		} else {
			u.TaskStates = w.tasks(status, now)
		}
		updates, like = append(updates, u), w
	}
	return updates
}

// report is what the servers are told of an allocation, without its tasks.
func (w *work) report(status string, now time.Time) *structs.AllocUpdate {
	u := &structs.AllocUpdate{AllocID: w.alloc.ID, Revision: uint64(now.UnixNano()), ClientStatus: status}
	if w.alloc.DeploymentID != "" || w.alloc.Job != nil && w.alloc.Job.Type == structs.JobTypeService { // drains are paced by it too
		u.DeploymentHealthy, u.DeploymentID, u.DeploymentTime = structs.Ptr(status != structs.AllocClientStatusFailed), w.alloc.DeploymentID, now.UnixNano()
	}
	return u
}

// tasks are the states of the tasks of an allocation.
func (w *work) tasks(status string, now time.Time) map[string]*structs.TaskState {
	states := map[string]*structs.TaskState{}
	task := structs.TaskState{State: structs.TaskStateRunning, Failed: status == structs.AllocClientStatusFailed}
	if !w.began.IsZero() {
		at := w.began.UTC()
		task.StartedAt = &at
	}
	if structs.ClientStatusTerminal(status) {
		at := now.UTC()
		task.State, task.FinishedAt = structs.TaskStateDead, &at
	}
	if w.alloc.Job == nil {
		return states
	}
	if g := w.alloc.Job.LookupGroup(w.alloc.TaskGroup); g != nil {
		for _, t := range g.Tasks {
			state := task
			states[t.Name] = &state
		}
	}
	return states
}
