package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// loopsSize is how much the loops set does.
type loopsSize struct {
	only        string
	crons       int
	subscribers int
	drained     int // nodes
}

func (l *loopsSize) flags() {
	flag.StringVar(&l.only, "loop", "", "one measure of the loops set: rollout, drain, cron, events or gc; all when empty")
	flag.IntVar(&l.crons, "crons", 10_000, "cron jobs of the loops set")
	flag.IntVar(&l.subscribers, "subscribers", 1_000, "subscribers of the loops set")
	flag.IntVar(&l.drained, "drained", 100, "nodes that the loops set drains, with 100 allocations each")
}

// loops measures the leader's control loops on simulated nodes.
func loops(b *bench) error {
	for _, one := range []struct {
		name string
		run  func(*bench) error
	}{{"rollout", rollout}, {"drain", drainNodes}, {"cron", crons}, {"events", subscribers}, {"gc", collected}} {
		if b.loops.only != "" && b.loops.only != one.name {
			continue
		}
		if err := one.run(b); err != nil {
			return fmt.Errorf("%s: %w", one.name, err)
		}
	}
	return nil
}

// startWave is how long a simulated allocation takes to be running, and healthy.
const startWave = 2 * time.Second

// simulated starts a server with simulated nodes of a profile.
func (b *bench) simulated(nodes int, profile string) (*agent, error) {
	return b.launch(true, nodes, fmt.Sprintf("enable_debug = true\nserver {\n event_buffer_size = 10000\n}\nclient {\n simulate_nodes = %d\n simulate_profile = %q\n}\n", nodes, profile))
}

