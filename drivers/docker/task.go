package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/plugins/driver"
)

// imageTries is how often an image that vanished before its container was made
// is looked for again.
const imageTries = 3

// logsGrace is how long the end of a task waits for its last output.
const logsGrace = 3 * time.Second

// taskState is what finds a task again; it travels in its handle.
type taskState struct {
	ContainerID string
	ImageID     string
	StartedAt   int64 // unix nanoseconds
	TTY         bool
	NoLogs      bool // the engine's logging driver cannot be read
	Network     *driver.NetworkOverride
}

// exit is how a container ended.
type exit struct {
	code int32
	oom  bool
	err  error
	at   time.Time
}

// task is one container.
type task struct {
	s     *session
	log   hclog.Logger
	cfg   *driver.TaskConfig
	state taskState
	oom   atomic.Bool

	once sync.Once
	done chan struct{} // closed when the container has ended and its output is told
	end  exit          // set before done is closed
	gone chan struct{} // closed when the container has ended

	output     chan struct{} // closed when all output is told
	outputCtx  context.Context
	stopOutput context.CancelFunc

	mu   sync.Mutex // guards last
	last *sample    // of stats
}

func newTask(s *session, cfg *driver.TaskConfig, state taskState, log hclog.Logger) *task {
	t := &task{
		s: s, log: log.With("task", cfg.ID), cfg: cfg, state: state,
		done: make(chan struct{}), gone: make(chan struct{}), output: make(chan struct{}),
	}
	t.outputCtx, t.stopOutput = context.WithCancel(s.ctx)
	return t
}

// exited takes note of the container's end, the first time it is told. The
// task's end is told when its output is.
func (t *task) exited(e *exit) {
	t.once.Do(func() {
		t.end = *e
		t.end.oom = t.end.oom || t.oom.Load()
		close(t.gone)
		go func() {
			timer := time.NewTimer(logsGrace)
			defer timer.Stop()
			select {
			case <-t.output:
			case <-timer.C:
			}
			t.stopOutput()
			close(t.done)
		}()
	})
}

// running reports whether the container has not ended as far as we know.
func (t *task) running() bool {
	select {
	case <-t.gone:
		return false
	default:
		return true
	}
}

// result is how the task ended; call it after done. The texts are the
// contract's.
func (t *task) result() *driver.ExitResult {
	r := &driver.ExitResult{ExitCode: t.end.code, OOMKilled: t.end.oom, Err: t.end.err}
	switch {
	case r.Err != nil:
	case r.OOMKilled:
		r.Err = errors.New("OOM Killed")
	case r.ExitCode != 0:
		r.Err = fmt.Errorf("Docker container exited with non-zero exit code: %d", r.ExitCode)
	}
	return r
}

// StartTask implements driver.Runner.
func (d *Driver) StartTask(ctx context.Context, cfg *driver.TaskConfig) (*driver.TaskHandle, *driver.NetworkOverride, error) {
	s, err := d.session()
	if err != nil {
		return nil, nil, err
	}
	if _, err := d.find(cfg.ID); err == nil {
		return nil, nil, fmt.Errorf("task with ID %q already started", cfg.ID)
	}
	var tc taskConfig
	if err := cfg.DecodeDriverConfig(&tc); err != nil {
		return nil, nil, fmt.Errorf("failed to decode driver config: %w", err)
	}
	if err := tc.check(s.conf()); err != nil {
		return nil, nil, err
	}
	if err := s.checkNetworkOwner(ctx, cfg, &tc); err != nil {
		return nil, nil, err
	}
	t, err := d.start(ctx, s, cfg, &tc)
	if err != nil {
		return nil, nil, err
	}
	handle := &driver.TaskHandle{Version: driver.HandleVersion, Config: cfg, State: driver.TaskRunning}
	if err := handle.SetDriverState(&t.state); err != nil {
		d.discard(s, t)
		return nil, nil, fmt.Errorf("failed to set driver state: %w", err)
	}
	return handle, t.state.Network, nil
}

