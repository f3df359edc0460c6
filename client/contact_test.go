package client

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestContact_B04 knows when the servers were heard last, also in another run of
// the agent, and when an allocation ends that is not heard of any more.
func TestContact_B04(t *testing.T) {
	dir := t.TempDir()
	c, err := newContact(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(c.since()); d < 0 || d > time.Minute {
		t.Errorf("a new node heard the servers %v ago", d)
	}
	past := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(dir, "servers-heard"), past, past); err != nil {
		t.Fatal(err)
	}
	if c, err = newContact(dir); err != nil || !c.since().Equal(past) {
		t.Errorf("after a restart: %v, %v, want %v", c.since(), err, past)
	}
	if c.heard(7) {
		t.Error("the first answer says that the node was away")
	}
	if again, err := newContact(dir); err != nil || again.since().Before(past.Add(time.Minute)) {
		t.Errorf("heard, and not noted: %v %v", again.since(), err)
	}

	now := time.Now()
	if c.silent(now.Add(time.Hour)) {
		t.Error("the servers are silent without a question")
	}
	c.asking()
	if c.silent(now) || !c.silent(time.Now().Add(answerTime)) {
		t.Error("a question is too old at once, or never")
	}
	if c.heard(7); c.silent(time.Now().Add(time.Hour)) {
		t.Error("an answer does not end the silence")
	}

	a := &structs.Allocation{TaskGroup: "g", DesiredStatus: structs.AllocDesiredStatusRun, Job: &structs.Job{TaskGroups: []*structs.TaskGroup{{
		Name: "g", Disconnect: &structs.DisconnectStrategy{StopOnClientAfter: structs.Ptr(time.Minute)}}}}}
	if at, limited := stopAfter(a, past); !limited || !at.Equal(past.Add(time.Minute)) {
		t.Errorf("%v %v", at, limited)
	}
	stopped := *a
	stopped.DesiredStatus = structs.AllocDesiredStatusStop
	plain := *a
	plain.TaskGroup = "other"
	for _, other := range []*structs.Allocation{&stopped, &plain, {}} {
		if at, limited := stopAfter(other, past); limited {
			t.Errorf("%+v ends at %v", other, at)
		}
	}
}

// TestContactBack_B01 knows from the answers that the servers had given the node
// up, and which allocations they waited for.
func TestContactBack_B01(t *testing.T) {
	c, err := newContact(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i, step := range []struct {
		ready int64
		back  bool
	}{{100, false}, {100, false}, {160, true}, {160, false}, {161, true}} {
		if back := c.heard(step.ready); back != step.back {
			t.Errorf("answer %d, ready since %d: back is %v", i, step.ready, back)
		}
	}

	group := func(g structs.TaskGroup) *structs.Allocation {
		g.Name = "g"
		return &structs.Allocation{TaskGroup: "g", DesiredStatus: structs.AllocDesiredStatusRun, Job: &structs.Job{TaskGroups: []*structs.TaskGroup{&g}}}
	}
	hour := structs.Ptr(time.Hour)
	stopped := group(structs.TaskGroup{MaxClientDisconnect: hour})
	stopped.DesiredStatus = structs.AllocDesiredStatusStop
	for name, row := range map[string]struct {
		a    *structs.Allocation
		want bool
	}{
		"lost_after":            {group(structs.TaskGroup{Disconnect: &structs.DisconnectStrategy{LostAfter: hour}}), true},
		"max_client_disconnect": {group(structs.TaskGroup{MaxClientDisconnect: hour}), true},
		"stops itself":          {group(structs.TaskGroup{Disconnect: &structs.DisconnectStrategy{StopOnClientAfter: hour}}), false},
		"plain":                 {group(structs.TaskGroup{}), false},
		"stopped":               {stopped, false},
		"no job":                {&structs.Allocation{TaskGroup: "g"}, false},
	} {
		if got := waitedFor(row.a); got != row.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
