package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"

	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/plugins/driver"
)

// progressEvery is how often a running pull is told about.
const progressEvery = 10 * time.Second

// puller fetches images, each at most once at a time.
type puller struct {
	engine *engine

	mu    sync.Mutex // guards pulls
	pulls map[string]*pull
}

// pull is one download that any number of tasks wait for.
type pull struct {
	done  chan struct{}
	err   error // set before done is closed
	stop  context.CancelFunc
	users int // guarded by puller.mu; the last one to leave stops it
}

// pullRequest says what to fetch and how.
type pullRequest struct {
	image    string
	force    bool
	auth     *registry.AuthConfig
	timeout  time.Duration
	limit    string        // the option that is the timeout
	activity time.Duration // longest silence
	tell     func(message string, annotations map[string]string)
}

// normalize gives an image its tag and tells whether it must be fetched again
// at each start: what is called latest may have changed.
func normalize(name string) (full string, latest bool, err error) {
	if strings.HasPrefix(name, "sha256:") {
		return name, false, nil
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", false, fmt.Errorf("cannot understand the image name %q: %w", name, err)
	}
	named = reference.TagNameOnly(named)
	_, digested := named.(reference.Digested)
	tagged, ok := named.(reference.Tagged)
	return reference.FamiliarString(named), !digested && ok && tagged.Tag() == "latest", nil
}

// ensure makes an image present and returns its id, and whether it was fetched
// now. An error says by itself whether another try may help.
func (p *puller) ensure(ctx context.Context, req *pullRequest) (id string, fetched bool, err error) {
	name, latest, err := normalize(req.image)
	if err != nil {
		return "", false, err
	}
	if !req.force && !latest {
		found, err := p.engine.ImageInspect(ctx, name)
		if err == nil {
			return found.ID, false, checkPlatform(name, found.Os, found.Architecture, req.tell)
		}
		if !cerrdefs.IsNotFound(err) {
			return "", false, engineError("look for image "+name, err)
		}
	}
	if strings.HasPrefix(name, "sha256:") {
		return "", false, fmt.Errorf("cannot find image %s on this node: an id cannot be pulled, name its repository", name)
	}
	req.tell("Downloading image", map[string]string{"image": name})
	if err := p.fetch(ctx, name, req); err != nil {
		return "", false, err
	}
	found, err := p.engine.ImageInspect(ctx, name)
	if err != nil {
		return "", false, engineError("look for the pulled image "+name, err)
	}
	return found.ID, true, checkPlatform(name, found.Os, found.Architecture, req.tell)
}

// checkPlatform refuses what cannot run here at all, and tells of what runs
// only where the host emulates another machine.
func checkPlatform(name, os, arch string, tell func(string, map[string]string)) error {
	if os != "" && os != "linux" {
		return fmt.Errorf("image %s is for %s: this node runs linux", name, os)
	}
	if arch != "" && arch != runtime.GOARCH {
		tell(fmt.Sprintf("Image %s is for %s and this node is %s: it ends with \"exec format error\" unless the host emulates %s", name, arch, runtime.GOARCH, arch),
			map[string]string{"image": name, "architecture": arch})
	}
	return nil
}

// fetch joins the pull of an image, or begins one. Tasks share one only when
// they show the same credentials.
func (p *puller) fetch(ctx context.Context, name string, req *pullRequest) error {
	key := name
	if req.auth != nil {
		raw, err := registry.EncodeAuthConfig(*req.auth)
		if err != nil {
			return err
		}
		key += "\x00" + raw
	}
	p.mu.Lock()
	running := p.pulls[key]
	if running == nil {
		run, cancel := context.WithTimeout(context.WithoutCancel(ctx), req.timeout)
		running = &pull{done: make(chan struct{}), stop: cancel}
		if p.pulls == nil {
			p.pulls = map[string]*pull{}
		}
		p.pulls[key] = running
		go func() {
			defer cancel()
			err := p.download(run, name, req)
			p.mu.Lock()
			defer p.mu.Unlock()
			delete(p.pulls, key)
			running.err = err
			close(running.done)
		}()
	}
	running.users++
	p.mu.Unlock()
	select {
	case <-running.done:
		return running.err
	case <-ctx.Done():
		p.mu.Lock()
		defer p.mu.Unlock()
		if running.users--; running.users == 0 {
			running.stop()
		}
		return ctx.Err()
	}
}

// download pulls one image and watches that it goes on.
func (p *puller) download(ctx context.Context, name string, req *pullRequest) error {
	var options image.PullOptions
	if req.auth != nil {
		raw, err := registry.EncodeAuthConfig(*req.auth)
		if err != nil {
			return err
		}
		options.RegistryAuth = raw
	}
	ctx, silence := context.WithCancelCause(ctx)
	defer silence(nil)
	watchdog := time.AfterFunc(req.activity, func() {
		silence(fmt.Errorf("no progress for %s (pull_activity_timeout)", req.activity))
	})
	defer watchdog.Stop()
	body, err := p.engine.ImagePull(ctx, name, options)
	if err != nil {
		return pullError(ctx, name, err, req)
	}
	defer body.Close()
	if err := follow(body, name, req, progressEvery, func() { watchdog.Reset(req.activity) }); err != nil {
		return pullError(ctx, name, err, req)
	}
	return nil
}

