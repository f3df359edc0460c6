package nomadlite

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestFlaps_B20: terms of leadership end and begin again after 1 to 50 ms, while
// jobs come in. Whatever was cut short, in the end the one leader works: each
// evaluation is done, each job is placed once, and no loop of an earlier term
// is left. FLAPS says how many terms there are (60).
func TestFlaps_B20(t *testing.T) {
	flaps := 60
	if text := os.Getenv("FLAPS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		flaps = n
	}
	s, stop := startServer(t, "")
	s.join()
	leading := func() bool { return s.leading.Load().now }
	eventually(t, "a leader", leading)
	works := func(job string) {
		t.Helper()
		id := s.register(testJob(job, structs.JobTypeService)).EvalID
		eventually(t, job+" is looked at", func() bool {
			e := s.store.Snapshot().Eval(id)
			return e != nil && e.Status == structs.EvalStatusComplete
		})
	}
	works("first")
	before := runtime.NumGoroutine()
	rng := rand.New(rand.NewPCG(20, 1))
	jobs := 0
	for n := range flaps {
		s.again.fire()
		if n%4 == 0 && jobs < 30 {
			s.register(testJob(fmt.Sprintf("job-%d", jobs), structs.JobTypeService))
			jobs++
		}
		timer := time.NewTimer(time.Duration(1+rng.IntN(50)) * time.Millisecond)
		<-timer.C
	}
	eventually(t, "every evaluation is done, and each job is placed once", func() bool {
		snap := s.store.Snapshot()
		for e := range snap.OpenEvals() {
			if e.Status == structs.EvalStatusPending {
				return false
			}
		}
		for i := range jobs {
			n := 0
			for range snap.AllocsByJob(structs.DefaultNamespace, fmt.Sprintf("job-%d", i), true) {
				n++
			}
			if n != 1 {
				return false
			}
		}
		return leading()
	})
	eventually(t, "the loops of earlier terms have ended", func() bool {
		return runtime.NumGoroutine() <= before+4 // connections come and go
	})
	works("last")
	stop()
	if e, _ := s.loops.broker.Take([]string{structs.JobTypeService, structs.JobTypeBatch, structs.JobTypeSystem}, time.Now()); e != nil {
		t.Errorf("who does not lead gave out an evaluation: %+v", e)
	}
}
