package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"
)

// get reads a T.
func get[T any](ctx context.Context, c *Client, path string, q *QueryOptions) (T, *QueryMeta, error) {
	var out T
	meta, err := c.Get(ctx, path, &out, q)
	return out, meta, err
}

// put writes in and reads a T.
func put[T any](ctx context.Context, c *Client, path string, in any, w *WriteOptions) (T, *WriteMeta, error) {
	var out T
	meta, err := c.Put(ctx, path, in, &out, w)
	return out, meta, err
}

// query is a read that has a body: a search, or statuses of chosen jobs.
func query[T any](ctx context.Context, c *Client, path string, in any, q *QueryOptions) (T, *QueryMeta, error) {
	var out T
	body, err := json.Marshal(in)
	if err != nil {
		return out, nil, fmt.Errorf("cannot encode the request for %s: %w", path, err)
	}
	token := ""
	if q != nil {
		token = q.Token
	}
	start := time.Now()
	resp, err := c.do(ctx, http.MethodPost, path, q.values(c), bytes.NewReader(body), token)
	if err != nil {
		return out, nil, err
	}
	defer drain(resp.Body)
	return out, queryMeta(resp.Header, time.Since(start)), decode(resp.Body, &out)
}

// with returns a copy of the options with one more parameter.
func (q *QueryOptions) with(key, value string) *QueryOptions {
	out := QueryOptions{}
	if q != nil {
		out = *q
	}
	out.Params = maps.Clone(out.Params)
	if out.Params == nil {
		out.Params = map[string]string{}
	}
	out.Params[key] = value
	return &out
}

// with returns a copy of the options with more parameters.
func (w *WriteOptions) with(params map[string]string) *WriteOptions {
	out := WriteOptions{}
	if w != nil {
		out = *w
	}
	out.Params = maps.Clone(out.Params)
	if out.Params == nil {
		out.Params = map[string]string{}
	}
	maps.Copy(out.Params, params)
	return &out
}
