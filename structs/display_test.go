package structs

import (
	"reflect"
	"testing"
	"time"
)

func TestDisplay(t *testing.T) {
	for _, test := range []struct {
		kind    string
		details map[string]string
		want    string
	}{
		{TaskStarted, nil, "Task started by client"},
		{TaskReceived, nil, "Task received by client"},
		{TaskSetup, map[string]string{"message": "Building Task Directory"}, "Building Task Directory"},
		{TaskTerminated, map[string]string{"exit_code": "1", "signal": "0", "exit_message": "x"}, `Exit Code: 1, Exit Message: "x"`},
		{TaskTerminated, map[string]string{"exit_code": "137", "signal": "9", "oom_killed": "true"}, "Exit Code: 137, Signal: 9, OOM Killed"},
		{TaskRestarting, map[string]string{"start_delay": "15000000000", "restart_reason": RestartWithinPolicy}, "Task restarting in 15s"},
		{TaskRestarting, map[string]string{"start_delay": "1500000000", "restart_reason": "check"}, "check - Task restarting in 1.5s"},
		{TaskKilling, map[string]string{"kill_timeout": "5s"}, "Sent interrupt. Waiting 5s before force killing"},
		{TaskKilled, nil, "Task successfully killed"},
		{TaskDownloadingArtifacts, nil, "Client is downloading artifacts"},
		{TaskSignaling, map[string]string{"task_signal": "SIGHUP"}, "Task being sent signal SIGHUP"},
		{"Strange", map[string]string{"message": "m"}, "m"},
	} {
		e := &TaskEvent{Type: test.kind, Details: test.details}
		if got := e.Display(); got != test.want {
			t.Errorf("%s: %q, want %q", test.kind, got, test.want)
		}
	}
}

func TestCopySharesNothing(t *testing.T) {
	j := canonical(func(j *Job) {
		j.TaskGroups[0].Tasks[0].Config["m"] = []any{map[string]any{"k": 1}}
	})
	c := j.Copy()
	if !reflect.DeepEqual(j, c) {
		t.Fatal("the copy differs")
	}
	c.TaskGroups[0].Tasks[0].Config["m"].([]any)[0].(map[string]any)["k"] = 2
	*c.TaskGroups[0].Count = 9
	if !SpecChanged(j, c) || *j.TaskGroups[0].Count != 1 || j.TaskGroups[0].Tasks[0].Config["m"].([]any)[0].(map[string]any)["k"] != 1 {
		t.Error("the copy shares something")
	}
	a := &Allocation{Job: j, DeploymentStatus: &AllocDeploymentStatus{Timestamp: time.Unix(5, 0)}}
	if b := a.Copy(); b.Job != j || b.DeploymentStatus == a.DeploymentStatus || !b.DeploymentStatus.Timestamp.Equal(time.Unix(5, 0)) {
		t.Error("allocation copied wrongly")
	}
}
