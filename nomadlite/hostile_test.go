package nomadlite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/jobspec"
	"github.com/nomadlite/nomadlite/structs"
)

// jobsAPI is a server's HTTP API, with the parser, for bodies that no client of
// ours would send.
func jobsAPI(t *testing.T) (put func(path string, body []byte) (status int, answer string)) {
	t.Helper()
	s, _ := startServer(t, "")
	mux := api.NewMux(api.MuxConfig{Resolve: api.NoACLs, Leader: func() (bool, time.Duration) { return true, 0 }})
	bindEndpoints(mux, endpointDeps{Store: s.store, Ops: s.Server, ParseJob: func(hcl, vars string, _ bool) (*structs.Job, error) {
		return jobspec.Parse(jobspec.ParseConfig{Path: "input.hcl", Source: []byte(hcl), VarContent: vars})
	}})
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return func(path string, body []byte) (int, string) {
		req, err := http.NewRequest("PUT", web.URL+path, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := web.Client().Do(req)
		if err != nil {
			t.Fatalf("%s: the server hung up: %v", path, err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(answer)
	}
}

func hcl(source string) []byte {
	body, _ := json.Marshal(api.JobsParseRequest{JobHCL: source})
	return body
}

// processTime is the CPU time that this process has taken.
func processTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestHostileBodies_N20 sends what would take minutes or all memory: each is
// answered with a 4xx, having allocated at most 64 MiB in all and taken at most
// a second of CPU time, client included.
func TestHostileBodies_N20(t *testing.T) {
	put := jobsAPI(t)
	job := func(inside string) []byte { return []byte(`{"Job":{"ID":"a",` + inside + `}}`) }
	many := func(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+",", n), ",") }
	for _, c := range []struct {
		name, path string
		body       []byte
	}{
		{"deep JSON", "/v1/jobs", job(`"Meta":` + strings.Repeat(`{"a":`, 100_000))},
		{"groups", "/v1/jobs", job(`"TaskGroups":[` + many("{}", 3<<20) + "]")},
		{"tasks", "/v1/validate/job", job(`"TaskGroups":[{"Tasks":[` + many("{}", 20_000) + "]}]")},
		{"plan", "/v1/job/a/plan", job(`"TaskGroups":[{"Tasks":[` + many("{}", 20_000) + "]}]")},
		{"numbers", "/v1/jobs", job(`"TaskGroups":[{"Tasks":[{"Config":{"a":[` + many("1", 4<<20) + "]}}]}]")},
		{"body", "/v1/jobs", job(`"Name":"` + strings.Repeat("x", 11<<20) + `"`)},
		{"deep templates", "/v1/jobs/parse", hcl("job \"a\" {\n meta = { x = " + strings.Repeat(`"${`, 10_000) + " }\n}\n")},
		{"parentheses", "/v1/jobs/parse", hcl("job \"a\" {\n meta = { x = " + strings.Repeat("(", 10_000) + " }\n}\n")},
		{"blocks", "/v1/jobs/parse", hcl(strings.Repeat("job \"a\" {\n}\n", 80_000))},
		{"nested blocks", "/v1/jobs/parse", hcl(strings.Repeat("a {\n", 200_000))},
		{"10 MiB", "/v1/jobs/parse", hcl(strings.Repeat("a {\n", 2<<20))},
		{"range", "/v1/jobs/parse", hcl("job \"a\" {\n meta = { x = length(range(0, 1000000000)) }\n}\n")},
		{"for", "/v1/jobs/parse", hcl("locals {\n a = range(1000)\n}\njob \"a\" {\n meta = { x = length([for a in local.a: [for b in local.a: [for c in local.a: c]]]) }\n}\n")},
		{"variables", "/v1/jobs/parse", []byte(`{"JobHCL":"job \"a\" {}","Variables":"` + strings.Repeat(`a = [\n`, 100_000) + `"}`)},
	} {
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := processTime(t)
		status, answer := put(c.path, c.body)
		took := processTime(t) - start
		runtime.ReadMemStats(&after)
		allocated := (after.TotalAlloc - before.TotalAlloc) >> 20
		t.Logf("%-16s %d %3d MiB %8s %.120q", c.name, status, allocated, took.Round(time.Millisecond), answer)
		if took > time.Second && !raceEnabled {
			t.Errorf("%s: took %v", c.name, took)
		}
		if status < 400 || status > 499 || len(answer) > 64<<10 {
			t.Errorf("%s: status %d, %d bytes: %.200s", c.name, status, len(answer), answer)
		}
		if allocated > 64 {
			t.Errorf("%s: allocated %d MiB", c.name, allocated)
		}
	}
}

// TestEveryPathSetToNull_N16 sets every path of the goldens' jobs to null, to
// an empty object and to an empty list, one at a time, and sends the job to be
// registered, validated and planned: an answer each time, and never a panic.
func TestEveryPathSetToNull_N16(t *testing.T) {
	runsEverything(t) // their paths count as well
	put := jobsAPI(t)
	seen := map[string]bool{}
	requests := 0
	for name, cfg := range goldenFiles(t) {
		if !strings.HasPrefix(name, "blocks") && !strings.HasPrefix(name, "basics") {
			continue
		}
		job, err := jobspec.Parse(cfg)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		completed(job)
		job.ID = "a"
		job.Canonicalize()
		raw, err := json.Marshal(job)
		if err != nil {
			t.Fatal(err)
		}
		var tree any
		if err := json.Unmarshal(raw, &tree); err != nil {
			t.Fatal(err)
		}
		replaceEach(tree, "", seen, func(path string) {
			body, err := json.Marshal(map[string]any{"Job": tree})
			if err != nil {
				t.Fatal(err)
			}
			for _, route := range []string{"/v1/jobs", "/v1/validate/job", "/v1/job/a/plan"} {
				requests++
				status, answer := put(route, body)
				if strings.Contains(answer, "internal error") || status >= 500 && !strings.Contains(answer, "occurred:") && !expected(answer) {
					t.Errorf("%s without %s of %s: %d %.200s", route, path, name, status, answer)
				}
			}
		})
	}
	if len(seen) < 400 {
		t.Errorf("only %d paths", len(seen))
	}
	t.Logf("%d paths, %d requests", len(seen), requests)
	if status, answer := put("/v1/validate/job", []byte(`{"Job":{"ID":"a"}}`)); status != 200 {
		t.Errorf("afterwards: %d %s", status, answer)
	}
}

// expected are refusals of a well-formed job that a server answers with 500.
func expected(answer string) bool {
	for _, text := range []string{"cannot update", "does not exist", "uses node pool", "No path to region", "Dispatched"} {
		if strings.Contains(answer, text) {
			return true
		}
	}
	return false
}

// replaceEach replaces one value at a time, once a path, by null, {} and [].
func replaceEach(v any, path string, seen map[string]bool, try func(path string)) {
	each := func(at string, elem any, set func(any)) {
		if !seen[at] && elem != nil {
			seen[at] = true
			for _, empty := range []any{nil, map[string]any{}, []any{}} {
				set(empty)
				try(fmt.Sprintf("%s=%v", at, empty))
			}
			set(elem)
		}
		replaceEach(elem, at, seen, try)
	}
	switch v := v.(type) {
	case map[string]any:
		for key, elem := range v {
			each(path+"."+key, elem, func(e any) { v[key] = e })
		}
	case []any:
		for i, elem := range v {
			each(path+"[]", elem, func(e any) { v[i] = e })
		}
	}
}
