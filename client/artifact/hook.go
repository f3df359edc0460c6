// Package artifact fetches what tasks need before they start. It decides what
// and where; the fetching is done by a process without rights (package fetch)
// in a stage beside the task's directory, and client/rootfs puts the outcome in
// place.
package artifact

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/artifact/fetch"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/client/taskenv"
	"github.com/nomadlite/nomadlite/structs"
)

// Config is what a node's operator says about artifacts.
type Config struct {
	Binary string // our own
	Logger hclog.Logger
	Cache  *Cache
	// HTTPTimeout, GitTimeout and S3Timeout bound one artifact, from its start to
	// its end.
	HTTPTimeout, GitTimeout, S3Timeout time.Duration
	MaxDownload, MaxSize               int64 // bytes
	MaxFiles                           int
	// NoInspection lets links lead out of what was fetched, NoIsolation fetches
	// without a root of its own.
	NoInspection, NoIsolation bool
	ExtraPaths                []fetch.ExtraPath
	Environment               []string // names of variables of the agent
	LocalPaths                []string // folders whose files may be fetched
	Deny                      []netip.Prefix
}

const (
	perTask     = 3  // artifacts of one task at once
	perNode     = 16 // of all tasks
	idleTimeout = 2 * time.Minute
)

// Hook fetches the artifacts of the tasks of a node.
type Hook struct {
	cfg      Config
	slots    chan struct{}
	warnOnce sync.Once
}

// New makes the hook.
func New(cfg Config) *Hook { return &Hook{cfg: cfg, slots: make(chan struct{}, perNode)} }

// Name implements alloc.Hook.
func (h *Hook) Name() string { return "artifacts" }

// Needs implements alloc.Chooser.
func (h *Hook) Needs(g *structs.TaskGroup) bool {
	for _, t := range g.Tasks {
		if len(t.Artifacts) > 0 {
			return true
		}
	}
	return false
}

// Prerun implements alloc.Prerunner.
func (h *Hook) Prerun(_ context.Context, a *alloc.Alloc) error { return a.Dir.SweepStages() }

