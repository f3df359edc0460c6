package simnode

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// servers give every node one batch and one service allocation.
type servers struct {
	mu       sync.Mutex // guards what follows
	nodes    map[string]*structs.Node
	statuses map[string][]string
	beats    int
	stop     bool
}

func (s *servers) Register(_ context.Context, n *structs.Node) (*api.NodeRegisterResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[n.ID] = n
	return &api.NodeRegisterResponse{HeartbeatTTL: 10 * time.Second, Index: 1}, nil
}

func (s *servers) Heartbeat(context.Context, api.NodeHeartbeat) (*api.NodeRegisterResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beats++
	return &api.NodeRegisterResponse{HeartbeatTTL: 10 * time.Second, Index: 1}, nil
}

func (s *servers) Allocs(ctx context.Context, req api.NodeAllocsRequest) (*api.NodeAllocsResponse, error) {
	s.mu.Lock()
	stop, name := s.stop, ""
	if n := s.nodes[req.NodeID]; n != nil {
		name = n.Name
	}
	s.mu.Unlock()
	if req.Since > 0 && !(stop && req.Since < 9) {
		select {
		case <-time.After(req.Wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return &api.NodeAllocsResponse{Index: req.Since}, nil
	}
	out := &api.NodeAllocsResponse{Index: 5, Full: req.Since == 0}
	for _, kind := range []string{structs.JobTypeBatch, structs.JobTypeService} {
		a := &structs.Allocation{ID: kind + " on " + name, TaskGroup: "g", DesiredStatus: structs.AllocDesiredStatusRun, ClientStatus: structs.AllocClientStatusPending,
			Job: &structs.Job{Type: kind, TaskGroups: []*structs.TaskGroup{{Name: "g", Tasks: []*structs.Task{{Name: "t"}}}}}}
		if stop {
			a.DesiredStatus, out.Index = structs.AllocDesiredStatusStop, 9
			if kind == structs.JobTypeBatch {
				a.ClientStatus = structs.AllocClientStatusComplete
			}
		}
		out.Allocs = append(out.Allocs, a)
	}
	return out, nil
}

func (s *servers) UpdateAllocs(_ context.Context, req api.NodeAllocUpdateRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, u := range req.Updates {
		if u.TaskStates["t"] == nil || s.nodes[req.NodeID].SecretID != req.SecretID {
			return fmt.Errorf("a report without its task or secret: %+v", u)
		}
		s.statuses[u.AllocID] = append(s.statuses[u.AllocID], u.ClientStatus)
	}
	return nil
}

// TestNodesLive: nodes run what they are given by the profile, end batch work,
// keep services until they are stopped, and stay alive meanwhile.
func TestNodesLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &servers{nodes: map[string]*structs.Node{}, statuses: map[string][]string{}}
		nodes, err := New(Config{Servers: s, Count: 3, Name: "sim", Profile: Profile{Start: time.Second, Run: 30 * time.Second}, Logger: hclog.NewNullLogger()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- nodes.Run(ctx) }()
		time.Sleep(2 * time.Minute)
		s.mu.Lock()
		s.stop = true
		s.mu.Unlock()
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(s.nodes) != 3 || s.beats < 3*20 {
			t.Errorf("%d nodes, %d heartbeats", len(s.nodes), s.beats)
		}
		for i := range 3 {
			for _, kind := range []string{structs.JobTypeBatch, structs.JobTypeService} {
				id := fmt.Sprintf("%s on sim-%d", kind, i)
				if got := fmt.Sprint(s.statuses[id]); got != "[running complete]" {
					t.Errorf("%s: %s", id, got)
				}
			}
		}
	})
}

func TestParseProfile(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "{50ms 30s 0}",
		"start=0s,run=1m,fail=0.25": "{0s 1m0s 0.25}",
		"run=x":                     `cannot use the profile "run=x": "run=x": time: invalid duration "x"`,
		"fail=2":                    `cannot use the profile "fail=2": "fail=2": want 0 to 1`,
		"speed=3":                   `cannot use the profile "speed=3": "speed=3": want start, run or fail`,
		"start=-1s":                 `cannot use the profile "start=-1s": "start=-1s": want a time that is not negative`,
	} {
		p, err := ParseProfile(in)
		got := fmt.Sprint(p)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
