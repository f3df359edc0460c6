package nomadlite

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/nomadlite/nomadlite/api"
)

// snapshotter saves and restores the state of the cluster.
type snapshotter interface {
	SaveState() (*savedState, error)
	RestoreState(ctx context.Context, r io.Reader) error
}

func (e *endpoints) saveSnapshot(ctx context.Context, r *api.Request) (*api.Response, error) {
	if !r.Query.Stale {
		if err := e.ops.ReadBarrier(ctx); err != nil {
			return nil, err
		}
	}
	saved, err := e.ops.SaveState()
	if err != nil {
		return nil, err
	}
	return &api.Response{
		Header: http.Header{"Digest": {saved.digest}, "Content-Type": {"application/x-gzip"}},
		Stream: func(_ context.Context, w *api.StreamWriter) error {
			defer saved.Close()
			_, err := io.Copy(w, saved.file)
			return err
		},
	}, nil
}

func (e *endpoints) restoreSnapshot(ctx context.Context, r *api.Request) (*api.Response, error) {
	b, err := r.Body()
	if err != nil {
		return nil, err
	}
	return nil, e.ops.RestoreState(ctx, bytes.NewReader(b))
}
