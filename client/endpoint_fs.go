package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/logs"
	"github.com/nomadlite/nomadlite/client/rootfs"
	"github.com/nomadlite/nomadlite/structs"
)

// open finds an allocation and opens its directory.
func (c *Client) open(r *api.Request) (*run, *rootfs.Dir, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, nil, err
	}
	dir, err := run.runner.Dir().Open()
	return run, dir, fsError(err)
}

// filePath is the request's path, which must be given.
func filePath(r *api.Request) (string, error) {
	path := r.Values.Get("path")
	if path == "" {
		return "", structs.Errorf(structs.Invalid, "must provide a file name")
	}
	return path, nil
}

func fileInfo(info fs.FileInfo) *api.AllocFileInfo {
	return &api.AllocFileInfo{
		Name: info.Name(), IsDir: info.IsDir(), Size: info.Size(), FileMode: info.Mode().String(), ModTime: info.ModTime(),
	}
}

func (c *Client) fsList(_ context.Context, r *api.Request) (*api.Response, error) {
	_, dir, err := c.open(r)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	path := r.Values.Get("path")
	if path == "" {
		path = "/"
	}
	entries, err := dir.ReadDir(path)
	if err != nil {
		return nil, fsError(err)
	}
	out := make([]*api.AllocFileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			out = append(out, fileInfo(info))
		}
	}
	return &api.Response{Body: out}, nil
}

func (c *Client) fsStat(_ context.Context, r *api.Request) (*api.Response, error) {
	path, err := filePath(r)
	if err != nil {
		return nil, err
	}
	_, dir, err := c.open(r)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	info, err := dir.Stat(path)
	if err != nil {
		return nil, fsError(err)
	}
	out := fileInfo(info)
	if !info.IsDir() {
		out.ContentType = contentType(dir, path)
	}
	return &api.Response{Body: out}, nil
}

// contentType sniffs the first bytes; what cannot be read is bytes.
func contentType(dir *rootfs.Dir, path string) string {
	f, err := dir.Open(path)
	if err != nil {
		return "application/octet-stream"
	}
	defer f.Close()
	var head [512]byte
	n, _ := io.ReadFull(f, head[:])
	return http.DetectContentType(head[:n])
}

// plainHeader keeps browsers from making anything of a task's output.
func plainHeader() http.Header {
	return http.Header{
		"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
		"X-Xss-Protection": {"1; mode=block"}, "Content-Security-Policy": {"default-src 'none'; style-src 'unsafe-inline'; sandbox"},
	}
}

func (c *Client) fsCat(_ context.Context, r *api.Request) (*api.Response, error) {
	return c.sendFile(r, 0, 0)
}

func (c *Client) fsReadAt(_ context.Context, r *api.Request) (*api.Response, error) {
	offset, err := strconv.ParseInt(r.Values.Get("offset"), 10, 64)
	if err != nil || offset < 0 {
		return nil, structs.Errorf(structs.Invalid, "error parsing offset: %q is no number of bytes", r.Values.Get("offset"))
	}
	var limit int64
	if text := r.Values.Get("limit"); text != "" {
		if limit, err = strconv.ParseInt(text, 10, 64); err != nil || limit < 0 {
			return nil, structs.Errorf(structs.Invalid, "error parsing limit: %q is no number of bytes", text)
		}
	}
	return c.sendFile(r, offset, limit)
}

// sendFile sends a file from an offset, limit bytes of it or all.
func (c *Client) sendFile(r *api.Request, offset, limit int64) (*api.Response, error) {
	path, err := filePath(r)
	if err != nil {
		return nil, err
	}
	_, dir, err := c.open(r)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.Open(path)
	if err != nil {
		return nil, fsError(err)
	}
	return &api.Response{Header: plainHeader(), Stream: func(_ context.Context, w *api.StreamWriter) error {
		defer f.Close()
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			return err
		}
		var in io.Reader = f
		if limit > 0 {
			in = io.LimitReader(f, limit)
		}
		_, err := io.Copy(w, in)
		return err
	}}, nil
}

// origin reads origin and offset.
func origin(r *api.Request) (fromEnd bool, offset int64, err error) {
	switch r.Values.Get("origin") {
	case "", api.OriginStart:
	case api.OriginEnd:
		fromEnd = true
	default:
		return false, 0, structs.Errorf(structs.Invalid, "origin must be start or end")
	}
	if text := r.Values.Get("offset"); text != "" {
		if offset, err = strconv.ParseInt(text, 10, 64); err != nil || offset < 0 {
			return false, 0, structs.Errorf(structs.Invalid, "error parsing offset: %q is no number of bytes", text)
		}
	}
	return fromEnd, offset, nil
}

