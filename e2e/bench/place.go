package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nomadlite/nomadlite/e2e/cluster"
)

// placeSize is how much the place set places.
type placeSize struct {
	nodes, jobs, count int
	small, single      int // jobs of ten allocations, and of one
	competing          int // nodes for which two schedulers compete
	alone              bool
	limit              time.Duration
	profiles           string // folder for CPU profiles of the measures, "" for none
}

func (p *placeSize) flags() {
	flag.IntVar(&p.nodes, "nodes", 10_000, "simulated nodes of the place set")
	flag.IntVar(&p.jobs, "jobs", 2_000, "jobs of the place set")
	flag.IntVar(&p.count, "count", 1_000, "allocations of each of them")
	flag.IntVar(&p.small, "small", 20_000, "jobs of ten allocations of the place set")
	flag.IntVar(&p.single, "single", 20_000, "jobs of one allocation of the place set")
	flag.IntVar(&p.competing, "competing", 100, "nodes of the place set that two schedulers fill")
	flag.BoolVar(&p.alone, "alone", false, "leave out the three servers of the place set")
	flag.DurationVar(&p.limit, "limit", 10*time.Minute, "longest time for each measure of the place set")
	flag.StringVar(&p.profiles, "profiles", "", "folder for a CPU profile of each measure of the place set")
}

// connections are how many requests are under way at once.
const connections = 16

// place measures how fast durable servers place jobs on simulated nodes in
// their own processes, from the first HTTP request until all runs.
func place(b *bench) error {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = connections
	for _, stage := range []func(*bench) error{placeOne, placeCompeting, placeThree} {
		if err := stage(b); err != nil {
			return err
		}
	}
	return nil
}

// placeOne fills one server, looks at it meanwhile, and then saves, restores
// and restarts it.
func placeOne(b *bench) error {
	a, err := b.startSimulated(b.place.nodes, "")
	if err != nil {
		return err
	}
	defer func() { a.stop() }()
	_, idleRSS, _ := a.ownMemory()
	b.line(fmt.Sprintf("place: RSS with %d nodes, idle", b.place.nodes), idleRSS, "MiB")
	p := &b.place
	if err := b.measure(a, "place allocs/s 1 server", "big", p.jobs, p.count, "allocs/s"); err != nil {
		return err
	}
	if n := float64(p.jobs * p.count); n > 0 {
		_, rss, _ := a.ownMemory()
		b.line("place: RSS an allocation beyond idle", (rss-idleRSS)*(1<<20)/n, "bytes")
		if err := b.keep(a); err != nil {
			return err
		}
	}
	if err := b.measure(a, "place allocs/s 1 server, jobs of 10", "small", p.small, 10, "allocs/s"); err != nil {
		return err
	}
	return b.measure(a, "place single-allocation jobs/s 1 server", "single", p.single, 1, "jobs/s")
}

// placeCompeting lets two schedulers fill the same nodes to the brim.
func placeCompeting(b *bench) error {
	if b.place.competing == 0 {
		return nil
	}
	a, err := b.startSimulated(b.place.competing, "num_schedulers = 2\n")
	if err != nil {
		return err
	}
	defer a.stop()
	const each, count = 40, 20 // allocations of a node when it is full, and of a job
	counts := a.count("nomad.nomad.worker.conflicts", "nomad.nomad.worker.collided", "nomad.nomad.plan.node_rejected")
	ctx, cancel := context.WithTimeout(context.Background(), b.place.limit)
	defer cancel()
	took, err := a.fillWith(ctx, "compete", b.place.competing*each/count, count, nodeMemory/each)
	if err != nil {
		return fmt.Errorf("two schedulers: %w", err)
	}
	b.line("place: two schedulers, full nodes: wall", took.Seconds(), "s")
	for name, n := range counts() {
		b.line("place: two schedulers: "+name, n, "times")
	}
	over, err := a.overCommitted()
	if err != nil {
		return err
	}
	b.line("place: two schedulers: over-committed nodes", float64(over), "nodes")
	return nil
}

