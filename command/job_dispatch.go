package command

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobDispatch is the options of `job dispatch`.
type jobDispatch struct {
	meta            stringsFlag
	detach, verbose bool
	token, prefix   string
	priority        int
}

// jobDispatchVerb starts a child of a parameterized job.
func jobDispatchVerb() *verb {
	o := &jobDispatch{}
	return &verb{
		path: "job dispatch", args: "<parameterized job> [input source]", min: 1, max: 2,
		short: "Start a child of a parameterized job",
		long: "Start a child of a parameterized job. Its payload is read from a file, or from standard\n" +
			"input (-), and may have 16 KiB.",
		flags: func(fs *flag.FlagSet) {
			fs.Var(&o.meta, "meta", "A `key=value` for the child; may be repeated.")
			fs.BoolVar(&o.detach, "detach", false, "Do not follow; print the ids.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
			fs.StringVar(&o.token, "idempotency-token", "", "With the same `token` as before, the child of that time is the answer.")
			fs.StringVar(&o.prefix, "id-prefix-template", "", "A `prefix` for the child's id.")
			fs.IntVar(&o.priority, "priority", 0, "The `priority` of the child instead of the job's.")
		},
		run: o.run,
	}
}

func (o *jobDispatch) run(c *cli, args []string) error {
	req, err := o.request(c, args)
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	job, err := parameterizedJob(c, client, args[0])
	if err != nil {
		return err
	}
	req.JobID = job.ID
	resp, _, err := client.Jobs().Dispatch(c.ctx, req, &api.WriteOptions{Namespace: job.Namespace, IdempotencyToken: o.token})
	if err != nil {
		return exitf(1, "Failed to dispatch job: %v", err)
	}
	pairs := []pair{{"Dispatched Job ID", resp.DispatchedJobID}}
	if resp.EvalID != "" {
		pairs = append(pairs, pair{"Evaluation ID", shortID(resp.EvalID, o.verbose)})
	}
	printPairs(c.stdout, pairs)
	if o.detach || resp.EvalID == "" {
		return nil
	}
	fmt.Fprintln(c.stdout)
	return newMonitor(c, client, o.verbose).follow(c.ctx, resp.EvalID)
}

// request reads the payload and the metadata.
func (o *jobDispatch) request(c *cli, args []string) (*api.JobDispatchRequest, error) {
	req := &api.JobDispatchRequest{IdPrefixTemplate: o.prefix, Priority: o.priority, Meta: map[string]string{}}
	for _, kv := range o.meta {
		key, value, ok := strings.Cut(kv, "=")
		if !ok || key == "" {
			return nil, exitf(1, "Error parsing meta value: %q is not of the form key=value", kv)
		}
		req.Meta[key] = value
	}
	if len(args) == 1 {
		return req, nil
	}
	in := c.stdin
	if args[1] != "-" {
		f, err := os.Open(args[1])
		if err != nil {
			return nil, exitf(1, "Error reading input data: %v", err)
		}
		defer f.Close()
		in = f
	}
	payload, err := io.ReadAll(io.LimitReader(in, api.MaxPayload+1))
	if err != nil {
		return nil, exitf(1, "Error reading input data: %v", err)
	}
	if len(payload) > api.MaxPayload {
		return nil, exitf(1, "Error reading input data: %q has more than the %d bytes that a payload may have", args[1], api.MaxPayload)
	}
	req.Payload = payload
	return req, nil
}

// parameterizedJob finds the one parameterized job of a name or prefix.
func parameterizedJob(c *cli, client *api.Client, arg string) (*structs.JobListStub, error) {
	jobs, _, err := client.Jobs().List(c.ctx, &api.QueryOptions{Prefix: arg})
	if err != nil {
		return nil, exitf(1, "Error querying jobs: %v", err)
	}
	var found []*structs.JobListStub
	for _, j := range jobs {
		if !j.ParameterizedJob || strings.Contains(j.ID, "/dispatch-") {
			continue
		}
		if j.ID == arg {
			return j, nil
		}
		found = append(found, j)
	}
	switch len(found) {
	case 0:
		return nil, exitf(1, "No parameterized job(s) with prefix or ID %q found", arg)
	case 1:
		return found[0], nil
	}
	return nil, ambiguous("parameterized jobs", c.jobRows(found, c.conf.Namespace == structs.AllNamespaces))
}
