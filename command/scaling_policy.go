package command

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/api"
)

// scalingPolicyListVerb lists the scaling blocks of jobs.
func scalingPolicyListVerb() *verb {
	var out format
	var job, kind string
	var verbose bool
	return &verb{
		path: "scaling policy list", short: "List the scaling policies of jobs",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.StringVar(&job, "job", "", "Those of one `job`.")
			fs.StringVar(&kind, "type", "", "Those of one `type`.")
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			policies, _, err := client.Scaling().Policies(c.ctx, job, kind, nil)
			if err != nil {
				return exitf(1, "Error listing scaling policies: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, policies)
			}
			if len(policies) == 0 {
				fmt.Fprintln(c.stdout, "No policies found")
				return nil
			}
			rows := [][]string{{"ID", "Enabled", "Type", "Target"}}
			for _, p := range policies {
				rows = append(rows, []string{shortID(p.ID, verbose), strconv.FormatBool(p.Enabled), p.Type, targetText(p.Target)})
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

// targetText is "Namespace:default,Job:web,Group:api".
func targetText(target map[string]string) string {
	var parts []string
	for _, key := range []string{"Namespace", "Job", "Group"} {
		if v := target[key]; v != "" {
			parts = append(parts, key+":"+v)
		}
	}
	return strings.Join(parts, ",")
}

// scalingPolicyInfoVerb shows one scaling block.
func scalingPolicyInfoVerb() *verb {
	var out format
	var verbose bool
	return &verb{
		path: "scaling policy info", args: "<policy_id>", min: 1, max: 1,
		short: "Show a scaling policy",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.BoolVar(&verbose, "verbose", false, "Whole ids.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			id, err := resolvePolicy(c, client, args[0])
			if err != nil {
				return err
			}
			p, _, err := client.Scaling().Policy(c.ctx, id, nil)
			if err != nil {
				return exitf(1, "Error querying scaling policy: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, p)
			}
			raw, err := json.MarshalIndent(p.Policy, "", "  ")
			if err != nil {
				return err
			}
			printPairs(c.stdout, []pair{
				{"ID", shortID(p.ID, verbose)}, {"Type", p.Type}, {"Target", targetText(p.Target)}, {"Enabled", strconv.FormatBool(p.Enabled == nil || *p.Enabled)},
				{"Min", number(p.Min)}, {"Max", number(p.Max)},
			})
			c.title("Policy")
			fmt.Fprintln(c.stdout, cleanLines(string(raw)))
			return nil
		},
	}
}

func number(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// resolvePolicy finds the one policy whose id begins so.
func resolvePolicy(c *cli, client *api.Client, prefix string) (string, error) {
	all, _, err := client.Scaling().Policies(c.ctx, "", "", &api.QueryOptions{Prefix: prefix})
	if err != nil {
		return "", exitf(1, "Error querying scaling policy: %v", err)
	}
	found := slices.DeleteFunc(all, func(p *api.ScalingPolicyStub) bool { return !strings.HasPrefix(p.ID, prefix) })
	switch len(found) {
	case 0:
		return "", exitf(1, "No scaling policies with prefix or id %q found", prefix)
	case 1:
		return found[0].ID, nil
	}
	var ids []string
	for _, p := range found {
		ids = append(ids, p.ID+" "+targetText(p.Target))
	}
	return "", exitf(1, "Prefix %q matches several scaling policies:\n%s", prefix, bullets(ids))
}