// progress is one line of a pull.
type progress struct {
	ID             string `json:"id"`
	Status         string `json:"status"`
	Error          string `json:"error"`
	ProgressDetail struct {
		Current int64 `json:"current"`
		Total   int64 `json:"total"`
	} `json:"progressDetail"`
}

// layers sums what a pull has told.
type layers struct {
	byID map[string]*progress
	done map[string]bool
}

// maxLayers bounds what a registry can make us remember.
const maxLayers = 1000

func (l *layers) add(p *progress) {
	if p.ID == "" || l.byID[p.ID] == nil && len(l.byID) >= maxLayers {
		return
	}
	switch p.Status {
	case "Pull complete", "Already exists":
		l.done[p.ID] = true
	case "Downloading":
	case "Pulling fs layer", "Waiting":
		if l.byID[p.ID] != nil {
			return
		}
	default:
		return
	}
	l.byID[p.ID] = p
}

func (l *layers) String() string {
	var current, total int64
	for id, p := range l.byID {
		if !l.done[id] {
			current, total = current+p.ProgressDetail.Current, total+p.ProgressDetail.Total
		}
	}
	return fmt.Sprintf("Docker image pull progress: %d/%d layers pulled, %d of %d MB of the rest downloaded",
		len(l.done), len(l.byID), current/1e6, total/1e6)
}

// follow reads a pull to its end and tells, every so often, how far it is.
func follow(body io.Reader, name string, req *pullRequest, every time.Duration, alive func()) error {
	seen := layers{map[string]*progress{}, map[string]bool{}}
	told := time.Now()
	for dec := json.NewDecoder(body); ; {
		var line progress
		err := dec.Decode(&line)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if line.Error != "" {
			return errors.New(line.Error)
		}
		alive()
		seen.add(&line)
		if now := time.Now(); now.Sub(told) >= every {
			told = now
			req.tell(seen.String(), map[string]string{"image": name})
		}
	}
}

// pullError says what failed and whether another try may help.
func pullError(ctx context.Context, name string, err error, req *pullRequest) error {
	text := err.Error()
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return driver.Recoverable(fmt.Errorf("cannot pull image %s: not done within %s (%s)", name, req.timeout, req.limit))
	case ctx.Err() != nil:
		return driver.Recoverable(fmt.Errorf("cannot pull image %s: %w", name, context.Cause(ctx)))
	case cerrdefs.IsNotFound(err) || strings.Contains(text, "manifest unknown") || strings.Contains(text, "not found: manifest"):
		return fmt.Errorf("cannot pull image %s: no such image or tag, or it needs credentials: %w", name, err)
	case strings.Contains(text, "unauthorized") || strings.Contains(text, "no basic auth credentials") || strings.Contains(text, "denied"):
		return fmt.Errorf("cannot pull image %s: the registry refuses the credentials; check the task's auth block or the plugin's auth: %w", name, err)
	case strings.Contains(text, "no matching manifest"):
		return fmt.Errorf("cannot pull image %s: it does not exist for this node's platform: %w", name, err)
	case strings.Contains(text, noSpace):
		return driver.Recoverable(fmt.Errorf("cannot pull image %s: %s: %w", name, diskIsFull, err))
	}
	return driver.Recoverable(fmt.Errorf("cannot pull image %s: %w", name, err))
}

// load reads an image from an archive in the task's directory.
func (p *puller) load(ctx context.Context, cfg *driver.TaskConfig, archive string) error {
	dir, err := rootfs.OpenDir(cfg.AllocDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	f, err := dir.Open(cfg.Name + "/local/" + archive)
	if err != nil {
		if f, err = dir.Open(cfg.Name + "/" + archive); err != nil {
			return fmt.Errorf("cannot load the image archive %q from the task's directory: %w", archive, err)
		}
	}
	defer f.Close()
	answer, err := p.engine.ImageLoad(ctx, f)
	if err != nil {
		return engineError("load image archive "+archive, err)
	}
	defer answer.Body.Close()
	for dec := json.NewDecoder(answer.Body); ; {
		var line progress
		if err := dec.Decode(&line); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return engineError("load image archive "+archive, err)
		}
		if line.Error != "" {
			return engineError("load image archive "+archive, errors.New(line.Error))
		}
	}
}

// What is said of an engine without room, and how it is told.
const (
	noSpace    = "no space left on device"
	diskIsFull = "the engine's disk is full; remove images (docker image prune) or make room"
)

// engineError wraps an engine's error: trouble of the engine or of the way to
// it may pass, a refusal stays.
func engineError(what string, err error) error {
	out := fmt.Errorf("cannot %s: %w", what, err)
	if strings.Contains(err.Error(), noSpace) {
		out = fmt.Errorf("cannot %s: %s: %w", what, diskIsFull, err)
	}
	if transient(err) {
		return driver.Recoverable(out)
	}
	return out
}

// transient reports whether an error is of the engine's state, not of the
// request.
func transient(err error) bool {
	text := err.Error()
	return client.IsErrConnectionFailed(err) || cerrdefs.IsInternal(err) || cerrdefs.IsUnavailable(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, context.DeadlineExceeded) ||
		errors.Is(err, http.ErrHandlerTimeout) || strings.Contains(text, "connection reset") || strings.Contains(text, "EOF") ||
		strings.Contains(text, "timeout") || strings.Contains(text, noSpace)
}
