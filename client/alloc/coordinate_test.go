package alloc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// parse reads "name:role:state", where state is one of new, pending, running,
// done and failed, and a leading ! marks the leader.
func parse(text string) []taskView {
	var out []taskView
	for f := range strings.FieldsSeq(text) {
		parts := strings.Split(f, ":")
		v := taskView{name: strings.TrimPrefix(parts[0], "!"), leader: strings.HasPrefix(parts[0], "!"), begun: parts[2] != "new"}
		v.role = map[string]role{"main": roleMain, "pre": rolePrestart, "presc": rolePrestartSidecar, "post": rolePoststart, "postsc": rolePoststartSidecar, "stop": rolePoststop}[parts[1]]
		v.state = &structs.TaskState{State: map[string]string{"new": "pending", "pending": "pending", "running": "running", "done": "dead", "failed": "dead"}[parts[2]], Failed: parts[2] == "failed"}
		out = append(out, v)
	}
	return out
}

func showOrders(o orders) string {
	var kills []string
	for _, k := range o.kill {
		text := k.name
		if k.announce != nil {
			text += "(" + k.announce.Type + ")"
		}
		kills = append(kills, text)
	}
	return fmt.Sprintf("start %v kill %v", o.start, kills)
}

func TestCoordinate(t *testing.T) {
	for _, tc := range []struct {
		tasks string
		stop  bool
		want  string
	}{
		{"m:main:new", false, "start [m] kill []"},
		{"p:pre:new s:presc:new m:main:new q:post:new z:stop:new", false, "start [p s] kill []"},
		{"p:pre:running s:presc:running m:main:new", false, "start [] kill []"},
		{"p:pre:done s:presc:pending m:main:new", false, "start [] kill []"},
		{"p:pre:done s:presc:running m:main:new q:post:new", false, "start [m] kill []"},
		{"m:main:pending q:post:new", false, "start [] kill []"},
		{"m:main:running q:post:new r:postsc:new", false, "start [q r] kill []"},
		{"m:main:done q:post:new", false, "start [q] kill []"},
		{"m:main:done q:post:done s:presc:running", false, "start [] kill [s(Main Tasks Dead)]"},
		{"m:main:done s:presc:done z:stop:new", false, "start [z] kill []"},
		{"m:main:failed n:main:running s:presc:running z:stop:new", false, "start [] kill [n(Sibling Task Failed)]"},
		{"p:pre:failed m:main:new z:stop:new", false, "start [] kill [m(Sibling Task Failed)]"},
		{"!a:main:done b:main:running s:presc:running", false, "start [] kill [b(Leader Task Dead)]"},
		{"!a:main:running b:main:running s:presc:running z:stop:new", true, "start [] kill [a]"},
		{"!a:main:done b:main:running s:presc:running", true, "start [] kill [b]"},
		{"!a:main:done b:main:done s:presc:running z:stop:new", true, "start [] kill [s]"},
		{"a:main:done z:stop:new", true, "start [z] kill []"},
		{"a:main:done z:stop:running", true, "start [] kill []"},
		{"m:main:new", true, "start [] kill [m]"},
	} {
		if got := showOrders(coordinate(parse(tc.tasks), tc.stop)); got != tc.want {
			t.Errorf("%s (stop %v):\n got %s\nwant %s", tc.tasks, tc.stop, got, tc.want)
		}
	}
}

func TestSummarise(t *testing.T) {
	for tasks, want := range map[string]string{
		"m:main:new":                            "pending",
		"m:main:pending":                        "pending",
		"p:pre:running m:main:new":              "running",
		"m:main:running n:main:done":            "running",
		"m:main:done z:stop:done":               "complete",
		"m:main:done z:stop:new":                "complete",
		"m:main:done n:main:failed":             "failed",
		"m:main:failed n:main:running":          "failed",
		"m:main:pending n:main:done p:pre:done": "pending",
	} {
		if got, _ := summarise(parse(tasks)); got != want {
			t.Errorf("%s is %s, want %s", tasks, got, want)
		}
	}
}

func TestJudge(t *testing.T) {
	began := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	u := &structs.UpdateStrategy{MinHealthyTime: structs.Ptr(10 * time.Second), HealthyDeadline: structs.Ptr(time.Minute)}
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	passing := func(since int) *checkView { return &checkView{passing: true, since: at(since)} }
	failing := &checkView{why: `check "alive" is failure`}
	for _, tc := range []struct {
		name    string
		tasks   string
		started int
		now     int
		want    string
		checks  *checkView
	}{
		{"too early", "m:main:running", 2, 5, "undecided, again at 12s", nil},
		{"steady", "m:main:running p:pre:done z:stop:new", 2, 12, "healthy", nil},
		{"not running yet", "m:main:running n:main:pending", 2, 30, "undecided, again at 60s", nil},
		{"late start", "m:main:running", 55, 59, "undecided, again at 60s", nil},
		{"deadline", "m:main:running n:main:pending", 2, 60, "unhealthy: Task not running by healthy_deadline of 1m0s", nil},
		{"restarted late", "m:main:running", 55, 60, "unhealthy: Task not running for min_healthy_time of 10s by healthy_deadline of 1m0s", nil},
		{"failed", "m:main:failed", 0, 1, "unhealthy: Unhealthy because of failed task", nil},
		{"ended", "m:main:done", 0, 1, "unhealthy: Unhealthy because of dead task", nil},
		{"checks begin to pass late", "m:main:running", 2, 12, "undecided, again at 15s", passing(5)},
		{"checks pass long enough", "m:main:running", 2, 15, "healthy", passing(5)},
		{"checks do not pass", "m:main:running", 2, 30, "undecided, again at 60s", failing},
		{"checks never passed", "m:main:running", 2, 60, `unhealthy: Checks not passing by healthy_deadline of 1m0s: check "alive" is failure`, failing},
		{"the task is worse than its checks", "m:main:pending", 2, 60, "unhealthy: Task not running by healthy_deadline of 1m0s", failing},
	} {
		tasks := parse(tc.tasks)
		for i := range tasks {
			tasks[i].state.StartedAt = structs.Ptr(at(tc.started))
		}
		v := judge(u, tasks, tc.checks, began, at(tc.now))
		got := "undecided, again at " + fmt.Sprint(v.again.Sub(began).Seconds()) + "s"
		if v.healthy != nil {
			got = map[bool]string{true: "healthy", false: "unhealthy: " + v.reason}[*v.healthy]
		}
		if got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
}
