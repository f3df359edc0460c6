package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Main is the process: it reads a Request, fetches, and writes Reports. It
// returns the exit code.
func Main() int {
	var req Request
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&req); err != nil || req.Source == nil {
		fmt.Fprintln(os.Stderr, "cannot fetch: this command is started by the agent alone")
		return 2
	}
	go func() { // the agent is gone: so are we, and what we started with us
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(3)
	}()
	out := &reporter{enc: json.NewEncoder(os.Stdout)}
	result, err := run(&req, out)
	if err != nil {
		var p passing
		result = &Report{Error: err.Error(), Recoverable: errors.As(err, &p), Stale: errors.Is(err, errStale)}
	}
	result.Done = true
	out.send(result)
	return 0
}

func run(req *Request, out *reporter) (*Report, error) {
	root, err := confine(req)
	if err != nil {
		return nil, fmt.Errorf("cannot make the sandbox: %w", err)
	}
	defer root.Close()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	j := &job{Request: req, root: root, out: out}
	stop := j.tellProgress()
	defer stop()
	result, err := j.do(ctx, cancel)
	if cause := context.Cause(ctx); err != nil && cause != nil && ctx.Err() != nil {
		err = cause
	}
	return result, err
}

// job is one artifact on its way.
type job struct {
	*Request
	root  *os.Root // the work directory
	out   *reporter
	bytes atomic.Int64
	total atomic.Int64
}

func (j *job) do(ctx context.Context, cancel context.CancelCauseFunc) (*Report, error) {
	if j.Source.Getter == getGit {
		stop := j.watchSize(cancel)
		defer stop()
		if err := j.clone(ctx); err != nil {
			return nil, err
		}
		return j.tree()
	}
	raw, err := j.raw(ctx)
	if err != nil {
		return nil, err
	}
	if raw == nil { // a folder of objects, already in place
		return j.tree()
	}
	defer raw.Close()
	return j.unpackRaw(raw)
}

// raw is the file as it comes, verified; nil when the source was a folder.
func (j *job) raw(ctx context.Context) (*os.File, error) {
	if j.Cached {
		f := os.NewFile(3, "cached")
		if err := j.verify(f); err != nil {
			return nil, errors.Join(errStale, err)
		}
		return f, nil
	}
	var err error
	var dir bool
	switch j.Source.Getter {
	case getS3:
		dir, err = j.getS3(ctx)
	case getFile:
		dir, err = j.getLocal()
	default:
		err = j.getHTTP(ctx)
	}
	if err != nil || dir {
		return nil, err
	}
	f, err := j.root.Open(RawName)
	if err != nil {
		return nil, err
	}
	if err := j.verify(f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// unpackRaw makes the outcome of the file.
func (j *job) unpackRaw(raw *os.File) (*Report, error) {
	kind := j.Source.Archive
	if j.Mode == "file" && kind != "" && !explicitArchive(j.Source) {
		kind = "" // archives stay as they are where a file is wanted
	}
	u := &unpacker{root: j.root, limits: j.Limits}
	switch {
	case kind == "" && j.Mode == "dir":
		return nil, fmt.Errorf("mode dir wants a directory, and %q is a plain file: set mode to any or file, or the option archive", j.Source.Filename)
	case kind == "":
		if j.Source.Subdir != "" {
			return nil, fmt.Errorf("%q is a plain file: nothing can be behind //", j.Source.Filename)
		}
		if _, err := raw.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
		if err := u.file(raw, FileName); err != nil {
			return nil, err
		}
		return &Report{Name: j.Source.Filename}, nil
	case !isMany(kind):
		if err := u.single(raw, kind, FileName); err != nil {
			return nil, err
		}
		return &Report{Name: withoutSuffix(j.Source.Filename)}, nil
	}
	if err := u.many(raw, kind); err != nil {
		return nil, err
	}
	if j.Mode == "file" {
		return nil, fmt.Errorf("mode file wants one file, and %q holds many: set mode to any or dir", j.Source.Filename)
	}
	return j.tree()
}

// explicitArchive reports whether the job asked to unpack, other than by the
// name of the file.
func explicitArchive(s *Source) bool {
	kind, _ := archiveOf(s.Filename)
	return kind != s.Archive
}

// withoutSuffix is the name of what a compressed file holds.
func withoutSuffix(name string) string {
	if ext := filepath.Ext(name); len(ext) < len(name) {
		return name[:len(name)-len(ext)]
	}
	return name
}

// tree ends with a directory: the wanted part of it, looked through.
func (j *job) tree() (*Report, error) {
	if j.Mode == "file" {
		return nil, fmt.Errorf("mode file wants one file, and %s is a directory: set mode to any or dir", j.Source)
	}
	if err := pick(j.root, j.Source.Subdir); err != nil {
		return nil, err
	}
	if err := inspect(j.root, j.Limits, j.Inspect); err != nil {
		return nil, err
	}
	return &Report{Tree: true}, nil
}

// reporter writes reports, one at a time.
type reporter struct {
	mu  sync.Mutex // guards enc
	enc *json.Encoder
}

func (r *reporter) send(rep *Report) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.enc.Encode(rep) // an agent that does not read is gone
}

// progressEvery is how often the agent hears how far we are.
const progressEvery = time.Second

// tellProgress reports until stop is called.
func (j *job) tellProgress() (stop func()) {
	return every(progressEvery, func() {
		j.out.send(&Report{Bytes: j.bytes.Load(), Total: j.total.Load()})
	})
}

// every calls f again and again until stop is called, which waits for it.
func every(d time.Duration, f func()) (stop func()) {
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				f()
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-gone }
}
