package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
)

// jobScaleVerb changes the count of a group.
func jobScaleVerb() *verb {
	var checkIndex string
	var detach, verbose bool
	return &verb{
		path: "job scale", args: "<job> [<group>] <count>", min: 2, max: 3,
		short: "Change how many of a group run",
		long:  "Change the count of a job's group. The group may be left out when there is one.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&checkIndex, "check-index", "", "Scale only if the job's modify `index` is this one.")
			fs.BoolVar(&detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			text := args[len(args)-1]
			count, err := strconv.ParseInt(text, 10, 64)
			if err != nil || count < 0 {
				return exitf(1, "Failed to convert count %q: it must be a whole number, 0 or more", text)
			}
			client, stub, err := findJob(c, args[0])
			if err != nil {
				return err
			}
			group := ""
			if len(args) == 3 {
				group = args[1]
			} else if group, err = onlyGroup(c, client, stub.ID, stub.Namespace); err != nil {
				return err
			}
			req := &api.ScalingRequest{
				Count: &count, Message: "submitted using the Nomad CLI",
				Target: map[string]string{"Namespace": stub.Namespace, "Job": stub.ID, "Group": group},
			}
			if checkIndex != "" {
				if req.JobModifyIndex, err = strconv.ParseUint(checkIndex, 10, 64); err != nil {
					return exitf(1, "Error parsing check-index value %q: it must be a number", checkIndex)
				}
			}
			resp, _, err := client.Jobs().Scale(c.ctx, stub.ID, req, &api.WriteOptions{Namespace: stub.Namespace})
			switch {
			case err != nil:
				return exitf(1, "Error submitting scaling request: %v", err)
			case resp.EvalID == "":
				return nil
			case detach:
				fmt.Fprintf(c.stdout, "Evaluation ID: %s\n", resp.EvalID)
				return nil
			}
			return newMonitor(c, client, verbose).follow(c.ctx, resp.EvalID)
		},
	}
}

// onlyGroup is the name of a job's single group.
func onlyGroup(c *cli, client *api.Client, job, ns string) (string, error) {
	status, _, err := client.Jobs().ScaleStatus(c.ctx, job, &api.QueryOptions{Namespace: ns})
	if err != nil {
		return "", exitf(1, "Error querying job: %v", err)
	}
	groups := sortedKeys(status.TaskGroups)
	if len(groups) != 1 {
		return "", exitf(1, "Job %q has several groups; name one of them:\n%s", job, bullets(groups))
	}
	return groups[0], nil
}
