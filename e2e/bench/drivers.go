package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/nomadlite/nomadlite/e2e/docker"
)

// containers is how many of them one job of the drivers set starts, and the
// engine by itself beside it.
const containers = 200

// drivers compares the drivers with what they are made on: a container with a
// bare create and start by the same client on the same engine, exec with
// raw_exec; and tells what many containers cost.
func drivers(b *bench) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	engine, err := docker.StartEngine(ctx)
	if err != nil {
		return err
	}
	defer engine.Stop()
	a, err := b.launch(true, 1, fmt.Sprintf("plugin \"docker\" {\n config {\n  endpoint = %q\n  infra_image = %q\n  gc { image = false }\n }\n}\n", engine.Host, docker.Image))
	if err != nil {
		return err
	}
	defer a.stop()
	for _, name := range []string{"docker", "exec", "raw_exec"} {
		if err := a.driverReady(ctx, name); err != nil {
			return err
		}
	}
	if err := b.oneContainer(ctx, a, engine); err != nil {
		return err
	}
	if err := b.onePrograms(ctx, a); err != nil {
		return err
	}
	return b.manyContainers(ctx, a, engine)
}

// driverReady waits until the node has a healthy driver.
func (a *agent) driverReady(ctx context.Context, name string) error {
	index := uint64(0)
	for {
		var nodes []struct {
			Drivers map[string]struct{ Healthy bool }
		}
		next, err := a.do(ctx, "GET", fmt.Sprintf("/v1/nodes?index=%d&wait=10s", index), nil, &nodes)
		if err != nil {
			return err
		}
		if len(nodes) == 1 && nodes[0].Drivers[name].Healthy {
			return nil
		}
		index = next
	}
}

// bare starts a container without us and returns its id.
func bare(ctx context.Context, engine *docker.Engine) (string, error) {
	made, err := engine.ContainerCreate(ctx, &container.Config{Image: docker.Image, Cmd: sleepForever}, nil, nil, nil, "")
	if err != nil {
		return "", err
	}
	return made.ID, engine.ContainerStart(ctx, made.ID, container.StartOptions{})
}

var sleepForever = []string{"/bin/busybox", "sleep", "100000"}

// submitted is the time from a job's submission until its task runs, in ms; the
// job is gone afterwards.
func (a *agent) submitted(ctx context.Context, id, driver string, config map[string]any) (float64, error) {
	began := time.Now()
	if _, err := a.do(ctx, "PUT", "/v1/jobs", jobOf(id, "service", 1, driver, config), nil); err != nil {
		return 0, err
	}
	if err := a.until(ctx, id, "running"); err != nil {
		return 0, err
	}
	took := ms(time.Since(began))
	return took, a.purge(ctx, id)
}

// purge ends a job and waits until its allocations have ended.
func (a *agent) purge(ctx context.Context, id string) error {
	if _, err := a.do(ctx, "DELETE", "/v1/job/"+id, nil, nil); err != nil {
		return err
	}
	for index := uint64(0); ; {
		var allocs []allocStub
		next, err := a.do(ctx, "GET", fmt.Sprintf("/v1/job/%s/allocations?index=%d&wait=10s", id, index), nil, &allocs)
		if err != nil {
			return err
		}
		live := 0
		for _, al := range allocs {
			if al.ClientStatus == "running" || al.ClientStatus == "pending" {
				live++
			}
		}
		if live == 0 {
			_, err := a.do(ctx, "DELETE", "/v1/job/"+id+"?purge=true", nil, nil)
			return err
		}
		index = next
	}
}

// dockerConfig is a task that sleeps in a container and dies at once.
func dockerConfig() map[string]any {
	return map[string]any{"image": docker.Image, "command": sleepForever[0], "args": sleepForever[1:], "init": false}
}

