package artifact

import (
	"encoding/json"
	"errors"
	"io/fs"
	"sync"

	"github.com/nomadlite/nomadlite/client/rootfs"
)

// maxMarks bounds the file of marks, in bytes.
const maxMarks = 1 << 20

// marks are the artifacts that are in place, by what they are made of; they
// outlive the agent.
type marks struct {
	dir  *rootfs.AllocDir
	name string

	mu   sync.Mutex // guards done
	done map[string]bool
}

func readMarks(dir *rootfs.AllocDir, task string) (*marks, error) {
	m := &marks{dir: dir, name: ".artifacts-" + task + ".json", done: map[string]bool{}}
	d, err := dir.Open()
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := d.ReadFile(m.name, maxMarks)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil || json.Unmarshal(raw, &m.done) != nil { // damaged: fetch again
		m.done = map[string]bool{}
	}
	return m, nil
}

// add makes durable that an artifact is in place.
func (m *marks) add(mark string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done[mark] = true
	raw, err := json.Marshal(m.done)
	if err != nil {
		return err
	}
	d, err := m.dir.Open()
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Replace(m.name, raw, 0o600, nil, nil)
}
