package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/armon/go-metrics"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Header of an entry: type (2 bytes), schema (1), flags (1), payload length
// (4), all big endian. Nothing follows the payload.
const headerLen = 8

// flagIgnorable marks a command that a server without it may skip.
const flagIgnorable = 1

// CorruptError is an entry that this server cannot read, or whose applier
// panicked. The server stops: applying what comes after it would split the
// state.
type CorruptError struct {
	Index   uint64
	Command string // name or number of the command, "" when the header is broken
	Err     error
}

// Error implements error.
func (e *CorruptError) Error() string {
	return fmt.Sprintf("cannot apply log entry %d (%s): %v", e.Index, e.Command, e.Err)
}

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }

func wrongPayload[P any](name string, got any) error {
	return structs.Errorf(structs.Internal, "cannot encode %s: payload is %T, want non-nil %T", name, got, (*P)(nil))
}

// Encode makes the entry of a command. The payload is a pointer to the type
// named beside the constant.
func Encode(t Type, payload any) ([]byte, error) {
	c, ok := commands[t]
	if !ok {
		return nil, structs.Errorf(structs.Internal, "cannot encode command %d: no such command", t)
	}
	b, err := c.encode(make([]byte, headerLen), payload)
	if err != nil {
		return nil, err
	}
	if n := len(b) - headerLen; n > c.limit {
		return nil, structs.Errorf(structs.TooLarge, "cannot write %s to the log: it takes %d bytes, the limit is %d", subject(c.name, payload), n, c.limit)
	}
	putHeader(b, t, c.schema, 0)
	return b, nil
}

// putHeader writes the header of an entry, whose payload is there already.
func putHeader(entry []byte, t Type, schema, flags uint8) {
	binary.BigEndian.PutUint16(entry, uint16(t))
	entry[2], entry[3] = schema, flags
	binary.BigEndian.PutUint32(entry[4:], uint32(len(entry)-headerLen))
}

// Result is what Apply returns to the proposer.
type Result struct {
	Value any   // of the verb: *state.JobResult, *structs.PlanResult or nil
	Err   error // of the verb, the same on every server
}

// FSM is the raft.BatchingFSM over a store.
type FSM struct {
	store   *state.Store
	log     hclog.Logger
	halt    func(index uint64, err error)
	skipped atomic.Uint64
	halted  atomic.Bool
}

var _ raft.BatchingFSM = (*FSM)(nil)

// New returns the state machine of a store. halt is called when an entry
// cannot be applied and must end the server (it may be called again for later
// entries, which are not applied); nil panics instead.
func New(store *state.Store, log hclog.Logger, halt func(index uint64, err error)) *FSM {
	return &FSM{store: store, log: log, halt: halt}
}

// Skipped counts the ignorable commands that this build does not know.
func (f *FSM) Skipped() uint64 { return f.skipped.Load() }

// Apply implements raft.FSM: one entry, one transaction.
func (f *FSM) Apply(l *raft.Log) any {
	if f.halted.Load() {
		return Result{Err: structs.Errorf(structs.Unavailable, "cannot apply log entry %d: this server has stopped applying", l.Index)}
	}
	value, err := f.apply(l.Index, l.Data)
	var corrupt *CorruptError
	if errors.As(err, &corrupt) {
		corrupt.Index = l.Index
		f.halted.Store(true)
		f.log.Error("cannot apply log entry; stopping", "index", l.Index, "error", err)
		if f.halt == nil {
			panic(err)
		}
		f.halt(l.Index, err)
	}
	return Result{Value: value, Err: err}
}

func (f *FSM) apply(index uint64, data []byte) (value any, err error) {
	t, body, skip, err := open(data)
	if err != nil {
		return nil, err
	}
	if skip {
		f.skipped.Add(1)
		return nil, nil
	}
	txn := f.store.Begin(index)
	txn.Cause = uint16(t)
	// A panic may have come from this server's memory alone, or from a build
	// that the others do not run. Going on without the entry would split the
	// state, so this server goes on no more.
	defer func() {
		if p := recover(); p != nil {
			txn.Abort()
			f.log.Error("a command panicked", "index", index, "command", name(t), "panic", p, "stack", string(debug.Stack()))
			value, err = nil, &CorruptError{Command: name(t), Err: fmt.Errorf("its applier panicked: %v", p)}
		}
	}()
	defer metrics.MeasureSince(measureKeys[t], time.Now())
	value, err = commands[t].apply(txn, body)
	if err != nil {
		txn.Abort()
		return nil, err
	}
	txn.Commit()
	return value, nil
}

// open reads the header of an entry. skip is set for an ignorable command that
// this build does not know.
func open(data []byte) (t Type, body []byte, skip bool, err error) {
	if len(data) < headerLen {
		return 0, nil, false, &CorruptError{Err: fmt.Errorf("%d bytes are shorter than a header", len(data))}
	}
	t = Type(binary.BigEndian.Uint16(data))
	schema, flags := data[2], data[3]
	body = data[headerLen:]
	if n := binary.BigEndian.Uint32(data[4:]); uint64(n) != uint64(len(body)) {
		return 0, nil, false, &CorruptError{Command: name(t), Err: fmt.Errorf("the header says %d bytes, there are %d", n, len(body))}
	}
	c, known := commands[t]
	switch {
	case !known && flags&flagIgnorable != 0:
		return t, nil, true, nil
	case !known:
		return 0, nil, false, &CorruptError{Command: name(t), Err: errors.New("unknown command: a newer server wrote it; upgrade this one")}
	case schema == 0 || schema > c.schema:
		return 0, nil, false, &CorruptError{Command: c.name, Err: fmt.Errorf("schema %d, this build reads up to %d; upgrade it", schema, c.schema)}
	case flags&^flagIgnorable != 0:
		return 0, nil, false, &CorruptError{Command: c.name, Err: fmt.Errorf("unknown flags %#x", flags)}
	}
	return t, body, false, nil
}

func name(t Type) string {
	if c, ok := commands[t]; ok {
		return c.name
	}
	return fmt.Sprintf("command %d", t)
}

// ApplyBatch implements raft.BatchingFSM.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	results := make([]any, len(logs))
	for i, l := range logs {
		if l.Type == raft.LogCommand {
			results[i] = f.Apply(l)
		}
	}
	return results
}

// Snapshot implements raft.FSM: the state goes on while it is persisted. Once
// halted there are none: Raft would take the entries that were not applied for
// part of it.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if f.halted.Load() {
		return nil, structs.Errorf(structs.Unavailable, "cannot take a snapshot: this server has stopped applying")
	}
	return &snapshot{f.store.Snapshot()}, nil
}

// Restore implements raft.FSM. The old state stays when the new one is broken.
func (f *FSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	return f.store.Restore(r)
}

// snapshot is a raft.FSMSnapshot of an immutable state.
type snapshot struct{ s *state.Snapshot }

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := s.s.Save(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}