// placeThree does the first measure with three servers, which share the nodes.
func placeThree(b *bench) error {
	if b.place.jobs == 0 || b.place.alone {
		return nil
	}
	nodes := b.place.nodes / 3
	c, stop, err := startCluster(b, cluster.Options{Servers: 3, Extra: "enable_debug = true\nlog_level = \"WARN\"\n" + simulated(nodes)})
	if err != nil {
		return err
	}
	defer stop()
	var leader *cluster.Member
	if err := await(func() error {
		if leader = c.Leader(c.Servers[0]); leader == nil {
			return fmt.Errorf("no leader")
		}
		return nil
	}); err != nil {
		return err
	}
	a := &agent{addr: leader.Addr, dir: c.Dir, exited: make(chan struct{})}
	if err := a.ready(3 * nodes); err != nil {
		return err
	}
	return b.measure(a, "place allocs/s 3 servers", "three", b.place.jobs, b.place.count, "allocs/s")
}

// measure fills the servers with jobs, and looks at them meanwhile.
func (b *bench) measure(a *agent, name, prefix string, jobs, count int, unit string) error {
	if jobs == 0 {
		return nil
	}
	term, err := a.term()
	if err != nil {
		return err
	}
	cpu, profiled, probed := a.cpuSeconds(), a.profile(b.place.profiles, name), a.probe(prefix)
	took, err := a.fill(prefix, jobs, count, b.place.limit)
	reads, registrations, probeErr := probed()
	if err := errors.Join(err, probeErr, profiled()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	now, err := a.term()
	if err != nil {
		return err
	}
	n := float64(jobs * count)
	b.line(name, n/took.Seconds(), unit)
	b.line(name+": wall", took.Seconds(), "s")
	if a.cmd != nil {
		b.line(name+": CPU an allocation", 1e6*(a.cpuSeconds()-cpu)/n, "us")
	}
	b.line(name+": read p99 meanwhile", quantile(reads, 0.99), "ms")
	b.line(name+": register p99 meanwhile", quantile(registrations, 0.99), "ms")
	b.line(name+": elections meanwhile", float64(now-term), "elections")
	return nil
}

// keep saves the state, restores it and starts the server again.
func (b *bench) keep(a *agent) error {
	start := time.Now()
	resp, err := http.Get(a.addr + "/v1/operator/snapshot")
	if err != nil {
		return err
	}
	archive, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return err
	}
	b.line("place: snapshot saved", time.Since(start).Seconds(), "s")
	b.line("place: snapshot", float64(len(archive))/(1<<20), "MiB")
	start = time.Now()
	req, err := http.NewRequest("PUT", a.addr+"/v1/operator/snapshot", bytes.NewReader(archive))
	if err != nil {
		return err
	}
	if resp, err = http.DefaultClient.Do(req); err != nil {
		return err
	}
	text, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot restore: %s: %s", resp.Status, text)
	}
	b.line("place: snapshot restored", time.Since(start).Seconds(), "s")
	start = time.Now()
	if err := a.again(); err != nil {
		return err
	}
	b.line("place: server ended and started again", time.Since(start).Seconds(), "s")
	return a.ready(b.place.nodes)
}

// fill registers jobs and waits until all of them run.
func (a *agent) fill(prefix string, jobs, count int, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return a.fillWith(ctx, prefix, jobs, count, 10)
}

// fillWith does it with so many MiB of memory for each task.
func (a *agent) fillWith(ctx context.Context, prefix string, jobs, count, memory int) (time.Duration, error) {
	start := time.Now()
	var next atomic.Int64
	errs := make(chan error, connections)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			last := ""
			for i := next.Add(1); i <= int64(jobs); i = next.Add(1) {
				last = fmt.Sprintf("%s-%d", prefix, i)
				if _, err := a.do(ctx, "PUT", "/v1/jobs", sized(job(last, "service", count, "/bin/true"), memory), nil); err != nil {
					errs <- err
					return
				}
			}
			// The oldest is placed first: each connection waits for its last one.
			if last != "" {
				if err := a.untilRunning(ctx, last, count); err != nil {
					errs <- err
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	// What came in between is looked at once more.
	for i := 1; i <= jobs; i += max(1, jobs/64) {
		if err := a.untilRunning(ctx, fmt.Sprintf("%s-%d", prefix, i), count); err != nil {
			return 0, err
		}
	}
	return time.Since(start), nil
}

func (a *agent) untilRunning(ctx context.Context, id string, count int) error {
	for {
		var summary struct {
			Summary map[string]struct{ Running, Failed, Lost int }
		}
		if _, err := a.do(ctx, "GET", "/v1/job/"+id+"/summary", nil, &summary); err != nil {
			return err
		}
		if summary.Summary["g"].Running == count {
			return nil
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("job %s: %+v instead of %d running: %w", id, summary.Summary["g"], count, ctx.Err())
		}
	}
}