// checkNetworkOwner lets a task join the network of containers of its own
// allocation alone.
func (s *session) checkNetworkOwner(ctx context.Context, cfg *driver.TaskConfig, tc *taskConfig) error {
	name, joins := strings.CutPrefix(tc.NetworkMode, "container:")
	if !joins || s.conf().AllowPrivileged {
		return nil
	}
	other, err := s.engine.ContainerInspect(ctx, name)
	if err != nil {
		return engineError(fmt.Sprintf("join network_mode %q", tc.NetworkMode), err)
	}
	if other.Config == nil || other.Config.Labels[labelAlloc] != cfg.AllocID {
		return fmt.Errorf("network_mode %q is not allowed: the container is of another allocation", tc.NetworkMode)
	}
	return nil
}

// start makes and starts the container of a task. An error leaves nothing
// behind.
func (d *Driver) start(ctx context.Context, s *session, cfg *driver.TaskConfig, tc *taskConfig) (*task, error) {
	for try := 1; ; try++ {
		id, err := d.imageFor(ctx, s, cfg, tc)
		if err != nil {
			return nil, err
		}
		t, err := d.startFrom(ctx, s, cfg, tc, id)
		if err == nil {
			return t, nil
		}
		s.images.release(id, cfg.ID)
		var missing *imageGoneError
		if !errors.As(err, &missing) || try == imageTries {
			return nil, err
		}
	}
}

// imageGoneError says that an image vanished between its being found and use.
type imageGoneError struct{ err error }

func (e *imageGoneError) Error() string { return e.err.Error() }
func (e *imageGoneError) Unwrap() error { return e.err }

// imageFor makes the task's image present and counts its use.
func (d *Driver) imageFor(ctx context.Context, s *session, cfg *driver.TaskConfig, tc *taskConfig) (string, error) {
	if tc.Load != "" {
		if err := s.pulls.load(ctx, cfg, tc.Load); err != nil {
			return "", err
		}
	}
	auth, err := credentials(ctx, tc.Image, tc, s.conf().Auth)
	if err != nil {
		return "", err
	}
	timeout := s.conf().pullTimeout
	if own, err := time.ParseDuration(tc.ImagePullTimeout); err == nil {
		timeout = own
	}
	id, fetched, err := s.pulls.ensure(ctx, &pullRequest{
		image: tc.Image, force: tc.ForcePull && tc.Load == "", auth: auth, timeout: timeout, limit: "image_pull_timeout", activity: s.conf().pullActivity,
		tell: func(message string, annotations map[string]string) { d.tell(cfg, message, annotations) },
	})
	if err != nil {
		return "", err
	}
	name, _, err := normalize(tc.Image)
	if err != nil {
		return "", err
	}
	s.images.use(id, cfg.ID, name, fetched || tc.Load != "")
	return id, nil
}

// startFrom makes and starts the container from a present image.
func (d *Driver) startFrom(ctx context.Context, s *session, cfg *driver.TaskConfig, tc *taskConfig, imageID string) (*task, error) {
	spec, err := (&builder{cfg: cfg, tc: tc, site: s.conf(), image: imageID, api: s.engine.ClientVersion(), cores: d.cores}).build()
	if err != nil {
		return nil, err
	}
	for _, w := range spec.warnings {
		d.tell(cfg, w, nil)
	}
	select { // the engine works on few at a time: more would only wait inside it
	case s.starts <- struct{}{}:
		defer func() { <-s.starts }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	id, alive, err := d.create(ctx, s, spec, attempts(tc, s.conf()))
	if err != nil {
		return nil, err
	}
	logs := spec.host.LogConfig.Type
	t := newTask(s, cfg, taskState{
		ContainerID: id, ImageID: imageID, StartedAt: time.Now().UnixNano(), TTY: tc.TTY, NoLogs: logs == "none" || s.conf().DisableLogs,
	}, d.log)
	d.track(t) // before it starts: its end may be told at once
	if !alive {
		if err := s.engine.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
			d.discard(s, t)
			return nil, engineError("start the container of task "+cfg.Name, err)
		}
	}
	if t.state.Network, err = s.address(ctx, t, spec, tc); err != nil {
		d.discard(s, t)
		return nil, err
	}
	t.follow()
	d.examine(s.ctx, t) // an end that was told before the start was known
	return t, nil
}

