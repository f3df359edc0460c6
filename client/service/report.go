package service

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// Pace of reports: what comes together goes together, and checks that flap
// cost a log entry every pace at most.
const (
	breath   = 5 * time.Millisecond
	pace     = 200 * time.Millisecond
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
	// settle is how long after its start a node does not believe that it knows
	// everything that it offers: tasks are still being found again.
	settle = 30 * time.Second
	// batch bounds a report.
	batch = 500
)

// Reporter tells the servers what the node offers. It compares what should be
// there with what they confirmed, so that a lost report is made up for.
type Reporter struct {
	servers  api.Workloads
	identity func() (id, secret string)
	log      hclog.Logger
	wake     chan struct{}
	began    time.Time

	mu   sync.Mutex // guards what follows
	want map[string]*structs.ServiceRegistration
	told map[string]*structs.ServiceRegistration
	full bool // what the servers know is in doubt
}

// NewReporter makes a reporter; Run reports.
func NewReporter(servers api.Workloads, identity func() (id, secret string), log hclog.Logger) *Reporter {
	return &Reporter{servers: servers, identity: identity, log: log, wake: make(chan struct{}, 1), began: time.Now(),
		want: map[string]*structs.ServiceRegistration{}, told: map[string]*structs.ServiceRegistration{}}
}

func (r *Reporter) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Set registers a service, or changes it.
func (r *Reporter) Set(s *structs.ServiceRegistration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.want[s.ID] = s
	r.poke()
}

// Remove takes a service away.
func (r *Reporter) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.want, id)
	r.poke()
}

// Known takes how many services of this node the servers know.
func (r *Reporter) Known(count int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count != len(r.told) && time.Since(r.began) > settle || count < len(r.told) {
		r.full = true
		r.poke()
	}
}

// next is the next report, false for none.
func (r *Reporter) next() (req api.NodeServicesRequest, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	req.NodeID, req.SecretID = r.identity()
	if r.full && len(r.want) <= batch && time.Since(r.began) > settle {
		req.Full = true
	}
	if r.full {
		r.told = map[string]*structs.ServiceRegistration{}
	}
	for id, s := range r.want {
		if old := r.told[id]; (old == nil || !old.Same(s)) && len(req.Set) < batch {
			req.Set = append(req.Set, s)
		}
	}
	for id := range r.told {
		if r.want[id] == nil && len(req.Remove) < batch {
			req.Remove = append(req.Remove, id)
		}
	}
	r.full = false
	return req, req.Full || len(req.Set)+len(req.Remove) > 0
}

// sent remembers what the servers know now, or that it is in doubt.
func (r *Reporter) sent(req api.NodeServicesRequest, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.full = r.full || req.Full
		return
	}
	for _, s := range req.Set {
		r.told[s.ID] = s
	}
	for _, id := range req.Remove {
		delete(r.told, id)
	}
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	retry := minRetry
	for wait(ctx, r.wake, breath) {
		req, ok := r.next()
		if !ok {
			continue
		}
		err := r.servers.UpdateServices(ctx, req)
		if ctx.Err() != nil {
			return nil
		}
		r.sent(req, err)
		r.poke() // there may be more than a batch
		pause := pace
		if err != nil {
			r.log.Warn("cannot report services; trying again", "count", len(req.Set)+len(req.Remove), "error", err)
			pause, retry = retry, min(2*retry, maxRetry)
		} else {
			retry = minRetry
		}
		if !wait(ctx, nil, pause) {
			return nil
		}
	}
	return nil
}

// wait waits for a wake-up, if there is one to wait for, and then for d; false
// when ctx has ended.
func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	if wake != nil {
		select {
		case <-wake:
		case <-ctx.Done():
			return false
		}
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
