package docker

import (
	"context"
	"encoding/json"
	"io"
	"runtime"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// maxStats bounds one answer about usage.
const maxStats = 4 << 20

// sample is the CPU time of a container at one moment, in nanoseconds.
type sample struct {
	at                  time.Time
	total, user, system uint64
}

// TaskStats implements driver.Observer. Nothing is measured between calls.
func (d *Driver) TaskStats(ctx context.Context, id string, interval time.Duration, send func(*driver.TaskStats) error) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	measure := func() (*driver.TaskStats, error) { return t.s.measure(ctx, t) }
	return base.StreamStats(ctx, interval, t.gone, measure, send)
}

// measure asks the engine once. CPU is the mean since the last call, or since
// the start.
func (s *session) measure(ctx context.Context, t *task) (*driver.TaskStats, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := s.engine.ContainerStatsOneShot(ctx, t.state.ContainerID)
	if err != nil {
		return nil, engineError("measure task "+t.cfg.Name, err)
	}
	defer answer.Body.Close()
	var raw container.StatsResponse
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxStats)).Decode(&raw); err != nil {
		return nil, engineError("measure task "+t.cfg.Name, err)
	}
	return t.usage(&raw, time.Now()), nil
}

// usage turns an answer into the protocol's terms.
func (t *task) usage(raw *container.StatsResponse, now time.Time) *driver.TaskStats {
	t.mu.Lock()
	defer t.mu.Unlock()
	prev := t.last
	if prev == nil {
		prev = &sample{at: time.Unix(0, t.state.StartedAt)}
	}
	cpu := raw.CPUStats.CPUUsage
	next := &sample{at: now, total: cpu.TotalUsage, user: cpu.UsageInUsermode, system: cpu.UsageInKernelmode}
	elapsed := max(now.Sub(prev.at).Seconds(), 0.001)
	percent := func(now, before uint64) float64 { return float64(now-min(before, now)) / 1e9 / elapsed * 100 }
	t.last = next
	c := &driver.CPUStats{
		Percent: percent(next.total, prev.total), UserMode: percent(next.user, prev.user), SystemMode: percent(next.system, prev.system),
		ThrottledPeriods: raw.CPUStats.ThrottlingData.ThrottledPeriods, ThrottledTime: raw.CPUStats.ThrottlingData.ThrottledTime,
		Measured: []string{
			driver.MeasuredPercent, driver.MeasuredUserMode, driver.MeasuredSystemMode, driver.MeasuredTotalTicks,
			driver.MeasuredThrottledPeriods, driver.MeasuredThrottledTime,
		},
	}
	// A core's clock is told by what the agent counted: shares of the whole.
	if r := t.cfg.Resources; r != nil && r.Linux != nil && r.Linux.PercentTicks > 0 {
		total := float64(r.CPUShares) / r.Linux.PercentTicks
		c.TotalTicks = c.Percent / 100 * total / float64(runtime.NumCPU())
	}
	m := raw.MemoryStats
	first := func(keys ...string) uint64 {
		for _, k := range keys {
			if v, ok := m.Stats[k]; ok {
				return v
			}
		}
		return 0
	}
	memory := &driver.MemoryStats{
		RSS: first("total_rss", "rss", "anon"), Cache: first("total_cache", "cache", "file"), Swap: first("total_swap", "swap"),
		Usage: m.Usage, MaxUsage: m.MaxUsage,
		Measured: []string{driver.MeasuredRSS, driver.MeasuredCache, driver.MeasuredUsage, driver.MeasuredMaxUsage},
	}
	return &driver.TaskStats{ID: t.cfg.ID, Time: now, Usage: &driver.ResourceUsage{CPU: c, Memory: memory}, ByPID: map[string]*driver.ResourceUsage{}}
}
