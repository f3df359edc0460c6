// Package docker is the docker driver: tasks are containers of a Docker
// engine. One process serves all containers of the node: it holds one stream
// of the engine's events for all of them, and one stream of output for each.
//
// The engine is the truth. A container is found again by its id, so the agent,
// this process and the engine may be killed or restarted in any order: what
// cannot be asked is assumed to run until the engine answers. Containers carry
// the ids of their allocation and of the node; only what has both is ours, and
// only ours is ever removed. Images that this driver fetched are removed when
// nobody needs them.
// Facts: reference driver-plugin.md 10.6 and 10.7. Design: docs/design/docker.md.
package docker

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/base"
	"github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/plugins/hclspec"
)

// Identity of the driver.
const (
	Name          = "docker"
	pluginVersion = "0.1.0"
)

// Intervals and limits of talking to the engine.
const (
	fingerprintInterval = 30 * time.Second
	imageSweepInterval  = 5 * time.Second
)

// Driver is the docker driver.
type Driver struct {
	log    hclog.Logger
	dir    string // of the plugin, for what outlives it; "" for none
	events driver.Events
	cores  int // of the node, for hard CPU limits

	mu     sync.Mutex // guards what follows
	run    *session   // for new tasks; nil before SetConfig
	old    []*session // of tasks that were started with another engine
	nodeID string
	tasks  map[string]*task // by task id
	// networks are the groups' containers by allocation.
	networks map[string]string
	// seen is set once an engine has answered.
	seen bool
	// changed is closed and replaced when the driver's state may have changed.
	changed chan struct{}
}

// session is the use of one engine. A task belongs to the session that started
// it.
type session struct {
	site   atomic.Pointer[pluginConfig]
	engine *engine
	pulls  *puller
	images *imageStore
	starts chan struct{} // one for each start under way
	begin  sync.Once
	ctx    context.Context
	end    context.CancelFunc
}

// New returns a driver that keeps what must outlive it in dir; "" for nowhere.
// nodeID may be empty: it is learned from tasks then.
func New(dir, nodeID string, log hclog.Logger) *Driver {
	return &Driver{
		log: log, dir: dir, nodeID: nodeID, cores: runtime.NumCPU(), tasks: map[string]*task{}, networks: map[string]string{}, changed: make(chan struct{}),
	}
}

// Serve serves the driver as a plugin process until the host ends it.
func Serve() {
	driver.Serve(func(log hclog.Logger) driver.Driver {
		if err := dropPrivileges(); err != nil {
			log.Warn("the driver keeps all rights of its user", "error", err)
		}
		return New(os.Getenv(base.DirEnv), os.Getenv(base.NodeEnv), log.Named(Name))
	})
}

// PluginInfo implements base.Plugin.
func (d *Driver) PluginInfo(context.Context) (*base.Info, error) {
	return &base.Info{Type: base.TypeDriver, APIVersions: []string{driver.APIVersion}, Version: pluginVersion, Name: Name}, nil
}

// ConfigSchema implements base.Plugin.
func (d *Driver) ConfigSchema(context.Context) (*hclspec.Spec, error) { return pluginSchema, nil }

// SetConfig implements base.Plugin. It does not talk to the engine.
func (d *Driver) SetConfig(_ context.Context, config *base.Config) error {
	site := &pluginConfig{}
	if err := config.Decode(site); err != nil {
		return fmt.Errorf("cannot decode the configuration of %s: %w", Name, err)
	}
	if err := site.complete(); err != nil {
		return err
	}
	engine, err := dial(site)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch old := d.run; {
	case old == nil:
		d.run = d.newSession(site, engine)
	case sameEngine(old.conf(), site): // an agent that came back
		old.site.Store(site)
	default:
		d.old = append(d.old, old)
		d.run = d.newSession(site, engine)
	}
	d.notify()
	return nil
}

func sameEngine(a, b *pluginConfig) bool {
	return a.Endpoint == b.Endpoint && reflect.DeepEqual(a.TLS, b.TLS)
}

// conf is the configuration at this moment.
func (s *session) conf() *pluginConfig { return s.site.Load() }

func (d *Driver) newSession(site *pluginConfig, engine *engine) *session {
	s := &session{engine: engine, pulls: &puller{engine: engine}, starts: make(chan struct{}, site.MaxParallelStarts)}
	s.site.Store(site)
	s.images = newImageStore(d.dir, d.log, s.removeImage)
	s.ctx, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends what the driver does beside calls. Containers go on.
func (d *Driver) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range append(d.old, d.run) {
		if s != nil {
			s.end()
		}
	}
}

// notify tells the fingerprint that something changed; the caller holds mu.
func (d *Driver) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// session is the current one, with its loops running.
func (d *Driver) session() (*session, error) {
	d.mu.Lock()
	s := d.run
	d.mu.Unlock()
	if s == nil {
		return nil, fmt.Errorf("the docker driver has no configuration yet")
	}
	s.begin.Do(func() {
		go d.watch(s)
		go d.collect(s)
	})
	return s, nil
}

// TaskConfigSchema implements driver.Describer.
func (d *Driver) TaskConfigSchema(context.Context) (*hclspec.Spec, error) { return taskSchema, nil }

