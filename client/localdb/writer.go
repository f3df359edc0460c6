package localdb

import "fmt"

// write is one change that a caller waits for.
type write struct {
	kind kind
	key  string
	body []byte
	done chan error // capacity 1
}

// do hands the change to the writer and waits until it is durable.
func (db *DB) do(k kind, key string, body []byte) error {
	if len(key) > maxKey || len(body) > maxBody {
		return fmt.Errorf("cannot keep allocation %q: its record has %d bytes, the limit is %d", key, len(body), maxBody)
	}
	w := &write{kind: k, key: key, body: body, done: make(chan error, 1)}
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

// writer appends what waits, all of it with one sync, until Close.
func (db *DB) writer() {
	defer close(db.ended)
	var failed error
	for {
		var group []*write
		select {
		case <-db.stop:
			group = db.gather(nil)
		case w := <-db.writes:
			group = db.gather([]*write{w})
		}
		if len(group) == 0 {
			return
		}
		err := failed
		if err == nil {
			if err, failed = db.commit(group); err != nil {
				err = fmt.Errorf("cannot write the client's state %s: %w", db.path, err)
			}
		}
		for _, w := range group {
			w.done <- err
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

// commit appends the group and makes it durable. After an error nothing of it
// is in the file; when even that cannot be had, forGood says that no later
// write may be believed either.
func (db *DB) commit(group []*write) (err, forGood error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	heads, data := db.frames(group)
	if len(data) == 0 {
		return nil, nil
	}
	if _, err = db.file.WriteAt(data, db.size); err == nil && db.durable {
		err = db.file.Sync()
	}
	if err != nil {
		if cut := db.file.Truncate(db.size); cut != nil {
			forGood = fmt.Errorf("the client's state %s takes no more writes since one failed (%w) and could not be undone: %w", db.path, err, cut)
		}
		return err, forGood
	}
	at := db.size
	for _, h := range heads {
		db.note(h, at+headSize+int64(len(h.key)))
		at += h.size()
	}
	db.size = at
	return nil, db.shrink()
}

// frames are the group's changes as they stand in the file. Runs and ends of
// allocations that are not kept are left out.
func (db *DB) frames(group []*write) (heads []head, data []byte) {
	kept := map[string]bool{}
	for _, w := range group {
		known, seen := kept[w.key]
		if !seen {
			_, known = db.kept[w.key]
		}
		if w.kind != kindAlloc && !known {
			continue
		}
		kept[w.key] = w.kind != kindDelete
		data = appendFrame(data, w.kind, w.key, w.body)
		heads = append(heads, head{kind: w.kind, key: w.key, body: len(w.body)})
	}
	return heads, data
}
