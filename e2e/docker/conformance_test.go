package docker

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/nomadlite/nomadlite/drivers/docker"
	"github.com/nomadlite/nomadlite/plugins/drivertest"
)

// engine is the one of the whole suite; nil where there is none: noEngine
// says why.
var (
	engine   *Engine
	noEngine error
)

// TestMain serves the driver where a suite starts this binary as a plugin, and
// starts the engine otherwise.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "plugin" {
		docker.Serve()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	engine, noEngine = StartEngine(ctx)
	cancel()
	code := m.Run()
	if engine != nil {
		engine.Stop()
	}
	os.Exit(code)
}

// need skips a test where no engine can be had.
func need(t testing.TB) {
	t.Helper()
	if noEngine != nil {
		t.Skip(noEngine)
	}
}

func TestConformance(t *testing.T) {
	need(t)
	drivertest.Run(t, drivertest.Suite{
		Path: os.Args[0], Args: []string{"plugin"}, Config: map[string]any{"endpoint": engine.Host}, BadConfig: map[string]any{"image_pull_timeout": "soon"},
		Task: func(b drivertest.Behaviour) map[string]any {
			return map[string]any{"image": Image, "command": "/bin/sh", "args": []any{"-c", b.Script()}}
		},
		Shell: true, RecoversExit: true, Patience: time.Minute,
		Leaks: func() []string { return left(t, "drivertest") },
	})
}

// left lists the containers of a node.
func left(t testing.TB, node string) []string {
	list, err := engine.ContainerList(context.Background(), container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", "com.nomadlite.node_id="+node))})
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, c := range list {
		out = append(out, fmt.Sprint(c.Names, c.State))
	}
	return out
}
