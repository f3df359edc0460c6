package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"time"
)

// idle measures what an agent costs before it does anything.
func idle(b *bench) error {
	info, err := os.Stat(b.bin)
	if err != nil {
		return err
	}
	b.line("binary", float64(info.Size())/(1<<20), "MiB")
	for _, durable := range []bool{false, true} {
		name := "dev agent: start to node ready"
		if durable {
			name = "agent with data dir: start to node ready"
		}
		var ready []float64
		for range b.samples {
			a, err := b.start(durable)
			if err != nil {
				return err
			}
			ready = append(ready, ms(time.Since(a.started)))
			a.stop()
		}
		b.quantiles(name, ready, "ms")
	}
	a, err := b.start(false)
	if err != nil {
		return err
	}
	defer a.stop()
	time.Sleep(b.settle)
	cpu, t0 := a.cpuSeconds(), time.Now()
	time.Sleep(b.settle)
	total, agentRSS, count := a.ownMemory()
	b.line("idle: PSS of all our processes", total.pss, "MiB")
	b.line("idle: RSS of the agent", agentRSS, "MiB")
	b.line("idle: processes", float64(count), "processes")
	b.line("idle: CPU", 1000*(a.cpuSeconds()-cpu)/time.Since(t0).Seconds(), "ms/s")
	return nil
}

// job is a job of one group and one task with a raw_exec command.
func job(id, kind string, count int, command string, args ...string) map[string]any {
	return jobOf(id, kind, count, "raw_exec", map[string]any{"command": command, "args": args})
}

// jobOf is a job of one group and one task.
func jobOf(id, kind string, count int, driver string, config map[string]any) map[string]any {
	return map[string]any{"Job": map[string]any{
		"ID": id, "Name": id, "Type": kind, "Datacenters": []string{"*"},
		"TaskGroups": []any{map[string]any{
			"Name": "g", "Count": count, "EphemeralDisk": map[string]any{"SizeMB": 10},
			"RestartPolicy": map[string]any{"Attempts": 0, "Mode": "fail", "Interval": int64(time.Minute), "Delay": int64(time.Second)},
			"Tasks": []any{map[string]any{
				"Name": "t", "Driver": driver, "Config": config,
				"Resources": map[string]any{"CPU": 1, "MemoryMB": 10},
				"LogConfig": map[string]any{"MaxFiles": 1, "MaxFileSizeMB": 1},
			}},
		}},
	}}
}

