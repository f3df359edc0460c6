package localdb

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// write is one change that a caller waits for.
type write struct {
	apply func(*bolt.Tx) error
	done  chan error // capacity 1
}

// do hands the change to the writer and waits until it is committed.
func (db *DB) do(apply func(*bolt.Tx) error) error {
	w := &write{apply: apply, done: make(chan error, 1)}
	select {
	case <-db.stop:
		return ErrClosed
	default:
	}
	select {
	case db.writes <- w:
	case <-db.stop:
		return ErrClosed
	}
	select {
	case err := <-w.done:
		return err
	case <-db.ended:
	}
	// The writer ended; it may have answered just before.
	select {
	case err := <-w.done:
		return err
	default:
		return ErrClosed
	}
}

// writer commits what waits, all of it in one transaction, until Close.
func (db *DB) writer() {
	defer close(db.ended)
	for {
		select {
		case <-db.stop:
			if group := db.gather(nil); len(group) > 0 {
				db.commit(group)
			}
			return
		case w := <-db.writes:
			db.commit(db.gather([]*write{w}))
		}
	}
}

// gather adds what waits already.
func (db *DB) gather(group []*write) []*write {
	for len(group) < maxGroup {
		select {
		case w := <-db.writes:
			group = append(group, w)
		default:
			return group
		}
	}
	return group
}

// commit makes the group durable and answers all of it. A change that fails
// alone is left out: the others are tried again without it.
func (db *DB) commit(group []*write) {
	for len(group) > 0 {
		failed, err := db.try(group)
		if err == nil {
			for _, w := range group {
				w.done <- nil
			}
			return
		}
		if failed < 0 {
			for _, w := range group {
				w.done <- fmt.Errorf("cannot write the client's state %s: %w", db.bolt.Path(), err)
			}
			return
		}
		group[failed].done <- fmt.Errorf("cannot write the client's state %s: %w", db.bolt.Path(), err)
		group = append(group[:failed], group[failed+1:]...)
	}
}

// try applies the group in one transaction; failed is the index of the change
// that was refused, -1 when the transaction as a whole failed.
func (db *DB) try(group []*write) (failed int, err error) {
	failed = -1
	err = guard(func() error {
		return db.bolt.Update(func(tx *bolt.Tx) error {
			for i, w := range group {
				if err := w.apply(tx); err != nil {
					failed = i
					return err
				}
			}
			return nil
		})
	})
	if damage := (*damagedError)(nil); errors.As(err, &damage) {
		return -1, fmt.Errorf("the file is damaged: %w", err)
	}
	return failed, err
}
