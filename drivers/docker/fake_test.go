package docker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// fakeEngine answers as a Docker engine does, as far as the driver asks, and
// keeps what it was asked to do.
type fakeEngine struct {
	*httptest.Server
	over  chan struct{} // closed with the test
	stall chan struct{} // pulls wait until it is closed; nil: they do not wait

	mu         sync.Mutex // guards what follows
	told       []string
	conflicts  int             // so many creates are refused for their name
	present    map[string]bool // images
	containers []map[string]any
	hung       bool // requests are taken and not answered
}

// hang makes the engine take requests and answer none until the test ends.
func (f *fakeEngine) hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hung = true
}

func newFakeEngine(t *testing.T) *fakeEngine {
	f := &fakeEngine{over: make(chan struct{}), present: map[string]bool{"img:1": true, "pause:1": true}}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		close(f.over)
		if f.stall != nil {
			close(f.stall)
		}
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// tell keeps lines about a request.
func (f *fakeEngine) tell(lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, lines...)
}

// transcript is what was asked so far.
func (f *fakeEngine) transcript() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (f *fakeEngine) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	hung := f.hung
	f.mu.Unlock()
	if hung {
		<-f.over // a request whose body nobody reads does not end with its caller
		return
	}
	path := r.URL.Path
	if _, rest, ok := strings.Cut(strings.TrimPrefix(path, "/v1."), "/"); ok && strings.HasPrefix(path, "/v1.") {
		path = "/" + rest
	}
	switch {
	case path == "/_ping":
		w.Header().Set("Api-Version", "1.44")
	case path == "/version":
		answer(w, http.StatusOK, map[string]string{"Version": "fake"})
	case path == "/events" || strings.HasSuffix(path, "/logs"):
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case strings.HasPrefix(path, "/images/"):
		f.image(w, r, strings.TrimPrefix(path, "/images/"))
	case path == "/containers/create":
		f.create(w, r)
	case path == "/containers/json":
		f.mu.Lock()
		defer f.mu.Unlock()
		answer(w, http.StatusOK, f.containers)
	case strings.HasPrefix(path, "/containers/"):
		f.container(w, r, strings.TrimPrefix(path, "/containers/"))
	default:
		answer(w, http.StatusNotFound, map[string]string{"message": "the fake has no " + path})
	}
}

func (f *fakeEngine) image(w http.ResponseWriter, r *http.Request, rest string) {
	switch name, found := strings.CutSuffix(rest, "/json"); {
	case rest == "create":
		f.pull(w, r)
	case rest == "load":
		raw, _ := io.ReadAll(r.Body)
		f.tell(fmt.Sprintf("load %q", raw))
		answer(w, http.StatusOK, map[string]string{"stream": "Loaded"})
	case found && f.has(name):
		answer(w, http.StatusOK, map[string]any{"Id": "sha256:1", "Os": "linux", "Architecture": runtime.GOARCH, "RepoTags": []string{name}})
	default:
		answer(w, http.StatusNotFound, map[string]string{"message": "No such image: " + rest})
	}
}

func (f *fakeEngine) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.present[name]
}

func (f *fakeEngine) pull(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	name := strings.TrimPrefix(q.Get("fromImage"), "docker.io/library/") + ":" + q.Get("tag")
	line := "pull " + name
	if auth := r.Header.Get("X-Registry-Auth"); auth != "" {
		raw, err := base64.URLEncoding.DecodeString(auth)
		line += fmt.Sprintf(" as %s %v", raw, err)
	}
	f.tell(line)
	if f.stall != nil {
		select {
		case <-f.stall:
		case <-r.Context().Done():
			return
		}
	}
	f.mu.Lock()
	f.present[name] = true
	f.mu.Unlock()
	answer(w, http.StatusOK, map[string]string{"status": "done"})
}

// create keeps each field of the request as a line.
func (f *fakeEngine) create(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	dec := json.NewDecoder(r.Body)
	dec.UseNumber()
	if err := dec.Decode(&body); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"message": err.Error()})
		return
	}
	f.tell("create " + r.URL.Query().Get("name"))
	f.mu.Lock()
	refuse := f.conflicts > 0
	f.conflicts--
	f.mu.Unlock()
	if refuse {
		answer(w, http.StatusConflict, map[string]string{"message": "the name is already in use"})
		return
	}
	f.tell(leaves("", body)...)
	answer(w, http.StatusCreated, map[string]any{"Id": "c1"})
}

// leaves are the fields of a JSON value that are not empty, as "path = value".
func leaves(path string, v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		if path == "ExposedPorts" { // whose keys are all they say
			return []string{fmt.Sprintf("  %s = %v", path, sortedKeys(v))}
		}
		for _, k := range sortedKeys(v) {
			if k == labelSpec { // a digest of all the rest
				continue
			}
			out = append(out, leaves(strings.TrimPrefix(path+"."+k, "."), v[k])...)
		}
	case nil, bool, json.Number, string:
		if v != nil && v != false && v != json.Number("0") && v != "" {
			out = append(out, fmt.Sprintf("  %s = %v", path, v))
		}
	default:
		raw, _ := json.Marshal(v)
		out = append(out, fmt.Sprintf("  %s = %s", path, raw))
	}
	return out
}

func (f *fakeEngine) container(w http.ResponseWriter, r *http.Request, rest string) {
	id, what, _ := strings.Cut(rest, "/")
	switch {
	case r.Method == http.MethodDelete:
		f.tell("remove " + id)
		w.WriteHeader(http.StatusNoContent)
	case what == "start" || what == "kill" || what == "stop":
		f.tell(strings.TrimSpace(what + " " + id + " " + r.URL.RawQuery))
		w.WriteHeader(http.StatusNoContent)
	case what == "json" && !strings.HasPrefix(id, "c"):
		answer(w, http.StatusNotFound, map[string]string{"message": "No such container: " + id})
	default:
		answer(w, http.StatusOK, map[string]any{
			"Id": id, "State": map[string]any{"Running": true, "Status": "running"}, "Config": map[string]any{"Labels": map[string]string{}},
			"NetworkSettings": map[string]any{"SandboxKey": "/run/ns", "Networks": map[string]any{"bridge": map[string]any{
				"IPAddress": "172.17.0.2", "GlobalIPv6Address": "2001:db8::2",
			}}},
		})
	}
}