func (c *Client) fsStream(_ context.Context, r *api.Request) (*api.Response, error) {
	path, err := filePath(r)
	if err != nil {
		return nil, err
	}
	follow, err := r.Bool("follow", true)
	if err != nil {
		return nil, err
	}
	fromEnd, offset, err := origin(r)
	if err != nil {
		return nil, err
	}
	_, dir, err := c.open(r)
	if err != nil {
		return nil, err
	}
	if info, err := dir.Stat(path); err != nil || info.IsDir() {
		dir.Close()
		if err == nil {
			err = structs.Errorf(structs.Invalid, "file %q is a directory", path)
		}
		return nil, fsError(err)
	}
	return &api.Response{Header: plainHeader(), Stream: func(ctx context.Context, w *api.StreamWriter) error {
		defer dir.Close()
		return sendFrames(ctx, w, func(ctx context.Context, emit func(logs.Chunk) error) error {
			return logs.FollowFile(ctx, dir, strings.TrimLeft(path, "/"), fromEnd, offset, follow, emit)
		})
	}}, nil
}

// sendFrames sends chunks as frames, with heartbeats in between.
func sendFrames(ctx context.Context, w *api.StreamWriter, produce func(context.Context, func(logs.Chunk) error) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan api.StreamFrame)
	produced := make(chan error, 1)
	go func() {
		defer close(frames)
		produced <- produce(ctx, func(ch logs.Chunk) error {
			select {
			case frames <- api.StreamFrame{File: ch.File, Offset: ch.Offset, Data: append([]byte(nil), ch.Data...), FileEvent: ch.Event}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err := w.Frames(ctx, frames)
	cancel()
	if perr := <-produced; err == nil && !errors.Is(perr, context.Canceled) {
		err = perr
	}
	return err
}

func (c *Client) fsLogs(_ context.Context, r *api.Request) (*api.Response, error) {
	req, err := logRequest(r)
	if err != nil {
		return nil, err
	}
	plain, err := r.Bool("plain", false)
	if err != nil {
		return nil, err
	}
	run, dir, err := c.open(r)
	if err != nil {
		return nil, err
	}
	if err := logsReady(run, dir, r.Values.Get("task"), req); err != nil {
		dir.Close()
		return nil, err
	}
	req.Done = run.runner.Done()
	header := http.Header{"Content-Type": {"application/json"}}
	if plain {
		header = plainHeader()
	}
	return &api.Response{Header: header, Stream: func(ctx context.Context, w *api.StreamWriter) error {
		defer dir.Close()
		if !plain {
			return sendFrames(ctx, w, func(ctx context.Context, emit func(logs.Chunk) error) error {
				return logs.Stream(ctx, dir, req, emit)
			})
		}
		return logs.Stream(ctx, dir, req, func(ch logs.Chunk) error {
			_, err := w.Write(ch.Data)
			return err
		})
	}}, nil
}

func logRequest(r *api.Request) (logs.Request, error) {
	var req logs.Request
	task, kind := r.Values.Get("task"), r.Values.Get("type")
	if task == "" {
		return req, structs.Errorf(structs.Invalid, "must provide task name")
	}
	if kind != "stdout" && kind != "stderr" {
		return req, structs.Errorf(structs.Invalid, "must provide log type (stdout/stderr)")
	}
	follow, err := r.Bool("follow", false)
	if err != nil {
		return req, err
	}
	fromEnd, offset, err := origin(r)
	return logs.Request{
		Dir: rootfs.SharedName + "/" + rootfs.LogsName, Base: task + "." + kind, FromEnd: fromEnd, Offset: offset, Follow: follow,
	}, err
}

// logsReady says why there is no log to read, if there is none.
func logsReady(run *run, dir *rootfs.Dir, task string, req logs.Request) error {
	state := run.runner.Status().TaskStates[task]
	if state == nil {
		return structs.Errorf(structs.Invalid, "unknown task name %q", task)
	}
	if tg := run.alloc.Job.LookupGroup(run.alloc.TaskGroup); tg != nil {
		if t := tg.LookupTask(task); t != nil && t.LogConfig != nil && structs.Val(t.LogConfig.Disabled) {
			return structs.Errorf(structs.NotFound, "log collection of task %q is disabled", task)
		}
	}
	files, err := logs.Files(dir, req.Dir, req.Base)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fsError(err)
	}
	if len(files) == 0 && state.StartedAt == nil {
		return structs.Errorf(structs.NotFound, "task %q not started yet. No logs available", task)
	}
	if err != nil {
		return fsError(fmt.Errorf("no logs of task %q: %w", task, err))
	}
	return nil
}