func attempts(tc *taskConfig, site *pluginConfig) int {
	if tc.ExistsAttempts > 0 {
		return tc.ExistsAttempts
	}
	return site.ExistsAttempts
}

// discard removes a container whose start failed.
func (d *Driver) discard(s *session, t *task) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), callTimeout)
	defer cancel()
	if err := s.removeContainer(ctx, t.state.ContainerID); err != nil {
		d.log.Warn("cannot remove a container whose start failed; it is removed later", "container", t.state.ContainerID, "error", err)
	}
	t.stopOutput()
	d.forget(t)
}

// create makes the container. A name that is taken by what an earlier start
// left behind is freed; a container that runs and is exactly what is asked for
// is taken over: alive is true then.
func (d *Driver) create(ctx context.Context, s *session, spec *created, tries int) (id string, alive bool, err error) {
	digest, err := spec.digest()
	if err != nil {
		return "", false, err
	}
	spec.config.Labels[labelSpec] = digest
	for try := 1; ; try++ {
		made, err := s.createContainer(ctx, spec)
		switch {
		case err == nil:
			for _, w := range made.Warnings {
				d.log.Debug("the engine warns of a container", "name", spec.name, "warning", w)
			}
			return made.ID, false, nil
		case cerrdefs.IsConflict(err):
			id, alive, cerr := d.settleConflict(ctx, s, spec, digest)
			if alive || cerr != nil && try >= tries {
				return id, alive, cerr
			}
			if try >= tries {
				return "", false, driver.Recoverable(fmt.Errorf("cannot create container %s: its name is still taken after %d tries: %w", spec.name, tries, err))
			}
			select {
			case <-time.After(minRetry << min(try, 5)):
			case <-ctx.Done():
				return "", false, ctx.Err()
			}
		case cerrdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "no such image"):
			return "", false, &imageGoneError{engineError("create container "+spec.name, err)}
		default:
			d.removeLost(s, spec)
			return "", false, engineError("create container "+spec.name, err)
		}
	}
}

// createContainer asks the engine for a container. A caller that gives up does
// not stop the engine, which would leave a container that nobody knows: it is
// removed when it is there.
func (s *session) createContainer(ctx context.Context, spec *created) (container.CreateResponse, error) {
	type answer struct {
		made container.CreateResponse
		err  error
	}
	answered := make(chan answer)
	go func() { // ends by itself when the engine does not answer
		own := context.WithoutCancel(ctx)
		made, err := within(own, workFactor*s.engine.patience, func(ctx context.Context) (container.CreateResponse, error) {
			return s.engine.ContainerCreate(ctx, spec.config, spec.host, spec.network, nil, spec.name)
		})
		select {
		case answered <- answer{made, err}:
		case <-ctx.Done():
			if err == nil {
				_ = s.removeContainer(own, made.ID)
			}
		}
	}()
	select {
	case a := <-answered:
		return a.made, a.err
	case <-ctx.Done():
		return container.CreateResponse{}, ctx.Err()
	}
}

// digest identifies what is asked for, whichever start asks.
func (c *created) digest() (string, error) {
	config := *c.config
	config.Labels = map[string]string{}
	for k, v := range c.config.Labels {
		if k != labelTask && k != labelSpec {
			config.Labels[k] = v
		}
	}
	raw, err := json.Marshal([]any{config, c.host, c.network})
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16]), nil
}

