package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// rich makes a state in which every table has rows, with times, links, ports,
// task states, collected rows and a purged job.
func rich(t testing.TB) *world {
	w := newWorld(t)
	must(w, (*Txn).Epoch, &Epoch{Term: 0, ClusterID: "c"})
	for i := range 3 {
		w.node(i)
	}
	must(w, (*Txn).UpsertNamespaces, &NamespaceUpsert{Namespaces: []*structs.Namespace{{Name: "apps", Meta: map[string]string{"b": "1", "a": "2"}}}})
	must(w, (*Txn).UpsertNodePools, &NodePoolUpsert{NodePools: []*structs.NodePool{{Name: "gpu"}}})
	must(w, (*Txn).SetSchedulerConfig, &SchedulerConfig{Config: &structs.SchedulerConfiguration{SchedulerAlgorithm: "spread"}})
	must(w, (*Txn).SetAutopilotConfig, &AutopilotConfig{Config: structs.DefaultAutopilot()})
	until := time.Unix(1_800_000_000, 77).UTC()
	for _, id := range []string{"web", "old"} {
		if _, err := do(w, (*Txn).RegisterJob, &JobRegister{Job: testJob(id, 4), Submission: &structs.JobSubmission{Source: "job"}, Now: w.now}); err != nil {
			t.Fatal(err)
		}
		e := testEval("e-"+id, testJob(id, 4))
		e.WaitUntil = &until
		must(w, (*Txn).UpsertEvals, &EvalUpsert{Evals: []*structs.Evaluation{e}})
		p := at(0, 1)
		p.Extra = port(8080, "10.0.0."+id)
		p.Extra.Reschedule = &structs.RescheduleTracker{Events: []*structs.RescheduleEvent{{RescheduleTime: 4, Delay: time.Second}}}
		plan := w.plan(id, "e-"+id, at(1, 0), p, at(2, 2))
		plan.Groups[0].DeploymentID = "d-" + id
		plan.Deployment = &structs.Deployment{ID: "d-" + id, Namespace: "default", JobID: id, Status: structs.DeploymentStatusRunning,
			TaskGroups: map[string]*structs.DeploymentState{"web": {ProgressDeadline: time.Hour}}}
		r := w.apply(plan)
		if len(r.Refused) > 0 {
			t.Fatal(r.Refused)
		}
		started := until
		w.report(1, &structs.AllocUpdate{AllocID: w.placed(r)[0], Revision: 3, ClientStatus: structs.AllocClientStatusRunning, DeploymentHealthy: structs.Ptr(true), DeploymentTime: w.now,
			TaskStates: map[string]*structs.TaskState{"main": {State: structs.TaskStateRunning, StartedAt: &started, Events: []*structs.TaskEvent{{Type: "Started", Time: 5, Details: map[string]string{"pid": "1"}}}}}})
		must(w, (*Txn).UpdateServices, &ServicesUpdate{NodeID: nodeID(1), Set: []*structs.ServiceRegistration{{ID: "s-" + id, ServiceName: "web", Namespace: "default",
			JobID: id, AllocID: w.placed(r)[0], Tags: []string{"a"}, Address: "10.0.0.1", Port: 8080, Health: structs.ServiceHealthy}}})
		w.report(2, &structs.AllocUpdate{AllocID: w.placed(r)[2], Revision: 1, ClientStatus: structs.AllocClientStatusFailed})
		must(w, (*Txn).Collect, &Collect{Allocs: []string{w.placed(r)[2]}})
	}
	must(w, (*Txn).LaunchChildren, &ChildrenLaunch{Launches: []*ChildLaunch{{Namespace: "default", JobID: "web", At: until}}})
	must(w, (*Txn).AddScalingEvent, &ScalingEventAdd{Namespace: "default", JobID: "web", Group: "web", Event: &structs.ScalingEvent{Message: "up", Meta: map[string]any{"a": "b"}, Time: 5}})
	must(w, (*Txn).AddRootKey, &RootKeyAdd{Key: &RootKey{RootKeyMeta: structs.RootKeyMeta{KeyID: "key-1"}, KEK: "kek", Sealed: []byte{1}}})
	if _, err := do(w, (*Txn).SetVariable, &VariableSet{Variable: &SealedVariable{VariableMetadata: structs.VariableMetadata{Namespace: "default", Path: "db"}, KeyID: "key-1", Sealed: []byte{2}}, Now: w.now}); err != nil {
		t.Fatal(err)
	}
	must(w, (*Txn).UpsertHostVolume, &HostVolumeUpsert{Volume: &structs.HostVolume{ID: "vol-1", Name: "data", Namespace: "default", NodeID: nodeID(1), State: structs.HostVolumePending}, Now: w.now})
	w.register(testJob("web", 9), nil)
	if _, err := do(w, (*Txn).DeregisterJob, &JobDeregister{Namespace: "default", JobID: "old", Purge: true}); err != nil {
		t.Fatal(err)
	}
	return w
}

