package client

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

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

// TestCrashPoints_F42 ends the agent at each of its durable writes, before it
// and after it. The next agent converges: the task runs to its end, at no time
// twice at once.
func TestCrashPoints_F42(t *testing.T) {
	for point := 1; point <= 4; point++ {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d late %t", point, late), func(t *testing.T) {
				dir, s := shortDir(t), newServers()
				crashed := make(chan struct{})
				first := startWith(t, dir, s, false, func(c *Client) {
					c.wrapDB = func(db alloc.DB) alloc.DB {
						return &crashingDB{DB: db, left: point, late: late, crash: func() { s.cut(errCrashed); close(crashed) }}
					}
				})
				// Each run tells of an earlier one that is still there.
				s.put(shell(firstID, structs.JobTypeBatch, `cd $NOMAD_ALLOC_DIR/data
					for p in $(cat pids 2>/dev/null); do kill -0 $p 2>/dev/null && echo twice >> log; done
					echo $$ >> pids; sleep 0.3; echo end >> log`))
				<-crashed
				first.stop()
				s.cut(nil)
				second := start(t, dir, s, false)
				s.await(t, firstID, is(structs.AllocClientStatusComplete))
				text, err := os.ReadFile(filepath.Join(dir, "alloc", firstID, "alloc/data/log"))
				if err != nil || !strings.HasSuffix(string(text), "end\n") || strings.Contains(string(text), "twice") {
					t.Errorf("the log is %q (%v)", text, err)
				}
				second.endAll()
				second.stop()
			})
		}
	}
}