// paced is a service that is replaced and moved so many at a time.
func paced(id string, count, parallel int, mark string) map[string]any {
	body := job(id, "service", count, "/bin/true", mark)
	group := body["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	minute := int64(time.Minute)
	group["Update"] = map[string]any{"MaxParallel": parallel, "HealthCheck": "task_states", "MinHealthyTime": 0, "HealthyDeadline": 5 * minute, "ProgressDeadline": 10 * minute}
	group["Migrate"] = map[string]any{"MaxParallel": parallel, "HealthCheck": "task_states", "MinHealthyTime": 0, "HealthyDeadline": 5 * minute}
	return body
}

// every asks for something until it holds.
func every(ctx context.Context, pause time.Duration, holds func() (bool, error)) error {
	for {
		ok, err := holds()
		if ok || err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (a *agent) deployed(ctx context.Context, id string, version int) error {
	return every(ctx, 20*time.Millisecond, func() (bool, error) {
		var d struct {
			JobVersion int
			Status     string
		}
		if _, err := a.do(ctx, "GET", "/v1/job/"+id+"/deployment", nil, &d); err != nil {
			return false, err
		}
		if d.JobVersion == version && d.Status != "" && d.Status != "running" && d.Status != "successful" {
			return false, fmt.Errorf("the deployment of %s is %s", id, d.Status)
		}
		return d.JobVersion == version && d.Status == "successful", nil
	})
}

// rollout replaces 1,000 allocations on 100 nodes, 100 at a time: ten waves.
func rollout(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	a, err := b.simulated(100, fmt.Sprintf("start=%v,run=24h", startWave))
	if err != nil {
		return err
	}
	defer a.stop()
	const count, parallel = 1000, 100
	for version, mark := range []string{"a", "b"} {
		cpu, start := a.cpuSeconds(), time.Now()
		if _, err := a.do(ctx, "PUT", "/v1/jobs", paced("roll", count, parallel, mark), nil); err != nil {
			return err
		}
		if err := a.deployed(ctx, "roll", version); err != nil {
			return err
		}
		if version == 1 {
			pacing := count / parallel * startWave
			b.line("loops rollout of 1,000 by 100: time over pacing", float64(time.Since(start))/float64(pacing), "x")
			b.line("loops rollout: CPU an allocation", 1e6*(a.cpuSeconds()-cpu)/count, "us")
		}
	}
	return nil
}

// drainNodes drains half of the nodes at once: each job moves ten at a time.
func drainNodes(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	nodes := b.loops.drained
	a, err := b.simulated(2*nodes, fmt.Sprintf("start=%v,run=24h", startWave))
	if err != nil {
		return err
	}
	defer a.stop()
	var list []struct{ ID string }
	if _, err := a.get("/v1/nodes", &list); err != nil {
		return err
	}
	eligible := func(id, how string) error {
		_, err := a.do(ctx, "PUT", "/v1/node/"+id+"/eligibility", map[string]any{"Eligibility": how}, nil)
		return err
	}
	for _, n := range list[nodes:] {
		if err := eligible(n.ID, "ineligible"); err != nil {
			return err
		}
	}
	const parallel = 10
	for i := range nodes {
		id := fmt.Sprintf("move-%d", i)
		if _, err := a.do(ctx, "PUT", "/v1/jobs", paced(id, 100, parallel, "a"), nil); err != nil {
			return err
		}
	}
	for i := range nodes {
		if err := a.deployed(ctx, fmt.Sprintf("move-%d", i), 0); err != nil {
			return err
		}
	}
	for _, n := range list[nodes:] {
		if err := eligible(n.ID, "eligible"); err != nil {
			return err
		}
	}
	others := a.watchOther(ctx)
	cpu, start := a.cpuSeconds(), time.Now()
	for _, n := range list[:nodes] {
		if _, err := a.do(ctx, "PUT", "/v1/node/"+n.ID+"/drain", map[string]any{"DrainSpec": map[string]any{"Deadline": int64(time.Hour)}}, nil); err != nil {
			return err
		}
	}
	for _, n := range list[:nodes] {
		err := every(ctx, 50*time.Millisecond, func() (bool, error) {
			var node struct{ DrainStrategy any }
			_, err := a.do(ctx, "GET", "/v1/node/"+n.ID, nil, &node)
			return node.DrainStrategy == nil, err
		})
		if err != nil {
			return err
		}
	}
	took := time.Since(start)
	name := fmt.Sprintf("loops drain of %d nodes with %d allocations", nodes, 100*nodes)
	b.line(name+": time over pacing", float64(took)/float64(100/parallel*startWave), "x")
	b.line(name+": CPU an allocation", 1e6*(a.cpuSeconds()-cpu)/float64(100*nodes), "us")
	b.line(name+": longest wait of another job's evaluation", ms(others()), "ms")
	return nil
}

// watchOther registers a small job now and then until it is stopped, and returns the
// longest time until the evaluation of one was complete.
func (a *agent) watchOther(ctx context.Context) (stop func() time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan time.Duration)
	go func() {
		longest := time.Duration(0)
		for i := 0; ctx.Err() == nil; i++ {
			start := time.Now()
			var out struct{ EvalID string }
			if _, err := a.do(ctx, "PUT", "/v1/jobs", job(fmt.Sprintf("probe-%d", i), "service", 1, "/bin/true"), &out); err != nil {
				break
			}
			if every(ctx, 5*time.Millisecond, func() (bool, error) {
				var eval struct{ Status string }
				_, err := a.do(ctx, "GET", "/v1/evaluation/"+out.EvalID, nil, &eval)
				return eval.Status == "complete", err
			}) != nil {
				break
			}
			longest = max(longest, time.Since(start))
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
			}
		}
		ended <- longest
	}()
	return func() time.Duration { cancel(); return <-ended }
}

// cronJob is a batch job of a cron expression.
func cronJob(id, spec string) map[string]any {
	body := job(id, "batch", 1, "/bin/true")
	body["Job"].(map[string]any)["Periodic"] = map[string]any{"Enabled": true, "SpecType": "cron", "Specs": []string{spec}}
	return body
}

// put registers jobs over several connections.
func (a *agent) put(ctx context.Context, n int, body func(i int) map[string]any) error {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = connections
	var next atomic.Int64
	errs := make(chan error, connections)
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if _, err := a.do(ctx, "PUT", "/v1/jobs", body(int(i)), nil); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// crons measures what many cron jobs cost at rest, spread over a minute, and at
// one tick.
func crons(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	a, err := b.simulated(100, "start=0s,run=100ms")
	if err != nil {
		return err
	}
	defer a.stop()
	n := b.loops.crons
	name := fmt.Sprintf("loops %d cron jobs", n)
	rest := func() float64 {
		time.Sleep(b.settle)
		cpu, start := a.cpuSeconds(), time.Now()
		time.Sleep(b.settle)
		return 100 * (a.cpuSeconds() - cpu) / time.Since(start).Seconds()
	}
	empty := rest()
	if err := a.put(ctx, n, func(i int) map[string]any { return cronJob(fmt.Sprintf("cron-%d", i), "0 0 1 1 *") }); err != nil {
		return err
	}
	b.line(name+": idle cost", rest()-empty, "% of a core")

	seen := a.launches(ctx)
	spread := func(i int) map[string]any {
		return cronJob(fmt.Sprintf("cron-%d", i), fmt.Sprintf("%d * * * * * *", i%60))
	}
	if err := a.put(ctx, n, spread); err != nil {
		return err
	}
	from := time.Now().Add(2 * time.Second).Unix()
	var late []float64
	for deadline := time.After(time.Minute + 5*time.Second); ; {
		select {
		case l := <-seen:
			if l.tick >= from && l.tick < from+60 {
				late = append(late, ms(l.after))
			}
			continue
		case <-deadline:
		}
		break
	}
	b.line(name+": launches in a minute", float64(len(late)), "")
	b.line(name+": due to committed p50", quantile(late, 0.5), "ms")
	b.line(name+": due to committed p99", quantile(late, 0.99), "ms")

	tick := time.Now().Add(time.Duration(n)*2*time.Millisecond + 30*time.Second)
	at := tick.UTC().Format("5 4 15 2 1 * 2006")
	if err := a.put(ctx, n, func(i int) map[string]any { return cronJob(fmt.Sprintf("cron-%d", i), at) }); err != nil {
		return err
	}
	if time.Now().After(tick) {
		return fmt.Errorf("%d jobs could not be registered before their tick", n)
	}
	last, count := time.Duration(0), 0
	for deadline := time.After(time.Until(tick) + time.Minute); count < n; {
		select {
		case l := <-seen:
			if l.tick == tick.Unix() {
				count, last = count+1, max(last, l.after)
			}
			continue
		case <-deadline:
		}
		break
	}
	b.line(name+": launched at one tick", float64(count), "")
	b.line(name+": the last of them after", last.Seconds(), "s")
	return nil
}

// launch is a child that was seen.
type launch struct {
	tick  int64 // unix seconds, of its id
	after time.Duration
}

// launches follows the children of cron jobs by the event stream: what is
// measured ends when the event has come.
func (a *agent) launches(ctx context.Context) <-chan launch {
	out := make(chan launch, 1<<17)
	go func() {
		seen := map[string]bool{}
		last := uint64(0)
		for ctx.Err() == nil { // a reader that lost its connection goes on
			_ = a.follow(ctx, fmt.Sprintf("Evaluation:*&index=%d", last), func(at time.Time, line []byte) {
				var frame struct {
					Index  uint64
					Events []struct {
						Payload struct{ Evaluation struct{ JobID string } }
					}
				}
				if json.Unmarshal(line, &frame) != nil {
					return
				}
				last = frame.Index + 1
				for _, e := range frame.Events {
					id := e.Payload.Evaluation.JobID
					_, second, child := strings.Cut(id, "/periodic-")
					if tick, err := strconv.ParseInt(second, 10, 64); child && err == nil && !seen[id] {
						seen[id] = true
						out <- launch{tick, at.Sub(time.Unix(tick, 0))}
					}
				}
			})
		}
	}()
	return out
}

// follow reads the event stream of a topic, with further parameters, until it
// ends.
func (a *agent) follow(ctx context.Context, topic string, each func(at time.Time, line []byte)) error {
	req, err := http.NewRequestWithContext(ctx, "GET", a.addr+"/v1/event/stream?topic="+topic, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	in := bufio.NewReaderSize(resp.Body, 64<<10)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		if len(line) > 4 { // not the heartbeat
			each(time.Now(), line)
		}
	}
}

// subscribers measures how fast changes of jobs reach many readers.
func subscribers(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	a, err := b.simulated(1, "start=0s,run=24h")
	if err != nil {
		return err
	}
	defer a.stop()
	if err := a.put(ctx, 100, func(i int) map[string]any { return job(fmt.Sprintf("job-%d", i), "service", 0, "/bin/true") }); err != nil {
		return err
	}
	for _, payload := range []string{"stub", "full"} {
		if err := b.follow(ctx, a, payload); err != nil {
			return err
		}
	}
	return nil
}

// follow measures how fast changes of jobs reach many readers of one form of
// the events.
func (b *bench) follow(ctx context.Context, a *agent, payload string) error {
	const rate, seconds = 100, 10
	began := make([]atomic.Int64, rate*seconds) // by priority and job: when a change was sent
	var mu sync.Mutex                           // guards late
	var late []float64
	bytes := 0
	readers, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range b.loops.subscribers {
		all.Go(func() {
			var mine []float64
			size := 0
			_ = a.follow(readers, "Job:*&payload="+payload, func(at time.Time, line []byte) {
				i := strings.Index(string(line), `"Mark":"`)
				if i < 0 {
					return
				}
				text, _, _ := strings.Cut(string(line[i+8:]), `"`)
				if n, err := strconv.Atoi(text); err == nil && n < len(began) && began[n].Load() > 0 {
					mine, size = append(mine, float64(at.UnixNano()-began[n].Load())/1e6), len(line)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			late, bytes = append(late, mine...), max(bytes, size)
		})
	}
	if err := a.followed(ctx, b.loops.subscribers); err != nil {
		stop()
		return err
	}
	tick := time.NewTicker(time.Second / rate)
	var writes sync.WaitGroup
	for i := range rate * seconds {
		<-tick.C
		body := job(fmt.Sprintf("job-%d", i%100), "service", 0, "/bin/true")
		body["Job"].(map[string]any)["Meta"] = map[string]string{"Mark": strconv.Itoa(i)}
		writes.Go(func() {
			began[i].Store(time.Now().UnixNano())
			_, _ = a.do(ctx, "PUT", "/v1/jobs", body, nil)
		})
	}
	writes.Wait()
	time.Sleep(2 * time.Second)
	stop()
	all.Wait()
	if err := a.followed(ctx, 0); err != nil {
		return err
	}
	name := fmt.Sprintf("loops %d subscribers at %d changes/s, payload=%s", b.loops.subscribers, rate, payload)
	b.line(name+": frames received", float64(len(late)), "")
	b.line(name+": size of a frame", float64(bytes), "bytes")
	b.line(name+": sent to received p50", quantile(late, 0.5), "ms")
	b.line(name+": sent to received p99", quantile(late, 0.99), "ms")
	return nil
}

// followed waits until so many follow the event stream.
func (a *agent) followed(ctx context.Context, n int) error {
	return every(ctx, 50*time.Millisecond, func() (bool, error) {
		m := struct {
			Gauges []struct {
				Name  string
				Value float64
			}
		}{}
		_, err := a.get("/v1/metrics", &m)
		for _, g := range m.Gauges {
			if g.Name == "nomad.nomad.event_stream.subscribers" && int(g.Value) == n {
				return true, err
			}
		}
		return false, err
	})
}

// collected measures what a large collection does to those who write meanwhile.
func collected(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	a, err := b.simulated(200, "start=0s,run=100ms")
	if err != nil {
		return err
	}
	defer a.stop()
	const jobs, count = 500, 200
	if err := a.put(ctx, jobs, func(i int) map[string]any { return job(fmt.Sprintf("dead-%d", i), "batch", count, "/bin/true") }); err != nil {
		return err
	}
	for i := range jobs {
		if err := every(ctx, 50*time.Millisecond, func() (bool, error) {
			var j struct{ Status string }
			_, err := a.do(ctx, "GET", fmt.Sprintf("/v1/job/dead-%d", i), nil, &j)
			return j.Status == "dead", err
		}); err != nil {
			return err
		}
	}
	var longest atomic.Int64
	probing, stop := context.WithCancel(ctx)
	var node []struct{ ID string }
	if _, err := a.get("/v1/nodes", &node); err != nil {
		stop()
		return err
	}
	var all sync.WaitGroup
	all.Go(func() { // a commit about a node, as heartbeats of returning nodes are
		for probing.Err() == nil {
			start := time.Now()
			_, _ = a.do(ctx, "PUT", "/v1/node/"+node[0].ID+"/eligibility", map[string]any{"Eligibility": "eligible"}, nil)
			longest.Store(max(longest.Load(), int64(time.Since(start))))
			time.Sleep(5 * time.Millisecond)
		}
	})
	start := time.Now()
	_, err = a.do(ctx, "PUT", "/v1/system/gc", nil, nil)
	took := time.Since(start)
	stop()
	all.Wait()
	if err != nil {
		return err
	}
	var left []struct{ ID string }
	if _, err := a.get("/v1/allocations?per_page=1", &left); err != nil {
		return err
	}
	name := fmt.Sprintf("loops gc of %d allocations", jobs*count)
	b.line(name, took.Seconds(), "s")
	b.line(name+": left", float64(len(left)), "")
	b.line(name+": longest commit meanwhile", ms(time.Duration(longest.Load())), "ms")
	return nil
}
