package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"

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