// Capabilities implements driver.Describer.
func (d *Driver) Capabilities(context.Context) (*driver.Capabilities, error) {
	c := &driver.Capabilities{
		SendSignals: true, Exec: true, FSIsolation: driver.FSIsolationImage, MustCreateNetwork: true, MountConfigs: driver.MountConfigsAny,
		NetworkModes: []driver.NetworkMode{driver.NetworkHost, driver.NetworkGroup, driver.NetworkTask},
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.run != nil {
		c.DisableLogCollection = d.run.conf().DisableLogs
	}
	return c, nil
}

// Fingerprint implements driver.Describer.
func (d *Driver) Fingerprint(ctx context.Context, send func(*driver.Fingerprint) error) error {
	return driver.RepeatFingerprint(ctx, fingerprintInterval, func(ctx context.Context) (*driver.Fingerprint, <-chan struct{}, error) {
		s, err := d.session()
		if err != nil {
			return nil, nil, err
		}
		d.mu.Lock()
		changed := d.changed
		d.mu.Unlock()
		return d.look(ctx, s), changed, nil
	}, send)
}

// look asks the engine what it is.
func (d *Driver) look(ctx context.Context, s *session) *driver.Fingerprint {
	info, err := s.engine.Info(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		fp := &driver.Fingerprint{Health: driver.HealthUndetected, HealthDescription: "Failed to connect to docker daemon: " + err.Error()}
		if d.seen {
			fp.Health = driver.HealthUnhealthy
		}
		return fp
	}
	d.seen = true
	runtimes := strings.Join(sortedKeys(info.Runtimes), ",")
	attrs := map[string]base.Attribute{
		"driver.docker":                    base.BoolAttribute(true),
		"driver.docker.version":            base.StringAttribute(info.ServerVersion),
		"driver.docker.privileged.enabled": base.BoolAttribute(s.conf().AllowPrivileged),
		"driver.docker.volumes.enabled":    base.BoolAttribute(s.conf().Volumes.Enabled),
		"driver.docker.runtimes":           base.StringAttribute(runtimes),
		"driver.docker.os_type":            base.StringAttribute(info.OSType),
		"driver.docker.runc":               base.StringAttribute(info.RuncCommit.ID),
	}
	if s.conf().PidsLimit > 0 {
		attrs["driver.docker.pids.limit"] = base.IntAttribute(s.conf().PidsLimit, "")
	}
	if os.Geteuid() != 0 {
		attrs["driver.docker.cpuset_management.disabled"] = base.BoolAttribute(true)
	}
	if ip := bridgeIP(ctx, s.engine); ip != "" {
		attrs["driver.docker.bridge_ip"] = base.StringAttribute(ip)
	}
	return &driver.Fingerprint{Attributes: attrs, Health: driver.HealthHealthy, HealthDescription: driver.HealthDescriptionHealthy}
}

// find returns the task of an id.
func (d *Driver) find(id string) (*task, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t := d.tasks[id]; t != nil {
		return t, nil
	}
	return nil, driver.ErrTaskNotFound
}

// all lists the tasks.
func (d *Driver) all() []*task {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*task, 0, len(d.tasks))
	for _, t := range d.tasks {
		out = append(out, t)
	}
	return out
}

// track takes a task in.
func (d *Driver) track(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tasks[t.cfg.ID] = t
	if d.nodeID == "" {
		d.nodeID = t.cfg.NodeID
	}
}

func (d *Driver) forget(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tasks[t.cfg.ID] == t {
		delete(d.tasks, t.cfg.ID)
	}
}

// tell publishes an event of a task.
func (d *Driver) tell(cfg *driver.TaskConfig, message string, annotations map[string]string) {
	d.events.Publish(&driver.TaskEvent{
		TaskID: cfg.ID, AllocID: cfg.AllocID, TaskName: cfg.Name, Time: time.Now(), Message: message, Annotations: annotations,
	})
}

// TaskEvents implements driver.Observer.
func (d *Driver) TaskEvents(ctx context.Context, send func(*driver.TaskEvent) error) error {
	return d.events.Stream(ctx, send)
}

// removeImage takes the names that we gave to an image away, unless they mean
// another one by now, and then the image itself if it has no name left.
func (s *session) removeImage(ctx context.Context, id string, names []string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	for _, name := range names {
		found, err := s.engine.ImageInspect(ctx, name)
		if err != nil || found.ID != id {
			continue
		}
		if _, err := s.engine.ImageRemove(ctx, name, pruned); err != nil && !cerrdefs.IsNotFound(err) {
			return err
		}
	}
	left, err := s.engine.ImageInspect(ctx, id)
	if err != nil || len(left.RepoTags) > 0 {
		return err
	}
	_, err = s.engine.ImageRemove(ctx, id, pruned)
	return err
}

// collect removes images and containers that nobody needs, until the session
// ends.
func (d *Driver) collect(s *session) {
	sweep := time.NewTicker(min(imageSweepInterval, max(s.conf().imageDelay/2, time.Second)))
	defer sweep.Stop()
	reap := time.NewTicker(s.conf().danglingPeriod)
	defer reap.Stop()
	var suspects map[string]bool
	root := ""
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-sweep.C:
			s.images.sweep(s.ctx, s.conf(), func() bool {
				if root == "" {
					if info, err := s.engine.Info(s.ctx); err == nil {
						root = info.DockerRootDir
					}
				}
				return diskFull(root, s.conf().GC.ImageDiskLimit)
			})
		case <-reap.C:
			suspects = d.reap(s, suspects)
		}
	}
}
