package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/localdb"
	"github.com/nomadlite/nomadlite/structs"
)

// crashingDB is a node's memory up to a moment: from its n-th write on nothing
// is written any more, as if the agent had died there. With late the n-th write
// itself is still made.
type crashingDB struct {
	alloc.DB
	mu     sync.Mutex // guards left
	left   int
	late   bool
	crash  func() // called once, at the moment
	crashd bool
}

var errCrashed = errors.New("the agent has crashed")

func (d *crashingDB) write(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.crashd {
		return errCrashed
	}
	if d.left--; d.left > 0 {
		return do()
	}
	var err error
	if d.late {
		err = do()
	}
	d.crashd = true
	d.crash()
	if err == nil {
		err = errCrashed
	}
	return err
}

// now is the crash, outside of a write.
func (d *crashingDB) now() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.crashd {
		d.crashd = true
		d.crash()
	}
}

// PutAlloc implements alloc.DB.
func (d *crashingDB) PutAlloc(a *structs.Allocation) error {
	return d.write(func() error { return d.DB.PutAlloc(a) })
}

// PutRun implements alloc.DB.
func (d *crashingDB) PutRun(id string, run *localdb.Run) error {
	return d.write(func() error { return d.DB.PutRun(id, run) })
}

// Delete implements alloc.DB.
func (d *crashingDB) Delete(id string) error {
	return d.write(func() error { return d.DB.Delete(id) })
}

// cut makes reports fail from now on; nil lets them through again.
func (s *servers) cut(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
}

// crashingHook ends the agent when a call of the hooks reaches it.
type crashingHook struct {
	at    string // of the methods below
	crash func()
}

func (crashingHook) Name() string { return "crash" }

func (h crashingHook) here(ctx context.Context, at string) error {
	if h.at != at {
		return nil
	}
	h.crash()
	<-ctx.Done()
	return ctx.Err()
}

func (h crashingHook) Prerun(ctx context.Context, _ *alloc.Alloc) error { return h.here(ctx, "prerun") }
func (h crashingHook) Prestart(ctx context.Context, _ *alloc.Task) error {
	return h.here(ctx, "prestart")
}
func (h crashingHook) Poststart(ctx context.Context, _ *alloc.Task) { _ = h.here(ctx, "poststart") }
func (h crashingHook) Withdraw(ctx context.Context, _ *alloc.Task)  { _ = h.here(ctx, "withdraw") }
func (h crashingHook) Exited(ctx context.Context, _ *alloc.Task)    { _ = h.here(ctx, "exited") }
func (h crashingHook) Postrun(ctx context.Context, _ *alloc.Alloc) error {
	return h.here(ctx, "postrun")
}
func (h crashingHook) WithdrawAlloc(ctx context.Context, _ *alloc.Alloc) {
	_ = h.here(ctx, "withdraw alloc")
}

// crashPoint is where an agent ends: at its n-th durable write, before or after
// it, or at a step of the hooks, before the hook of an index.
type crashPoint struct {
	write int
	late  bool
	step  string
	hook  int
}

func (p crashPoint) String() string {
	if p.step != "" {
		return fmt.Sprintf("%s before hook %d", p.step, p.hook)
	}
	return fmt.Sprintf("write %d late %t", p.write, p.late)
}

// crashPoints are the boundaries of a life: writes durable writes, and steps of
// hooks many hooks.
func crashPoints(writes, hooks int, steps ...string) (out []crashPoint) {
	for w := 1; w <= writes; w++ {
		out = append(out, crashPoint{write: w}, crashPoint{write: w, late: true})
	}
	for _, step := range steps {
		for h := 0; h <= hooks; h++ {
			out = append(out, crashPoint{step: step, hook: h})
		}
	}
	return out
}

// hooksOfNode is how many hooks a node has (allocHooks).
const hooksOfNode = 9

// lives are what an agent is ended in: the task, what the servers do once it
// runs, and the boundaries.
var lives = []struct {
	name   string
	kind   string
	stop   bool
	points []crashPoint
}{
	{"batch", structs.JobTypeBatch, false, crashPoints(4, hooksOfNode, "prerun", "prestart", "poststart", "exited", "postrun")},
	{"stopped", structs.JobTypeService, true, crashPoints(6, hooksOfNode, "withdraw", "withdraw alloc", "postrun")},
}

