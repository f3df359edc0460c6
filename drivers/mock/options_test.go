package mock

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

func encoded(t *testing.T, spec *hclspec.Spec, config map[string]any) []byte {
	t.Helper()
	schema, err := hclspec.Compile(spec)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := schema.Decode(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// played starts a task of a script; d.exit is noted on ended.
func played(t *testing.T, config map[string]any) (d *Driver, cfg *driver.TaskConfig, network *driver.NetworkOverride, ended chan int, err error) {
	t.Helper()
	ended = make(chan int, 1)
	d = New(hclog.NewNullLogger(), func(code int) { ended <- code })
	dir := t.TempDir()
	cfg = &driver.TaskConfig{ID: "a/t/1", Name: "t", StdoutPath: filepath.Join(dir, "out"), StderrPath: filepath.Join(dir, "err"), MsgpackConfig: encoded(t, taskSchema, config)}
	for _, path := range []string{cfg.StdoutPath, cfg.StderrPath} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, network, err = d.StartTask(t.Context(), cfg)
	return d, cfg, network, ended, err
}

// TestResults: a task ends as its script says, and prints what it says.
func TestResults(t *testing.T) {
	for name, tt := range map[string]struct {
		config    map[string]any
		code      int32
		signal    int32
		err       string
		out, err2 string
	}{
		"nothing":       {map[string]any{}, 0, 0, "", "", ""},
		"exit_code":     {map[string]any{"exit_code": 3, "run_for": "1ms"}, 3, 0, "", "", ""},
		"exit_signal":   {map[string]any{"exit_signal": 9}, 0, 9, "", "", ""},
		"exit_err_msg":  {map[string]any{"exit_err_msg": "it broke"}, 0, 0, "it broke", "", ""},
		"stdout_string": {map[string]any{"stdout_string": "x", "stdout_repeat": 3, "stdout_repeat_duration": "1ms", "run_for": "1m"}, 0, 0, "", "xxx", ""},
		"stderr_string": {map[string]any{"stderr_string": "y", "stderr_repeat": 2, "stderr_repeat_duration": "1ms", "run_for": "1m"}, 0, 0, "", "", "yy"},
	} {
		t.Run(name, func(t *testing.T) {
			d, cfg, _, _, err := played(t, tt.config)
			if err != nil {
				t.Fatal(err)
			}
			printed := func(path, want string) {
				t.Helper()
				for end := time.Now().Add(20 * time.Second); ; <-time.After(time.Millisecond) {
					raw, err := os.ReadFile(path)
					if err == nil && string(raw) == want {
						return
					}
					if time.Now().After(end) {
						t.Fatalf("printed %q, want %q", raw, want)
					}
				}
			}
			printed(cfg.StdoutPath, tt.out)
			printed(cfg.StderrPath, tt.err2)
			if tt.config["run_for"] == "1m" {
				if err := d.DestroyTask(t.Context(), cfg.ID, true); err != nil {
					t.Error(err)
				}
				return
			}
			got, err := d.WaitTask(t.Context(), cfg.ID)
			if err != nil || got.ExitCode != tt.code || got.Signal != tt.signal || (got.Err == nil) != (tt.err == "") || got.Err != nil && got.Err.Error() != tt.err {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// TestStarts: a start fails, waits or claims an address as its script says.
func TestStarts(t *testing.T) {
	_, _, _, _, err := played(t, map[string]any{"start_error": "no luck"})
	var r *driver.RecoverableError
	if err == nil || err.Error() != "no luck" || errors.As(err, &r) && r.Recoverable {
		t.Errorf("start_error: %v", err)
	}
	_, _, _, _, err = played(t, map[string]any{"start_error": "no luck", "start_error_recoverable": true})
	if !driver.IsRecoverable(err) {
		t.Errorf("start_error_recoverable: %v", err)
	}
	began := time.Now()
	if _, _, _, _, err := played(t, map[string]any{"start_block_for": "30ms"}); err != nil || time.Since(began) < 30*time.Millisecond {
		t.Errorf("start_block_for: %v after %v", err, time.Since(began))
	}
	_, _, network, _, err := played(t, map[string]any{"driver_ip": "192.0.2.1", "driver_advertise": true, "driver_port_map": "web:8080"})
	want := &driver.NetworkOverride{Addr: "192.0.2.1", AutoAdvertise: true, PortMap: map[string]int32{"web": 8080}}
	if diff := cmp.Diff(want, network); err != nil || diff != "" {
		t.Errorf("%v: %s", err, diff)
	}
	for _, bad := range []map[string]any{{"run_for": "soon"}, {"driver_ip": "here"}, {"driver_port_map": "web"}, {"kill_after": "-1s"}} {
		if _, _, _, _, err := played(t, bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

// TestWhileItRuns: signals, stops, commands and the process itself do what the
// script says.
func TestWhileItRuns(t *testing.T) {
	d, cfg, _, _, err := played(t, map[string]any{
		"run_for": "1h", "kill_after": "10ms", "signal_error": "deaf",
		"exec_command": []any{map[string]any{"stdout_string": "inside", "exit_code": 4}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.SignalTask(t.Context(), cfg.ID, "SIGHUP"); err == nil || err.Error() != "deaf" {
		t.Errorf("signal_error: %v", err)
	}
	if out, err := d.ExecTask(t.Context(), cfg.ID, []string{"x"}, time.Minute); err != nil || string(out.Stdout) != "inside" || out.Exit.ExitCode != 4 {
		t.Errorf("exec_command: %+v, %v", out, err)
	}
	began := time.Now()
	if err := d.StopTask(t.Context(), cfg.ID, time.Hour, ""); err != nil || time.Since(began) < 10*time.Millisecond {
		t.Errorf("kill_after: %v after %v", err, time.Since(began))
	}
	_, _, _, ended, err := played(t, map[string]any{"run_for": "1h", "plugin_exit_after": "5ms"})
	if err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 1 {
		t.Errorf("plugin_exit_after ends the process with %d", code)
	}
}

// TestPluginOptions: what the plugin's block changes of what the driver says.
func TestPluginOptions(t *testing.T) {
	for isolation, want := range isolations {
		d := New(hclog.NewNullLogger(), nil)
		if err := d.SetConfig(t.Context(), &base.Config{Msgpack: encoded(t, pluginSchema, map[string]any{"fs_isolation": isolation})}); err != nil {
			t.Fatal(err)
		}
		if caps, err := d.Capabilities(t.Context()); err != nil || caps.FSIsolation != want {
			t.Errorf("%s: %+v, %v", isolation, caps, err)
		}
	}
	d := New(hclog.NewNullLogger(), nil)
	config := map[string]any{"shutdown_periodic_after": true, "shutdown_periodic_duration": 1}
	if err := d.SetConfig(t.Context(), &base.Config{Msgpack: encoded(t, pluginSchema, config)}); err != nil {
		t.Fatal(err)
	}
	if fp := d.look(t.Context()); fp.Health != driver.HealthUndetected || !strings.Contains(fp.HealthDescription, "shutdown_periodic_after") {
		t.Errorf("%+v", fp)
	}
}
