package nomadlite

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// TestJobLimits_1d tries every limit that a job meets (reliability.md 1d) with
// as much as is allowed, with one more, and with far more.
func TestJobLimits_1d(t *testing.T) {
	put := jobsAPI(t)
	for _, c := range []struct {
		name  string
		limit int
		far   int // instead of a hundred times as much, which would be slow to make
		send  func(n int) (path string, body []byte)
		over  string // of the refusal: what the contract answers, with 400 where it says nothing
	}{
		{"source", 1 << 20, 8 << 20, func(n int) (string, []byte) {
			return "/v1/jobs/parse", hcl(padded("job \"a\" {\n}\n#", n, "x"))
		}, "413 "},
		{"body", 10 << 20, 16 << 20, func(n int) (string, []byte) {
			return "/v1/jobs", []byte(padded(string(asJSON(limitsJob("body"))), n, " "))
		}, "413 "},
		{"depth of a file", 98, 0, func(n int) (string, []byte) { // the job and its argument are two more
			return "/v1/jobs/parse", hcl("job \"a\" {\n datacenters = flatten(" + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + ")\n}\n")
		}, "400 Failed to parse job: input.hcl:2,1-1: Nesting is too deep"},
		{"depth of a body", 93, 0, func(n int) (string, []byte) { // of config, inside seven others
			j := limitsJob("depth")
			var deep any
			for range n {
				deep = []any{deep}
			}
			j.TaskGroups[0].Tasks[0].Config["x"] = deep
			return "/v1/jobs", asJSON(j)
		}, "400 request body is nested deeper than 100 levels"},
		{"count", 50_000, 0, func(n int) (string, []byte) {
			j := limitsJob("count")
			j.TaskGroups[0].Count = &n
			return "/v1/jobs", asJSON(j)
		}, "500 1 error occurred:\n\t* total count was greater than configured job_max_count"},
		{"groups and tasks", structs.MaxParts, 60_000, func(n int) (string, []byte) {
			j := limitsJob("parts")
			for i := range n - 2 {
				j.TaskGroups[0].Tasks = append(j.TaskGroups[0].Tasks, &structs.Task{Name: fmt.Sprint(i), Driver: "d"})
			}
			return "/v1/validate/job", asJSON(j)
		}, "400 "},
		{"priority", 100, 0, func(n int) (string, []byte) {
			j := limitsJob("priority")
			j.Priority = n
			return "/v1/jobs", asJSON(j)
		}, "500 1 error occurred:\n\t* Job priority must be between [1, 100]"},
		{"regexp", 1024, 0, constrained("regexp", "a"), "500 1 error occurred:\n\t* Constraint 1 validation failed"},
		{"version", 256, 0, constrained("version", ">= 1.0", " "), "500 1 error occurred:\n\t* Constraint 1 validation failed"},
		{"semver", 256, 0, constrained("semver", ">= 1.0", " "), "500 1 error occurred:\n\t* Constraint 1 validation failed"},
		{"cron", 256, 0, func(n int) (string, []byte) {
			j := limitsJob("cron")
			j.Periodic = &structs.PeriodicConfig{Specs: []string{padded("0 0 * * 1", n, ",1")}}
			return "/v1/jobs", asJSON(j)
		}, "500 1 error occurred:\n\t* Invalid cron spec"},
		{"payload", 16 << 10, 0, func(n int) (string, []byte) {
			return "/v1/job/dispatched/dispatch", asBody(map[string]any{"Payload": make([]byte, n)})
		}, "413 "},
	} {
		if c.name == "payload" {
			j := limitsJob("dispatched")
			j.ParameterizedJob = &structs.ParameterizedJobConfig{}
			if status, answer := put("/v1/jobs", asJSON(j)); status != 200 {
				t.Fatalf("%d %s", status, answer)
			}
		}
		for _, n := range []int{c.limit, c.limit + 1, 100 * c.limit} {
			if n > c.limit+1 && c.far > 0 {
				n = c.far
			}
			path, body := c.send(n)
			status, answer := put(path, body)
			got := fmt.Sprint(status, " ", answer)
			if n == c.limit && status != 200 {
				t.Errorf("%s of %d: %.300s", c.name, n, got)
			}
			if n > c.limit && !strings.HasPrefix(got, c.over) && (status < 400 || n == c.limit+1) {
				t.Errorf("%s of %d: %.300s, want %s", c.name, n, got, c.over)
			}
		}
	}
}

// TestImpossibleDate_1d: a date that never comes is refused, and at once.
func TestImpossibleDate_1d(t *testing.T) {
	cron := Checks(0, 0).Cron
	for spec, valid := range map[string]bool{"0 0 31 2 *": false, "0 0 29 2 *": true, "0 0 1 1 * 1999": false, "@daily": true, "x": false} {
		start := time.Now()
		err := cron(spec)
		if took := time.Since(start); took > time.Second {
			t.Errorf("%q took %v", spec, took)
		}
		if (err == nil) != valid {
			t.Errorf("%q: %v", spec, err)
		}
	}
}

// limitsJob is a valid batch job that no node can run.
func limitsJob(id string) *structs.Job {
	j := testJob(id, structs.JobTypeBatch)
	j.Datacenters = []string{"nowhere"}
	return j
}

// padded makes a text of n bytes, if it can be made of whole pieces.
func padded(text string, n int, with string) string {
	return text + strings.Repeat(with, max(0, n-len(text))/len(with)) + with[:max(0, n-len(text))%len(with)]
}

// constrained sends a constraint with a value of n bytes.
func constrained(operand string, pieces ...string) func(n int) (string, []byte) {
	return func(n int) (string, []byte) {
		value := strings.Join(pieces, "")
		j := limitsJob(operand)
		j.Constraints = []*structs.Constraint{{LTarget: "${attr.x}", Operand: operand, RTarget: padded(value, n, pieces[len(pieces)-1])}}
		return "/v1/jobs", asJSON(j)
	}
}

func asJSON(j *structs.Job) []byte { return asBody(map[string]any{"Job": j}) }

func asBody(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
