package client

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/artifact"
	"github.com/nomadlite/nomadlite/client/device"
	"github.com/nomadlite/nomadlite/client/dns"
	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	"github.com/nomadlite/nomadlite/client/identity"
	"github.com/nomadlite/nomadlite/client/keeper"
	"github.com/nomadlite/nomadlite/client/localdb"
	"github.com/nomadlite/nomadlite/client/network"
	"github.com/nomadlite/nomadlite/client/service"
	"github.com/nomadlite/nomadlite/client/taskapi"
	"github.com/nomadlite/nomadlite/client/template"
	"github.com/nomadlite/nomadlite/client/volume"
	"github.com/nomadlite/nomadlite/plugins/base"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// startsPerCore bounds how many tasks start at once: enough to keep the cores
// busy, few enough that heartbeats and the API go on.
const startsPerCore = 2

// Client is the node agent.
type Client struct {
	cfg     Config
	log     hclog.Logger
	db      *localdb.DB
	host    *keeper.Host
	drivers *driver.Manager
	devices *device.Manager
	reports *reporter
	slots   chan struct{}
	network *network.Manager
	wrapDB  func(alloc.DB) alloc.DB // tests end the agent at its writes
	// wrapHooks lets tests end it between its hooks.
	wrapHooks func([]alloc.Hook) []alloc.Hook
	volumes   *volume.Manager
	// volumesWanted holds the newest list of the servers.
	volumesWanted chan []*structs.HostVolume
	hooks         []alloc.Hook // of every allocation; set once by Run
	// offers tells the servers of services; services follows them, set by Run.
	offers   *service.Reporter
	services *service.Hook
	// templates renders those of tasks, set by Run.
	templates *template.Hook
	artifacts *artifact.Hook
	// identities hands tasks their tokens, set by Run; tasks use them at taskAPI.
	identities *identity.Hook
	taskAPI    *taskapi.Hook

	// nodeChanged asks for a new registration, driverSeen counts first
	// fingerprints.
	nodeChanged chan struct{}
	driverSeen  chan string
	// beatNow asks for a heartbeat at once; registered is closed after the first
	// registration, at index registeredAt.
	beatNow      chan struct{}
	registered   chan struct{}
	registeredAt atomic.Uint64
	contact      *contact
	// internal answers requests of the servers.
	internal http.Handler

	mu      sync.Mutex // guards what follows
	node    *structs.Node
	meta    *nodeMeta
	runners map[string]*run
	queue   []*structs.Allocation // new ones that wait for room
}

// run is one allocation on this node.
type run struct {
	alloc  *structs.Allocation // as the servers last said
	runner *alloc.Runner
	cancel context.CancelFunc
	ended  chan struct{} // closed when the runner's loop has returned
	// diskTold says that it was told to hold too much; it belongs to lookAtDisks.
	diskTold bool
}

// over reports whether all tasks have ended.
func (r *run) over() bool {
	select {
	case <-r.runner.Done():
		return true
	default:
		return false
	}
}

