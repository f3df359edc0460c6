// Package driver keeps the node's plugins running: it has the keeper start
// their processes, configures them, follows the fingerprints of drivers, hands
// device plugins to who follows those, and starts them again when they die.
// Tasks are not touched by any of this.
package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/client/keeper"
	"github.com/nomadlite/nomadlite/plugins/base"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
	"github.com/nomadlite/nomadlite/structs"
)

// needsInterval is how often a node is looked at for what a driver needs.
const needsInterval = 15 * time.Second

// Limits of a plugin's start.
const (
	startTimeout = 15 * time.Second
	minBackoff   = 50 * time.Millisecond
	maxBackoff   = 30 * time.Second
)

// Spec is one plugin to run.
type Spec struct {
	// Name is the driver's; of an external plugin its file's and its block's:
	// what it is and what it is called, it says itself.
	Name     string
	External bool
	Argv     []string // the process
	Config   map[string]any
	// Late says that few jobs need the driver: a node that runs nothing registers
	// without waiting for it.
	Late bool
	// When reports whether the node has what the driver needs; nil: always.
	// Without it no process is run for the driver.
	When func() bool
}

// Config wires a Manager.
type Config struct {
	Specs  []Spec
	Keeper *keeper.Host
	Logger hclog.Logger // named "client.driver_mgr"
	Agent  base.AgentConfig
	// Changed is called with each new state of a driver.
	Changed func(name string, info *structs.DriverInfo)
	// Begin is closed when late plugins may start.
	Begin <-chan struct{}
	// Device follows a device plugin until ctx ends or the plugin fails.
	Device func(ctx context.Context, name string, p *base.Process) error
	// Busy reports whether a task needs a driver; nil: all drivers are kept running.
	Busy func(name string) bool
	// Allowed reports whether a driver of this name may run here; nil: any may.
	Allowed func(name string) bool
	// Event is called with what a driver says about a task; nil: nobody cares.
	Event  func(*plugin.TaskEvent)
	NodeID string // told to drivers of our own
}

// Instance is a plugin that answers.
type Instance struct {
	*plugin.Process
	Capabilities plugin.Capabilities
	// Schema decodes the config block of tasks.
	Schema *hclspec.Schema
}

// alive reports whether the process has not ended: what ended may be found for
// a moment before it is replaced.
func (i *Instance) alive() bool {
	select {
	case <-i.Done():
		return false
	default:
		return true
	}
}

// Manager runs the plugins of a node.
type Manager struct {
	cfg Config

	mu      sync.Mutex // guards what follows
	live    map[string]*Instance
	serves  map[string]identity  // by Spec.Name, once it is known
	changed chan struct{}        // closed and replaced when live changes
	used    map[string]time.Time // when a driver that may sleep was last asked for

	wake map[string]chan struct{} // by name of those that may sleep; each holds one
}

// identity is what a plugin says it is: its type, base.TypeDriver or
// base.TypeDevice, and its name among those of the type.
type identity struct{ typ, name string }

// New makes a manager; Run starts the plugins.
func New(cfg Config) *Manager {
	m := &Manager{cfg: cfg, live: map[string]*Instance{}, serves: map[string]identity{}, changed: make(chan struct{}), used: map[string]time.Time{}, wake: map[string]chan struct{}{}}
	for _, s := range cfg.Specs {
		if m.sleepy(s) {
			m.wake[s.Name] = make(chan struct{}, 1)
		}
		if !s.External {
			m.serves[s.Name] = identity{base.TypeDriver, s.Name}
		}
	}
	return m
}

