package keeper

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// maxExits bounds the exits that are kept; the oldest are dropped. An agent
// fetches an exit soon after it comes back, so that this is many times more
// than a node can owe.
const maxExits = 20000

// journal keeps the exits of orphans on disk, so that they outlive the keeper.
// A line is written before anybody is told; it need not be synced, for a crash
// of the host ends the tasks as well.
type journal struct {
	path  string
	file  *os.File
	exits map[protocol.Process]protocol.Exit
	order []protocol.Process // oldest first
}

// entry is one line.
type entry struct {
	Boot    string
	Process protocol.Process
	Exit    protocol.Exit
}

// openJournal reads what an earlier keeper wrote during this boot. A line that
// was cut short by a crash is dropped.
func openJournal(path string) (*journal, error) {
	j := &journal{path: path, exits: map[protocol.Process]protocol.Exit{}}
	raw, err := os.Open(path)
	if err == nil {
		sc := bufio.NewScanner(raw)
		for sc.Scan() {
			var e entry
			if json.Unmarshal(sc.Bytes(), &e) == nil && e.Boot == protocol.BootID() {
				j.remember(e.Process, e.Exit)
			}
		}
		raw.Close()
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return j, j.rewrite()
}

func (j *journal) remember(p protocol.Process, e protocol.Exit) {
	if _, known := j.exits[p]; !known {
		j.order = append(j.order, p)
	}
	j.exits[p] = e
	for len(j.order) > maxExits {
		delete(j.exits, j.order[0])
		j.order = j.order[1:]
	}
}

// rewrite replaces the file by what is remembered and opens it for appending.
func (j *journal) rewrite() error {
	tmp := j.path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for _, p := range j.order {
		if err := enc.Encode(entry{protocol.BootID(), p, j.exits[p]}); err != nil {
			f.Close()
			return err
		}
	}
	if err := errors.Join(w.Flush(), os.Rename(tmp, j.path)); err != nil {
		f.Close()
		return fmt.Errorf("cannot rewrite %s: %w", j.path, err)
	}
	j.close()
	j.file = f
	return nil
}

// record writes an exit, then remembers it. It is remembered also when it
// cannot be written.
func (j *journal) record(p protocol.Process, e protocol.Exit) error {
	full := len(j.order) >= maxExits
	line, err := json.Marshal(entry{protocol.BootID(), p, e})
	if err == nil {
		_, err = j.file.Write(append(line, '\n'))
	}
	j.remember(p, e)
	if full {
		j.order = append([]protocol.Process(nil), j.order[len(j.order)/2:]...)
		kept := make(map[protocol.Process]protocol.Exit, len(j.order))
		for _, p := range j.order {
			kept[p] = j.exits[p]
		}
		j.exits = kept
		err = errors.Join(err, j.rewrite())
	}
	return err
}

func (j *journal) find(p protocol.Process) (protocol.Exit, bool) {
	e, ok := j.exits[p]
	return e, ok
}

func (j *journal) close() {
	if j.file != nil {
		j.file.Close()
	}
}
