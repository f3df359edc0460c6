package command

import (
	"context"
	"flag"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobAction is the options of `job action`.
type jobAction struct {
	job, alloc, group, task, escape string
	stdin                           bool
	tty                             optionalBool
}

// jobActionVerb runs an action that a job's author wrote down.
func jobActionVerb() *verb {
	var o jobAction
	return &verb{
		path: "job action", aliases: []string{"action"}, args: "<action>", min: 1, max: 1,
		short: "Run an action of a job",
		long: `Run an action that the job file defines, beside its running task, and exit with
its code. Name the job by -job, or one of its allocations by -alloc.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.job, "job", "", "The `job`.")
			fs.StringVar(&o.alloc, "alloc", "", "Run it in this `allocation`.")
			fs.StringVar(&o.group, "group", "", "Only in an allocation of this `group`.")
			fs.StringVar(&o.task, "task", "", "Only in this `task`.")
			fs.BoolVar(&o.stdin, "i", true, "Pass the standard input on.")
			fs.Var(&o.tty, "t", "Use a terminal; by default when input and output are one.")
			fs.StringVar(&o.escape, "e", "~", "The escape `character`; none turns it off.")
		},
		run: func(c *cli, args []string) error { return o.run(c, args[0]) },
	}
}

func (o *jobAction) run(c *cli, action string) error {
	if err := checkEscape(o.escape); err != nil {
		return err
	}
	if o.job == "" && o.alloc == "" {
		return exitf(1, "A job is required: give -job or -alloc.")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	alloc, err := pickAlloc(c.ctx, c, client, o.alloc, o.job, o.group)
	if err != nil {
		return err
	}
	if findAction(alloc, o.task, action) == nil {
		return exitf(1, "Job %q has no action %q in group %q.", alloc.JobID, action, alloc.TaskGroup)
	}
	tty := isTerminal(c.stdin) && isTerminal(c.stdout)
	if o.tty.set {
		tty = o.tty.val
	}
	if tty && !o.stdin {
		return exitf(1, "-i must be enabled if running with tty")
	}
	req := &api.ExecRequest{AllocID: alloc.ID, Task: o.task, TTY: tty, Stdout: c.stdout, Stderr: c.stderr}
	if o.stdin {
		req.Stdin = c.stdin
	}
	code, err := execSession(c, req, o.escape, func(ctx context.Context) (int, error) {
		return client.Jobs().Action(ctx, alloc.JobID, action, req, &api.QueryOptions{Namespace: alloc.Namespace})
	})
	if err != nil {
		return exitf(1, "Failed to run action %q: %v", action, err)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

// findAction finds an action of an allocation's tasks, of the named one alone
// when a name is given.
func findAction(alloc *structs.Allocation, task, action string) *structs.Action {
	group := alloc.Job.LookupGroup(alloc.TaskGroup)
	if group == nil {
		return nil
	}
	for _, t := range group.Tasks {
		for _, a := range t.Actions {
			if a.Name == action && (task == "" || t.Name == task) {
				return a
			}
		}
	}
	return nil
}
