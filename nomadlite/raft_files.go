package nomadlite

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/raftlog"
	"github.com/nomadlite/nomadlite/nomadlite/state"
)

// RaftFiles is what a server that does not run keeps of Raft.
type RaftFiles struct {
	dir  string
	logs *raftlog.Store
}

// RaftSummary is what is there.
type RaftSummary struct {
	Path        string
	Size        int64 // of the log's files, in bytes
	FirstIndex  uint64
	LastIndex   uint64
	LastTerm    uint64
	CurrentTerm uint64
	Snapshots   []raft.SnapshotMeta
}

// RaftEntry is one entry of the log as people read it. Secrets are left out.
type RaftEntry struct {
	Index, Term uint64
	Type        string
	Command     string `json:",omitempty"`
	AppendedAt  time.Time
	Size        int // in bytes
	Body        any `json:",omitempty"`
}

// OpenRaftFiles opens the files in an agent's data directory, in a server's, or
// in a folder of Raft itself. The server must not run.
func OpenRaftFiles(dir string) (*RaftFiles, error) {
	for _, sub := range []string{"server/raft", "raft", "."} {
		path := filepath.Join(dir, sub)
		if _, err := os.Stat(filepath.Join(path, "log")); err != nil {
			continue
		}
		logs, err := raftlog.Open(filepath.Join(path, "log"))
		if err != nil {
			return nil, fmt.Errorf("%w; the server must be stopped first", err)
		}
		return &RaftFiles{dir: path, logs: logs}, nil
	}
	return nil, fmt.Errorf("cannot find a Raft log in %q: give the data_dir of a server", dir)
}

// Close lets the server run again.
func (f *RaftFiles) Close() error { return f.logs.Close() }

// Summary says what is there.
func (f *RaftFiles) Summary() (*RaftSummary, error) {
	out := &RaftSummary{Path: f.dir, Snapshots: []raft.SnapshotMeta{}}
	var err1, err2, err3 error
	out.FirstIndex, err1 = f.logs.FirstIndex()
	out.LastIndex, err2 = f.logs.LastIndex()
	out.CurrentTerm, err3 = f.logs.GetUint64([]byte(termKey))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	if out.LastIndex > 0 {
		var l raft.Log
		if err := f.logs.GetLog(out.LastIndex, &l); err != nil {
			return nil, err
		}
		out.LastTerm = l.Term
	}
	files, err := os.ReadDir(filepath.Join(f.dir, "log"))
	if err != nil {
		return nil, err
	}
	for _, e := range files {
		if info, err := e.Info(); err == nil {
			out.Size += info.Size()
		}
	}
	all, err := os.ReadDir(filepath.Join(f.dir, "snapshots"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	for _, e := range all {
		if meta, err := snapshotMeta(filepath.Join(f.dir, "snapshots", e.Name(), "meta.json"), e.Name()); err == nil {
			out.Snapshots = append(out.Snapshots, meta)
		}
	}
	return out, nil
}

// Entries calls yield with each entry of the log, in order, until one fails.
func (f *RaftFiles) Entries(yield func(*RaftEntry) error) error {
	first, err1 := f.logs.FirstIndex()
	last, err2 := f.logs.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := f.logs.GetLog(i, &l); err != nil {
			return err
		}
		e := &RaftEntry{Index: l.Index, Term: l.Term, Type: l.Type.String(), AppendedAt: l.AppendedAt, Size: len(l.Data)}
		if err := e.describe(&l); err != nil {
			e.Body = fmt.Sprintf("cannot read it: %v", err)
		}
		if err := yield(e); err != nil {
			return err
		}
	}
	return nil
}

// describe fills in what an entry says.
func (e *RaftEntry) describe(l *raft.Log) error {
	var payload any
	switch l.Type {
	case raft.LogCommand:
		var err error
		if e.Command, payload, err = fsm.Describe(l.Data); err != nil {
			return err
		}
	case raft.LogConfiguration:
		payload = raft.DecodeConfiguration(l.Data)
	default:
		return nil
	}
	text, err := json.Marshal(payload)
	if err == nil {
		err = json.Unmarshal(text, &e.Body)
	}
	e.Body = withoutSecrets(e.Body)
	return err
}

// withoutSecrets replaces the values of what is secret in decoded JSON.
func withoutSecrets(v any) any {
	switch x := v.(type) {
	case map[string]any:
		for k := range x {
			if k == "SecretID" || k == "Sealed" || k == "AllocKey" {
				x[k] = "<redacted>"
			} else {
				x[k] = withoutSecrets(x[k])
			}
		}
	case []any:
		for i := range x {
			x[i] = withoutSecrets(x[i])
		}
	}
	return v
}

// State is what the newest snapshot and the log after it amount to, up to and
// with entry last, 0 for all. Entries that were never committed are in it.
func (f *RaftFiles) State(last uint64) (*state.Snapshot, error) {
	store := state.New(state.Options{})
	var halted error
	machine := fsm.New(store, hclog.NewNullLogger(), func(_ uint64, err error) { halted = err })
	if err := restoreNewest(filepath.Join(f.dir, "snapshots"), machine); err != nil {
		return nil, err
	}
	from, err1 := f.logs.FirstIndex()
	to, err2 := f.logs.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	if last > 0 {
		to = min(to, last)
	}
	if last > 0 && store.Snapshot().Index() > last {
		return nil, fmt.Errorf("cannot show the state at index %d: the newest snapshot is of index %d", last, store.Snapshot().Index())
	}
	for i := max(from, store.Snapshot().Index()+1); i <= to && i > 0; i++ {
		var l raft.Log
		if err := f.logs.GetLog(i, &l); err != nil {
			return nil, err
		}
		if l.Type == raft.LogCommand {
			machine.Apply(&l)
		}
		if halted != nil {
			return nil, halted
		}
	}
	return store.Snapshot(), nil
}