// settleConflict looks at the container that has our name.
func (d *Driver) settleConflict(ctx context.Context, s *session, spec *created, digest string) (id string, alive bool, err error) {
	other, err := s.engine.ContainerInspect(ctx, spec.name)
	if cerrdefs.IsNotFound(err) {
		return "", false, nil
	}
	if err != nil {
		return "", false, engineError("look at container "+spec.name, err)
	}
	labels := map[string]string{}
	if other.Config != nil {
		labels = other.Config.Labels
	}
	if labels[labelAlloc] != spec.config.Labels[labelAlloc] || labels[labelNode] != spec.config.Labels[labelNode] {
		return "", false, fmt.Errorf("cannot create container %s: a container of that name exists and is not ours (%.12s): remove or rename it", spec.name, other.ID)
	}
	if known, _ := d.known(); known[other.ID] {
		return "", false, driver.Recoverable(fmt.Errorf("cannot create container %s: the one before it is still there", spec.name))
	}
	if other.State != nil && other.State.Running && labels[labelSpec] == digest {
		d.log.Info("taking over a running container of the same task", "container", other.ID)
		return other.ID, true, nil
	}
	return "", false, s.removeContainer(ctx, other.ID)
}

// removeLost removes a container that may have been made although the engine
// said that it was not.
func (d *Driver) removeLost(s *session, spec *created) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), callTimeout)
	defer cancel()
	c, err := s.engine.ContainerInspect(ctx, spec.name)
	if err != nil || c.Config == nil || c.Config.Labels[labelTask] != spec.config.Labels[labelTask] {
		return
	}
	if err := s.removeContainer(ctx, c.ID); err != nil {
		d.log.Warn("cannot remove a container whose creation failed; it is removed later", "container", c.ID, "error", err)
	}
}

// address is where the task can be reached, when it has a network of its own.
func (s *session) address(ctx context.Context, t *task, spec *created, tc *taskConfig) (*driver.NetworkOverride, error) {
	mode := spec.host.NetworkMode
	if mode.IsHost() || mode.IsContainer() || mode.IsNone() {
		return nil, nil
	}
	c, err := s.engine.ContainerInspect(ctx, t.state.ContainerID)
	if cerrdefs.IsNotFound(err) {
		return nil, driver.Recoverable(fmt.Errorf("the container of task %s was removed while it started", t.cfg.Name))
	}
	if err != nil {
		return nil, engineError("look at the container of task "+t.cfg.Name, err)
	}
	out := &driver.NetworkOverride{PortMap: spec.portMap}
	if c.NetworkSettings != nil {
		for _, name := range sortedKeys(c.NetworkSettings.Networks) {
			n := c.NetworkSettings.Networks[name]
			if n == nil || n.IPAddress == "" && n.GlobalIPv6Address == "" {
				continue
			}
			out.Addr, out.AutoAdvertise = n.IPAddress, name != "bridge" && name != "nat"
			if tc.AdvertiseIPv6 {
				out.Addr, out.AutoAdvertise = n.GlobalIPv6Address, true
			}
			break
		}
	}
	return out, nil
}

// RecoverTask implements driver.Runner. An engine that does not answer is no
// reason to give a task up.
func (d *Driver) RecoverTask(ctx context.Context, handle *driver.TaskHandle) error {
	if handle == nil || handle.Config == nil {
		return errors.New("cannot recover a task without its handle")
	}
	if _, err := d.find(handle.Config.ID); err == nil {
		return nil
	}
	s, err := d.session()
	if err != nil {
		return err
	}
	var state taskState
	if err := handle.GetDriverState(&state); err != nil {
		return fmt.Errorf("failed to decode driver state: %w", err)
	}
	if state.ContainerID == "" {
		return fmt.Errorf("cannot recover task %q: its handle names no container", handle.Config.ID)
	}
	callCtx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	c, err := s.engine.ContainerInspect(callCtx, state.ContainerID)
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("cannot recover task %q: its container %.12s is gone", handle.Config.ID, state.ContainerID)
	}
	t := newTask(s, handle.Config, state, d.log)
	d.track(t)
	s.images.use(state.ImageID, t.cfg.ID, "", false)
	t.follow()
	if err != nil {
		d.log.Warn("the docker engine does not answer: the task is believed to run", "task", t.cfg.ID, "error", err)
		return nil
	}
	if e := exitOf(c.State); e != nil {
		t.exited(e)
	}
	return nil
}