// sleeper is job, with all that a task may have when the run asks for it: a
// template, and a service that is checked at the agent's own port.
func (b *bench) sleeper(a *agent, id, kind string, count int, command string, args ...string) (map[string]any, error) {
	body := job(id, kind, count, command, args...)
	if !b.full {
		return body, nil
	}
	at, err := url.Parse(a.addr)
	if err != nil {
		return nil, err
	}
	group := body["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	task := group["Tasks"].([]any)[0].(map[string]any)
	task["Templates"] = []any{map[string]any{"EmbeddedTmpl": `{{ env "NOMAD_ALLOC_ID" }}`, "DestPath": "local/id", "ChangeMode": "restart"}}
	task["Services"] = []any{map[string]any{"Name": id, "Provider": "nomad", "PortLabel": at.Port(), "Checks": []any{
		map[string]any{"Name": "answers", "Type": "tcp", "Interval": int64(10 * time.Second), "Timeout": int64(time.Second)}}}}
	return body, nil
}

type allocStub struct {
	ID, ClientStatus string
	TaskStates       map[string]struct {
		Events []struct{ DisplayMessage string }
	}
}

// why is what the tasks of an allocation went through.
func (a *allocStub) why() string {
	var out []string
	for _, t := range a.TaskStates {
		for _, e := range t.Events {
			out = append(out, e.DisplayMessage)
		}
	}
	return strings.Join(out, "; ")
}

// until long-polls the allocations of a job until one has the status.
func (a *agent) until(ctx context.Context, id, status string) error {
	index := uint64(0)
	for {
		var allocs []allocStub
		next, err := a.do(ctx, "GET", fmt.Sprintf("/v1/job/%s/allocations?index=%d&wait=10s", id, index), nil, &allocs)
		if err != nil {
			return err
		}
		for _, al := range allocs {
			switch al.ClientStatus {
			case status:
				return nil
			case "failed", "lost", "complete":
				return fmt.Errorf("allocation %s of %s is %s, not %s: %s", al.ID, id, al.ClientStatus, status, al.why())
			}
		}
		index = next
	}
}

// untilAll long-polls a job until all of its allocations run.
func (a *agent) untilAll(ctx context.Context, id string, count int) error {
	for running, index := 0, uint64(0); running < count; {
		var summary struct {
			Summary map[string]struct{ Running, Failed int }
		}
		next, err := a.do(ctx, "GET", fmt.Sprintf("/v1/job/%s/summary?index=%d&wait=10s", id, index), nil, &summary)
		if err != nil {
			return err
		}
		if f := summary.Summary["g"].Failed; f > 0 {
			return fmt.Errorf("%d tasks failed", f)
		}
		running, index = summary.Summary["g"].Running, next
	}
	return nil
}

// latency measures, one job at a time, the delay from PUT to a client that
// long-polls seeing the allocation running (batch: complete).
func latency(b *bench) error {
	a, err := b.start(false)
	if err != nil {
		return err
	}
	defer a.stop()
	for _, c := range []struct{ kind, status, name, command, arg string }{
		{"service", "running", "service: PUT to running", "/bin/sleep", "300"},
		{"batch", "complete", "batch: PUT to complete", "/bin/true", ""},
	} {
		var seen []float64
		cpu, spent := a.cpuSeconds(), 0.0
		for i := range b.samples + 1 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			id := fmt.Sprintf("lat-%s-%d", c.kind, i)
			body, err := b.sleeper(a, id, c.kind, 1, c.command, c.arg)
			before, t0 := a.cpuSeconds(), time.Now()
			if err == nil {
				_, err = a.do(ctx, "PUT", "/v1/jobs", body, nil)
			}
			if err != nil {
				cancel()
				return err
			}
			err = a.until(ctx, id, c.status)
			if i > 0 { // the first one warms up
				seen = append(seen, ms(time.Since(t0)))
				spent += a.cpuSeconds() - before
			}
			if err == nil {
				_, err = a.do(ctx, "DELETE", "/v1/job/"+id+"?purge=true", nil, nil)
			}
			cancel()
			if err != nil {
				return err
			}
			// A random rest, so that samples do not fall in step with a timer.
			time.Sleep(100*time.Millisecond + rand.N(400*time.Millisecond))
		}
		b.quantiles(c.name, seen, "ms")
		b.line(c.kind+": CPU of PUT to "+c.status, spent/float64(b.samples), "s")
		b.line(c.kind+": CPU a job, its purge and the rest after it included", (a.cpuSeconds()-cpu)/float64(b.samples+1), "s")
	}
	return nil
}

// density measures many sleeping tasks on one client.
func density(b *bench) error {
	a, err := b.start(false)
	if err != nil {
		return err
	}
	defer a.stop()
	before, _, _ := a.ownMemory()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	body, err := b.sleeper(a, "dense", "service", b.tasks, "/bin/sleep", "3600")
	if err != nil {
		return err
	}
	t0 := time.Now()
	if _, err := a.do(ctx, "PUT", "/v1/jobs", body, nil); err != nil {
		return err
	}
	if err := a.untilAll(ctx, "dense", b.tasks); err != nil {
		return err
	}
	b.line(fmt.Sprintf("%d tasks: PUT to all running", b.tasks), time.Since(t0).Seconds(), "s")
	time.Sleep(b.settle)
	cpu, t1 := a.cpuSeconds(), time.Now()
	time.Sleep(b.settle)
	n := float64(b.tasks)
	b.line("asleep: CPU a task", 1000*(a.cpuSeconds()-cpu)/time.Since(t1).Seconds()/n, "ms/s")
	total, _, count := a.ownMemory()
	b.line("asleep: PSS of our processes a task", total.pss/n, "MiB")
	b.line("asleep: PSS added by a task", (total.pss-before.pss)/n, "MiB")
	b.line("asleep: our processes", float64(count), "processes")
	b.line("asleep: all processes", float64(len(a.procs())), "processes")
	return nil
}
