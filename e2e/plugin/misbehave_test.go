package plugin

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
	"github.com/nomadlite/nomadlite/plugins/proto/basepb"
	"github.com/nomadlite/nomadlite/plugins/proto/driverpb"
)

// Ways in which a plugin may be broken; its first argument says which.
const (
	mute   = "mute"   // it prints no handshake
	hangs  = "hangs"  // it never says what it is
	dies   = "dies"   // at the first call
	ages   = "ages"   // its version is none
	lies   = "lies"   // it takes the name of another driver
	halves = "halves" // it has no driver service
	floods = "floods" // with events, but works
)

var ways = []string{mute, hangs, dies, ages, lies, halves, floods}

// broken is acme with one of the faults.
type broken struct {
	*acme
	way string
}

func (b *broken) PluginInfo(ctx context.Context, req *basepb.PluginInfoRequest) (*basepb.PluginInfoResponse, error) {
	switch b.way {
	case hangs:
		<-ctx.Done()
	case dies:
		os.Exit(3)
	}
	info, err := b.acme.PluginInfo(ctx, req)
	if info != nil && b.way == ages {
		info.PluginVersion = "yesterday"
	}
	if info != nil && b.way == lies {
		info.Name = "raw_exec"
	} else if info != nil {
		info.Name = "acme-" + b.way
	}
	return info, err
}

// TaskEvents tells of a task as fast as the host takes it.
func (b *broken) TaskEvents(_ *driverpb.TaskEventsRequest, stream grpc.ServerStreamingServer[driverpb.DriverTaskEvent]) error {
	for i := 0; ; i++ {
		b.mu.Lock()
		var id string
		for task := range b.tasks {
			id = task
		}
		b.mu.Unlock()
		allocID, _, _ := strings.Cut(id, "/")
		event := &driverpb.DriverTaskEvent{TaskId: id, AllocId: allocID, TaskName: "t", Message: fmt.Sprint("number ", i), Timestamp: timestamppb.Now()}
		if err := stream.Send(event); err != nil {
			return err
		}
	}
}

// serveBroken is a plugin's process with a fault.
func serveBroken(way string) {
	if way == mute {
		select {}
	}
	impl := &broken{newAcme(), way}
	set := map[string]goplugin.Plugin{"base": &service{register: func(s *grpc.Server) { basepb.RegisterBasePluginServer(s, impl) }}}
	if way != halves {
		set["driver"] = &service{register: func(s *grpc.Server) { driverpb.RegisterDriverServer(s, impl) }}
	}
	serveSet(set)
}

// TestBrokenPlugins: whatever plugins do, the node says of each what is wrong,
// and everything else works.
func TestBrokenPlugins(t *testing.T) {
	dir := t.TempDir()
	raw, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("plugin_dir = %q\n", dir)
	for _, way := range ways {
		path := filepath.Join(dir, "acme-"+way)
		if way == ways[0] {
			err = os.WriteFile(path, raw, 0o755)
		} else {
			err = os.Link(filepath.Join(dir, "acme-"+ways[0]), path)
		}
		if err != nil {
			t.Fatal(err)
		}
		config += fmt.Sprintf("plugin %q {\n  args = [%q]\n  config {\n    greeting = \"hello\"\n  }\n}\n", "acme-"+way, way)
	}
	file := filepath.Join(t.TempDir(), "plugin.hcl")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	a := agenttest.New(t, true, "-config", file)
	first := pids(a, hangs)
	for way, want := range map[string]string{
		mute: "no handshake within", ages: "cannot read the plugin's version", hangs: "context deadline exceeded", dies: "plugin does not answer", lies: `that is served by plugin "raw_exec" already`, halves: "unknown service",
	} {
		agenttest.Eventually(t, way, func() error {
			drivers, err := a.Drivers()
			if err != nil {
				return err
			}
			d := drivers["acme-"+way]
			if d.Healthy || !strings.Contains(d.HealthDescription, want) {
				return fmt.Errorf("%+v", d)
			}
			if own := drivers["raw_exec"]; !own.Healthy {
				return fmt.Errorf("raw_exec: %+v", own)
			}
			return nil
		})
	}
	agenttest.Eventually(t, "another process in place of the one that hangs", func() error {
		now := pids(a, hangs)
		if len(now) != 1 || slices.Contains(first, now[0]) {
			return fmt.Errorf("%v, were %v", now, first)
		}
		return nil
	})
	if now := pids(a, mute); len(now) > 1 {
		t.Errorf("%d processes that never answered are left", len(now))
	}
	runWith(t, a, "acme-floods", "flooded", "sleep 0.2")
	await(t, a, "flooded", "complete")
	var list []struct {
		TaskStates map[string]struct{ Events []struct{ Type string } }
	}
	if err := a.Get("/v1/job/flooded/allocations", &list); err != nil {
		t.Fatal(err)
	}
	if events := list[0].TaskStates["t"].Events; len(events) > 10 {
		t.Errorf("%d events are kept: %+v", len(events), events)
	}
}

// pids are the processes of a broken plugin.
func pids(a *agenttest.Agent, way string) []int {
	var out []int
	for _, p := range a.Processes() {
		if filepath.Base(p.Args[0]) == "acme-"+way {
			out = append(out, p.Pid)
		}
	}
	return out
}
