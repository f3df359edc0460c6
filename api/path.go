package api

import (
	"fmt"
	"slices"
	"strings"
)

// A pattern is a parsed Route.Path: literals, ":name" for one segment and at
// most one ":name..." for one or more.
type pattern struct {
	segments []string
	variadic int // index of the ":name..." segment, -1 for none
}

func parsePattern(path string) pattern {
	p := pattern{segments: strings.Split(strings.TrimPrefix(path, "/"), "/"), variadic: -1}
	for i, s := range p.segments {
		if strings.HasPrefix(s, ":") && strings.HasSuffix(s, "...") {
			if p.variadic >= 0 {
				panic(fmt.Sprintf("route %q has two variadic parts", path))
			}
			p.variadic = i
		}
	}
	return p
}

// match splits a decoded path by the pattern; nil is no match. The variadic
// part takes what the segments after it leave over: that is how a job id may
// contain slashes. No part is ever empty.
func (p pattern) match(segments []string) map[string]string {
	params := map[string]string{}
	head, tail := p.segments, []string(nil)
	if p.variadic >= 0 {
		head, tail = p.segments[:p.variadic], p.segments[p.variadic+1:]
		middle := len(segments) - len(head) - len(tail)
		if middle < 1 {
			return nil
		}
		rest := strings.Join(segments[len(head):len(head)+middle], "/")
		if rest == "" {
			return nil
		}
		params[strings.TrimSuffix(p.segments[p.variadic][1:], "...")] = rest
	} else if len(segments) != len(head) {
		return nil
	}
	if !matchEach(head, segments[:len(head)], params) || !matchEach(tail, segments[len(segments)-len(tail):], params) {
		return nil
	}
	return params
}

func matchEach(pattern, segments []string, params map[string]string) bool {
	for i, want := range pattern {
		name, isParam := strings.CutPrefix(want, ":")
		switch {
		case !isParam && want != segments[i], isParam && segments[i] == "":
			return false
		case isParam:
			params[name] = segments[i]
		}
	}
	return true
}

// literals counts the fixed segments: the more, the more specific.
func (p pattern) literals() int {
	n := 0
	for _, s := range p.segments {
		if !strings.HasPrefix(s, ":") {
			n++
		}
	}
	return n
}

// endpoint is one path of the table with the rows of its verbs.
type endpoint struct {
	path string
	pattern
	rows []*Route
}

// row finds the row for a verb, nil for none.
func (e *endpoint) row(method string) *Route {
	for _, r := range e.rows {
		if slices.Contains(r.Methods, method) {
			return r
		}
	}
	switch method {
	case "GET", "PUT", "POST", "DELETE":
		for _, r := range e.rows {
			if r.Methods[0] == anyMethod {
				return r
			}
		}
	}
	return nil
}

// tree finds endpoints by path: by the first two segments, then the most
// specific pattern.
type tree struct{ byHead map[string][]*endpoint }

func head(segments []string) string {
	if len(segments) < 2 {
		return segments[0]
	}
	return segments[0] + "/" + segments[1]
}

func newTree(rows []Route) *tree {
	byPath, t := map[string]*endpoint{}, &tree{byHead: map[string][]*endpoint{}}
	for i := range rows {
		r := &rows[i]
		e := byPath[r.Path]
		if e == nil {
			e = &endpoint{path: r.Path, pattern: parsePattern(r.Path)}
			byPath[r.Path] = e
			h := head(e.segments)
			t.byHead[h] = append(t.byHead[h], e)
		}
		e.rows = append(e.rows, r)
	}
	for _, list := range t.byHead {
		slices.SortFunc(list, func(a, b *endpoint) int {
			if a.variadic >= 0 != (b.variadic >= 0) {
				if a.variadic < 0 {
					return -1
				}
				return 1
			}
			if d := b.literals() - a.literals(); d != 0 {
				return d
			}
			return len(b.segments) - len(a.segments)
		})
	}
	return t
}

// find returns the endpoint of a decoded path and its parts.
func (t *tree) find(path string) (*endpoint, map[string]string) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for _, e := range t.byHead[head(segments)] {
		if params := e.match(segments); params != nil {
			return e, params
		}
	}
	return nil, nil
}

// unknownPaths are answers to paths that no row matches, by prefix; elsewhere
// it is 404 without a body (http-api.md 1.1, 3, 6).
var unknownPaths = []struct{ prefix, text string }{
	{"/v1/allocation/", "resource not found"},
	{"/v1/client/allocation/", "resource not found"},
	{"/v1/client/fs/", "Invalid method"},
}

// wrongVerbs are answers to a verb that a path does not have, by prefix;
// elsewhere it is 405 "Invalid method" (http-api.md 1.7, 8).
var wrongVerbs = []struct {
	prefix string
	status int
	text   string
}{
	{"/v1/operator/raft/configuration", 405, ""},
	{"/v1/operator/raft/", 404, "Invalid method"},
	{"/v1/operator/autopilot/", 404, "Invalid method"},
	{"/v1/var/", 400, "Invalid method"},
	{"/v1/vars", 400, "Invalid method"},
}
