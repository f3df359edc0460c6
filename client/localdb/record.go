package localdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"

	bolt "go.etcd.io/bbolt"

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

// A value is the format's number, the CRC-32C of the rest, and JSON.
const (
	formatJSON   = 1
	valueHeader  = 5
	valueSumFrom = 1
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func encode(v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	data := make([]byte, valueHeader, valueHeader+len(body))
	data[0] = formatJSON
	binary.BigEndian.PutUint32(data[valueSumFrom:], crc32.Checksum(body, castagnoli))
	return append(data, body...), nil
}

func decode(data []byte, v any) error {
	if len(data) < valueHeader || data[0] != formatJSON {
		return fmt.Errorf("its %d bytes are not of format %d", len(data), formatJSON)
	}
	body := data[valueHeader:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(data[valueSumFrom:]) {
		return errors.New("its checksum is wrong")
	}
	return json.Unmarshal(body, v)
}

// Records are all allocations, ordered by id. Those that cannot be read are
// left out and named in the error, which comes with the others.
func (db *DB) Records() ([]Record, error) {
	var records []Record
	var problems []error
	err := guard(func() error {
		return db.bolt.View(func(tx *bolt.Tx) error {
			runs := tx.Bucket(runsBucket)
			return tx.Bucket(allocsBucket).ForEach(func(key, value []byte) error {
				r, err := record(string(key), value, runs.Get(key))
				if err != nil {
					problems = append(problems, err)
				} else {
					records = append(records, r)
				}
				return nil
			})
		})
	})
	if damage := (*damagedError)(nil); errors.As(err, &damage) {
		return records, fmt.Errorf("the client's state %s is damaged: %w", db.bolt.Path(), err)
	}
	return records, errors.Join(append(problems, err)...)
}

func record(id string, alloc, run []byte) (Record, error) {
	r := Record{Alloc: &structs.Allocation{}}
	if err := decode(alloc, r.Alloc); err != nil {
		return r, fmt.Errorf("the kept allocation %s cannot be read: %w", id, err)
	}
	if r.Alloc.ID != id || r.Alloc.Job == nil {
		return r, fmt.Errorf("the kept allocation %s is not whole: its id is %q, its job is missing: %t", id, r.Alloc.ID, r.Alloc.Job == nil)
	}
	if run == nil {
		return r, nil
	}
	r.Run = &Run{}
	if err := decode(run, r.Run); err != nil {
		return r, fmt.Errorf("the kept run of allocation %s cannot be read: %w", id, err)
	}
	return r, nil
}
