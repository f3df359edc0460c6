package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// servers are the servers as a node sees them, played by the test.
type servers struct {
	mu       sync.Mutex // guards what follows
	index    uint64
	allocs   map[string]*structs.Allocation
	node     *structs.Node
	updates  map[string]*structs.AllocUpdate
	reports  int   // calls of UpdateAllocs
	fail     error // of UpdateAllocs
	services map[string]*structs.ServiceRegistration
	ttl      time.Duration // of named identities
	signed   int
	disk     []byte // that of the previous allocation
	changed  chan struct{}
}

func newServers() *servers {
	return &servers{index: 1, allocs: map[string]*structs.Allocation{}, updates: map[string]*structs.AllocUpdate{}, services: map[string]*structs.ServiceRegistration{}, changed: make(chan struct{})}
}

// touch wakes whoever waits. The caller holds mu.
func (s *servers) touch() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Register implements api.Servers.
func (s *servers) Register(_ context.Context, n *structs.Node) (*api.NodeRegisterResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.node = n
	s.touch()
	return &api.NodeRegisterResponse{HeartbeatTTL: 10 * time.Second, Index: s.index}, nil
}

// Heartbeat implements api.Servers.
func (s *servers) Heartbeat(context.Context, api.NodeHeartbeat) (*api.NodeRegisterResponse, error) {
	return &api.NodeRegisterResponse{HeartbeatTTL: 10 * time.Second}, nil
}

// Allocs implements api.Servers.
func (s *servers) Allocs(ctx context.Context, req api.NodeAllocsRequest) (*api.NodeAllocsResponse, error) {
	for {
		s.mu.Lock()
		if s.index > req.Since {
			out := &api.NodeAllocsResponse{Index: s.index, Full: req.Since == 0}
			for _, a := range s.allocs {
				if a.AllocModifyIndex > req.Since {
					out.Allocs = append(out.Allocs, a)
				}
			}
			s.mu.Unlock()
			return out, nil
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// UpdateServices implements api.Workloads.
func (s *servers) UpdateServices(_ context.Context, req api.NodeServicesRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range req.Set {
		s.services[r.ID] = r
	}
	for _, id := range req.Remove {
		delete(s.services, id)
	}
	s.touch()
	return nil
}

// Lookup implements api.Workloads.
func (s *servers) Lookup(ctx context.Context, req api.WorkloadLookup) (*api.WorkloadData, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// SignIdentities implements api.Workloads.
func (s *servers) SignIdentities(_ context.Context, req api.IdentityRequest) (*api.IdentityResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &api.IdentityResponse{}
	for _, w := range req.Wanted {
		s.signed++
		one := api.SignedIdentity{JWT: fmt.Sprintf("%s/%s/%d", w.Task, w.Name, s.signed)}
		if w.Name != structs.DefaultIdentityName {
			one.Expires = time.Now().Add(s.ttl)
		}
		out.Tokens = append(out.Tokens, one)
	}
	s.touch()
	return out, nil
}

// PreviousDisk implements api.Workloads.
func (s *servers) PreviousDisk(context.Context, api.MigrateRequest) (io.ReadCloser, error) {
	if s.disk == nil {
		return nil, structs.Errorf(structs.NotFound, "node %q, which holds the disk, is down", "n")
	}
	return io.NopCloser(bytes.NewReader(s.disk)), nil
}

// CheckIdentity implements api.Workloads.
func (s *servers) CheckIdentity(_ context.Context, req api.IdentityCheck) (*api.IdentityClaims, error) {
	if !strings.HasPrefix(req.Token, "main/") {
		return nil, structs.Errorf(structs.Denied, "cannot accept the identity")
	}
	return &api.IdentityClaims{Task: "main"}, nil
}

// UpdateAllocs implements api.Servers.
func (s *servers) UpdateAllocs(_ context.Context, req api.NodeAllocUpdateRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports++
	if s.fail != nil {
		return s.fail
	}
	for _, u := range req.Updates {
		if old := s.updates[u.AllocID]; old == nil || old.Revision < u.Revision {
			s.updates[u.AllocID] = u
		}
	}
	s.touch()
	return nil
}

// put gives the node allocations, or newer versions of them, at once.
func (s *servers) put(all ...*structs.Allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	for _, a := range all {
		n := *a
		n.AllocModifyIndex, n.ModifyIndex = s.index, s.index
		s.allocs[a.ID] = &n
	}
	s.touch()
}

// stop asks the node to stop an allocation.
func (s *servers) stop(id string) {
	s.mu.Lock()
	a := *s.allocs[id]
	s.mu.Unlock()
	a.DesiredStatus = structs.AllocDesiredStatusStop
	s.put(&a)
}

// latest is what the node reported last, and a channel that is closed when that
// is no longer so.
func (s *servers) latest(id string) (*structs.AllocUpdate, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates[id], s.changed
}

// await waits until the node has reported what ok wants of an allocation.
func (s *servers) await(t *testing.T, id string, ok func(*structs.AllocUpdate) bool) *structs.AllocUpdate {
	t.Helper()
	limit := time.After(patience)
	for {
		u, changed := s.latest(id)
		if u != nil && ok(u) {
			return u
		}
		select {
		case <-changed:
		case <-limit:
			text, _ := json.MarshalIndent(u, "", " ") // as much of it as there is
			t.Fatalf("allocation %s was last reported as %s", id, text)
		}
	}
}

// forget is as if an allocation had never been.
func (s *servers) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.allocs, id)
	delete(s.updates, id)
}

// seen is closed when the node has reported what ok wants of an allocation.
func (s *servers) seen(id string, ok func(*structs.AllocUpdate) bool) <-chan struct{} {
	out := make(chan struct{})
	go func() {
		limit := time.After(patience)
		for {
			u, changed := s.latest(id)
			if u != nil && ok(u) {
				close(out)
				return
			}
			select {
			case <-changed:
			case <-limit:
				return
			}
		}
	}()
	return out
}

func is(status string) func(*structs.AllocUpdate) bool {
	return func(u *structs.AllocUpdate) bool { return u.ClientStatus == status }
}
