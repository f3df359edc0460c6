package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
	"github.com/nomadlite/nomadlite/wholefile"
)

// Limits of a node's metadata; it travels with every registration.
const (
	maxMetaKey   = 128      // bytes of a key
	maxMetaBytes = 64 << 10 // bytes of all keys and values that were set over the API
)

// nodeMeta is a node's metadata: what the agent's configuration says, and what
// was set over the API, which is kept in a file. Null there takes away what the
// configuration says.
type nodeMeta struct {
	path    string
	static  map[string]string
	dynamic map[string]*string
}

// readNodeMeta reads what was set over the API in an earlier run. A file that
// cannot be read is put aside, with a warning.
func readNodeMeta(path string, static map[string]string) (m *nodeMeta, warning string, err error) {
	m = &nodeMeta{path: path, static: static, dynamic: map[string]*string{}}
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("cannot read the node's metadata: %w", err)
	}
	if err := json.Unmarshal(raw, &m.dynamic); err != nil {
		m.dynamic = map[string]*string{}
		aside := path + ".bad"
		if err := os.Rename(path, aside); err != nil {
			return nil, "", fmt.Errorf("cannot put the damaged metadata of the node aside: %w", err)
		}
		return m, fmt.Sprintf("the node's metadata %s is damaged (%v): it was renamed to %s; apply it again", path, err, aside), nil
	}
	return m, "", nil
}

// merged is what the node has.
func (m *nodeMeta) merged() map[string]string {
	out := maps.Clone(m.static)
	if out == nil {
		out = map[string]string{}
	}
	for k, v := range m.dynamic {
		if v == nil {
			delete(out, k)
		} else {
			out[k] = *v
		}
	}
	return out
}

// response is what both routes answer.
func (m *nodeMeta) response() *api.NodeMetaResponse {
	return &api.NodeMetaResponse{Meta: m.merged(), Dynamic: maps.Clone(m.dynamic), Static: maps.Clone(m.static)}
}

// applied is the metadata with a change; null unsets a key. Nothing of m
// changes.
func (m *nodeMeta) applied(change map[string]*string) (*nodeMeta, error) {
	next := &nodeMeta{path: m.path, static: m.static, dynamic: maps.Clone(m.dynamic)}
	for k, v := range change {
		if k == "" || len(k) > maxMetaKey || strings.ContainsFunc(k, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '=' }) {
			return nil, structs.Errorf(structs.Invalid, "metadata key %q is invalid: use 1 to %d characters without blanks and \"=\"", k, maxMetaKey)
		}
		if _, static := m.static[k]; v == nil && !static {
			delete(next.dynamic, k) // nothing is left to be hidden
			continue
		}
		next.dynamic[k] = v
	}
	size := 0
	for k, v := range next.dynamic {
		size += len(k) + len(structs.Val(v))
	}
	if size > maxMetaBytes {
		return nil, structs.Errorf(structs.Invalid, "the metadata of the node would have %d bytes: at most %d are allowed", size, maxMetaBytes)
	}
	return next, nil
}

// save writes what was set over the API, whole or not at all.
func (m *nodeMeta) save() error {
	raw, err := json.Marshal(m.dynamic)
	if err != nil {
		return err
	}
	return wholefile.Write(m.path, raw, 0o600)
}

// metaFile is the file of metadata below the state directory.
func metaFile(stateDir string) string { return filepath.Join(stateDir, "meta.json") }

// readMeta answers the node's metadata.
func (c *Client) readMeta(_ context.Context, r *api.Request) (*api.Response, error) {
	if err := c.localNode(r); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return &api.Response{Body: c.meta.response()}, nil
}

// applyMeta changes the node's metadata; the servers hear of it at once.
func (c *Client) applyMeta(_ context.Context, r *api.Request) (*api.Response, error) {
	req := &api.NodeMetaApplyRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	if err := c.localNode(r); err != nil {
		return nil, err
	}
	if len(req.Meta) == 0 {
		return nil, structs.Errorf(structs.Invalid, "missing required Meta object")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	next, err := c.meta.applied(req.Meta)
	if err != nil {
		return nil, err
	}
	if err := next.save(); err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot keep the node's metadata: %w", err)
	}
	c.meta = next
	c.node = c.node.Copy()
	c.node.Meta = next.merged()
	select {
	case c.nodeChanged <- struct{}{}:
	default:
	}
	return &api.Response{Body: next.response()}, nil
}
