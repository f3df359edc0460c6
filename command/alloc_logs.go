package command

import (
	"context"
	"flag"
	"io"
	"sync"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// tailWindow is how many bytes a line are read to find the last lines.
const bytesPerLine = 120

// tailFlags are -tail, -n and -c, which logs and fs share.
type tailFlags struct {
	tail  bool
	lines int64
	bytes int64
}

func (t *tailFlags) define(fs *flag.FlagSet) {
	fs.BoolVar(&t.tail, "tail", false, "Begin near the end.")
	fs.Int64Var(&t.lines, "n", -1, "Begin this `number` of lines before the end; 10 with -tail.")
	fs.Int64Var(&t.bytes, "c", -1, "Begin this `number` of bytes before the end.")
}

// origin is where to begin reading and how many lines to keep (0 keeps all).
func (t *tailFlags) origin() (origin string, offset, lines int64) {
	switch {
	case t.bytes >= 0:
		return api.OriginEnd, t.bytes, 0
	case t.lines >= 0:
		return api.OriginEnd, t.lines * bytesPerLine, t.lines
	case t.tail:
		return api.OriginEnd, 10 * bytesPerLine, 10
	}
	return api.OriginStart, 0, 0
}

// allocLogs is the options of `alloc logs`.
type allocLogs struct {
	tailFlags
	stdout                  optionalBool
	stderr, follow, verbose bool
	task, group             string
	jobs                    jobFlag
}

// allocLogsVerb prints the log of a task.
func allocLogsVerb() *verb {
	var o allocLogs
	v := &verb{
		path: "alloc logs", aliases: []string{"logs"}, args: "<allocation> [<task>]", max: 2,
		short: "Print the log of a task",
		long:  "Print the standard output of a task, or with -stderr its standard error. The task\nmay be left out when there is one; with -job the argument is a job.",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.Var(&o.stdout, "stdout", "The standard output (the default).")
			fs.BoolVar(&o.stderr, "stderr", false, "The standard error.")
			fs.BoolVar(&o.follow, "f", false, "Go on until interrupted.")
			fs.Var(&o.jobs, "job", "The argument is a job: its newest running allocation.")
			fs.StringVar(&o.group, "group", "", "With -job, an allocation of this `group`.")
			fs.StringVar(&o.task, "task", "", "The `task`.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
		},
	}
	v.run = func(c *cli, args []string) error {
		args, err := o.jobs.args(v, args)
		if err != nil {
			return err
		}
		return o.run(c, args)
	}
	return v
}

func (o *allocLogs) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	alloc, err := allocArg(c, client, args[0], o.jobs.set, o.group)
	if err != nil {
		return err
	}
	name := o.task
	if len(args) == 2 {
		name = args[1]
	}
	task, err := pickTask(alloc, name)
	if err != nil {
		return err
	}
	types := []string{"stdout"}
	switch {
	case o.stderr && o.stdout.set && o.stdout.val:
		types = []string{"stdout", "stderr"}
	case o.stderr:
		types = []string{"stderr"}
	}
	return o.print(c, client, alloc, task, types)
}

// allocArg finds the allocation that an argument means.
func allocArg(c *cli, client *api.Client, arg string, isJob bool, group string) (*structs.Allocation, error) {
	if isJob {
		return pickAlloc(c.ctx, c, client, "", arg, group)
	}
	return pickAlloc(c.ctx, c, client, arg, "", group)
}

// print copies the streams, side by side when there are two.
func (o *allocLogs) print(c *cli, client *api.Client, alloc *structs.Allocation, task string, types []string) error {
	origin, offset, lines := o.origin()
	errs := make([]error, len(types))
	var wg sync.WaitGroup
	for i, kind := range types {
		out := c.stdout
		if kind == "stderr" && len(types) > 1 {
			out = c.stderr
		}
		wg.Go(func() {
			r, err := client.FS().Logs(c.ctx, api.LogsRequest{
				AllocID: alloc.ID, Task: task, Type: kind, Origin: origin, Offset: offset, Follow: o.follow,
			}, &api.QueryOptions{Namespace: alloc.Namespace})
			if err != nil {
				errs[i] = exitf(1, "Error reading file: %v", err)
				return
			}
			errs[i] = c.copyUntil(out, lastLines(c.ctx, r, lines))
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && c.ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// lastLines drops what stands before the last n lines of the first piece of a
// stream that began near the end; n 0 drops nothing.
func lastLines(ctx context.Context, r io.ReadCloser, n int64) io.ReadCloser {
	if n <= 0 {
		return r
	}
	return &lineTail{r: r, ctx: ctx, lines: n}
}

// lineTail reads the window once, cuts it to its last lines, and then passes
// everything on.
type lineTail struct {
	r     io.ReadCloser
	ctx   context.Context
	lines int64
	head  []byte
	cut   bool
}

func (t *lineTail) Close() error { return t.r.Close() }

func (t *lineTail) Read(p []byte) (int, error) {
	if !t.cut {
		t.cut = true
		buf := make([]byte, max(t.lines*bytesPerLine, 1))
		n, err := t.r.Read(buf)
		if n == 0 {
			return 0, err
		}
		t.head = tailOf(buf[:n], t.lines)
	}
	if len(t.head) > 0 {
		n := copy(p, t.head)
		t.head = t.head[n:]
		return n, nil
	}
	return t.r.Read(p)
}

// tailOf is the last n lines of b; a last line without its end counts.
func tailOf(b []byte, n int64) []byte {
	end := len(b)
	if end > 0 && b[end-1] == '\n' {
		end--
	}
	for i := end - 1; i >= 0; i-- {
		if b[i] == '\n' {
			if n--; n == 0 {
				return b[i+1:]
			}
		}
	}
	return b
}
