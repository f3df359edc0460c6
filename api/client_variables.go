package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Variables calls the routes of variables.
type Variables struct{ c *Client }

// Variables returns the routes of variables.
func (c *Client) Variables() Variables { return Variables{c} }

// VariableConflict is a conditional write that lost: Current is what is
// stored, with a ModifyIndex of 0 when nothing is.
type VariableConflict struct{ Current *structs.Variable }

// Error says at which index the variable is.
func (e *VariableConflict) Error() string {
	return "cas conflict: the variable is at index " + strconv.FormatUint(e.Current.ModifyIndex, 10) + "; read it again"
}

// List returns the variables of a namespace ("*" for all), without items.
func (v Variables) List(ctx context.Context, q *QueryOptions) ([]*structs.VariableMetadata, *QueryMeta, error) {
	return get[[]*structs.VariableMetadata](ctx, v.c, "/v1/vars", q)
}

// Get returns a variable with its items.
func (v Variables) Get(ctx context.Context, path string, q *QueryOptions) (*structs.Variable, *QueryMeta, error) {
	return get[*structs.Variable](ctx, v.c, variablePath(path), q)
}

// Set writes a variable, with check only when its ModifyIndex is *check (0 for
// one that must not exist). The error is a *VariableConflict when it lost.
func (v Variables) Set(ctx context.Context, in *structs.Variable, check *uint64, w *WriteOptions) (*structs.Variable, *WriteMeta, error) {
	out, meta, err := put[*structs.Variable](ctx, v.c, variablePath(in.Path), in, withCheck(w, check))
	return out, meta, conflictOf(err)
}

// Delete removes a variable; check is that of Set.
func (v Variables) Delete(ctx context.Context, path string, check *uint64, w *WriteOptions) (*WriteMeta, error) {
	meta, err := v.c.Delete(ctx, variablePath(path), nil, withCheck(w, check))
	return meta, conflictOf(err)
}

// variablePath is the route of a variable; slashes of its path stay.
func variablePath(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i] = Escape(parts[i])
	}
	return "/v1/var/" + strings.Join(parts, "/")
}

func withCheck(w *WriteOptions, check *uint64) *WriteOptions {
	if check == nil {
		return w
	}
	return w.with(map[string]string{"cas": strconv.FormatUint(*check, 10)})
}

func conflictOf(err error) error {
	var resp *ResponseError
	if !errors.As(err, &resp) || resp.Code != http.StatusConflict {
		return err
	}
	current := &structs.Variable{}
	if json.Unmarshal([]byte(resp.Body), current) != nil {
		return err
	}
	return &VariableConflict{Current: current}
}

// RootKeyRotateResponse answers a rotation with the new key.
type RootKeyRotateResponse struct {
	Key *structs.RootKeyMeta
	ResponseMeta
}

// Keyring is the calls about root keys.
type Keyring struct{ c *Client }

// Keyring returns the calls about root keys.
func (c *Client) Keyring() Keyring { return Keyring{c} }

// List returns the root keys.
func (k Keyring) List(ctx context.Context, q *QueryOptions) ([]*structs.RootKeyMeta, error) {
	keys, _, err := get[[]*structs.RootKeyMeta](ctx, k.c, "/v1/operator/keyring/keys", q)
	return keys, err
}

// Rotate makes a new root key, with publish one that is used from then on.
// With full, all variables are encrypted again.
func (k Keyring) Rotate(ctx context.Context, full bool, publish time.Time) (*structs.RootKeyMeta, error) {
	w := &WriteOptions{Params: map[string]string{}}
	if full {
		w.Params["full"] = "true"
	}
	if !publish.IsZero() {
		w.Params["publish_time"] = strconv.FormatInt(publish.UnixNano(), 10)
	}
	out, _, err := put[*RootKeyRotateResponse](ctx, k.c, "/v1/operator/keyring/rotate", nil, w)
	if err != nil {
		return nil, err
	}
	return out.Key, nil
}

// Delete removes a root key, with force also one that encrypts variables.
func (k Keyring) Delete(ctx context.Context, id string, force bool) error {
	w := &WriteOptions{Params: map[string]string{}}
	if force {
		w.Params["force"] = "true"
	}
	_, err := k.c.Delete(ctx, "/v1/operator/keyring/key/"+url.PathEscape(id), nil, w)
	return err
}
