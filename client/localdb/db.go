// Package localdb is the node's durable memory: the allocations that the
// servers gave it and what became of their tasks, so that an agent that starts
// again finds its tasks. It is one bbolt file. A write returns once it is
// committed; writes that wait at the same time share one transaction. A file
// that cannot be trusted is put aside, never repaired and never fatal: the
// servers know the allocations, what is lost is the way back to running tasks.
package localdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/nomadlite/nomadlite/structs"
)

const (
	fileMode = 0o600
	// lockWait is how long a file that another process holds is waited for: an
	// agent that is being replaced may still be ending.
	lockWait = 2 * time.Second
	// maxGroup bounds the writes of one transaction, and with it how long the
	// first of them waits.
	maxGroup = 512
)

// The buckets, both by allocation id.
var (
	allocsBucket = []byte("allocs")
	runsBucket   = []byte("runs")
)

// ErrClosed is the answer to a write after Close.
var ErrClosed = errors.New("the client's state is closed")

// DB is the open file. Its methods may be called at the same time.
type DB struct {
	bolt   *bolt.DB
	writes chan *write
	stop   chan struct{} // closed by Close
	ended  chan struct{} // closed when the writer has ended
	once   sync.Once
	closed error
}

// Open opens the file at path and makes it when missing. With durable false a
// commit does not wait for the disk: the file survives the end of the process,
// not of the machine. A file whose content is damaged is renamed to
// <path>.bad-<unix time>, a fresh one takes its place and warning says so. An
// error means that there is no state at all: another process holds the file, or
// the directory does not allow it.
func Open(path string, durable bool) (db *DB, warning string, err error) {
	inner, err := openChecked(path, durable)
	if damage := (*damagedError)(nil); errors.As(err, &damage) {
		aside := fmt.Sprintf("%s.bad-%d", path, time.Now().Unix())
		if err := os.Rename(path, aside); err != nil {
			return nil, "", fmt.Errorf("the client's state %s is damaged (%w) and cannot be put aside: %w", path, damage, err)
		}
		warning = fmt.Sprintf("the client's state %s is damaged (%v): it was renamed to %s and the node begins without it; tasks that it ran are stopped, and started again where the servers still want them", path, damage, aside)
		inner, err = openChecked(path, durable)
	}
	if err != nil {
		return nil, "", err
	}
	db = &DB{
		bolt: inner, writes: make(chan *write, maxGroup),
		stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go db.writer()
	return db, warning, nil
}

// damagedError says that the content of the file is at fault.
type damagedError struct{ err error }

func (e *damagedError) Error() string { return e.err.Error() }
func (e *damagedError) Unwrap() error { return e.err }

// openChecked opens the file and makes sure that it can be written.
func openChecked(path string, durable bool) (*bolt.DB, error) {
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("the client's state %s is not a regular file (%s): move it away", path, info.Mode().Type())
	} else if err == nil && info.Size() == 0 {
		return nil, &damagedError{errors.New("the file is empty")}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot look at the client's state: %w", err)
	}
	db, err := openBolt(path, durable)
	if err != nil {
		return nil, err
	}
	err = guard(func() error {
		return db.Update(func(tx *bolt.Tx) error {
			for _, name := range [][]byte{allocsBucket, runsBucket} {
				if _, err := tx.CreateBucketIfNotExists(name); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err == nil {
		return db, nil
	}
	db.Close()
	if damage := (*damagedError)(nil); errors.As(err, &damage) {
		return nil, err
	}
	return nil, fmt.Errorf("cannot write the client's state %s: %w", path, err)
}

// guard runs what reads pages of the file. bbolt maps it and trusts what stands
// there: it panics, or touches a page beyond the end of a truncated file, which
// is a fault that would end the process. Either is a *damagedError here.
func guard(use func() error) (err error) {
	before := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(before)
	defer func() {
		if p := recover(); p != nil {
			err = &damagedError{fmt.Errorf("%v", p)}
		}
	}()
	return use()
}

// openBolt opens the file.
func openBolt(path string, durable bool) (db *bolt.DB, err error) {
	var file *os.File
	err = guard(func() error {
		db, err = bolt.Open(path, fileMode, &bolt.Options{
			Timeout: lockWait, NoSync: !durable, NoGrowSync: !durable, FreelistType: bolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil && file != nil {
		file.Close() // a failed open of bbolt may have left it
	}
	switch {
	case err == nil:
		return db, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("the client's state %s is in use by another process: stop the other agent or give this one a data_dir of its own", path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("cannot open the client's state %s: %w", path, err)
	}
	return nil, &damagedError{err}
}

// Close waits for the writes that have begun, closes the file and refuses
// later writes with ErrClosed.
func (db *DB) Close() error {
	db.once.Do(func() {
		close(db.stop)
		<-db.ended
		db.closed = db.bolt.Close()
	})
	return db.closed
}

// PutAlloc keeps what the servers say of the allocation.
func (db *DB) PutAlloc(alloc *structs.Allocation) error {
	data, err := encode(alloc)
	if err != nil {
		return fmt.Errorf("cannot keep allocation %s: %w", alloc.ID, err)
	}
	return db.do(func(tx *bolt.Tx) error {
		return tx.Bucket(allocsBucket).Put([]byte(alloc.ID), data)
	})
}

// PutRun keeps how far the allocation's run is. A run of an allocation that is
// not kept (any more) is dropped without an error: its last words may come
// after Delete.
func (db *DB) PutRun(allocID string, run *Run) error {
	data, err := encode(run)
	if err != nil {
		return fmt.Errorf("cannot keep the run of allocation %s: %w", allocID, err)
	}
	key := []byte(allocID)
	return db.do(func(tx *bolt.Tx) error {
		if tx.Bucket(allocsBucket).Get(key) == nil {
			return nil
		}
		return tx.Bucket(runsBucket).Put(key, data)
	})
}

// Delete forgets the allocation and its run; an unknown one is no error.
func (db *DB) Delete(allocID string) error {
	return db.do(func(tx *bolt.Tx) error {
		if err := tx.Bucket(runsBucket).Delete([]byte(allocID)); err != nil {
			return err
		}
		return tx.Bucket(allocsBucket).Delete([]byte(allocID))
	})
}
