package nomadlite

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// quiet reports whether the scheduler has nothing to do.
func (s *testServer) quiet() bool {
	for e := range s.store.Snapshot().OpenEvals() {
		if e.Status == structs.EvalStatusPending && e.WaitUntil == nil {
			return false
		}
	}
	return true
}

// TestReconnectInAnyOrder_B02: a node that was away comes back by three calls,
// which arrive in any order, with evaluations between them or all at once. In the
// end the allocation that it kept runs, and nothing beside it.
func TestReconnectInAnyOrder_B02(t *testing.T) {
	for _, order := range []string{"register heartbeat update", "register update heartbeat", "heartbeat register update",
		"heartbeat update register", "update register heartbeat", "update heartbeat register"} {
		for _, between := range []bool{false, true} {
			t.Run(order+" "+strconv.FormatBool(between), func(t *testing.T) {
				s, _ := startServer(t, "")
				c := newCrowd(s, 2)
				job := testJob("web", structs.JobTypeService)
				job.TaskGroups[0].Disconnect = &structs.DisconnectStrategy{LostAfter: structs.Ptr(time.Hour)}
				job.TaskGroups[0].ReschedulePolicy = &structs.ReschedulePolicy{Unlimited: structs.Ptr(true)}
				job.Canonicalize()
				job.TaskGroups[0].ReschedulePolicy.Delay = structs.Ptr(time.Millisecond) // less than people may ask for
				if _, _, err := s.apply(s.context(), fsm.JobRegister, &state.JobRegister{Job: job, Eval: newEval(job, structs.EvalTriggerJobRegister, 1), Now: 1}); err != nil {
					t.Fatal(err)
				}
				c.until("placed", func() bool { return c.running("web", -1) == 1 })
				away := c.busiest("web")
				original := ""
				for id := range c.live[away] {
					original = id
				}
				c.silent[away] = true
				if _, err := s.missed(s.context(), c.nodes[away].ID); err != nil {
					t.Fatal(err)
				}
				c.until("replaced", func() bool { return c.running("web", 1-away) == 1 && s.quiet() })

				for _, call := range strings.Fields(order) {
					var err error
					switch call {
					case "register":
						_, err = s.Register(s.context(), c.nodes[away])
					case "heartbeat":
						_, err = s.Heartbeat(s.context(), api.NodeHeartbeat{NodeID: c.nodes[away].ID, SecretID: c.nodes[away].SecretID})
					case "update":
						c.revision++
						c.report(away)
					}
					if err != nil {
						t.Fatalf("%s: %v", call, err)
					}
					if between {
						eventually(t, "the scheduler has nothing to do", s.quiet)
					}
				}
				c.silent[away] = false
				c.until("one is left", func() bool {
					a := s.store.Snapshot().Alloc(original)
					return s.quiet() && c.running("web", -1) == 1 && a.ClientStatus == structs.AllocClientStatusRunning && a.DesiredStatus == structs.AllocDesiredStatusRun
				})
				if n := c.placed("web"); n != 2 {
					t.Errorf("%d allocations were made", n)
				}
				for e := range s.store.Snapshot().OpenEvals() {
					if e.WaitUntil == nil {
						t.Errorf("evaluation %s (%s) is left %s", e.ID, e.TriggeredBy, e.Status)
					}
				}
			})
		}
	}
}

// TestCompletionIsDurable_B06: batch and sysbatch work that is done is not done
// again, however often its job is evaluated, its allocations are collected and
// nodes change or go. COMPLETIONS says how often (300).
func TestCompletionIsDurable_B06(t *testing.T) {
	rounds := 300
	if text := os.Getenv("COMPLETIONS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		rounds = n
	}
	s, _ := startServer(t, "")
	c := newCrowd(s, 2)
	// The last of three goes on, so that the jobs are not over.
	sum, each := testJob("sum", structs.JobTypeBatch), testJob("each", structs.JobTypeSysBatch)
	sum.TaskGroups[0].Count = structs.Ptr(3)
	s.register(sum)
	s.register(each)
	c.until("placed", func() bool { return c.running("sum", -1) == 3 && c.running("each", -1) == 2 })
	left := map[string]int{"sum": 2, "each": 1}
	for i := range c.nodes {
		for id, a := range c.live[i] {
			if left[a.JobID] > 0 {
				left[a.JobID]--
				c.finish(i, id, structs.AllocClientStatusComplete)
			}
		}
	}
	made := func() (newest uint64) {
		for a := range s.store.Snapshot().Allocs() {
			newest = max(newest, a.CreateIndex)
		}
		return newest
	}
	c.until("settled", s.quiet)
	before := made()
	for n := range rounds {
		for _, id := range []string{"sum", "each"} {
			if _, _, err := s.client.Jobs().Evaluate(s.context(), id, api.EvalOptions{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		switch n % 10 {
		case 3:
			if err := s.client.SystemGC(s.context()); err != nil {
				t.Fatal(err)
			}
		case 6: // its attributes change
			node := *c.nodes[n/10%2]
			node.Meta = map[string]string{"round": strconv.Itoa(n)}
			if _, err := s.Register(s.context(), &node); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "evaluated", s.quiet)
		if now := made(); now != before {
			t.Fatalf("round %d: an allocation was made at index %d", n, now)
		}
	}
	for _, id := range []string{"sum", "each"} {
		if j := s.store.Snapshot().Job("default", id); j == nil || j.Status != structs.JobStatusRunning || c.running(id, -1) != 1 {
			t.Errorf("%s: %+v, %d run", id, j, c.running(id, -1))
		}
	}
}