// New reads the node's identity and state and looks at the machine; it starts
// nothing.
func New(cfg Config) (*Client, error) {
	for _, dir := range []string{cfg.StateDir, cfg.AllocDir, filepath.Join(cfg.StateDir, fifoName)} {
		mode := os.FileMode(0o700)
		if dir == cfg.AllocDir {
			mode = 0o711 // tasks of any user reach their own directories
		}
		if err := os.MkdirAll(dir, mode); err != nil {
			return nil, err
		}
	}
	id, secret, err := fingerprint.Identity(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	log := cfg.Logger.Named("client")
	cfg.Network.StateDir, cfg.Network.PluginLogger = filepath.Join(cfg.StateDir, "network"), log.Named("network")
	networks, err := network.New(cfg.Network)
	if err != nil {
		return nil, err
	}
	cfg.Node.ID, cfg.Node.SecretID, cfg.Node.AllocDir = id, secret, cfg.AllocDir
	cfg.Node.CNINetworks, cfg.Node.Hairpin = networks.Networks(), networks.Hairpin()
	if name, ok := networks.Bridge(); ok {
		cfg.Node.Bridge = name
	}
	if cfg.VolumesDir == "" {
		cfg.VolumesDir = filepath.Join(cfg.StateDir, "host_volumes")
	}
	volumes, err := volume.New(volume.Config{
		StateFile: filepath.Join(cfg.StateDir, "volumes.json"), Dir: cfg.VolumesDir, PluginDir: cfg.VolumePluginDir,
		NodeID: id, NodePool: cfg.Node.Pool, Logger: log.Named("host_volume"),
	})
	if err != nil {
		return nil, err
	}
	cfg.Node.VolumePlugins = volumes.Plugins(context.Background())
	node, err := fingerprint.Node(cfg.Node)
	if err != nil {
		return nil, fmt.Errorf("cannot fingerprint the node: %w", err)
	}
	maps.Copy(node.HostVolumes, volumes.Volumes())
	node.Status = structs.NodeStatusReady
	if cfg.Ineligible {
		node.SchedulingEligibility = structs.NodeIneligible
	}
	meta, warning, err := readNodeMeta(metaFile(cfg.StateDir), node.Meta)
	if err != nil {
		return nil, err
	}
	if warning != "" {
		log.Warn(warning)
	}
	node.Meta = meta.merged()
	cfg.Artifacts.Binary, cfg.Artifacts.Logger = cfg.Binary, log.Named("artifact")
	if cfg.Artifacts.Cache, err = artifact.NewCache(filepath.Join(cfg.StateDir, "artifacts"), cfg.ArtifactCache); err != nil {
		return nil, err
	}
	contact, err := newContact(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("cannot note when the servers were heard: %w", err)
	}
	db, warning, err := localdb.Open(filepath.Join(cfg.StateDir, "state.log"), !cfg.Ephemeral)
	if err != nil {
		return nil, fmt.Errorf("cannot open the client's state: %w", err)
	}
	if warning != "" {
		log.Warn(warning)
	}
	c := &Client{
		cfg: cfg, log: log, db: db, network: networks, wrapDB: func(db alloc.DB) alloc.DB { return db }, wrapHooks: func(h []alloc.Hook) []alloc.Hook { return h }, volumes: volumes, volumesWanted: make(chan []*structs.HostVolume, 1), node: node, meta: meta, runners: map[string]*run{},
		slots:       make(chan struct{}, startsPerCore*runtime.NumCPU()),
		nodeChanged: make(chan struct{}, 1), driverSeen: make(chan string, len(cfg.Drivers)),
		beatNow: make(chan struct{}, 1), registered: make(chan struct{}), contact: contact,
	}
	c.artifacts = artifact.New(cfg.Artifacts)
	c.taskAPI = taskapi.New(c.checkIdentity, log.Named("task_api"))
	c.devices = device.New(log.Named("device_mgr"), c.devicesChanged)
	c.reports = newReporter(cfg.Servers, c.identity, log)
	c.offers = service.NewReporter(cfg.Workloads, c.identity, log.Named("services"))
	return c, nil
}

// fifoName is the folder of FIFOs below the state directory.
const fifoName = "fifo"

// Node is the node as it is registered.
func (c *Client) Node() *structs.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

func (c *Client) identity() (id, secret string) {
	n := c.Node()
	return n.ID, n.SecretID
}

// Run runs the node until ctx ends. Tasks go on then, unless the node is
// ephemeral. An error means that the node cannot work.
func (c *Client) Run(ctx context.Context) error {
	defer c.db.Close()
	host, err := keeper.Start(ctx, filepath.Join(c.cfg.StateDir, "keeper"), c.cfg.Binary, c.log.Named("keeper"))
	if err != nil {
		return err
	}
	c.host = host
	begin := make(chan struct{})
	c.drivers = driver.New(driver.Config{
		Begin:  begin,
		Device: c.serveDevices,
		Specs:  c.cfg.Drivers, Keeper: host, Logger: c.log.Named("driver_mgr"), Changed: c.driverChanged, Allowed: c.cfg.DriverAllowed, Busy: c.driverBusy,
		Agent: base.AgentConfig{
			MinPort: uint32(c.cfg.PluginPorts[0]), MaxPort: uint32(c.cfg.PluginPorts[1]), Topology: fingerprint.Topology(&c.cfg.Node, c.Node()),
		}, NodeID: c.Node().ID, Event: c.taskEvent,
	})
	// The node's own loops end first; runners and drivers are still needed to
	// end the tasks of an ephemeral node.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	c.hooks = c.wrapHooks(c.allocHooks(below))
	var support errgroup.Group
	support.Go(func() error { return host.Run(below) })
	support.Go(func() error { return c.drivers.Run(below) })
	if err := c.restore(below); err != nil {
		return err
	}
	group, loops := errgroup.WithContext(ctx)
	c.learn(ctx, group, loops, begin)
	group.Go(func() error { return c.reports.run(loops) })
	group.Go(func() error { return c.offers.Run(loops) })
	group.Go(func() error { return c.keepRegistered(loops) })
	group.Go(func() error { return c.sync(loops, below) })
	group.Go(func() error { return c.collect(loops) })
	group.Go(func() error { return c.stopDisconnected(loops) })
	group.Go(func() error { return c.tellMeasures(loops) })
	group.Go(func() error { return c.keepVolumes(loops) })
	if c.cfg.DNS.Address != "" {
		server := dns.New(c.cfg.DNS, c.lookupService, c.log.Named("dns"))
		group.Go(func() error { return server.Run(loops) })
	}
	if c.cfg.Connect != nil {
		group.Go(func() error { return c.connect(loops) })
	}
	err = group.Wait()
	if c.cfg.Ephemeral {
		c.endAll()
	}
	c.endRunners(stopBelow)
	if werr := support.Wait(); err == nil {
		err = werr
	}
	if c.cfg.Ephemeral {
		stop, cancel := context.WithTimeout(context.Background(), endTimeout)
		defer cancel()
		if err := host.Stop(stop); err != nil {
			c.log.Warn("cannot stop the keeper", "error", err)
		}
	}
	return err
}

// endTimeout bounds the end of an ephemeral node.
const endTimeout = 20 * time.Second

// endAll stops every task and removes every allocation.
func (c *Client) endAll() {
	deadline := time.After(endTimeout)
	runs := c.all()
	for _, r := range runs {
		r.runner.Stop()
	}
	for _, r := range runs {
		select {
		case <-r.runner.Done():
		case <-deadline:
			c.log.Warn("some tasks did not end in time")
			return
		}
	}
	for _, r := range runs {
		if err := c.destroy(r); err != nil {
			c.log.Warn("cannot remove an allocation", "alloc_id", r.alloc.ID, "error", err)
		}
	}
}

// endRunners ends the loops of all runners and what they stand on.
func (c *Client) endRunners(stopBelow context.CancelFunc) {
	stopBelow()
	for _, r := range c.all() {
		<-r.ended
	}
	c.services.Wait()
	c.templates.Wait()
	c.identities.Wait()
	c.taskAPI.Close()
}

func (c *Client) all() []*run {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]*run, 0, len(c.runners))
	for _, r := range c.runners {
		out = append(out, r)
	}
	return out
}

