package command

import (
	"bufio"
	"flag"
	"fmt"
	"strings"

	"github.com/nomadlite/nomadlite/api"
)

// jobStop is the options of `job stop`.
type jobStop struct {
	opts        api.StopOptions
	detach, yes bool
	verbose     bool
}

// jobStopVerb stops jobs.
func jobStopVerb() *verb {
	var o jobStop
	return &verb{
		path: "job stop", aliases: []string{"stop"}, args: "<job>...", min: 1, max: -1,
		short: "Stop a running job",
		long:  "Stop jobs, given by id or by a prefix that names one. With -purge nothing of the\njob is kept, not even its history.",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&o.opts.Purge, "purge", false, "Remove the job from the servers' state as well.")
			fs.BoolVar(&o.opts.Global, "global", false, "Stop a multiregion job in all its regions.")
			fs.BoolVar(&o.opts.NoShutdownDelay, "no-shutdown-delay", false, "Ignore the shutdown_delay of groups and tasks.")
			fs.IntVar(&o.opts.EvalPriority, "eval-priority", 0, "The `priority` of the evaluation, 1 to 100.")
			fs.BoolVar(&o.detach, "detach", false, "Do not follow; print the evaluation's id.")
			fs.BoolVar(&o.yes, "yes", false, "Do not ask.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
		},
		run: o.run,
	}
}

func (o *jobStop) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var failed error
	for _, arg := range args {
		if err := o.stop(c, client, arg); err != nil {
			c.finish(err)
			failed = err
		}
	}
	if failed != nil {
		return exitCode(codeOf(failed))
	}
	return nil
}

func (o *jobStop) stop(c *cli, client *api.Client, arg string) error {
	job, exact, err := resolveJob(c.ctx, c, client, arg)
	if err != nil {
		return err
	}
	if !exact && !o.yes {
		ok, err := c.confirm(fmt.Sprintf("Are you sure you want to stop job %q?", job.ID), "Cancelling job stop")
		if err != nil || !ok {
			return err
		}
	}
	resp, _, err := client.Jobs().Stop(c.ctx, job.ID, o.opts, &api.WriteOptions{Namespace: job.Namespace})
	switch {
	case err != nil:
		return exitf(1, "Error deregistering job with id %s: %v", job.ID, err)
	case resp.EvalID == "":
		return nil
	case o.detach:
		fmt.Fprintln(c.stdout, resp.EvalID)
		return nil
	}
	return newMonitor(c, client, o.verbose).follow(c.ctx, resp.EvalID)
}

// confirm asks; only "y" proceeds, "n" or nothing cancels with the given
// text, anything else is an error.
func (c *cli) confirm(question, cancelled string) (bool, error) {
	fmt.Fprintf(c.stdout, "%s [y/N] ", question)
	line, _ := bufio.NewReader(c.stdin).ReadString('\n')
	switch answer := strings.TrimSpace(line); answer {
	case "y":
		return true, nil
	case "", "n":
		fmt.Fprintln(c.stdout, cancelled)
		return false, nil
	default:
		return false, exitf(1, "For confirmation, an exact ‘y’ is required; got %q", answer)
	}
}

// codeOf is the exit code that an error stands for.
func codeOf(err error) int {
	if exit, ok := err.(*exitError); ok {
		return exit.code
	}
	return 1
}
