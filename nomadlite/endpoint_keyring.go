package nomadlite

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

func (e *endpoints) listRootKeys(ctx context.Context, r *api.Request) (*api.Response, error) {
	keys, index := tables(state.TableRootKeys)
	return e.read(ctx, r, view{keys, index, func(s *state.Snapshot) (*api.Response, error) {
		out := []*structs.RootKeyMeta{}
		for k := range s.RootKeys() {
			if strings.HasPrefix(k.KeyID, r.Query.Prefix) {
				out = append(out, &k.RootKeyMeta)
			}
		}
		return body(out)
	}})
}

func (e *endpoints) rotateRootKey(ctx context.Context, r *api.Request) (*api.Response, error) {
	full, err := r.Bool("full", false)
	if err != nil {
		return nil, err
	}
	if algo := r.Values.Get("algo"); algo != "" && algo != keyring.Algorithm {
		return nil, structs.Errorf(structs.Invalid, "invalid algorithm %q: root keys are %s", algo, keyring.Algorithm)
	}
	at, given, err := r.Uint("publish_time")
	if err != nil {
		return nil, err
	}
	publish := time.Time{}
	if given {
		publish = time.Unix(0, int64(at))
	}
	if full && given {
		return nil, structs.Errorf(structs.Invalid, "keyring cannot be prepublished and full rotated at the same time")
	}
	key, index, err := e.ops.RotateRootKey(ctx, full, publish)
	return written(&api.RootKeyRotateResponse{Key: key, ResponseMeta: api.ResponseMeta{Index: index}}, index, err)
}

func (e *endpoints) deleteRootKey(ctx context.Context, r *api.Request) (*api.Response, error) {
	force, err := r.Bool("force", false)
	if err != nil {
		return nil, &api.StatusError{Code: http.StatusUnprocessableEntity, Text: "invalid force parameter"}
	}
	index, err := e.ops.DeleteRootKey(ctx, r.Param("id"), force)
	return written(&api.ResponseMeta{Index: index}, index, err)
}
