package api

import (
	"cmp"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nomadlite/nomadlite/structs"
	"pgregory.net/rapid"
)

func listRequest(kind ListKind, params string) *Request {
	v, err := url.ParseQuery(params)
	if err != nil {
		panic(err)
	}
	q, err := parseQuery(v)
	if err != nil {
		panic(err)
	}
	return &Request{Route: &Route{List: kind}, Query: q, Values: v}
}

// listJobs makes a page of jobs as the mux and a handler would.
func listJobs(r *Request, jobs []*structs.Job, key func(*structs.Job) Key) (page []string, next string, err error) {
	if r.filter, err = newFilter(r.Query.Filter); err != nil {
		return nil, "", err
	}
	return List(r, "job", slices.Values(jobs), key, jobName)
}

func jobKey(j *structs.Job) Key {
	return Key{Namespace: j.Namespace, ID: j.ID, Index: j.CreateIndex}
}

func jobName(j *structs.Job) string { return j.Namespace + "/" + j.ID }

func TestListFilters(t *testing.T) {
	jobs := []*structs.Job{
		{Namespace: "default", ID: "a", Status: "running", Datacenters: []string{"dc1"}, Meta: map[string]string{"team": "x"}, TaskGroups: []*structs.TaskGroup{{Name: "g", Count: structs.Ptr(3)}}},
		{Namespace: "default", ID: "b", Status: "dead", Priority: 70},
		{Namespace: "prod", ID: "a", Status: "running", Periodic: &structs.PeriodicConfig{Spec: "* * * * *"}},
	}
	for _, tt := range []struct{ filter, want string }{
		{`Status == "running"`, "default/a prod/a"},
		{`"dc1" in Datacenters`, "default/a"},
		{`Meta.team == "x"`, "default/a"},
		{`Meta.team is not empty`, "default/a"},
		{`Meta.other == "x"`, ""},
		{`NoSuchField == "x"`, ""},
		{`Priority == 70`, "default/b"},
		{`ID matches "^[ab]$" and not (Status == "dead")`, "default/a prod/a"},
		{`Namespace contains "pro"`, "prod/a"},
		{`Periodic.Spec == "* * * * *"`, "prod/a"},
		{`any TaskGroups as g { g.Name == "g" }`, "default/a"},
	} {
		page, next, err := listJobs(listRequest(ListNamespaced, "filter="+url.QueryEscape(tt.filter)), jobs, jobKey)
		if err != nil || next != "" || strings.Join(page, " ") != tt.want {
			t.Errorf("%s: got %q next %q, %v; want %q", tt.filter, page, next, err, tt.want)
		}
	}
	for _, tt := range []struct{ filter, want string }{
		{`Status ==`, "failed to create result paginator: failed to read filter expression: "},
		{strings.Repeat("x", maxFilter+1), "failed to create result paginator: filter expression is longer than 4096 bytes"},
		{strings.Repeat("(", 51), "failed to create result paginator: filter expression is nested deeper than 50 levels"},
		{`Priority matches "x"`, "failed to read result page: "},
	} {
		_, _, err := listJobs(listRequest(ListNamespaced, "filter="+url.QueryEscape(tt.filter)), jobs, jobKey)
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || structs.KindOf(err) != structs.Invalid {
			t.Errorf("%.50s: got %v, want %q…", tt.filter, err, tt.want)
		}
	}
}

func TestPrefixRules(t *testing.T) {
	for _, tt := range []struct{ prefix, want string }{
		{"", ""}, {"ab", ""}, {"abcdef12-ab", ""}, {"abcdef12-abcd", ""},
		{"abc", "alloc lookup failed: index error: Input (without hyphens) must be even length"},
		{"zz", "alloc lookup failed: index error: Invalid UUID: encoding/hex: invalid byte: U+007A 'z'"},
		{strings.Repeat("ab", 19), "alloc lookup failed: index error: UUID must be at most 36 characters"},
	} {
		got := ""
		if err := checkPrefix("alloc", tt.prefix); err != nil {
			got = err.Error()
			if structs.KindOf(err) != structs.Internal {
				t.Errorf("%q: kind %d", tt.prefix, structs.KindOf(err))
			}
		}
		if got != tt.want {
			t.Errorf("%q: got %q, want %q", tt.prefix, got, tt.want)
		}
	}
	if err := CheckID("node", "abc"); err == nil || err.Error() != "node lookup failed: index error: UUID must be 36 characters" {
		t.Error(err)
	}
}

func TestPageTokens(t *testing.T) {
	jobs := []*structs.Job{
		{Namespace: "default", ID: "aa", CreateIndex: 5, ModifyIndex: 9},
		{Namespace: "default", ID: "bb", CreateIndex: 6, ModifyIndex: 8},
		{Namespace: "prod", ID: "cc", CreateIndex: 7, ModifyIndex: 7},
	}
	modified := func(j *structs.Job) Key { return Key{Namespace: j.Namespace, ID: j.ID, Index: j.ModifyIndex} }
	for _, tt := range []struct {
		kind ListKind
		key  func(*structs.Job) Key
		want string
	}{
		{ListNamespaced, jobKey, "default.bb"},
		{ListCreated, jobKey, "6.bb"},
		{ListUUID, jobKey, "bb"},
		{ListName, jobKey, "bb"},
		{ListModified, modified, "8.bb"},
	} {
		page, next, err := listJobs(listRequest(tt.kind, "per_page=1"), jobs, tt.key)
		if err != nil || next != tt.want || len(page) != 1 || page[0] != "default/aa" {
			t.Errorf("%s: %q next %q, %v; want next %q", tt.kind, page, next, err, tt.want)
		}
	}
	page, _, err := listJobs(listRequest(ListModified, "next_token=8"), jobs, modified)
	if err != nil || strings.Join(page, " ") != "default/bb prod/cc" {
		t.Errorf("from a bare index: %q, %v", page, err)
	}
	if _, _, err := listJobs(listRequest(ListCreated, "next_token=x.y"), jobs, jobKey); err == nil {
		t.Error("a bad token is accepted")
	}
}

