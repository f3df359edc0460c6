package mock

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// pluginConfig is the plugin block's config.
type pluginConfig struct {
	FSIsolation              string `codec:"fs_isolation"`
	ShutdownPeriodicAfter    bool   `codec:"shutdown_periodic_after"`
	ShutdownPeriodicDuration int64  `codec:"shutdown_periodic_duration"` // nanoseconds
}

// pluginSchema is the schema of pluginConfig.
var pluginSchema = hclspec.NewObject(map[string]*hclspec.Spec{
	"fs_isolation":               hclspec.NewText("fs_isolation", "none"),
	"shutdown_periodic_after":    hclspec.NewFlag("shutdown_periodic_after"),
	"shutdown_periodic_duration": hclspec.NewAttr("shutdown_periodic_duration", "number", false),
})

// isolations are the values of fs_isolation.
var isolations = map[string]driver.FSIsolation{
	"none":   driver.FSIsolationNone,
	"chroot": driver.FSIsolationChroot,
	"image":  driver.FSIsolationImage,
	"unveil": driver.FSIsolationUnveil,
}

// commandConfig is the script of a command: how long it runs, what it prints
// and how it ends. Durations are texts, as "5s".
type commandConfig struct {
	RunFor               string `codec:"run_for"`
	ExitCode             int32  `codec:"exit_code"`
	ExitSignal           int32  `codec:"exit_signal"`
	ExitErrMsg           string `codec:"exit_err_msg"`
	SignalError          string `codec:"signal_error"`
	StdoutString         string `codec:"stdout_string"`
	StdoutRepeat         int64  `codec:"stdout_repeat"`
	StdoutRepeatDuration string `codec:"stdout_repeat_duration"`
	StderrString         string `codec:"stderr_string"`
	StderrRepeat         int64  `codec:"stderr_repeat"`
	StderrRepeatDuration string `codec:"stderr_repeat_duration"`
}

// taskConfig is the config block of a task. The fields of its own command are
// named by hand: the codec does not look into embedded structs of msgpack.
type taskConfig struct {
	commandConfig `codec:",inline"`

	ExecCommand           *commandConfig `codec:"exec_command"`
	StartError            string         `codec:"start_error"`
	StartErrorRecoverable bool           `codec:"start_error_recoverable"`
	StartBlockFor         string         `codec:"start_block_for"`
	KillAfter             string         `codec:"kill_after"`
	PluginExitAfter       string         `codec:"plugin_exit_after"`
	DriverIP              string         `codec:"driver_ip"`
	DriverAdvertise       bool           `codec:"driver_advertise"`
	DriverPortMap         string         `codec:"driver_port_map"`
}

// commandAttributes are the schema of commandConfig.
func commandAttributes() map[string]*hclspec.Spec {
	return attributes(map[string]string{
		"run_for":                "string",
		"exit_code":              "number",
		"exit_signal":            "number",
		"exit_err_msg":           "string",
		"signal_error":           "string",
		"stdout_string":          "string",
		"stdout_repeat":          "number",
		"stdout_repeat_duration": "string",
		"stderr_string":          "string",
		"stderr_repeat":          "number",
		"stderr_repeat_duration": "string",
	})
}

// taskSchema is the schema of taskConfig.
var taskSchema = newTaskSchema()

func newTaskSchema() *hclspec.Spec {
	all := attributes(map[string]string{
		"start_error":             "string",
		"start_error_recoverable": "bool",
		"start_block_for":         "string",
		"kill_after":              "string",
		"plugin_exit_after":       "string",
		"driver_ip":               "string",
		"driver_advertise":        "bool",
		"driver_port_map":         "string",
	})
	for name, attr := range commandAttributes() {
		all[name] = attr
	}
	all["exec_command"] = hclspec.NewBlock("exec_command", false, hclspec.NewObject(commandAttributes()))
	return hclspec.NewObject(all)
}

// attributes are optional attributes by name and type.
func attributes(types map[string]string) map[string]*hclspec.Spec {
	out := make(map[string]*hclspec.Spec, len(types))
	for name, typ := range types {
		out[name] = hclspec.NewAttr(name, typ, false)
	}
	return out
}

