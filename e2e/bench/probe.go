package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// nodeMemory is what a simulated node has, in MiB.
const nodeMemory = 256 << 10

// simulated is the configuration of simulated nodes whose services run on.
func simulated(nodes int) string {
	return fmt.Sprintf("client {\n enabled = true\n simulate_nodes = %d\n simulate_profile = \"start=0s,run=24h\"\n}\n", nodes)
}

// sized gives the task of a job so many MiB of memory.
func sized(job map[string]any, memory int) map[string]any {
	group := job["Job"].(map[string]any)["TaskGroups"].([]any)[0].(map[string]any)
	group["Tasks"].([]any)[0].(map[string]any)["Resources"] = map[string]any{"CPU": 1, "MemoryMB": memory}
	return job
}

// pauses of a probe: between two reads, and how many reads come between two
// registrations.
const (
	readPause = 20 * time.Millisecond
	registers = 5
)

// probe reads and registers jobs now and then, until the returned function is
// called: it tells how long that took, in ms.
func (a *agent) probe(prefix string) (stop func() (reads, registrations []float64, err error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var reads, registrations []float64
	done := make(chan error, 1)
	timed := func(into *[]float64, method, path string, in any) error {
		start := time.Now()
		_, err := a.do(ctx, method, path, in, nil)
		if err == nil {
			*into = append(*into, ms(time.Since(start)))
		}
		return err
	}
	go func() {
		paths := []string{"/v1/jobs?per_page=10", "/v1/status/leader", "/v1/evaluations?per_page=10", "/v1/nodes?per_page=10"}
		for i := 0; ; i++ {
			err := timed(&reads, "GET", paths[i%len(paths)], nil)
			if err == nil && i%registers == 0 {
				err = timed(&registrations, "PUT", "/v1/jobs", job(fmt.Sprintf("probe-%s-%d", prefix, i), "service", 0, "/bin/true"))
			}
			if err != nil {
				done <- err
				return
			}
			select {
			case <-time.After(readPause):
			case <-ctx.Done():
				done <- nil
				return
			}
		}
	}()
	return func() ([]float64, []float64, error) {
		cancel()
		err := <-done
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		return reads, registrations, err
	}
}

// term is Raft's: it counts the elections.
func (a *agent) term() (uint64, error) {
	var health struct {
		Servers []struct{ LastTerm uint64 }
	}
	if _, err := a.do(context.Background(), "GET", "/v1/operator/autopilot/health", nil, &health); err != nil {
		return 0, err
	}
	term := uint64(0)
	for _, s := range health.Servers {
		term = max(term, s.LastTerm)
	}
	return term, nil
}

// count sums counters of the agent's metrics until the returned function is
// called. The agent tells of the last ten seconds.
func (a *agent) count(names ...string) (stop func() map[string]float64) {
	byInterval := map[string]map[string]float64{}
	look := func() {
		var m struct {
			Timestamp string
			Counters  []struct {
				Name string
				Sum  float64
			}
		}
		if _, err := a.get("/v1/metrics", &m); err != nil {
			return
		}
		seen := map[string]float64{}
		for _, c := range m.Counters {
			seen[c.Name] += c.Sum
		}
		byInterval[m.Timestamp] = seen
	}
	end := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case <-time.After(time.Second):
				look()
			case <-end:
				return
			}
		}
	})
	return func() map[string]float64 {
		close(end)
		all.Wait()
		look()
		sums := map[string]float64{}
		for _, n := range names {
			sums[n] = 0
			for _, seen := range byInterval {
				sums[n] += seen[n]
			}
		}
		return sums
	}
}

// overCommitted counts the nodes whose allocations ask for more memory than
// they have.
func (a *agent) overCommitted() (int, error) {
	var nodes []struct{ ID string }
	if _, err := a.get("/v1/nodes", &nodes); err != nil {
		return 0, err
	}
	over := 0
	for _, n := range nodes {
		var allocs []struct {
			DesiredStatus      string
			AllocatedResources struct {
				Tasks map[string]struct{ Memory struct{ MemoryMB int } }
			}
		}
		if _, err := a.get("/v1/node/"+n.ID+"/allocations", &allocs); err != nil {
			return 0, err
		}
		sum := 0
		for _, x := range allocs {
			for _, t := range x.AllocatedResources.Tasks {
				if x.DesiredStatus == "run" {
					sum += t.Memory.MemoryMB
				}
			}
		}
		if sum > nodeMemory {
			over++
		}
	}
	return over, nil
}

// again ends the agent and starts it once more; it returns when it answers a
// read that waits for the leader.
func (a *agent) again() error {
	if err := a.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	<-a.exited
	log, err := os.OpenFile(filepath.Join(a.dir, "agent.log"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(a.cmd.Path, a.cmd.Args[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = a.cmd.Env, log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	a.cmd, a.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) { _ = cmd.Wait(); close(exited) }(a.exited)
	return await(func() error {
		_, err := a.get("/v1/jobs?per_page=1", nil)
		return err
	})
}