// Prestart implements alloc.Prestarter: it returns when all artifacts of the
// task are in place. What an earlier start fetched is not fetched again.
func (h *Hook) Prestart(ctx context.Context, t *alloc.Task) error {
	if len(t.Spec.Artifacts) == 0 {
		return nil
	}
	m, err := readMarks(t.Dir, t.Spec.Name)
	if err != nil {
		return err
	}
	var todo []*fetching
	for _, spec := range t.Spec.Artifacts {
		f, err := h.prepare(t, spec)
		if err != nil {
			return failure(shownSource(f), err, false)
		}
		if !m.done[f.mark] {
			todo = append(todo, f)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	t.Note(&structs.TaskEvent{Type: structs.TaskDownloadingArtifacts})
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(perTask)
	for _, f := range todo {
		group.Go(func() error {
			if err := h.fetch(ctx, t, f); err != nil {
				return err
			}
			return m.add(f.mark)
		})
	}
	return group.Wait()
}

// fetching is one artifact of one task.
type fetching struct {
	source *fetch.Source
	spec   *structs.TaskArtifact
	header map[string]string
	to     string // below the allocation's directory
	owner  rootfs.Owner
	mark   string
}

func shownSource(f *fetching) string {
	if f == nil || f.source == nil {
		return "artifact"
	}
	return fmt.Sprintf("artifact %q", f.source)
}

func failure(what string, err error, recoverable bool) error {
	return &alloc.Failure{Kind: structs.TaskArtifactDownloadFailed, Err: fmt.Errorf("failed to download %s: %w", what, err), Recoverable: recoverable}
}

// prepare reads an artifact with the task's environment.
func (h *Hook) prepare(t *alloc.Task, spec *structs.TaskArtifact) (*fetching, error) {
	f := &fetching{spec: spec, header: replaceAll(t.Env, spec.GetterHeaders)}
	source, options := t.Env.Replace(spec.GetterSource), replaceAll(t.Env, spec.GetterOptions)
	var err error
	if f.source, err = fetch.ParseSource(source, options); err != nil {
		return f, err
	}
	if f.to, err = t.Dir.PlaceDir(t.Spec.Name, t.Env.Replace(spec.RelativeDest)); err != nil {
		return f, fmt.Errorf("destination: %w", err)
	}
	if f.owner, err = ownerOf(t, spec.Chown); err != nil {
		return f, err
	}
	text, err := json.Marshal([]any{source, options, f.header, spec.GetterMode, f.to, spec.Chown, spec.GetterInsecure})
	sum := sha256.Sum256(text)
	f.mark = hex.EncodeToString(sum[:])
	return f, err
}

func replaceAll(env *taskenv.Env, in map[string]string) map[string]string {
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[k] = env.Replace(v)
	}
	return out
}

// ownerOf is whom the files belong to: the agent, or, with chown, the task's
// user.
func ownerOf(t *alloc.Task, chown bool) (rootfs.Owner, error) {
	name := t.Env.Replace(t.Spec.User)
	if !chown || name == "" || os.Geteuid() != 0 {
		return rootfs.Owner{UID: os.Geteuid(), GID: os.Getegid()}, nil
	}
	uid, gid, ok := t.User()
	if !ok {
		return rootfs.Owner{}, fmt.Errorf("chown: the node knows no user %q", name)
	}
	return rootfs.Owner{UID: uid, GID: gid}, nil
}

// timeout is how long an artifact may take.
func (h *Hook) timeout(s *fetch.Source) (time.Duration, string) {
	switch s.Getter {
	case "git":
		return h.cfg.GitTimeout, "artifact.git_timeout"
	case "s3":
		return h.cfg.S3Timeout, "artifact.s3_timeout"
	}
	return h.cfg.HTTPTimeout, "artifact.http_read_timeout"
}

// fetch gets one artifact and puts it in place.
func (h *Hook) fetch(ctx context.Context, t *alloc.Task, f *fetching) error {
	select {
	case h.slots <- struct{}{}:
		defer func() { <-h.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	limit, setting := h.timeout(f.source)
	within, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %v (client setting %s)", limit, setting))
	defer cancel()
	recoverable, err := h.fetchInto(within, t, f)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return failure(shownSource(f), err, recoverable || within.Err() != nil)
	}
	return nil
}

func (h *Hook) fetchInto(ctx context.Context, t *alloc.Task, f *fetching) (recoverable bool, err error) {
	key := h.cfg.Cache.key(t.Alloc.Namespace, f.source)
	if key != "" {
		unlock, err := h.cfg.Cache.lock(ctx, key)
		if err != nil {
			return true, err
		}
		defer unlock()
		if cached := h.cfg.Cache.open(key); cached != nil {
			defer cached.Close()
			report, err := h.once(ctx, t, f, cached, "")
			if err != nil || !report.Stale {
				return report.outcome(err)
			}
			h.cfg.Logger.Warn("a cached artifact is damaged and is fetched again", "artifact", f.source.String())
			h.cfg.Cache.drop(key)
		}
	}
	report, err := h.once(ctx, t, f, nil, key)
	return report.outcome(err)
}

// outcome is what a fetch says in the end.
type outcome struct{ *fetch.Report }

func (o outcome) outcome(err error) (recoverable bool, _ error) {
	if err == nil && o.Error != "" {
		return o.Recoverable, errors.New(o.Error)
	}
	return true, err
}

// once runs one process and installs what it leaves; key is where the file is
// kept, "" for nowhere.
func (h *Hook) once(ctx context.Context, t *alloc.Task, f *fetching, cached *os.File, key string) (outcome, error) {
	uid, gid := unprivileged()
	stage, err := t.Dir.NewStage(uid, gid)
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		if err := stage.Remove(); err != nil {
			h.cfg.Logger.Warn("cannot remove the stage of an artifact", "error", err)
		}
	}()
	size := h.cfg.MaxSize
	if d := t.Group.EphemeralDisk; d != nil && structs.Val(d.SizeMB) > 0 {
		size = min(size, int64(structs.Val(d.SizeMB))<<20)
	}
	req := &fetch.Request{
		Source: f.source, Mode: f.spec.GetterMode, Headers: f.header, Insecure: f.spec.GetterInsecure, Dir: stage.Work(),
		Isolate: os.Geteuid() == 0 && !h.cfg.NoIsolation, User: uid, Group: gid, LocalPaths: h.cfg.LocalPaths, ExtraPaths: h.cfg.ExtraPaths,
		Cached: cached != nil, Deny: h.cfg.Deny, Inspect: !h.cfg.NoInspection,
		Limits: fetch.Limits{Download: min(h.cfg.MaxDownload, size), Size: size, Files: h.cfg.MaxFiles, Idle: idleTimeout},
	}
	report, err := h.runProcess(ctx, req, cached, teller(t, f.source))
	if err != nil || report.Error != "" {
		return outcome{report}, err
	}
	if key != "" {
		h.keep(stage, key)
	}
	if report.Tree {
		return outcome{report}, stage.Install(fetch.TreeName, f.to, f.owner)
	}
	to := f.to
	if f.spec.GetterMode != "file" {
		to = path.Join(to, path.Base("/"+report.Name))
	}
	return outcome{report}, stage.Install(fetch.FileName, to, f.owner)
}

// keep puts the file as it came into the cache.
func (h *Hook) keep(stage *rootfs.Stage, key string) {
	raw, err := stage.Open(fetch.RawName)
	if err == nil {
		defer raw.Close()
		err = h.cfg.Cache.add(key, raw)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.cfg.Logger.Warn("cannot keep an artifact in the cache", "error", err)
	}
}

// unprivileged is the user that fetches where the agent is root.
func unprivileged() (uid, gid int) {
	if os.Geteuid() != 0 {
		return os.Geteuid(), os.Getegid()
	}
	return rootfs.Nobody()
}

// firstTold is when a task first says how far its download is; each next time
// is twice as long after the one before, so that the few events that are kept
// are not these alone.
const firstTold = 10 * time.Second

// teller notes how far a long download is.
func teller(t *alloc.Task, s *fetch.Source) func(*fetch.Report) {
	began, next := time.Now(), firstTold
	return func(r *fetch.Report) {
		took := time.Since(began)
		if took < next {
			return
		}
		next = 2 * took
		text := fmt.Sprintf("Client is downloading artifacts: %d MiB of %s after %v", r.Bytes>>20, s, took.Round(time.Second))
		if r.Total > 0 {
			text = fmt.Sprintf("Client is downloading artifacts: %d of %d MiB of %s after %v", r.Bytes>>20, r.Total>>20, s, took.Round(time.Second))
		}
		t.Note(&structs.TaskEvent{Type: structs.TaskDownloadingArtifacts, Details: map[string]string{"message": text}})
	}
}
