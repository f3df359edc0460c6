package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// placeSize is how much the place set places.
type placeSize struct {
	nodes, jobs, count int
	small, single      int // jobs of ten allocations, and of one
	limit              time.Duration
	profiles           string // folder for CPU profiles of the measures, "" for none
}

func (p *placeSize) flags() {
	flag.IntVar(&p.nodes, "nodes", 10_000, "simulated nodes of the place set")
	flag.IntVar(&p.jobs, "jobs", 2_000, "jobs of the place set")
	flag.IntVar(&p.count, "count", 1_000, "allocations of each of them")
	flag.IntVar(&p.small, "small", 20_000, "jobs of ten allocations of the place set")
	flag.IntVar(&p.single, "single", 20_000, "jobs of one allocation of the place set")
	flag.DurationVar(&p.limit, "limit", 10*time.Minute, "longest time for each measure of the place set")
	flag.StringVar(&p.profiles, "profiles", "", "folder for a CPU profile of each measure of the place set")
}

// connections are how many requests are under way at once.
const connections = 16

// place measures how fast a durable server places jobs on simulated nodes in
// its own process, from the first HTTP request until all runs.
func place(b *bench) error {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = connections
	a, err := b.startSimulated(b.place.nodes)
	if err != nil {
		return err
	}
	defer a.stop()
	total, idleRSS, _ := a.ownMemory()
	b.line(fmt.Sprintf("place: RSS with %d nodes, idle", b.place.nodes), idleRSS, "MiB")
	_ = total
	for _, c := range []struct {
		name        string
		jobs, count int
		unit        string
	}{
		{"place allocs/s 1 server", b.place.jobs, b.place.count, "allocs/s"},
		{"place allocs/s 1 server, jobs of 10", b.place.small, 10, "allocs/s"},
		{"place single-allocation jobs/s 1 server", b.place.single, 1, "jobs/s"},
	} {
		if c.jobs == 0 {
			continue
		}
		cpu := a.cpuSeconds()
		profiled := a.profile(b.place.profiles, c.name)
		took, err := a.fill(fmt.Sprintf("p%d", c.count), c.jobs, c.count, b.place.limit)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if err := profiled(); err != nil {
			return err
		}
		n := float64(c.jobs * c.count)
		b.line(c.name, n/took.Seconds(), c.unit)
		b.line(c.name+": wall", took.Seconds(), "s")
		b.line(c.name+": CPU an allocation", 1e6*(a.cpuSeconds()-cpu)/n, "us")
		if c.count == b.place.count {
			_, rss, _ := a.ownMemory()
			b.line("place: RSS an allocation beyond idle", (rss-idleRSS)*(1<<20)/n, "bytes")
		}
	}
	return nil
}

// fill registers jobs and waits until all of them run.
func (a *agent) fill(prefix string, jobs, count int, limit time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	start := time.Now()
	var next atomic.Int64
	errs := make(chan error, connections)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			last := ""
			for i := next.Add(1); i <= int64(jobs); i = next.Add(1) {
				last = fmt.Sprintf("%s-%d", prefix, i)
				if _, err := a.do(ctx, "PUT", "/v1/jobs", job(last, "service", count, "/bin/true"), nil); err != nil {
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
