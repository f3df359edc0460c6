package client

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/device"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	"github.com/nomadlite/nomadlite/client/rootfs"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// Bind sets the handlers of the rows that nodes answer.
func (c *Client) Bind(mux *api.Mux) {
	for name, h := range map[string]api.Handler{
		"client.fsLs": c.fsList, "client.fsStat": c.fsStat, "client.fsCat": c.fsCat, "client.fsReadAt": c.fsReadAt,
		"client.allocSnapshot": c.allocSnapshot, "client.fsStream": c.fsStream, "client.fsLogs": c.fsLogs,
		"client.allocStats": c.allocStats, "client.allocRestart": c.allocRestart, "client.allocSignal": c.allocSignal,
		"client.allocGC": c.allocGC, "client.allocExec": c.allocExec, "client.jobAction": c.jobAction,
		"client.allocChecks": c.allocChecks, "client.checks": c.allocChecks,
		"client.stats": c.hostStats, "client.gc": c.collectNow,
		"client.meta": c.readMeta, "client.applyMeta": c.applyMeta,
	} {
		mux.Bind(name, h)
	}
	mux.Bind("client.hello", api.Internal(c.hello))
	c.internal = mux.Internal()
	c.taskAPI.Serve(mux)
}

// hello tells a server which node it can call.
func (c *Client) hello(context.Context, *api.Empty) (*api.NodeHello, error) {
	id, secret := c.identity()
	return &api.NodeHello{NodeID: id, SecretID: secret, Index: c.registeredAt.Load()}, nil
}

// Answers reports whether this node answers a request about nodes: it is about
// an allocation that is here, or about this node.
func (c *Client) Answers(r *api.Request) bool {
	if id := r.Param("id"); id != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.runners[id] != nil
	}
	id := r.NodeID()
	return id == "" || id == c.Node().ID
}

// find returns the allocation of a request, after its namespace was allowed.
func (c *Client) find(r *api.Request) (*run, error) {
	id := r.Param("id")
	if len(id) != 36 {
		return nil, structs.Errorf(structs.Invalid, "must provide a valid alloc id")
	}
	c.mu.Lock()
	run := c.runners[id]
	c.mu.Unlock()
	if run == nil {
		return nil, structs.Errorf(structs.NotFound, "Unknown allocation %q", id)
	}
	return run, r.Authorize(run.alloc.Namespace)
}

// localNode refuses requests for another node: they are passed on before.
func (c *Client) localNode(r *api.Request) error {
	if id := r.NodeID(); id != "" && id != c.Node().ID {
		return structs.Errorf(structs.NotFound, "Unknown node %q", id)
	}
	return nil
}

func (c *Client) allocStats(ctx context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	stats, err := run.runner.Stats(ctx, r.Values.Get("task"))
	if err != nil {
		return nil, err
	}
	total := &api.ResourceUsage{MemoryStats: &api.MemoryStats{}, CpuStats: &api.CpuStats{}, DeviceStats: []*api.DeviceGroupStats{}}
	out := &api.AllocResourceUsage{ResourceUsage: total, Tasks: map[string]*api.TaskResourceUsage{}, Timestamp: time.Now().UnixNano()}
	var devices []*api.DeviceGroupStats
	if wantsDevices(run.alloc.Job.LookupGroup(run.alloc.TaskGroup)) {
		devices = c.devices.Stats(ctx)
	}
	for name, s := range stats {
		t := &api.TaskResourceUsage{ResourceUsage: usageOf(s.Usage), Timestamp: s.Time.UnixNano(), Pids: map[string]*api.ResourceUsage{}}
		for pid, u := range s.ByPID {
			t.Pids[pid] = usageOf(u)
		}
		t.ResourceUsage.DeviceStats = device.Of(devices, devicesOf(run.alloc, name))
		out.Tasks[name] = t
		addUsage(total, t.ResourceUsage)
	}
	return &api.Response{Body: out}, nil
}

// allocChecks tells what the checks of an allocation said last.
func (c *Client) allocChecks(_ context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	if results := c.services.Results(run.alloc.ID); results != nil {
		return &api.Response{Body: results}, nil
	}
	return &api.Response{}, nil
}

