package keeper

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// Limits of a plugin's start and end.
const (
	handshakeTimeout = 10 * time.Second
	maxHandshake     = 4 << 10
	stopGrace        = 2 * time.Second
)

// plugins starts and ends plugin processes, one a name. A record of each on
// disk lets the next keeper find those that outlive this one.
type plugins struct {
	reaper *reaper
	dir    string // of the records
	log    hclog.Logger

	mu     sync.Mutex // guards what follows
	alive  map[string]*child
	starts map[string]*sync.Mutex // by name; held while it starts, which others do not wait for
}

// child is a plugin's process.
type child struct {
	plugin protocol.Plugin
	ended  chan struct{}
}

func newPlugins(dir string, r *reaper, log hclog.Logger) *plugins {
	return &plugins{reaper: r, dir: filepath.Join(dir, pluginsName), log: log, alive: map[string]*child{}, starts: map[string]*sync.Mutex{}}
}

// recover finds the plugins that an earlier keeper started and that still
// live. They are not our children: a pidfd tells their end.
func (p *plugins) recover() {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		p.log.Error("cannot read the records of plugins", "error", err)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range entries {
		path := filepath.Join(p.dir, e.Name())
		raw, err := os.ReadFile(path)
		var plugin protocol.Plugin
		if err == nil {
			err = json.Unmarshal(raw, &plugin)
		}
		if err == nil && plugin.Process.Alive() {
			p.alive[plugin.Name] = p.adopt(plugin)
			continue
		}
		os.Remove(path)
	}
}

func (p *plugins) adopt(plugin protocol.Plugin) *child {
	c := &child{plugin: plugin, ended: make(chan struct{})}
	pidfd, err := protocol.OpenPidfd(plugin.Process)
	if err != nil {
		close(c.ended)
		return c
	}
	p.log.Info("plugin adopted", "name", plugin.Name, "pid", plugin.Process.Pid)
	go func() {
		defer close(c.ended)
		defer pidfd.Close()
		protocol.AwaitPidfd(pidfd)
	}()
	return c
}

// record keeps what recover needs. Names are file names.
func (p *plugins) record(plugin protocol.Plugin) error {
	if filepath.Base(plugin.Name) != plugin.Name {
		return fmt.Errorf("cannot start plugin %q: not a plain name", plugin.Name)
	}
	raw, err := json.Marshal(plugin)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.dir, plugin.Name), raw, 0o600)
}

// start starts a plugin and reads its handshake, or returns the live one.
func (p *plugins) start(spec protocol.PluginSpec) (*protocol.Plugin, error) {
	p.mu.Lock()
	one := p.starts[spec.Name]
	if one == nil {
		one = &sync.Mutex{}
		p.starts[spec.Name] = one
	}
	p.mu.Unlock()
	one.Lock()
	defer one.Unlock()
	p.mu.Lock()
	live := p.alive[spec.Name]
	p.mu.Unlock()
	if live != nil && !live.gone() {
		plugin := live.plugin
		return &plugin, nil
	}
	if spec.Name == "" || len(spec.Argv) == 0 {
		return nil, errors.New("cannot start a plugin without name or program")
	}
	c, stdout, err := p.spawn(spec)
	if err != nil {
		return nil, fmt.Errorf("cannot start plugin %q: %w", spec.Name, err)
	}
	line, err := handshake(stdout, c.ended)
	if err != nil {
		_ = syscall.Kill(c.plugin.Process.Pid, syscall.SIGKILL)
		return nil, fmt.Errorf("cannot start plugin %q: %w; see %s", spec.Name, err, spec.LogFile)
	}
	c.plugin.Handshake = line
	if err := p.record(c.plugin); err != nil {
		_ = syscall.Kill(c.plugin.Process.Pid, syscall.SIGKILL)
		return nil, err
	}
	p.mu.Lock()
	p.alive[spec.Name] = c
	p.mu.Unlock()
	p.log.Info("plugin started", "name", spec.Name, "pid", c.plugin.Process.Pid)
	plugin := c.plugin
	return &plugin, nil
}

// spawn forks the process in a session of its own, with files for its streams:
// no pipe of ours can break under it.
func (p *plugins) spawn(spec protocol.PluginSpec) (*child, *os.File, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	logFile, err := os.OpenFile(spec.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, nil, err
	}
	defer logFile.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	c := &child{plugin: protocol.Plugin{Name: spec.Name}, ended: make(chan struct{})}
	// The reaper must not reap it before it knows it.
	p.reaper.mu.Lock()
	defer p.reaper.mu.Unlock()
	pid, err := syscall.ForkExec(spec.Argv[0], spec.Argv, &syscall.ProcAttr{
		Env: spec.Env, Files: []uintptr{null.Fd(), w.Fd(), logFile.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		r.Close()
		return nil, nil, err
	}
	p.reaper.reaped[pid] = func(exit protocol.Exit) {
		p.log.Info("plugin ended", "name", spec.Name, "pid", pid, "code", exit.Code)
		close(c.ended)
	}
	if c.plugin.Process, err = protocol.Identify(pid); err != nil {
		c.plugin.Process = protocol.Process{Pid: pid}
	}
	return c, r, nil
}

// handshake reads the first line, then drains the pipe for good: a plugin that
// prints later must not block.
func handshake(r *os.File, ended <-chan struct{}) (string, error) {
	if err := r.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		r.Close()
		return "", err
	}
	br := bufio.NewReaderSize(io.LimitReader(r, maxHandshake), 256)
	line, err := br.ReadString('\n')
	if err != nil {
		r.Close()
		select {
		case <-ended:
			return "", errors.New("it ended before its handshake")
		default:
			return "", fmt.Errorf("no handshake within %v: %w", handshakeTimeout, err)
		}
	}
	_ = r.SetReadDeadline(time.Time{})
	go func() {
		_, _ = io.Copy(io.Discard, r)
		r.Close()
	}()
	return strings.TrimSpace(line), nil
}

func (c *child) gone() bool {
	select {
	case <-c.ended:
		return true
	default:
		return false
	}
}

// stop ends a plugin: SIGTERM, then SIGKILL.
func (p *plugins) stop(name string) error {
	p.mu.Lock()
	c := p.alive[name]
	delete(p.alive, name)
	p.mu.Unlock()
	if c == nil || c.gone() {
		return nil
	}
	_ = syscall.Kill(c.plugin.Process.Pid, syscall.SIGTERM)
	select {
	case <-c.ended:
		return nil
	case <-time.After(stopGrace):
	}
	_ = syscall.Kill(c.plugin.Process.Pid, syscall.SIGKILL)
	<-c.ended
	return nil
}

func (p *plugins) stopAll() {
	for _, plugin := range p.list() {
		_ = syscall.Kill(plugin.Process.Pid, syscall.SIGTERM)
	}
}

// list returns the live plugins by name.
func (p *plugins) list() []protocol.Plugin {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []protocol.Plugin
	for _, c := range p.alive {
		if !c.gone() {
			out = append(out, c.plugin)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
