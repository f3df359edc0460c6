package command

import (
	"context"
	"flag"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"github.com/nomadlite/nomadlite/api"
)

// allocExec is the options of `alloc exec`.
type allocExec struct {
	task, group, escape string
	jobs                jobFlag
	stdin               bool
	tty                 optionalBool
}

// allocExecVerb runs a command in a task.
func allocExecVerb() *verb {
	var o allocExec
	v := &verb{
		path: "alloc exec", aliases: []string{"exec"}, args: "<allocation> <command> [<args>...]", max: -1,
		short: "Run a command in a task",
		long: `Run a command beside a running task and exit with its code. With a terminal, ~.
at the start of a line ends the session.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.task, "task", "", "The `task`; may be left out when there is one.")
			fs.Var(&o.jobs, "job", "The argument is a job: its newest running allocation.")
			fs.StringVar(&o.group, "group", "", "With -job, an allocation of this `group`.")
			fs.BoolVar(&o.stdin, "i", true, "Pass the standard input on.")
			fs.Var(&o.tty, "t", "Use a terminal; by default when input and output are one.")
			fs.StringVar(&o.escape, "e", "~", "The escape `character`; none turns it off.")
		},
	}
	v.run = func(c *cli, args []string) error {
		args, err := o.jobs.args(v, args)
		if err != nil {
			return err
		}
		if len(args) < 2 {
			return exitf(1, "A command is required\nFor additional help try 'nomadlite %s -help'", v.path)
		}
		return o.run(c, args[0], args[1:])
	}
	return v
}

func (o *allocExec) run(c *cli, target string, command []string) error {
	if err := checkEscape(o.escape); err != nil {
		return err
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	alloc, err := allocArg(c, client, target, o.jobs.set, o.group)
	if err != nil {
		return err
	}
	task, err := pickTask(alloc, o.task)
	if err != nil {
		return err
	}
	tty := isTerminal(c.stdin) && isTerminal(c.stdout)
	if o.tty.set {
		tty = o.tty.val
	}
	if tty && !o.stdin {
		return exitf(1, "-i must be enabled if running with tty")
	}
	req := &api.ExecRequest{AllocID: alloc.ID, Task: task, Command: command, TTY: tty, Stdout: c.stdout, Stderr: c.stderr}
	if o.stdin {
		req.Stdin = c.stdin
	}
	code, err := execSession(c, req, o.escape, func(ctx context.Context) (int, error) {
		return client.Allocations().Exec(ctx, req, &api.QueryOptions{Namespace: alloc.Namespace})
	})
	if err != nil {
		return exitf(1, "failed to exec into task: %v", err)
	}
	if code != 0 {
		return exitCode(code)
	}
	return nil
}

func checkEscape(escape string) error {
	if escape != "none" && len(escape) != 1 {
		return exitf(1, "-e requires 'none' or a single character: got %q", escape)
	}
	return nil
}

// execSession runs a command; with a terminal it is raw meanwhile, its size
// follows, and the escape ends the session.
func execSession(c *cli, req *api.ExecRequest, escape string, run func(context.Context) (int, error)) (int, error) {
	// Interrupts belong to the command while it runs.
	ctx, cancel := context.WithCancel(context.WithoutCancel(c.ctx))
	defer cancel()
	in, ok := c.stdin.(*os.File)
	if !req.TTY || !ok || !isTerminal(in) {
		return run(ctx)
	}
	old, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return 0, err
	}
	defer term.Restore(int(in.Fd()), old)
	if escape != "none" {
		req.Stdin = &escapeReader{r: req.Stdin, escape: escape[0], fresh: true, end: cancel}
	}
	sizes := make(chan api.TerminalSize, 1)
	req.Sizes = sizes
	go watchSize(ctx, in, sizes)
	code, err := run(ctx)
	if ctx.Err() != nil {
		return 0, nil
	}
	return code, err
}

// watchSize sends the terminal's size at once and at each change.
func watchSize(ctx context.Context, f *os.File, sizes chan<- api.TerminalSize) {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	defer signal.Stop(changed)
	for {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil {
			select {
			case sizes <- api.TerminalSize{Height: height, Width: width}:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// escapeReader ends the session when a line begins with the escape and a dot.
type escapeReader struct {
	r       io.Reader
	escape  byte
	fresh   bool // at the start of a line
	pending bool // the escape was read and is held back
	end     func()
}

func (e *escapeReader) Read(p []byte) (int, error) {
	buf := make([]byte, max(len(p)-1, 1))
	n, err := e.r.Read(buf)
	out := p[:0]
	for _, b := range buf[:n] {
		switch {
		case e.pending && b == '.':
			e.end()
			return 0, io.EOF
		case e.pending:
			e.pending = false
			if b != e.escape {
				out = append(out, e.escape)
			}
			out = append(out, b)
		case e.fresh && b == e.escape:
			e.pending = true
			continue
		default:
			out = append(out, b)
		}
		e.fresh = b == '\r' || b == '\n'
	}
	return len(out), err
}
