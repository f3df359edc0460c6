package rawexec

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/keeper"
)

// TestDisabled_N05: a driver that is disabled starts nothing, whoever asks.
func TestDisabled_N05(t *testing.T) {
	for _, config := range []map[string]any{nil, {"enabled": false}} {
		d := newDriver(t, config)
		if _, _, err := d.StartTask(t.Context(), newTask(t, "echo ran")); err == nil || !strings.Contains(err.Error(), "raw_exec is disabled") {
			t.Errorf("%v: %v", config, err)
		}
	}
}

// TestForgedPid_B58: a process that has a task's number by now is another's:
// it is neither signalled nor killed, with all of its session.
func TestForgedPid_B58(t *testing.T) {
	other := exec.Command("/bin/sleep", "1000")
	other.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- other.Wait() }()
	defer func() {
		_ = other.Process.Kill()
		<-ended
	}()
	d := newDriver(t, map[string]any{"enabled": true})
	cfg := newTask(t, "true")
	handle := &driver.TaskHandle{Version: driver.HandleVersion, Config: cfg, State: driver.TaskRunning}
	state := struct {
		Pid       int
		StartTime uint64
		BootID    string
	}{other.Process.Pid, 1, keeper.BootID()}
	if err := handle.SetDriverState(&state); err != nil {
		t.Fatal(err)
	}
	if err := d.RecoverTask(t.Context(), handle); err != nil {
		t.Fatal(err)
	}
	_ = d.SignalTask(t.Context(), cfg.ID, "SIGTERM")
	if err := d.StopTask(t.Context(), cfg.ID, 10*time.Millisecond, "SIGTERM"); err != nil {
		t.Error(err)
	}
	if result, err := d.WaitTask(t.Context(), cfg.ID); err != nil || result.Err == nil {
		t.Errorf("the end of a task that nobody saw: %+v, %v", result, err)
	}
	if err := d.DestroyTask(t.Context(), cfg.ID, true); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		ended <- err
		t.Errorf("the other process was ended: %v", err)
	case <-time.After(100 * time.Millisecond): // nothing came
	}
}
