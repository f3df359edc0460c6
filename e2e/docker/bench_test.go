package docker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
)

// BenchmarkStart compares a start through the driver with a bare create and
// start by the same client, one after the other on the same engine; the ratio
// of the fastest of each is what an issue limits to 1.25.
func BenchmarkStart(b *testing.B) {
	d := newDriver(b, nil)
	fastest := func(best *time.Duration, took time.Duration) {
		if *best == 0 || took < *best {
			*best = took
		}
	}
	var bare, driven time.Duration
	for b.Loop() {
		begin := time.Now()
		made, err := engine.ContainerCreate(b.Context(), &container.Config{Image: Image}, nil, nil, nil, "")
		if err == nil {
			err = engine.ContainerStart(b.Context(), made.ID, container.StartOptions{})
		}
		if err != nil {
			b.Fatal(err)
		}
		fastest(&bare, time.Since(begin))
		if err := engine.ContainerRemove(b.Context(), made.ID, container.RemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
		cfg := newTask(b, d, object{})
		begin = time.Now()
		if _, _, err := d.StartTask(b.Context(), cfg); err != nil {
			b.Fatal(err)
		}
		fastest(&driven, time.Since(begin))
		if err := d.DestroyTask(b.Context(), cfg.ID, true); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(bare.Milliseconds()), "bare-ms")
	b.ReportMetric(float64(driven.Milliseconds()), "driver-ms")
	b.ReportMetric(float64(driven)/float64(bare), "ratio")
}