// driverBusy reports whether an allocation that is not over has a task of a
// driver.
func (c *Client) driverBusy(name string) bool {
	for _, r := range c.all() {
		c.mu.Lock()
		a := r.alloc
		c.mu.Unlock()
		if r.over() {
			continue
		}
		if g := a.Job.LookupGroup(a.TaskGroup); g == nil || slices.ContainsFunc(g.Tasks, func(t *structs.Task) bool { return t.Driver == name }) {
			return true
		}
	}
	return false
}

// driverChanged takes a driver's new state into the node.
func (c *Client) driverChanged(name string, info *structs.DriverInfo) {
	c.mu.Lock()
	node := c.node.Copy()
	old := node.Drivers[name]
	node.Drivers[name] = info
	for k := range attributesOf(old) {
		delete(node.Attributes, k)
	}
	for k, v := range info.Attributes {
		node.Attributes[k] = v
	}
	key := "driver." + name
	if info.Detected {
		node.Attributes[key] = "1"
	} else {
		delete(node.Attributes, key)
	}
	c.node = node
	c.mu.Unlock()
	if old == nil {
		c.pluginSeen(name)
	}
	if old == nil || old.Healthy != info.Healthy || old.Detected != info.Detected || old.HealthDescription != info.HealthDescription {
		select {
		case c.nodeChanged <- struct{}{}:
		default:
		}
	}
}

// pluginSeen takes note that a plugin has told what it is good for.
func (c *Client) pluginSeen(name string) {
	select {
	case c.driverSeen <- name:
	default:
	}
}

// networkPlugins takes the versions of the CNI plugins into the node.
func (c *Client) networkPlugins(versions map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = c.node.Copy()
	fingerprint.CNIPlugins(c.node, versions)
}

