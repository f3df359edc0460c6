package service

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/check"
	"github.com/nomadlite/nomadlite/structs"
)

func TestWhere(t *testing.T) {
	a := func(own *structs.AllocNetworkStatus, hostIP string) *alloc.Alloc {
		return &alloc.Alloc{
			Alloc: &structs.Allocation{NetworkStatus: own, AllocatedResources: &structs.AllocatedResources{
				Tasks:  map[string]*structs.AllocatedTaskResources{"t": {Networks: []*structs.NetworkResource{{IP: "10.0.0.9", DynamicPorts: []structs.Port{{Label: "old", Value: 21000}}}}}},
				Shared: structs.AllocatedSharedResources{Ports: []structs.PortMapping{{Label: "http", Value: 20000, To: 8080, HostIP: hostIP}, {Label: "raw", Value: 20001, HostIP: hostIP}}},
			}},
			Node: &structs.Node{Attributes: map[string]string{"unique.network.ip-address": "10.0.0.1"}},
		}
	}
	own := &structs.AllocNetworkStatus{Address: "172.26.64.5", AddressIPv6: "fd00::5"}
	for _, tc := range []struct {
		name, mode, custom, label string
		own                       *structs.AllocNetworkStatus
		hostIP                    string
		want                      string // an error is its text
	}{
		{"auto", "auto", "", "http", own, "10.0.0.2", "10.0.0.2:20000"},
		{"auto with an address", "auto", "db.example", "http", own, "10.0.0.2", "db.example:20000"},
		{"host without an address of the port", "host", "", "raw", nil, "", "10.0.0.1:20001"},
		{"alloc", "alloc", "", "http", own, "10.0.0.2", "172.26.64.5:8080"},
		{"alloc without to", "alloc", "", "raw", own, "10.0.0.2", "172.26.64.5:20001"},
		{"alloc_ipv6", "alloc_ipv6", "", "http", own, "10.0.0.2", "[fd00::5]:8080"},
		{"driver in a bridge", "driver", "", "http", own, "10.0.0.2", "172.26.64.5:8080"},
		{"driver on the host", "driver", "", "http", nil, "10.0.0.2", "10.0.0.2:20000"},
		{"a number", "host", "", "443", nil, "10.0.0.2", "10.0.0.1:443"},
		{"no port", "host", "", "", nil, "10.0.0.2", "10.0.0.1:0"},
		{"a port of the task", "auto", "", "old", nil, "", "10.0.0.9:21000"},
		{"alloc on the host's network", "alloc", "", "http", nil, "10.0.0.2", `address_mode "alloc" needs a network of the allocation's own: set mode = "bridge" in its network block, or another address_mode`},
		{"unknown label", "auto", "", "nope", nil, "", `the allocation has no port "nope": name one of its network block, or a number`},
		{"wildcard", "auto", "0.0.0.0", "http", nil, "10.0.0.2", "the address 0.0.0.0 stands for every address: give one that others can reach"},
	} {
		at, err := where(a(tc.own, tc.hostIP), "t", tc.mode, tc.custom, tc.label)
		got := hostPort(at)
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}

func TestStreak(t *testing.T) {
	began := time.Unix(1000, 0)
	for _, tc := range []struct {
		name    string
		rule    *structs.CheckRestart
		results string // a second apart: s, f, p; R is a failure that restarts
	}{
		{"no rule", nil, "ffff"},
		{"limit 0 is off", &structs.CheckRestart{Grace: structs.Ptr(time.Second)}, "ffff"},
		{"three in a row", &structs.CheckRestart{Limit: 3, Grace: structs.Ptr(time.Duration(0))}, "ffsffRffR"},
		{"the grace counts nothing", &structs.CheckRestart{Limit: 2, Grace: structs.Ptr(3 * time.Second)}, "ffffR"[:3] + "fR"},
		{"pending counts", &structs.CheckRestart{Limit: 2, Grace: structs.Ptr(time.Duration(0))}, "pR"},
	} {
		var s streak
		for i, c := range tc.results {
			status := map[rune]string{'s': check.Success, 'f': check.Failure, 'R': check.Failure, 'p': check.Pending}[c]
			if got := s.next(tc.rule, status, began, began.Add(time.Duration(i)*time.Second)); got != (c == 'R') {
				t.Errorf("%s: result %d restarts: %v", tc.name, i, got)
			}
		}
	}
}

// told is a server that remembers.
type told struct {
	mu    sync.Mutex
	have  map[string]*structs.ServiceRegistration
	calls int
	full  int
	fail  bool
	api.Workloads
}

func (s *told) UpdateServices(_ context.Context, req api.NodeServicesRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.fail {
		return errors.New("no leader")
	}
	if req.Full {
		s.full++
		s.have = map[string]*structs.ServiceRegistration{}
	}
	for _, r := range req.Set {
		s.have[r.ID] = r
	}
	for _, id := range req.Remove {
		delete(s.have, id)
	}
	return nil
}

func TestReporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &told{have: map[string]*structs.ServiceRegistration{}}
		r := NewReporter(s, func() (string, string) { return "n", "s" }, hclog.NewNullLogger())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		reg := func(id, health string) *structs.ServiceRegistration {
			return &structs.ServiceRegistration{ID: id, Health: health}
		}
		expect := func(what string, have, calls int) {
			t.Helper()
			time.Sleep(time.Second)
			synctest.Wait()
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.have) != have || s.calls != calls {
				t.Errorf("%s: %d services after %d calls, want %d after %d", what, len(s.have), s.calls, have, calls)
			}
		}
		r.Set(reg("a", "healthy"))
		r.Set(reg("b", "pending"))
		expect("together", 2, 1)
		r.Set(reg("a", "healthy"))
		expect("nothing new", 2, 1)
		for range 100 { // a check that flaps
			r.Set(reg("b", "unhealthy"))
			r.Set(reg("b", "healthy"))
			time.Sleep(10 * time.Millisecond)
		}
		s.mu.Lock()
		if s.calls > 8 {
			t.Errorf("a second of flapping cost %d calls", s.calls)
		}
		s.calls = 0
		s.mu.Unlock()
		r.Remove("b")
		expect("removed", 1, 1)
		s.mu.Lock()
		s.fail = true
		s.mu.Unlock()
		r.Set(reg("c", "healthy"))
		time.Sleep(2 * time.Second)
		s.mu.Lock()
		s.fail, s.have, s.calls = false, map[string]*structs.ServiceRegistration{"left": reg("left", "healthy")}, 0
		s.mu.Unlock()
		time.Sleep(settle)
		r.Known(1) // the servers lost everything, and know what nobody told
		expect("made up for", 2, s.calls+1)
		if s.full != 1 || s.have["left"] != nil {
			t.Errorf("after a loss: %d full reports, %v", s.full, s.have)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
