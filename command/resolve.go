package command

import (
	"context"
	"fmt"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// uuidPrefix checks an id argument and cuts it to the even number of digits
// that the API takes; what comes back is filtered by the whole argument.
func uuidPrefix(arg string) (string, error) {
	digits := strings.ReplaceAll(arg, "-", "")
	if len(digits) < 2 {
		return "", exitf(1, "Identifier must contain at least two characters.")
	}
	if strings.Trim(strings.ToLower(digits), "0123456789abcdef") != "" {
		return "", exitf(1, "Identifier %q is not part of an id: it may hold the digits 0-9 and a-f", arg)
	}
	if len(digits)%2 == 1 {
		arg = strings.TrimSuffix(arg, "-")
		return arg[:len(arg)-1], nil
	}
	return arg, nil
}

// anyNamespace is where ids are looked for: they tell their object apart in all
// namespaces.
func (c *cli) anyNamespace() string {
	if c.conf.Namespace == "" {
		return structs.AllNamespaces
	}
	return c.conf.Namespace
}

// ambiguous is a prefix that several objects have; rows show them.
func ambiguous(nouns string, rows [][]string) error {
	var b strings.Builder
	printTable(&b, rows)
	return exitf(1, "Prefix matched multiple %s\n\n%s", nouns, strings.TrimRight(b.String(), "\n"))
}

// resolveAlloc finds the one allocation whose id begins with arg.
func resolveAlloc(ctx context.Context, c *cli, client *api.Client, arg string) (*structs.Allocation, error) {
	prefix, err := uuidPrefix(arg)
	if err != nil {
		return nil, err
	}
	stubs, _, err := client.Allocations().List(ctx, &api.QueryOptions{Prefix: prefix, Namespace: c.anyNamespace()})
	if err != nil {
		return nil, exitf(1, "Error querying allocation: %v", err)
	}
	stubs = having(stubs, arg, func(a *structs.AllocListStub) string { return a.ID })
	switch len(stubs) {
	case 0:
		return nil, exitf(1, "No allocation(s) with prefix or id %q found", arg)
	case 1:
	default:
		rows := [][]string{{"ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}}
		for _, a := range stubs {
			rows = append(rows, c.allocRow(a, true))
		}
		return nil, ambiguous("allocations", rows)
	}
	alloc, _, err := client.Allocations().Get(ctx, stubs[0].ID, &api.QueryOptions{Namespace: stubs[0].Namespace})
	if err != nil {
		return nil, exitf(1, "Error querying allocation: %v", err)
	}
	return alloc, nil
}

// resolveNode finds the one node whose id or name begins with arg.
func resolveNode(ctx context.Context, c *cli, client *api.Client, arg string) (string, error) {
	if strings.Trim(strings.ToLower(arg), "0123456789abcdef-") == "" {
		prefix, err := uuidPrefix(arg)
		if err != nil {
			return "", err
		}
		return oneNode(ctx, c, client, arg, &api.QueryOptions{Prefix: prefix}, func(n *structs.NodeListStub) string { return n.ID })
	}
	return oneNode(ctx, c, client, arg, nil, func(n *structs.NodeListStub) string { return n.Name })
}

func oneNode(ctx context.Context, c *cli, client *api.Client, arg string, q *api.QueryOptions, key func(*structs.NodeListStub) string) (string, error) {
	nodes, _, err := client.Nodes().List(ctx, q)
	if err != nil {
		return "", exitf(1, "Error querying node: %v", err)
	}
	nodes = having(nodes, arg, key)
	switch len(nodes) {
	case 0:
		return "", exitf(1, "No node(s) with prefix or id %q found", arg)
	case 1:
		return nodes[0].ID, nil
	}
	return "", ambiguous("nodes", nodeRows(nodes, true))
}

// having keeps what begins with the prefix.
func having[T any](list []T, prefix string, key func(T) string) []T {
	var out []T
	for _, v := range list {
		if strings.HasPrefix(key(v), prefix) {
			out = append(out, v)
		}
	}
	return out
}

// resolveJob finds the one job named arg: an exact id wins, then a single
// prefix. It reports whether the id was given whole.
func resolveJob(ctx context.Context, c *cli, client *api.Client, arg string) (stub *structs.JobListStub, exact bool, err error) {
	jobs, _, err := client.Jobs().List(ctx, &api.QueryOptions{Prefix: arg})
	if err != nil {
		return nil, false, exitf(1, "Error querying jobs: %v", err)
	}
	var same []*structs.JobListStub
	for _, j := range jobs {
		if j.ID == arg {
			same = append(same, j)
		}
	}
	if len(same) > 0 {
		jobs = same
	}
	switch len(jobs) {
	case 0:
		return nil, false, exitf(1, "No job(s) with prefix or ID %q found", arg)
	case 1:
		return jobs[0], jobs[0].ID == arg, nil
	}
	return nil, false, ambiguous("jobs", c.jobRows(jobs, c.conf.Namespace == structs.AllNamespaces))
}

// findJob makes the API client and finds the one job that an argument names.
func findJob(c *cli, arg string) (*api.Client, *structs.JobListStub, error) {
	client, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	stub, _, err := resolveJob(c.ctx, c, client, arg)
	return client, stub, err
}

// pickAlloc finds the allocation that a verb means: by id, or with a job the
// newest running one of it.
func pickAlloc(ctx context.Context, c *cli, client *api.Client, arg, job, group string) (*structs.Allocation, error) {
	if job == "" {
		return resolveAlloc(ctx, c, client, arg)
	}
	stub, _, err := resolveJob(ctx, c, client, job)
	if err != nil {
		return nil, err
	}
	allocs, _, err := client.Jobs().Allocations(ctx, stub.ID, false, &api.QueryOptions{Namespace: stub.Namespace})
	if err != nil {
		return nil, exitf(1, "Error querying allocations: %v", err)
	}
	var best *structs.AllocListStub
	for _, a := range allocs {
		if group != "" && a.TaskGroup != group {
			continue
		}
		running := a.ClientStatus == structs.AllocClientStatusRunning
		if best == nil || (running && best.ClientStatus != structs.AllocClientStatusRunning) ||
			(running == (best.ClientStatus == structs.AllocClientStatusRunning) && a.CreateIndex > best.CreateIndex) {
			best = a
		}
	}
	if best == nil {
		return nil, exitf(1, "No allocations of job %q found; see: nomadlite job status %s", stub.ID, stub.ID)
	}
	alloc, _, err := client.Allocations().Get(ctx, best.ID, &api.QueryOptions{Namespace: best.Namespace})
	if err != nil {
		return nil, exitf(1, "Error querying allocation: %v", err)
	}
	return alloc, nil
}

// pickTask finds the task that a verb means: the named one, or the only one.
func pickTask(alloc *structs.Allocation, name string) (string, error) {
	var names []string
	for _, tg := range alloc.Job.TaskGroups {
		if tg.Name == alloc.TaskGroup {
			for _, t := range tg.Tasks {
				names = append(names, t.Name)
			}
		}
	}
	for _, n := range names {
		if n == name {
			return n, nil
		}
	}
	switch {
	case name != "":
		return "", exitf(1, "Could not find task named: %s, found:\n%s", name, bullets(names))
	case len(names) == 1:
		return names[0], nil
	}
	return "", exitf(1, "Allocation %q is running the following tasks:\n%s\n\nPlease specify the task.", shortID(alloc.ID, false), bullets(names))
}

func bullets(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = fmt.Sprintf("  * %s", clean(n))
	}
	return strings.Join(out, "\n")
}
