package localdb

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// Record is one allocation as the node knew it. Run is nil when nothing of it
// was begun.
type Record struct {
	Alloc *structs.Allocation
	Run   *Run
}

// Run is how far an allocation's run is.
type Run struct {
	Revision   uint64 // of the status that the node last made
	Began      int64  // unix nanoseconds
	Healthy    *bool  // for the deployment, nil until decided
	HealthTime int64  // unix nanoseconds, 0 until decided
	Deployment string // that the health is for
	Joined     int64  // unix nanoseconds: when the allocation joined the deployment here
	Tasks      map[string]*Task
}

// Task is one task of a run. TaskID and Handle are empty until the driver has
// started it; with them the driver finds it again.
type Task struct {
	State  *structs.TaskState
	TaskID string
	Handle *driver.TaskHandle
}

// diskTask is a Task as it is kept: the handle is opaque bytes.
type diskTask struct {
	State  *structs.TaskState `json:",omitempty"`
	TaskID string             `json:",omitempty"`
	Handle []byte             `json:",omitempty"`
}

// MarshalJSON keeps the handle in its wire form.
func (t *Task) MarshalJSON() ([]byte, error) {
	kept := diskTask{State: t.State, TaskID: t.TaskID}
	if t.Handle != nil {
		data, err := t.Handle.MarshalBinary()
		if err != nil {
			return nil, err
		}
		kept.Handle = data
	}
	return json.Marshal(kept)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (t *Task) UnmarshalJSON(data []byte) error {
	var kept diskTask
	if err := json.Unmarshal(data, &kept); err != nil {
		return err
	}
	*t = Task{State: kept.State, TaskID: kept.TaskID}
	if kept.Handle != nil {
		t.Handle = &driver.TaskHandle{}
		return t.Handle.UnmarshalBinary(kept.Handle)
	}
	return nil
}

// encode is the body of a frame: JSON.
func encode(v any) ([]byte, error) { return json.Marshal(v) }

// Records are all allocations, ordered by id. Those that cannot be read are
// left out and named in the error, which comes with the others.
func (db *DB) Records() ([]Record, error) {
	db.mu.Lock()
	defer db.mu.Unlock()
	var records []Record
	var problems []error
	for _, id := range slices.Sorted(maps.Keys(db.kept)) {
		r, err := db.record(id)
		if err != nil {
			problems = append(problems, err)
		} else {
			records = append(records, r)
		}
	}
	return records, errors.Join(problems...)
}

func (db *DB) record(id string) (Record, error) {
	r, e := Record{Alloc: &structs.Allocation{}}, db.kept[id]
	if err := db.decode(e.alloc, r.Alloc); err != nil {
		return r, fmt.Errorf("the kept allocation %s cannot be read: %w", id, err)
	}
	if r.Alloc.ID != id || r.Alloc.Job == nil {
		return r, fmt.Errorf("the kept allocation %s is not whole: its id is %q, its job is missing: %t", id, r.Alloc.ID, r.Alloc.Job == nil)
	}
	if e.run.frame == 0 {
		return r, nil
	}
	r.Run = &Run{}
	if err := db.decode(e.run, r.Run); err != nil {
		return r, fmt.Errorf("the kept run of allocation %s cannot be read: %w", id, err)
	}
	return r, nil
}

// decode reads a body that was whole when the file was opened.
func (db *DB) decode(s span, v any) error {
	body := make([]byte, s.bytes)
	if _, err := db.file.ReadAt(body, s.at); err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}