// oneContainer compares one start at a time, by turns.
func (b *bench) oneContainer(ctx context.Context, a *agent, engine *docker.Engine) error {
	var alone, ours []float64
	for i := range b.samples + 1 {
		began := time.Now()
		id, err := bare(ctx, engine)
		took := ms(time.Since(began))
		if err == nil {
			err = engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true})
		}
		if err != nil {
			return err
		}
		submitted, err := a.submitted(ctx, fmt.Sprintf("one-%d", i), "docker", dockerConfig())
		if err != nil {
			return err
		}
		if i > 0 { // the first of each warms up
			alone, ours = append(alone, took), append(ours, submitted)
		}
	}
	b.quantiles("docker: bare create and start", alone, "ms")
	b.quantiles("docker: PUT to running", ours, "ms")
	b.line("docker: PUT to running by bare, p50", quantile(ours, 0.5)/quantile(alone, 0.5), "times")
	return nil
}

// onePrograms compares the drivers of programs, by turns.
func (b *bench) onePrograms(ctx context.Context, a *agent) error {
	took := map[string][]float64{}
	for i := range b.samples + 1 {
		for _, driver := range []string{"raw_exec", "exec"} {
			t, err := a.submitted(ctx, fmt.Sprintf("%s-%d", driver, i), driver, map[string]any{"command": "/bin/sleep", "args": []string{"1000"}})
			if err != nil {
				return err
			}
			if i > 0 {
				took[driver] = append(took[driver], t)
			}
		}
	}
	for _, driver := range []string{"raw_exec", "exec"} {
		b.quantiles(driver+": PUT to running", took[driver], "ms")
	}
	b.line("exec by raw_exec, p50", quantile(took["exec"], 0.5)/quantile(took["raw_exec"], 0.5), "times")
	return nil
}

// manyContainers starts many in one job, and as many without us at the pace
// that the engine does best with.
func (b *bench) manyContainers(ctx context.Context, a *agent, engine *docker.Engine) error {
	own, err := bareRate(ctx, engine)
	if err != nil {
		return err
	}
	b.line(fmt.Sprintf("docker: %d bare containers", containers), own.Seconds(), "s")
	_, _, before := a.ownMemory()
	began := time.Now()
	if _, err := a.do(ctx, "PUT", "/v1/jobs", jobOf("many", "service", containers, "docker", dockerConfig()), nil); err != nil {
		return err
	}
	if err := a.untilAll(ctx, "many", containers); err != nil {
		return err
	}
	took := time.Since(began)
	b.line(fmt.Sprintf("docker: %d in one job: PUT to all running", containers), took.Seconds(), "s")
	b.line(fmt.Sprintf("docker: %d in one job by bare", containers), took.Seconds()/own.Seconds(), "times")
	time.Sleep(b.settle)
	pid, err := a.plugin("docker")
	if err != nil {
		return err
	}
	b.line(fmt.Sprintf("docker: PSS of the driver with %d tasks", containers), procMemory(pid).pss, "MiB")
	_, _, after := a.ownMemory()
	b.line(fmt.Sprintf("docker: our processes more for %d tasks", containers), float64(after-before), "processes")
	return a.purge(ctx, "many")
}

// bareRate is how long the engine takes for as many containers by itself, eight
// at a time.
func bareRate(ctx context.Context, engine *docker.Engine) (time.Duration, error) {
	var mu sync.Mutex
	var ids []string
	var failed error
	var group sync.WaitGroup
	slots := make(chan struct{}, 8)
	began := time.Now()
	for range containers {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			id, err := bare(ctx, engine)
			mu.Lock()
			defer mu.Unlock()
			ids, failed = append(ids, id), errors.Join(failed, err)
		})
	}
	group.Wait()
	took := time.Since(began)
	for _, id := range ids {
		if id != "" {
			failed = errors.Join(failed, engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true}))
		}
	}
	return took, failed
}

// plugin is the process of one of our drivers.
func (a *agent) plugin(name string) (int, error) {
	for _, pid := range a.procs() {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)) // it may have ended
		if strings.HasSuffix(string(raw), "\x00plugin\x00"+name+"\x00") {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process of the driver %s", name)
}