// output is a text that a command prints count times, every so often.
type output struct {
	text  string
	count int64
	every time.Duration
}

// command is a parsed commandConfig.
type command struct {
	runFor      time.Duration
	result      driver.ExitResult
	signalError string
	stdout      output
	stderr      output
}

// script is a parsed taskConfig.
type script struct {
	command
	exec            *command // nil: exec echoes its input
	startError      error
	startBlockFor   time.Duration
	killAfter       time.Duration
	pluginExitAfter time.Duration
	network         *driver.NetworkOverride
}

// parser collects the problems of a config.
type parser struct{ problems []error }

func (p *parser) duration(name, text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = errors.New("it is negative")
	}
	if err != nil {
		p.problems = append(p.problems, fmt.Errorf("cannot use %s = %q: %w; write a duration as \"5s\"", name, text, err))
	}
	return d
}

// parseTask reads the config of a task.
func parseTask(task *driver.TaskConfig) (*script, error) {
	var c taskConfig
	if err := task.DecodeDriverConfig(&c); err != nil {
		return nil, err
	}
	p := &parser{}
	s := &script{
		command:         p.command(&c.commandConfig),
		startBlockFor:   p.duration("start_block_for", c.StartBlockFor),
		killAfter:       p.duration("kill_after", c.KillAfter),
		pluginExitAfter: p.duration("plugin_exit_after", c.PluginExitAfter),
		network:         p.network(&c),
	}
	if c.ExecCommand != nil {
		exec := p.command(c.ExecCommand)
		s.exec = &exec
	}
	if c.StartError != "" {
		s.startError = &driver.RecoverableError{Err: errors.New(c.StartError), Recoverable: c.StartErrorRecoverable}
	}
	return s, errors.Join(p.problems...)
}

func (p *parser) command(c *commandConfig) command {
	out := command{
		runFor:      p.duration("run_for", c.RunFor),
		result:      driver.ExitResult{ExitCode: c.ExitCode, Signal: c.ExitSignal},
		signalError: c.SignalError,
		stdout:      output{c.StdoutString, max(c.StdoutRepeat, 1), p.duration("stdout_repeat_duration", c.StdoutRepeatDuration)},
		stderr:      output{c.StderrString, max(c.StderrRepeat, 1), p.duration("stderr_repeat_duration", c.StderrRepeatDuration)},
	}
	if c.ExitErrMsg != "" {
		out.result.Err = errors.New(c.ExitErrMsg)
	}
	return out
}

// network is the address that the config claims; nil where it claims none.
func (p *parser) network(c *taskConfig) *driver.NetworkOverride {
	if c.DriverIP == "" && c.DriverPortMap == "" && !c.DriverAdvertise {
		return nil
	}
	out := &driver.NetworkOverride{Addr: c.DriverIP, AutoAdvertise: c.DriverAdvertise}
	if c.DriverIP != "" && net.ParseIP(c.DriverIP) == nil {
		p.problems = append(p.problems, fmt.Errorf("cannot use driver_ip = %q: it is no IP address", c.DriverIP))
	}
	if c.DriverPortMap != "" {
		label, text, _ := strings.Cut(c.DriverPortMap, ":")
		port, err := strconv.ParseUint(text, 10, 16)
		if label == "" || err != nil {
			p.problems = append(p.problems, fmt.Errorf("cannot use driver_port_map = %q: write label:port", c.DriverPortMap))
		}
		out.PortMap = map[string]int32{label: int32(port)}
	}
	return out
}

// parseSignal reads a signal's name, with or without SIG; empty is SIGINT, the
// default of the contract's own drivers.
func parseSignal(name string) (unix.Signal, error) {
	if name == "" {
		return unix.SIGINT, nil
	}
	full := strings.ToUpper(name)
	if !strings.HasPrefix(full, "SIG") {
		full = "SIG" + full
	}
	sig := unix.SignalNum(full)
	if sig == 0 {
		return 0, fmt.Errorf("unknown signal %q: use a name such as SIGTERM", name)
	}
	return sig, nil
}