// driverName is what the names of drivers look like: they become parts of
// attributes and of paths in the HTTP API.
var driverName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`) })

// claim takes note of what a plugin is. Each driver, and each device plugin's
// name, is one plugin's; one that takes the name of another is refused.
func (m *Manager) claim(spec Spec, is identity) error {
	if !driverName().MatchString(is.name) {
		return fmt.Errorf("plugin %q calls its %s %q: a name is of letters, digits, dots, dashes and underscores, at most 64", spec.Name, is.typ, is.name)
	}
	if is.typ == base.TypeDriver && m.cfg.Allowed != nil && !m.cfg.Allowed(is.name) {
		return fmt.Errorf("plugin %q serves driver %q, which this node's options do not allow (driver.allowlist, driver.denylist)", spec.Name, is.name)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for other, known := range m.serves {
		if known == is && other != spec.Name {
			return fmt.Errorf("plugin %q calls its %s %q: that is served by plugin %q already; remove one of them", spec.Name, is.typ, is.name, other)
		}
	}
	if known, ok := m.serves[spec.Name]; ok && known != is {
		return fmt.Errorf("plugin %q calls its %s %q: it was %q before, a %s", spec.Name, is.typ, is.name, known.name, known.typ)
	}
	m.serves[spec.Name] = is
	return nil
}

// identityOf is what a plugin is; one that has not said so yet counts as the
// driver of its own name.
func (m *Manager) identityOf(spec Spec) identity {
	m.mu.Lock()
	defer m.mu.Unlock()
	if is, known := m.serves[spec.Name]; known {
		return is
	}
	return identity{base.TypeDriver, spec.Name}
}

// Names lists the drivers that the manager runs.
func (m *Manager) Names() []string {
	var out []string
	for _, s := range m.cfg.Specs {
		if is := m.identityOf(s); is.typ == base.TypeDriver {
			out = append(out, is.name)
		}
	}
	sort.Strings(out)
	return out
}

// Get returns the plugin of a driver, waiting for it to answer until ctx ends.
func (m *Manager) Get(ctx context.Context, name string) (*Instance, error) {
	if !m.knows(name) {
		return nil, fmt.Errorf("driver %q not found: this node runs %s", name, strings.Join(m.Names(), ", "))
	}
	for {
		m.mu.Lock()
		m.wanted(name)
		inst, changed := m.live[name], m.changed
		m.mu.Unlock()
		if inst != nil && inst.alive() {
			return inst, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("driver %q does not answer: %w", name, ctx.Err())
		}
	}
}

// knows reports whether a driver is, or may turn out to be, one of ours: an
// external plugin that has not answered yet may serve any.
func (m *Manager) knows(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.cfg.Specs {
		if is, known := m.serves[s.Name]; !known || is == (identity{base.TypeDriver, name}) {
			return true
		}
	}
	return false
}

func (m *Manager) set(name string, inst *Instance) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if inst == nil {
		delete(m.live, name)
	} else {
		m.live[name] = inst
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Run keeps all plugins running until ctx ends; their processes stay.
func (m *Manager) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, spec := range m.cfg.Specs {
		group.Go(func() error {
			if spec.Late {
				select {
				case <-m.cfg.Begin:
				case <-ctx.Done():
					return nil
				}
			}
			m.keep(ctx, spec)
			return nil
		})
	}
	return group.Wait()
}

// keep runs one plugin again and again.
func (m *Manager) keep(ctx context.Context, spec Spec) {
	backoff := minBackoff
	for m.awaitNeeds(ctx, spec) {
		began := time.Now()
		err := m.session(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errAsleep) {
			m.sleep(ctx, spec)
			continue
		}
		m.cfg.Logger.Warn("plugin lost; starting it again", "plugin", spec.Name, "error", err, "backoff", backoff)
		if is := m.identityOf(spec); is.typ == base.TypeDriver {
			m.cfg.Changed(is.name, &structs.DriverInfo{
				Attributes: map[string]string{}, HealthDescription: "driver plugin does not answer: " + text(err), UpdateTime: time.Now(),
			})
		}
		if time.Since(began) > maxBackoff {
			backoff = minBackoff
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// awaitNeeds waits until the node has what a driver needs. It reports false
// when ctx has ended.
func (m *Manager) awaitNeeds(ctx context.Context, spec Spec) bool {
	for told := false; spec.When != nil && !spec.When(); told = true {
		if !told {
			m.cfg.Changed(spec.Name, &structs.DriverInfo{
				Attributes: map[string]string{}, HealthDescription: "the node lacks what the driver needs", UpdateTime: time.Now(),
			})
		}
		select {
		case <-time.After(needsInterval):
		case <-ctx.Done():
			return false
		}
	}
	return ctx.Err() == nil
}

func text(err error) string {
	if err == nil {
		return "its process ended"
	}
	return err.Error()
}

// session connects to the plugin and follows it until it is lost.
func (m *Manager) session(ctx context.Context, spec Spec) error {
	proc, info, err := m.connect(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { _ = proc.Disconnect() }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-proc.Done():
			cancel()
		case <-stop:
		}
	}()
	if info.Type == base.TypeDevice {
		return m.cfg.Device(ctx, info.Name, proc)
	}
	inst, err := m.driverOf(ctx, proc)
	if err != nil {
		return err
	}
	return m.serve(ctx, spec, info.Name, inst)
}

// serve hands a driver to Get and follows its fingerprints until it is lost.
func (m *Manager) serve(ctx context.Context, spec Spec, name string, inst *Instance) error {
	m.set(name, inst)
	defer m.set(name, nil)
	told := make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	if m.sleepy(spec) {
		var stop context.CancelCauseFunc
		ctx, stop = context.WithCancelCause(ctx)
		defer stop(nil)
		go func() {
			if m.awaitIdle(ctx, name, told) == nil {
				stop(errAsleep)
			}
		}()
	}
	if m.cfg.Event != nil {
		go m.followEvents(ctx, inst)
	}
	for {
		err := inst.Fingerprint(ctx, func(fp *plugin.Fingerprint) error {
			m.cfg.Changed(name, infoOf(fp))
			tell()
			return nil
		})
		if errors.Is(context.Cause(ctx), errAsleep) {
			return errAsleep
		}
		if ctx.Err() != nil || errors.Is(err, plugin.ErrPluginShutdown) {
			return err
		}
		select { // a stream that ends is opened again
		case <-time.After(reopenDelay):
		case <-ctx.Done():
			return nil
		}
	}
}

// followEvents passes on what the driver says about its tasks until ctx ends.
// A driver that does not know the call, or breaks it off, is asked again in a
// while.
func (m *Manager) followEvents(ctx context.Context, inst *Instance) {
	limit := newEventLimit(time.Now())
	for ctx.Err() == nil {
		err := inst.TaskEvents(ctx, func(e *plugin.TaskEvent) error {
			if limit.allow(time.Now()) {
				m.cfg.Event(e)
			}
			return nil
		})
		if errors.Is(err, plugin.ErrNotSupported) {
			return
		}
		select {
		case <-time.After(reopenDelay):
		case <-ctx.Done():
		}
	}
}

// Limits of what drivers say about tasks: a flood is cut, not passed on.
const (
	eventBurst  = 200
	eventRate   = 20 // a second
	reopenDelay = 5 * time.Second
)

// eventLimit is a bucket of events that refills with time.
type eventLimit struct {
	left float64
	last time.Time
}

func newEventLimit(now time.Time) *eventLimit { return &eventLimit{eventBurst, now} }

func (l *eventLimit) allow(now time.Time) bool {
	l.left = min(l.left+now.Sub(l.last).Seconds()*eventRate, eventBurst)
	l.last = now
	if l.left < 1 {
		return false
	}
	l.left--
	return true
}

// infoOf turns a fingerprint into what nodes show.
func infoOf(fp *plugin.Fingerprint) *structs.DriverInfo {
	info := &structs.DriverInfo{
		Attributes: map[string]string{}, Detected: fp.Health != plugin.HealthUndetected,
		Healthy: fp.Health == plugin.HealthHealthy, HealthDescription: fp.HealthDescription, UpdateTime: time.Now(),
	}
	for k, v := range fp.Attributes {
		info.Attributes[k] = v.Text()
	}
	if fp.Err != nil {
		info.Healthy, info.HealthDescription = false, "failed to fingerprint driver"
	}
	return info
}

// FindExternal lists the plugins of a directory that the configuration names:
// executable files whose name, less ".exe", is a plugin block's label. Others
// are left alone.
func FindExternal(dir string, names []string, log hclog.Logger) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) || dir == "" {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read plugin_dir: %w", err)
	}
	wanted := map[string]bool{}
	for _, n := range names {
		wanted[n] = true
	}
	out := map[string]string{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".exe")
		info, err := e.Info()
		switch {
		case err != nil || !wanted[name]:
		case !info.Mode().IsRegular() || info.Mode()&0o111 == 0:
			log.Warn("not a plugin: no executable file", "path", filepath.Join(dir, e.Name()))
		default:
			out[name] = filepath.Join(dir, e.Name())
		}
	}
	return out, nil
}