// WaitTask implements driver.Runner.
func (d *Driver) WaitTask(ctx context.Context, id string) (*driver.ExitResult, error) {
	t, err := d.find(id)
	if err != nil {
		return nil, err
	}
	select {
	case <-t.done:
		return t.result(), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// StopTask implements driver.Runner.
func (d *Driver) StopTask(ctx context.Context, id string, timeout time.Duration, signal string) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	s := t.s
	if !t.running() {
		return nil
	}
	if signal != "" && timeout > 0 {
		if err := s.signal(ctx, t, signal); err != nil {
			return err
		}
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-t.done:
			return nil
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		timeout = 0
	}
	if err := s.stop(ctx, t, timeout); err != nil {
		return err
	}
	d.examine(ctx, t)
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop has the engine stop a container: its image's signal, then a kill.
func (s *session) stop(ctx context.Context, t *task, timeout time.Duration) error {
	seconds := int((timeout + time.Second - 1) / time.Second)
	id := t.state.ContainerID
	err := s.engine.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	if err != nil && strings.Contains(err.Error(), "paused") {
		if err := s.engine.ContainerUnpause(ctx, id); err != nil {
			return engineError("unpause the container of task "+t.cfg.Name, err)
		}
		err = s.engine.ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds})
	}
	if err == nil || cerrdefs.IsNotFound(err) || cerrdefs.IsNotModified(err) {
		return nil
	}
	return engineError("stop the container of task "+t.cfg.Name, err)
}

func (s *session) signal(ctx context.Context, t *task, name string) error {
	err := s.engine.ContainerKill(ctx, t.state.ContainerID, strings.ToUpper(name))
	if err == nil || cerrdefs.IsNotFound(err) || cerrdefs.IsConflict(err) && strings.Contains(err.Error(), "not running") {
		return nil
	}
	return engineError(fmt.Sprintf("send %s to the container of task %s", name, t.cfg.Name), err)
}

// SignalTask implements driver.Signaler.
func (d *Driver) SignalTask(ctx context.Context, id, signal string) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	s := t.s
	return s.signal(ctx, t, signal)
}

// DestroyTask implements driver.Runner.
func (d *Driver) DestroyTask(ctx context.Context, id string, force bool) error {
	t, err := d.find(id)
	if err != nil {
		return err
	}
	s := t.s
	if t.running() && !force {
		return driver.ErrTaskRunning
	}
	if s.conf().removeContainers || t.running() {
		// The caller's patience may end before the engine's work does.
		err := s.removeContainer(context.WithoutCancel(ctx), t.state.ContainerID)
		if err != nil && (t.running() || !transient(err)) {
			return engineError("remove the container of task "+t.cfg.Name, err)
		}
		if err != nil { // it is not forgotten: no task knows it from here on
			d.log.Warn("cannot remove the container of a task that ended; it is removed with those that dangle", "task", id, "error", err)
		}
	}
	t.exited(&exit{code: 137, err: errors.New("the task was destroyed while it ran"), at: time.Now()})
	<-t.done // bounded by logsGrace
	s.images.release(t.state.ImageID, id)
	d.forget(t)
	return nil
}

// InspectTask implements driver.Observer.
func (d *Driver) InspectTask(_ context.Context, id string) (*driver.TaskStatus, error) {
	t, err := d.find(id)
	if err != nil {
		return nil, err
	}
	st := &driver.TaskStatus{
		ID: t.cfg.ID, Name: t.cfg.Name, State: driver.TaskRunning, StartedAt: time.Unix(0, t.state.StartedAt), Network: t.state.Network,
		Attributes: map[string]string{"container_id": t.state.ContainerID},
	}
	select {
	case <-t.done:
		st.State, st.CompletedAt, st.Result = driver.TaskExited, t.end.at, t.result()
	default:
	}
	return st, nil
}
