// Package localdb is the node's durable memory: the allocations that the
// servers gave it and what became of their tasks, so that an agent that starts
// again finds its tasks. It is one append-only file of checksummed frames, the
// newest of an allocation wins, rewritten when most of it is dead. A write
// returns once it is durable; writes that wait at the same time share one sync.
// Damage costs the records that it hit, never the others and never the agent.
package localdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

const (
	fileMode = 0o600
	// lockWait is how long a file that another process holds is waited for: an
	// agent that is being replaced may still be ending.
	lockWait  = 2 * time.Second
	lockPause = 20 * time.Millisecond
	// maxGroup bounds the writes of one sync, and with it how long the first of
	// them waits.
	maxGroup = 512
	// maxFile bounds what is read at the start.
	maxFile = 4 << 30
)

// ErrClosed is the answer to a write after Close.
var ErrClosed = errors.New("the client's state is closed")

// DB is the open file. Its methods may be called at the same time.
type DB struct {
	path    string
	durable bool
	lock    *os.File

	mu   sync.Mutex // guards what follows
	file *os.File
	size int64            // of the file, all of it whole frames
	live int64            // bytes of the frames in kept
	next int64            // the size from which a rewrite is tried
	kept map[string]entry // by allocation id

	writes chan *write
	stop   chan struct{} // closed by Close
	ended  chan struct{} // closed when the writer has ended
	once   sync.Once
	closed error
}

// entry is where an allocation's newest frames are.
type entry struct{ alloc, run span }

// span is the body of a frame in the file. The zero span is none.
type span struct {
	at    int64
	bytes int
	frame int64 // bytes of the whole frame
}

// Open opens the file at path and makes it when missing. With durable false a
// write does not wait for the disk: the file survives the end of the process,
// not of the machine. When content is damaged, the file is renamed to
// <path>.bad-<unix time>, a fresh one with what could be read takes its place
// and warning says what was lost. An error means that there is no state at all:
// another process holds the file, or the directory does not allow it.
func Open(path string, durable bool) (db *DB, warning string, err error) {
	lock, err := takeLock(path)
	if err != nil {
		return nil, "", err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	db = &DB{
		path: path, durable: durable, lock: lock, kept: map[string]entry{}, next: rewriteFrom, writes: make(chan *write, maxGroup),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	damaged, err := db.load()
	if err != nil {
		return nil, "", err
	}
	if damaged != nil {
		if warning, err = db.putAside(damaged); err != nil {
			return nil, "", err
		}
	}
	if db.file == nil {
		if err := db.rewrite(); err != nil {
			return nil, "", fmt.Errorf("cannot write the client's state %s: %w", path, err)
		}
	}
	go db.writer()
	return db, warning, nil
}

// takeLock makes this process the only one with the file.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("cannot open the client's state: %w", err)
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(lockPause) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if errors.Is(err, syscall.EWOULDBLOCK) && time.Now().After(end) {
			err = errors.New("in use by another process: stop the other agent or give this one a data_dir of its own")
		} else if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
			continue
		}
		f.Close()
		return nil, fmt.Errorf("the client's state %s cannot be locked: %w", path, err)
	}
}

// load reads the file: db.file stays nil when there is none. damaged says what
// of it cannot be believed; what can be is in db.kept either way.
func (db *DB) load() (damaged error, err error) {
	info, err := os.Lstat(db.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("cannot look at the client's state: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("the client's state %s is not a regular file (%s): move it away", db.path, info.Mode().Type())
	case info.Size() > maxFile:
		return nil, fmt.Errorf("the client's state %s has %d bytes, more than the %d that are ever written: move it away", db.path, info.Size(), int64(maxFile))
	}
	data, err := os.ReadFile(db.path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the client's state: %w", err)
	}
	file, err := os.OpenFile(db.path, os.O_RDWR, fileMode)
	if err != nil {
		return nil, fmt.Errorf("cannot open the client's state: %w", err)
	}
	db.file = file
	// An allocation of which the newest record or run is damaged is left out: an
	// older one would tell of a task that may be another by now.
	type part struct {
		key  string
		kind kind
	}
	lost := map[part]bool{}
	end, parts, err := scan(data, func(h head, body int64, good bool) {
		if h.kind == kindDelete {
			delete(lost, part{h.key, kindAlloc})
			delete(lost, part{h.key, kindRun})
		}
		if lost[part{h.key, h.kind}] = !good; good {
			db.note(h, body)
		}
	})
	for p, bad := range lost {
		if bad {
			db.forget(p.key)
		}
	}
	for key, e := range db.kept {
		if e.alloc.frame == 0 { // the damage was in its head
			db.forget(key)
		}
	}
	if err != nil {
		return err, nil
	}
	db.size = end
	if len(parts) > 0 {
		all := make([]error, 0, len(parts))
		for _, p := range parts {
			all = append(all, p)
		}
		return errors.Join(all...), nil
	}
	if end < int64(len(data)) {
		if err := file.Truncate(end); err != nil {
			return nil, fmt.Errorf("cannot cut the unfinished end off the client's state %s: %w", db.path, err)
		}
	}
	return nil, nil
}

// putAside renames the damaged file and writes what was read of it to a new one.
func (db *DB) putAside(damaged error) (warning string, err error) {
	aside := fmt.Sprintf("%s.bad-%d", db.path, time.Now().UnixNano())
	err = db.rewriteAfter(func() error { return os.Rename(db.path, aside) })
	if err != nil {
		return "", fmt.Errorf("the client's state %s is damaged (%w) and cannot be put aside: %w", db.path, damaged, err)
	}
	return fmt.Sprintf("the client's state %s is damaged (%v): it was renamed to %s and the node goes on with the %d allocations that could be read; other tasks that it ran are stopped, and started again where the servers still want them", db.path, damaged, aside, len(db.kept)), nil
}

// Close waits for the writes that have begun, closes the file and refuses
// later writes with ErrClosed.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.stop)
		<-db.ended
		db.closed = errors.Join(db.file.Close(), db.lock.Close())
	})
	return db.closed
}

// PutAlloc keeps what the servers say of the allocation.
func (db *DB) PutAlloc(alloc *structs.Allocation) error {
	body, err := encode(alloc)
	if err != nil {
		return fmt.Errorf("cannot keep allocation %s: %w", alloc.ID, err)
	}
	return db.do(kindAlloc, alloc.ID, body)
}

// PutRun keeps how far the allocation's run is. A run of an allocation that is
// not kept (any more) is dropped without an error: its last words may come
// after Delete.
func (db *DB) PutRun(allocID string, run *Run) error {
	body, err := encode(run)
	if err != nil {
		return fmt.Errorf("cannot keep the run of allocation %s: %w", allocID, err)
	}
	return db.do(kindRun, allocID, body)
}

// Delete forgets the allocation and its run; an unknown one is no error.
func (db *DB) Delete(allocID string) error { return db.do(kindDelete, allocID, nil) }

// note takes a frame of the file into account; the caller holds mu or is the
// only one with db.
func (db *DB) note(h head, body int64) {
	e := db.kept[h.key]
	now := span{at: body, bytes: h.body, frame: h.size()}
	switch h.kind {
	case kindAlloc:
		db.live += now.frame - e.alloc.frame
		e.alloc = now
	case kindRun:
		db.live += now.frame - e.run.frame
		e.run = now
	case kindDelete:
		db.forget(h.key)
		return
	}
	db.kept[h.key] = e
}

// forget takes an allocation out; the caller holds mu or is the only one with db.
func (db *DB) forget(key string) {
	e := db.kept[key]
	db.live -= e.alloc.frame + e.run.frame
	delete(db.kept, key)
}