// TestPageReadsNoFurther: a page of rows that come in order costs no more than
// the items before its end.
func TestPageReadsNoFurther(t *testing.T) {
	for _, kind := range []ListKind{ListNamespaced, ListCreated, ListUUID} {
		read := 0
		items := func(yield func(*structs.Job) bool) {
			for i := range 1000 {
				read++
				if !yield(&structs.Job{ID: fmt.Sprintf("%08x", i), Namespace: "default", CreateIndex: uint64(i)}) {
					return
				}
			}
		}
		page, _, err := List(listRequest(kind, "per_page=10"), "node", items, jobKey, func(j *structs.Job) string { return j.ID })
		if err != nil || len(page) != 10 || read > 12 {
			t.Errorf("%s: %d items of 1000 were read for a page of %d, %v", kind, read, len(page), err)
		}
	}
}

// TestPagesMakeTheList: whatever the page size and direction, the pages put
// together are the whole list, each item once and in order.
func TestPagesMakeTheList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		kind := rapid.SampledFrom([]ListKind{ListName, ListNamespaced, ListCreated, ListUUID, ListModified}).Draw(t, "kind")
		reverse := rapid.Bool().Draw(t, "reverse")
		perPage := rapid.IntRange(1, 5).Draw(t, "per_page")
		ids := rapid.SliceOfDistinct(rapid.StringMatching(`[0-9a-f]{8}`), func(s string) string { return s }).Draw(t, "ids")
		var jobs []*structs.Job
		for i, id := range ids {
			jobs = append(jobs, &structs.Job{ID: id, Namespace: fmt.Sprint("ns", i%3), CreateIndex: uint64(i / 4)})
		}
		switch kind { // they come in order
		case ListNamespaced:
			slices.SortFunc(jobs, func(a, b *structs.Job) int {
				return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.ID, b.ID))
			})
		case ListUUID:
			slices.SortFunc(jobs, func(a, b *structs.Job) int { return cmp.Compare(a.ID, b.ID) })
		}
		params := fmt.Sprintf("reverse=%t", reverse)
		whole, _, err := listJobs(listRequest(kind, params), jobs, jobKey)
		if err != nil {
			t.Fatal(err)
		}
		var pages []string
		token := ""
		for n := 0; ; n++ {
			page, next, err := listJobs(listRequest(kind, fmt.Sprintf("%s&per_page=%d&next_token=%s", params, perPage, token)), jobs, jobKey)
			if err != nil || len(page) > perPage || n > len(jobs) {
				t.Fatalf("page %d: %q, %v", n, page, err)
			}
			pages = append(pages, page...)
			if token = next; token == "" {
				break
			}
		}
		if !slices.Equal(pages, whole) || len(whole) != len(jobs) {
			t.Fatalf("pages %q, whole %q", pages, whole)
		}
		order := orders[kind]
		byName := map[string]Key{}
		for _, j := range jobs {
			byName[jobName(j)] = jobKey(j)
		}
		for i := 1; i < len(whole); i++ {
			c := order.compare(byName[whole[i-1]], byName[whole[i]])
			if descending := reverse != order.descending; descending && c < 0 || !descending && c > 0 {
				t.Fatalf("%q stands before %q", whole[i-1], whole[i])
			}
		}
	})
}

// FuzzQuery: no query string may panic or take long, and what is accepted is
// within the limits.
func FuzzQuery(f *testing.F) {
	f.Add("index=5&wait=10s&per_page=3&next_token=1.a&reverse=true&prefix=ab", `Status == "running"`)
	f.Add("stale&per_page=-1", `not (ID matches "x{1000}" or Meta.a in b)`)
	f.Add("wait=1000h", strings.Repeat("(", 50))
	f.Add("wait=-1s", strings.Repeat("not ", 500)+"a")
	f.Add("", strings.Repeat("(", 20)+`ID == ""`+strings.Repeat(")", 20))
	jobs := []*structs.Job{{ID: "ab", Namespace: "default", Meta: map[string]string{"a": "b"}}}
	f.Fuzz(func(t *testing.T, raw, filter string) {
		runtime.LockOSThread() // so that the time of the thread is this run's
		defer runtime.UnlockOSThread()
		start := threadTime(t)
		v, _ := url.ParseQuery(raw)
		q, err := parseQuery(v)
		if err != nil {
			return
		}
		if q.Wait <= 0 || q.Wait > MaxWait || q.PerPage < 0 || q.Namespace == "" {
			t.Fatalf("accepted %+v", q)
		}
		q.Filter = filter
		for kind := range orders {
			page, _, err := listJobs(&Request{Route: &Route{List: kind}, Query: q}, jobs, jobKey)
			if err == nil && page == nil {
				t.Fatal("a page is nil")
			}
		}
		if d := threadTime(t) - start; d > 5*time.Second {
			t.Fatalf("took %v", d)
		}
	})
}

// threadTime is the time that the processor spent on this thread: a loaded
// machine does not change it.
func threadTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