func saved(t testing.TB, s *Store) []byte {
	var b bytes.Buffer
	if err := s.Snapshot().Save(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestRestoreOfEveryTable_B81 proves that a restored state has the same content and indexes,
// goes on in the same way, and leaves what was read before alone.
func TestRestoreOfEveryTable_B81(t *testing.T) {
	w := rich(t)
	for _, table := range tables {
		if table != nil && table.count(w.s.root.Load().tables[table.tableID()]) == 0 {
			t.Errorf("table %q is empty: the test misses it", table.tableName())
		}
	}
	b := saved(t, w.s)
	other := newWorld(t)
	other.node(9)
	before, replaced := other.s.Snapshot(), other.s.Replaced()
	if err := other.s.Restore(bytes.NewReader(b)); err != nil {
		t.Fatal(err)
	}
	<-replaced
	if before.Node(nodeID(9)) == nil {
		t.Error("an earlier snapshot changed")
	}
	if w.s.Snapshot().Hash() != other.s.Snapshot().Hash() {
		t.Fatal("the restored state has another hash")
	}
	if !bytes.Equal(b, saved(t, other.s)) {
		t.Error("saved again it differs")
	}
	if v, job := other.s.Snapshot().JobVersion("default", "web", 0), slices.Collect(other.s.Snapshot().AllocsByJob("default", "web", true))[0].Job; v != job {
		t.Error("a restored allocation does not share its job with the job's versions")
	}
	other.index, other.now = w.index, w.now
	for _, x := range []*world{w, other} {
		x.apply(x.plan("web", "e9", at(0, 7), at(1, 8)))
		x.report(1, &structs.AllocUpdate{AllocID: x.s.Snapshot().AllocID(0), Revision: 4, ClientStatus: structs.AllocClientStatusComplete})
		must(x, (*Txn).Collect, &Collect{Allocs: []string{x.s.Snapshot().AllocID(0)}})
	}
	if w.s.Snapshot().Hash() != other.s.Snapshot().Hash() {
		t.Error("the restored state goes on in another way")
	}
	if _, ok := other.s.Snapshot().ChangesSince(1); ok {
		t.Error("a restored state pretends to know earlier changes")
	}
}

// TestDamagedSnapshot: any bit flipped, any end cut off, anything appended is
// refused, and the state stays.
func TestDamagedSnapshot(t *testing.T) {
	b := saved(t, rich(t).s)
	w := newWorld(t)
	want := w.s.Snapshot().Hash()
	refuse := func(what string, at int, data []byte) {
		if err := w.s.Restore(bytes.NewReader(data)); !errors.Is(err, ErrBroken) {
			t.Errorf("%s at %d: %v", what, at, err)
		}
	}
	step := max(len(b)/400, 1)
	for i := 0; i < len(b); i += step {
		if i >= 8 && i < 10 {
			continue // the version of the writer decides nothing
		}
		c := bytes.Clone(b)
		c[i] ^= 0x10
		refuse("flipped bit", i, c)
		refuse("cut", i, b[:i])
	}
	refuse("trailing byte", len(b), append(bytes.Clone(b), 0))
	if w.s.Snapshot().Hash() != want {
		t.Error("a refused snapshot changed the state")
	}
}

// TestReadersDuringWrites_B80: concurrent readers of old snapshots see them
// unchanged while entries are applied. It means most under -race.
func TestReadersDuringWrites_B80(t *testing.T) {
	w := rich(t)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			for {
				snap := w.s.Snapshot()
				first := snap.Hash()
				if snap.Hash() != first {
					t.Error("a snapshot changed under its reader")
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for i := range uint32(60) {
		r := w.apply(w.plan("web", "e", at(i%3, 100+i)))
		if id := w.placed(r)[0]; id != "" {
			w.report(int(i%3), &structs.AllocUpdate{AllocID: id, Revision: 1, ClientStatus: structs.AllocClientStatusComplete})
			if i%2 == 0 {
				must(w, (*Txn).Collect, &Collect{Allocs: []string{id}})
			}
		}
	}
	close(stop)
	wg.Wait()
}

// FuzzRestore feeds snapshots of any content. The checksums of its frames are
// mended, so that what lies behind them is reached.
func FuzzRestore(f *testing.F) {
	f.Add(saved(f, rich(f).s))
	f.Add(saved(f, New(Options{})))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		for at := 12; at+9 <= len(b); {
			n := int(binary.LittleEndian.Uint32(b[at+1:]))
			if n < 0 || at+5+n+4 > len(b) {
				break
			}
			binary.LittleEndian.PutUint32(b[at+5+n:], crc32.Checksum(b[at:at+5+n], castagnoli))
			at += 9 + n
		}
		s := New(Options{})
		if s.Restore(bytes.NewReader(b)) != nil {
			return
		}
		s.Snapshot().Hash()
		w := &world{t: t, s: s, index: s.Snapshot().Index()}
		w.node(0)
	})
}