func usageOf(u *plugin.ResourceUsage) *api.ResourceUsage {
	out := &api.ResourceUsage{MemoryStats: &api.MemoryStats{}, CpuStats: &api.CpuStats{}, DeviceStats: []*api.DeviceGroupStats{}}
	if u == nil {
		return out
	}
	if u.Memory != nil {
		*out.MemoryStats = api.MemoryStats(*u.Memory)
	}
	if u.CPU != nil {
		*out.CpuStats = api.CpuStats(*u.CPU)
	}
	return out
}

func addUsage(total, u *api.ResourceUsage) {
	m, c := total.MemoryStats, total.CpuStats
	m.RSS, m.Cache, m.Swap, m.Usage = m.RSS+u.MemoryStats.RSS, m.Cache+u.MemoryStats.Cache, m.Swap+u.MemoryStats.Swap, m.Usage+u.MemoryStats.Usage
	m.MaxUsage, m.KernelUsage, m.Measured = m.MaxUsage+u.MemoryStats.MaxUsage, m.KernelUsage+u.MemoryStats.KernelUsage, u.MemoryStats.Measured
	c.SystemMode, c.UserMode, c.TotalTicks = c.SystemMode+u.CpuStats.SystemMode, c.UserMode+u.CpuStats.UserMode, c.TotalTicks+u.CpuStats.TotalTicks
	c.Percent, c.ThrottledPeriods, c.ThrottledTime = c.Percent+u.CpuStats.Percent, c.ThrottledPeriods+u.CpuStats.ThrottledPeriods, c.ThrottledTime+u.CpuStats.ThrottledTime
	c.Measured = u.CpuStats.Measured
	total.DeviceStats = append(total.DeviceStats, u.DeviceStats...)
}

func (c *Client) allocRestart(_ context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	var req api.AllocRestartRequest
	if _, err := r.DecodeOptional(&req); err != nil {
		return nil, err
	}
	if run.over() {
		return nil, structs.Errorf(structs.Internal, "Task not running")
	}
	if err := run.runner.Restart(req.TaskName, req.AllTasks); err != nil {
		return nil, err
	}
	return &api.Response{Body: api.GenericResponse{}}, nil
}

func (c *Client) allocSignal(ctx context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	var req api.AllocSignalRequest
	if err := r.Decode(&req); err != nil {
		return nil, structs.Errorf(structs.Invalid, "Failed to decode body: %w", err)
	}
	if err := run.runner.Signal(ctx, req.Task, req.Signal); err != nil {
		return nil, err
	}
	return &api.Response{Body: api.GenericResponse{}}, nil
}

func (c *Client) allocGC(_ context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	if !run.over() {
		return nil, structs.Errorf(structs.Internal, "allocation %s is not finished", run.alloc.ID)
	}
	return &api.Response{}, c.destroy(run)
}

func (c *Client) collectNow(ctx context.Context, r *api.Request) (*api.Response, error) {
	if err := c.localNode(r); err != nil {
		return nil, err
	}
	c.collectWhile(ctx, room{maxFinished: 0})
	return &api.Response{}, nil
}

// fsError words an error about a file of an allocation.
func fsError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, rootfs.ErrEscapes):
		return structs.Errorf(structs.Internal, "%w", err)
	case errors.Is(err, fs.ErrNotExist):
		return structs.Errorf(structs.NotFound, "%w", err)
	case errors.Is(err, rootfs.ErrSecret):
		return structs.Errorf(structs.Denied, "%w", err)
	}
	return err
}

// hostStats tells what the node's machine uses.
func (c *Client) hostStats(ctx context.Context, r *api.Request) (*api.Response, error) {
	if err := c.localNode(r); err != nil {
		return nil, err
	}
	stats, err := fingerprint.HostStats(c.cfg.AllocDir)
	if err != nil {
		return nil, err
	}
	stats.DeviceStats = c.devices.Stats(ctx)
	return &api.Response{Body: stats}, nil
}