// TestCrashPoints_F42 ends the agent at each of its durable writes, before it
// and after it, and at each step of what it prepares and undoes around a task.
// The next agent converges: the task runs to its end, or is stopped, at no time
// twice at once, and nothing of it is left on the host. CRASH_STRIDE=1 takes
// every point; the default takes some.
func TestCrashPoints_F42(t *testing.T) {
	stride := 11
	if n, err := strconv.Atoi(os.Getenv("CRASH_STRIDE")); err == nil && n > 0 {
		stride = n
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "content") }))
	defer srv.Close()
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("content")))
	for _, life := range lives {
		for i, point := range life.points {
			if i%stride != 0 {
				continue
			}
			t.Run(life.name+" "+point.String(), func(t *testing.T) {
				// Each run tells of an earlier one that is still there.
				script := `cd $NOMAD_ALLOC_DIR/data
					for p in $(cat pids 2>/dev/null); do kill -0 $p 2>/dev/null && echo twice >> log; done
					echo $$ >> pids; cat $NOMAD_TASK_DIR/file $NOMAD_TASK_DIR/conf $NOMAD_SECRETS_DIR/nomad_aws.jwt > /dev/null || echo missing >> log; sleep 0.3; echo end >> log`
				if life.stop {
					script += "; exec sleep 600"
				}
				crashOnce(t, rich(shell(firstID, life.kind, script), srv.URL, sum), point, life.stop)
			})
		}
	}
}

func crashOnce(t *testing.T, a *structs.Allocation, point crashPoint, stop bool) {
	dir, s := shortDir(t), newServers()
	s.ttl = time.Hour
	crashed := make(chan struct{})
	db := &crashingDB{left: point.write}
	db.crash = func() { s.cut(errCrashed); close(crashed) }
	db.late = point.late
	if point.step != "" {
		db.left = 1 << 30
	}
	first := startWith(t, dir, s, false, func(c *Client) {
		c.wrapDB = func(under alloc.DB) alloc.DB { db.DB = under; return db }
		c.wrapHooks = func(hooks []alloc.Hook) []alloc.Hook {
			if point.step == "" {
				return hooks
			}
			return slices.Insert(hooks, point.hook, alloc.Hook(crashingHook{point.step, db.now}))
		}
	})
	s.put(a)
	if stop {
		select {
		case <-crashed:
		case <-s.seen(firstID, is(structs.AllocClientStatusRunning)):
		}
		s.stop(firstID)
	}
	select { // writes that come together are one: a life may have fewer of them
	case <-crashed:
	case <-s.seen(firstID, is(structs.AllocClientStatusComplete)):
	}
	first.stop()
	s.cut(nil)
	second := start(t, dir, s, false)
	s.await(t, firstID, is(structs.AllocClientStatusComplete))
	text := content(filepath.Join(dir, "alloc", firstID, "alloc/data/log"))
	if !stop && !strings.HasSuffix(text, "end\n") || strings.Contains(text, "twice") || strings.Contains(text, "missing") {
		t.Errorf("the log is %q", text)
	}
	second.endAll()
	eventually(t, "nothing is left", func() bool {
		c := takeCensus(t, dir)
		return c["allocation directories"]+c["FIFOs"]+c["mounts"] == 0 && len(tasksOf(dir)) == 0
	})
	second.stop()
}

// tasksOf lists the processes whose environment names the directory of an
// allocation.
func tasksOf(dir string) (out []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range files {
		if strings.Contains(content(f), "NOMAD_ALLOC_DIR="+dir) {
			out = append(out, f)
		}
	}
	return out
}

// TestStopWhileAway: a task whose stop was written down before the agent died
// is stopped by the next one, not only said to have ended.
func TestStopWhileAway_F42(t *testing.T) {
	dir, s := shortDir(t), newServers()
	first := start(t, dir, s, false)
	s.put(shell(firstID, structs.JobTypeService, "exec sleep 600"))
	s.await(t, firstID, is(structs.AllocClientStatusRunning))
	first.stop()
	s.mu.Lock()
	stopped := *s.allocs[firstID]
	s.mu.Unlock()
	stopped.DesiredStatus = structs.AllocDesiredStatusStop
	second := startWith(t, dir, s, false, func(c *Client) {
		if err := c.db.PutAlloc(&stopped); err != nil {
			t.Error(err)
		}
	})
	s.stop(firstID)
	u := s.await(t, firstID, is(structs.AllocClientStatusComplete))
	if event(u, structs.TaskTerminated) == "" || len(tasksOf(dir)) > 0 {
		t.Errorf("it is said to have ended: %+v, and runs: %v", u.TaskStates["main"], tasksOf(dir))
	}
	second.endAll()
	second.stop()
}
