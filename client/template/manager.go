package template

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

// Times of a manager.
const (
	minRetry     = 250 * time.Millisecond
	maxRetry     = time.Minute
	lookupWait   = 5 * time.Minute
	missingAfter = 3 * time.Second // until a task says what it waits for
	// defaultQuiet and defaultPatience are the contract's wait: a change is
	// rendered when nothing changed for the first, at the latest after the second.
	defaultQuiet    = 5 * time.Second
	defaultPatience = 4 * time.Minute
)

// Lookup reads data of the cluster for a task, waiting for a change after since.
type Lookup func(ctx context.Context, req api.WorkloadLookup) (*api.WorkloadData, error)

// manager keeps the templates of one task.
type manager struct {
	lookup Lookup
	cfg    Config
	specs  []*structs.Template
	wake   chan struct{}

	mu      sync.Mutex // guards what follows
	data    map[dep]*api.WorkloadData
	errs    map[dep]error
	watched map[dep]bool

	stop context.CancelFunc // of the watchers; nil while there are none
	wg   sync.WaitGroup
	sums map[int][32]byte // of what was written, by template
	env  map[string]string
}

func newManager(specs []*structs.Template, lookup Lookup, cfg Config) *manager {
	return &manager{lookup: lookup, cfg: cfg, specs: specs, wake: make(chan struct{}, 1), data: map[dep]*api.WorkloadData{},
		errs: map[dep]error{}, watched: map[dep]bool{}, sums: map[int][32]byte{}}
}

// end stops all watchers and waits for them.
func (m *manager) end() {
	if m.stop != nil {
		m.stop()
		m.wg.Wait()
		m.stop = nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = map[dep]bool{}
}

// watch follows data until ctx ends.
func (m *manager) watch(ctx context.Context, t *alloc.Task, d dep) {
	defer m.wg.Done()
	retry, since := m.cfg.Retry, uint64(0)
	for ctx.Err() == nil {
		v, err := m.lookup(ctx, api.WorkloadLookup{AllocID: t.Alloc.ID, Task: t.Spec.Name, Kind: d.kind, Name: d.name, Since: since, Wait: m.cfg.LookupWait})
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		m.errs[d] = err
		if err == nil {
			m.data[d] = v
		}
		m.mu.Unlock()
		if err == nil {
			if v.Index < since { // another cluster's history
				v.Index = 0
			}
			changed := v.Index != since
			since, retry = v.Index, m.cfg.Retry
			if changed {
				m.poke()
			}
			continue
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
		}
		retry = min(2*retry, m.cfg.MaxRetry)
	}
}

func (m *manager) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// rendered is one template's output.
type rendered struct {
	spec int
	rel  string // below the allocation's directory
	out  []byte
}

// renderAll renders all templates and begins to watch what they ask for. With
// something missing there is no output.
func (m *manager) renderAll(ctx context.Context, t *alloc.Task) (out []rendered, missing []string, err error) {
	m.mu.Lock()
	p := &pass{data: make(map[dep]*api.WorkloadData, len(m.data)), env: t.Env.Map(), used: map[dep]bool{}, missing: map[dep]bool{}, denies: m.cfg.denies}
	for d, v := range m.data {
		p.data[d] = v
	}
	m.mu.Unlock()
	dir, err := t.Dir.Open()
	if err != nil {
		return nil, nil, err
	}
	defer dir.Close()
	p.file = func(name string) (string, error) { return read(dir, t, name) }
	for i, spec := range m.specs {
		rel, err := t.Dir.Place(t.Spec.Name, t.Env.Replace(spec.DestPath))
		if err != nil {
			return nil, nil, fmt.Errorf("destination: %w", err)
		}
		text := spec.EmbeddedTmpl
		if spec.SourcePath != "" {
			if text, err = read(dir, t, t.Env.Replace(spec.SourcePath)); err != nil {
				return nil, nil, fmt.Errorf("source: %w", err)
			}
		}
		p.until = time.Now().Add(maxTime)
		b, err := p.render(source{text: text, left: spec.LeftDelim, right: spec.RightDelim, strict: spec.ErrMissingKey})
		if err != nil && len(p.missing) == 0 {
			return nil, nil, fmt.Errorf("%s: %w", spec.DestPath, err)
		}
		out = append(out, rendered{i, rel, b})
	}
	m.follow(ctx, t, p.used)
	if len(p.missing) == 0 {
		return out, nil, nil
	}
	for d := range p.missing {
		missing = append(missing, d.String())
	}
	sort.Strings(missing)
	return nil, missing, nil
}

// follow begins to watch what is not watched yet.
func (m *manager) follow(ctx context.Context, t *alloc.Task, used map[dep]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range used {
		if !m.watched[d] {
			m.watched[d] = true
			m.wg.Add(1)
			go m.watch(ctx, t, d)
		}
	}
}

// read reads a file for a template: below the task's or the shared directory.
func read(dir *rootfs.Dir, t *alloc.Task, name string) (string, error) {
	rel, err := t.Dir.Place(t.Spec.Name, name)
	if err != nil {
		return "", err
	}
	f, err := dir.Open(rel)
	if err != nil {
		return "", fmt.Errorf("cannot read %q: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err == nil && len(b) > maxSource {
		err = fmt.Errorf("cannot read %q: it is longer than %d bytes", name, maxSource)
	}
	return string(b), err
}

// write puts outputs that changed in place and returns their templates.
func (m *manager) write(t *alloc.Task, out []rendered) (changed []int, err error) {
	dir, err := t.Dir.Open()
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	env := map[string]string{}
	for _, r := range out {
		spec := m.specs[r.spec]
		if spec.Envvars {
			vars, err := parseEnv(r.out)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", spec.DestPath, err)
			}
			for k, v := range vars {
				env[k] = v
			}
		}
		perms, err := parsePerms(spec.Perms)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", spec.DestPath, err)
		}
		sum := sha256.Sum256(r.out)
		if sum == m.sums[r.spec] && dir.Holds(r.rel, r.out) {
			continue
		}
		same := dir.Holds(r.rel, r.out) // as an earlier agent left it
		if err := dir.Replace(r.rel, r.out, perms, spec.Uid, spec.Gid); err != nil {
			return nil, fmt.Errorf("cannot write %q: %w", spec.DestPath, err)
		}
		m.sums[r.spec] = sum
		if !same && !spec.Once {
			changed = append(changed, r.spec)
		}
	}
	m.env = env
	return changed, nil
}

