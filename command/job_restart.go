package command

import (
	"context"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// jobRestart is the options of `job restart`.
type jobRestart struct {
	allTasks, noShutdownDelay, reschedule, yes, verbose bool
	batchSize, batchWait, onError                       string
	groups, tasks                                       stringsFlag
}

// jobRestartVerb restarts the allocations of a job in batches.
func jobRestartVerb() *verb {
	var o jobRestart
	return &verb{
		path: "job restart", args: "<job>", min: 1, max: 1,
		short: "Restart the allocations of a job",
		long: `Restart the running allocations of a job in batches, in place, or with
-reschedule by stopping them so that they are placed again.`,
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&o.allTasks, "all-tasks", false, "Tasks that do not run as well, in their lifecycle's order.")
			fs.StringVar(&o.batchSize, "batch-size", "1", "How many at a time, as a `number` or a percentage.")
			fs.StringVar(&o.batchWait, "batch-wait", "0s", "How long to wait between batches, a `duration` or ask.")
			fs.Var(&o.groups, "group", "Only this `group`. May be repeated.")
			fs.Var(&o.tasks, "task", "Only this `task`. May be repeated.")
			fs.BoolVar(&o.noShutdownDelay, "no-shutdown-delay", false, "With -reschedule, ignore shutdown_delay.")
			fs.StringVar(&o.onError, "on-error", "ask", "What to do when one fails: `ask` or fail.")
			fs.BoolVar(&o.reschedule, "reschedule", false, "Stop and place again instead of restarting in place.")
			fs.BoolVar(&o.yes, "yes", false, "Do not ask.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
		},
		run: o.run,
	}
}

func (o *jobRestart) run(c *cli, args []string) error {
	wait, err := o.check()
	if err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	stub, exact, err := resolveJob(c.ctx, c, client, args[0])
	if err != nil {
		return err
	}
	if !exact && !o.yes {
		ok, err := c.confirm(fmt.Sprintf("Are you sure you want to restart job %q?", stub.ID), "Cancelling job restart")
		if err != nil || !ok {
			return err
		}
	}
	allocs, err := o.targets(c, client, stub)
	if err != nil {
		return err
	}
	size, err := batchSize(o.batchSize, len(allocs))
	if err != nil {
		return err
	}
	for start := 0; start < len(allocs); start += size {
		batch := allocs[start:min(start+size, len(allocs))]
		if start > 0 {
			if done, err := o.pause(c, wait); err != nil || done {
				return err
			}
		}
		for _, a := range batch {
			if done, err := o.restartOne(c, client, a); err != nil || done {
				return err
			}
		}
	}
	fmt.Fprintf(c.stdout, "==> %s: Finished restarting %d allocations of job %q\n", c.now().Format(time.RFC3339), len(allocs), stub.ID)
	return nil
}

// check validates the options and returns the wait between batches.
func (o *jobRestart) check() (time.Duration, error) {
	if o.onError != "ask" && o.onError != "fail" {
		return 0, exitf(1, "Invalid -on-error value: %q: must be \"ask\" or \"fail\"", o.onError)
	}
	if o.reschedule && len(o.tasks) > 0 {
		return 0, exitf(1, "The -reschedule option cannot be used when restarting specific tasks.")
	}
	if o.allTasks && (o.reschedule || len(o.tasks) > 0) {
		return 0, exitf(1, "The -all-tasks option cannot be used with -reschedule or -task.")
	}
	if o.batchWait == "ask" {
		return 0, nil
	}
	wait, err := time.ParseDuration(o.batchWait)
	if err != nil || wait < 0 {
		return 0, exitf(1, "Invalid -batch-wait value %q: must be a duration or \"ask\"", o.batchWait)
	}
	return wait, nil
}

// targets lists the allocations to restart: those that run, of the groups.
func (o *jobRestart) targets(c *cli, client *api.Client, stub *structs.JobListStub) ([]*structs.AllocListStub, error) {
	all, _, err := client.Jobs().Allocations(c.ctx, stub.ID, false, &api.QueryOptions{Namespace: stub.Namespace})
	if err != nil {
		return nil, exitf(1, "Error retrieving allocations: %v", err)
	}
	var out []*structs.AllocListStub
	for _, a := range all {
		if a.DesiredStatus != structs.AllocDesiredStatusRun || structs.ClientStatusTerminal(a.ClientStatus) {
			continue
		}
		if len(o.groups) == 0 || contains(o.groups, a.TaskGroup) {
			out = append(out, a)
		}
	}
	if len(out) == 0 {
		return nil, exitf(1, "No allocations to restart")
	}
	return out, nil
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// batchSize reads "3" or "25%" of n.
func batchSize(text string, n int) (int, error) {
	if percent, ok := strings.CutSuffix(text, "%"); ok {
		p, err := strconv.ParseFloat(percent, 64)
		if err == nil && p > 0 && p <= 100 {
			return max(1, int(math.Ceil(p*float64(n)/100))), nil
		}
	} else if v, err := strconv.Atoi(text); err == nil && v > 0 {
		return v, nil
	}
	return 0, exitf(1, "Invalid -batch-size value %q: must be a number above 0 or a percentage", text)
}

// pause waits between batches; it reports whether the user ended the restart.
func (o *jobRestart) pause(c *cli, wait time.Duration) (bool, error) {
	if o.batchWait == "ask" && !o.yes {
		ok, err := c.confirm("Proceed with the next batch?", "Cancelling job restart")
		return !ok, err
	}
	select {
	case <-time.After(wait):
		return false, nil
	case <-c.ctx.Done():
		return true, exitf(1, "Job restart cancelled")
	}
}

func (o *jobRestart) restartOne(c *cli, client *api.Client, a *structs.AllocListStub) (bool, error) {
	verb := "Restarting"
	if o.reschedule {
		verb = "Rescheduling"
	}
	fmt.Fprintf(c.stdout, "    %s: %s allocation %q for group %q\n", c.now().Format(time.RFC3339), verb, shortID(a.ID, o.verbose), a.TaskGroup)
	err := o.perform(c.ctx, client, a)
	if err == nil {
		return false, nil
	}
	if o.onError == "ask" && !o.yes && isTerminal(c.stdin) {
		fmt.Fprintf(c.stderr, "Error restarting allocation %q: %v\n", shortID(a.ID, o.verbose), err)
		ok, cerr := c.confirm("Continue with the others?", "Cancelling job restart")
		return !ok, cerr
	}
	return true, exitf(1, "Error restarting allocation %q: %v", shortID(a.ID, o.verbose), err)
}

func (o *jobRestart) perform(ctx context.Context, client *api.Client, a *structs.AllocListStub) error {
	w := &api.WriteOptions{Namespace: a.Namespace}
	if o.reschedule {
		_, _, err := client.Allocations().Stop(ctx, a.ID, o.noShutdownDelay, w)
		return err
	}
	if len(o.tasks) == 0 {
		return client.Allocations().Restart(ctx, a.ID, &api.AllocRestartRequest{AllTasks: o.allTasks}, w)
	}
	for _, task := range o.tasks {
		if err := client.Allocations().Restart(ctx, a.ID, &api.AllocRestartRequest{TaskName: task}, w); err != nil {
			return err
		}
	}
	return nil
}