// learn waits for what the node must know before it registers. What takes
// longer than all the rest of a first start, late drivers (begin) and the
// versions of CNI plugins, follows the registration; but what runs here already
// must not find the node poorer than it was.
func (c *Client) learn(ctx context.Context, group *errgroup.Group, loops context.Context, begin chan<- struct{}) {
	busy := len(c.all()) > 0
	if busy {
		close(begin)
	}
	c.awaitDrivers(ctx, busy)
	plugins, complete := c.network.KnownPlugins()
	if busy && !complete {
		plugins, complete = c.network.Plugins(ctx), true
	}
	c.networkPlugins(plugins)
	if busy {
		return
	}
	group.Go(func() error {
		select {
		case <-c.registered:
		case <-loops.Done():
			return nil
		}
		close(begin)
		if !complete {
			c.networkPlugins(c.network.Plugins(loops))
			select {
			case c.nodeChanged <- struct{}{}:
			default:
			}
		}
		return nil
	})
}

// taskEvent puts what a driver says about a task among the task's events.
func (c *Client) taskEvent(e *plugin.TaskEvent) {
	c.mu.Lock()
	r := c.runners[e.AllocID]
	c.mu.Unlock()
	if r != nil {
		r.runner.DriverEvent(e)
	}
}

func attributesOf(info *structs.DriverInfo) map[string]string {
	if info == nil {
		return nil
	}
	return info.Attributes
}

// firstDrivers is how long the first registration waits for the drivers, so
// that the node is not ready before it can do anything.
const firstDrivers = 3 * time.Second

func (c *Client) awaitDrivers(ctx context.Context, late bool) {
	limit := time.NewTimer(firstDrivers)
	defer limit.Stop()
	for _, spec := range c.cfg.Drivers {
		if spec.Late && !late {
			continue
		}
		select {
		case <-c.driverSeen:
		case <-limit.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// newRunner makes and starts the runner of an allocation, which lives below a
// context of the client's. The caller holds mu.
func (c *Client) newRunner(below context.Context, a *structs.Allocation, kept *localdb.Run) error {
	runner, err := alloc.New(a, kept, alloc.Deps{
		Drivers: c.drivers, Logs: c.host.Client(), DB: c.wrapDB(c.db), Logger: c.log.Named("alloc_runner"), Node: c.Node,
		Report: c.counted(a, c.reports.add), AllocBase: c.cfg.AllocDir, FIFODir: filepath.Join(c.cfg.StateDir, fifoName),
		MaxKillTimeout: c.cfg.MaxKillTimeout, Slots: c.slots, Jitter: rand.Float64, Hooks: c.hooks,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(below)
	r := &run{alloc: a, runner: runner, cancel: cancel, ended: make(chan struct{})}
	c.runners[a.ID] = r
	if _, limited := stopAfter(a, time.Time{}); limited {
		c.contact.look()
	}
	go func() {
		defer close(r.ended)
		runner.Run(ctx)
	}()
	go func() {
		select {
		case <-runner.Done():
			c.admit(below) // not below this one: those that it lets in outlive it
		case <-ctx.Done():
		}
	}()
	return nil
}

// restore goes on with the allocations that an earlier agent ran.
func (c *Client) restore(ctx context.Context) error {
	records, err := c.db.Records()
	if err != nil {
		c.log.Error("some allocations cannot be restored; their tasks are stopped when the servers name them", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := map[string]bool{}
	for _, rec := range records {
		if rec.Alloc == nil {
			continue
		}
		known[rec.Alloc.ID] = true
		if err := c.newRunner(ctx, rec.Alloc, rec.Run); err != nil {
			c.log.Error("cannot restore an allocation", "alloc_id", rec.Alloc.ID, "error", err)
		}
	}
	c.sweepOrphans(known)
	if err := c.network.Sweep(ctx, func(id string) bool { return known[id] }); err != nil {
		c.log.Error("cannot remove the networks of allocations that nobody knows", "error", err)
	}
	return nil
}

// sweepOrphans ends tasks of this node that no record knows: their state was
// lost. The servers' next word starts them again.
func (c *Client) sweepOrphans(known map[string]bool) {
	entries, err := os.ReadDir(c.cfg.AllocDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if known[e.Name()] || !e.IsDir() {
			continue
		}
		c.log.Warn("found an allocation without a record; its processes are stopped and its directory is removed", "alloc_id", e.Name())
		if err := alloc.Sweep(c.cfg.AllocDir, e.Name()); err != nil {
			c.log.Error("cannot remove an unknown allocation", "alloc_id", e.Name(), "error", err)
		}
	}
}