// first renders until nothing is missing, and writes.
func (m *manager) first(ctx, watching context.Context, t *alloc.Task) error {
	tell := time.NewTimer(missingAfter)
	defer tell.Stop()
	told := ""
	for {
		out, missing, err := m.renderAll(watching, t)
		if err == nil && missing == nil {
			_, err = m.write(t, out)
			if err == nil {
				return nil
			}
		}
		if err != nil {
			return &alloc.Failure{Kind: structs.TaskKilling, Err: fmt.Errorf("Template failed: %w", err)}
		}
		for wait := true; wait; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-m.wake:
				wait = false
			case <-tell.C:
				if text := m.missingText(missing); text != told {
					told = text
					t.Note(&structs.TaskEvent{Type: "Template", Message: text, Details: map[string]string{"message": text}})
				}
				tell.Reset(missingAfter)
			}
		}
	}
}

// missingText words what is missing, with the reason where one is known.
func (m *manager) missingText(missing []string) string {
	const show = 3
	text := "Missing: " + strings.Join(missing[:min(show, len(missing))], ", ")
	if n := len(missing) - show; n > 0 {
		text += fmt.Sprintf(", and %d more", n)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, err := range m.errs {
		if err != nil {
			return text + " (" + err.Error() + ")"
		}
	}
	return text
}

// waitOf is how long a change waits for others: the longest of the templates,
// each within the bounds of the node.
func (m *manager) waitOf() (quiet, patience time.Duration) {
	for _, s := range m.specs {
		q, p := m.cfg.Quiet, m.cfg.Patience
		if s.Wait != nil {
			if s.Wait.Min != nil {
				q = *s.Wait.Min
			}
			p = max(q, structs.Val(s.Wait.Max))
			if s.Wait.Max == nil {
				p = 4 * q
			}
		}
		q, p = m.cfg.Bounds.within(q, p)
		quiet, patience = max(quiet, q), max(patience, p)
	}
	return quiet, patience
}

// keep renders again whenever data changed, until ctx ends.
func (m *manager) keep(ctx context.Context, t *alloc.Task) {
	quiet, patience := m.waitOf()
	for {
		select {
		case <-m.wake:
		case <-ctx.Done():
			return
		}
		if !m.settle(ctx, quiet, patience) {
			return
		}
		out, missing, err := m.renderAll(ctx, t)
		if err == nil && missing != nil {
			continue // what was there stays until all is there again
		}
		var changed []int
		if err == nil {
			changed, err = m.write(t, out)
		}
		if err != nil {
			t.Fail(&structs.TaskEvent{Type: structs.TaskKilling, Details: map[string]string{"kill_reason": "Template failed: " + err.Error(), "fails_task": "true"}})
			return
		}
		if len(changed) > 0 && !m.react(ctx, t, changed) {
			return
		}
	}
}

// settle waits until nothing changed for a while; false when ctx has ended.
func (m *manager) settle(ctx context.Context, quiet, patience time.Duration) bool {
	limit := time.After(patience)
	for {
		select {
		case <-m.wake:
		case <-time.After(quiet):
			return true
		case <-limit:
			return true
		case <-ctx.Done():
			return false
		}
	}
}

// react does what changed templates say; false ends the loop.
func (m *manager) react(ctx context.Context, t *alloc.Task, changed []int) bool {
	r := reactionOf(m.specs, changed)
	select {
	case <-time.After(time.Duration(rand.Float64() * float64(r.splay))):
	case <-ctx.Done():
		return false
	}
	if r.restart {
		t.Restart(&structs.TaskEvent{Type: structs.TaskRestartSignal, Details: map[string]string{"restart_reason": "Template with change_mode restart re-rendered"}}, false)
		return true
	}
	for _, s := range r.signals {
		if err := t.Signal(ctx, s, "Template re-rendered"); err != nil && ctx.Err() == nil {
			t.Fail(&structs.TaskEvent{Type: structs.TaskKilling, Details: map[string]string{"kill_reason": fmt.Sprintf("Template failed to send signal %s: %v", s, err), "fails_task": "true"}})
			return false
		}
	}
	return m.scripts(ctx, t, r.scripts)
}

// reaction is what follows from templates that changed.
type reaction struct {
	restart bool
	signals []string
	scripts []*structs.ChangeScript
	splay   time.Duration
}

// reactionOf: a restart makes signals and scripts needless, each signal is sent
// once.
func reactionOf(specs []*structs.Template, changed []int) reaction {
	var r reaction
	seen := map[string]bool{}
	for _, i := range changed {
		s := specs[i]
		if s.ChangeMode != "noop" {
			r.splay = max(r.splay, structs.Val(s.Splay))
		}
		switch s.ChangeMode {
		case "restart":
			r.restart = true
		case "signal":
			if !seen[s.ChangeSignal] {
				seen[s.ChangeSignal] = true
				r.signals = append(r.signals, s.ChangeSignal)
			}
		case "script":
			if s.ChangeScript != nil {
				r.scripts = append(r.scripts, s.ChangeScript)
			}
		}
	}
	if r.restart {
		r.signals, r.scripts = nil, nil
	}
	return r
}

// scripts runs change scripts side by side; false when one ended the task.
func (m *manager) scripts(ctx context.Context, t *alloc.Task, scripts []*structs.ChangeScript) bool {
	var wg sync.WaitGroup
	fatal := make([]bool, len(scripts))
	for i, s := range scripts {
		wg.Add(1)
		go func() {
			defer wg.Done()
			fatal[i] = !runScript(ctx, t, s)
		}()
	}
	wg.Wait()
	for _, f := range fatal {
		if f {
			return false
		}
	}
	return true
}

// maxScriptText bounds what an event shows of a script's output.
const maxScriptText = 512

func runScript(ctx context.Context, t *alloc.Task, s *structs.ChangeScript) bool {
	argv := []string{t.Env.Replace(s.Command)}
	for _, a := range s.Args {
		argv = append(argv, t.Env.Replace(a))
	}
	r, err := t.Exec(ctx, argv, structs.Val(s.Timeout))
	switch {
	case ctx.Err() != nil:
		return false
	case err == nil && r.Exit != nil && (r.Exit.ExitCode != 0 || r.Exit.Signal != 0):
		out := bytes.TrimSpace(append(r.Stdout, r.Stderr...))
		err = fmt.Errorf("exit code %d: %s", r.Exit.ExitCode, out[:min(len(out), maxScriptText)])
	case err == nil:
		return true
	}
	text := fmt.Sprintf("Template failed to run script %v with arguments %v on change: %v", s.Command, s.Args, err)
	if s.FailOnError {
		t.Fail(&structs.TaskEvent{Type: structs.TaskKilling, Details: map[string]string{"kill_reason": text, "fails_task": "true"}})
		return false
	}
	t.Note(&structs.TaskEvent{Type: structs.TaskHookFailed, Details: map[string]string{"message": text}})
	return true
}

// parseEnv reads KEY=VALUE lines; values may be quoted, # begins a comment.
func parseEnv(text []byte) (map[string]string, error) {
	out := map[string]string{}
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" || strings.ContainsAny(key, " \t\"'") {
			return nil, fmt.Errorf("cannot read line %d as KEY=VALUE for the environment", n) // the line may be secret
		}
		v, err := unquote(strings.TrimSpace(value))
		if err != nil {
			return nil, fmt.Errorf("cannot read line %d for the environment: %w", n, err)
		}
		out[key] = v
	}
	return out, nil
}

func unquote(v string) (string, error) {
	if v == "" {
		return "", nil
	}
	switch q := v[0]; q {
	case '\'':
		end := strings.IndexByte(v[1:], '\'')
		if end < 0 {
			return "", errors.New("its quote does not end")
		}
		return v[1 : 1+end], nil
	case '"':
		var b strings.Builder
		for i := 1; i < len(v); i++ {
			switch {
			case v[i] == '"':
				return b.String(), nil
			case v[i] == '\\' && i+1 < len(v):
				i++
				switch v[i] {
				case 'n':
					b.WriteByte('\n')
				case 't':
					b.WriteByte('\t')
				case 'r':
					b.WriteByte('\r')
				default:
					b.WriteByte(v[i])
				}
			default:
				b.WriteByte(v[i])
			}
		}
		return "", errors.New("its quote does not end")
	}
	if i := strings.Index(v, " #"); i >= 0 {
		v = strings.TrimSpace(v[:i])
	}
	return v, nil
}
