package localdb

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/nomadlite/nomadlite/wholefile"
)

// rewriteFrom is the size below which a file is never rewritten.
const rewriteFrom = 1 << 20

// shrink rewrites the file when most of it is dead. A rewrite that fails leaves
// the file as it was, and is tried again when that has doubled. The error, if
// any, says that no later write can be made durable.
func (db *DB) shrink() error {
	if db.size < db.next || db.size < 2*db.live {
		return nil
	}
	err := db.rewrite()
	db.next = max(rewriteFrom, 2*db.size)
	if renamed := (*renamedError)(nil); errors.As(err, &renamed) {
		return err
	}
	return nil
}

// renamedError says that the new file stands, and that a loss of power may
// bring the old one back.
type renamedError struct{ err error }

func (e *renamedError) Error() string { return "its rename cannot be made durable: " + e.err.Error() }
func (e *renamedError) Unwrap() error { return e.err }

// rewrite replaces the file by one that holds the kept frames alone; until the
// rename the old one stands. The caller holds mu or is the only one with db.
func (db *DB) rewrite() error { return db.rewriteAfter(func() error { return nil }) }

// rewriteAfter is rewrite with a last step before the new file takes its name.
func (db *DB) rewriteAfter(before func() error) error {
	fresh := db.path + ".new"
	file, err := os.OpenFile(fresh, os.O_CREATE|os.O_TRUNC|os.O_RDWR, fileMode)
	if err != nil {
		return err
	}
	next, size, err := db.copyTo(file)
	if err == nil && db.durable {
		err = file.Sync()
	}
	if err == nil {
		err = before()
	}
	if err == nil {
		err = os.Rename(fresh, db.path)
	}
	if err != nil {
		file.Close()
		_ = os.Remove(fresh)
		return err
	}
	if db.file != nil {
		db.file.Close()
	}
	db.file, db.kept, db.size, db.live = file, next, size, size-int64(len(magic))
	if !db.durable {
		return nil
	}
	if err := wholefile.SyncFolder(filepath.Dir(db.path)); err != nil {
		return &renamedError{err}
	}
	return nil
}

// copyTo writes the magic number and the kept frames, ordered by key.
func (db *DB) copyTo(file *os.File) (next map[string]entry, size int64, err error) {
	out := bufio.NewWriterSize(file, 256<<10)
	if _, err := out.WriteString(magic); err != nil {
		return nil, 0, err
	}
	size = int64(len(magic))
	next = make(map[string]entry, len(db.kept))
	var frame []byte
	put := func(k kind, key string, from span) (span, error) {
		if from.frame == 0 {
			return span{}, nil
		}
		body := make([]byte, from.bytes)
		if _, err := db.file.ReadAt(body, from.at); err != nil {
			return span{}, fmt.Errorf("reading the old file: %w", err)
		}
		frame = appendFrame(frame[:0], k, key, body)
		if _, err := out.Write(frame); err != nil {
			return span{}, err
		}
		size += int64(len(frame))
		return span{at: size - int64(from.bytes), bytes: from.bytes, frame: int64(len(frame))}, nil
	}
	for _, key := range slices.Sorted(maps.Keys(db.kept)) {
		var e entry
		if e.alloc, err = put(kindAlloc, key, db.kept[key].alloc); err != nil {
			return nil, 0, err
		}
		if e.run, err = put(kindRun, key, db.kept[key].run); err != nil {
			return nil, 0, err
		}
		next[key] = e
	}
	return next, size, out.Flush()
}
