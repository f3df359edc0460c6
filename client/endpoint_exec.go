package client

import (
	"context"
	"encoding/json"
	"io"

	"github.com/nomadlite/nomadlite/api"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// allocExec runs a command in a task over a websocket.
func (c *Client) allocExec(ctx context.Context, r *api.Request) (*api.Response, error) {
	run, err := c.find(r)
	if err != nil {
		return nil, err
	}
	if c.cfg.DisableExec {
		return nil, structs.Errorf(structs.Denied, "exec is disabled on this node (disable_remote_exec)")
	}
	var command []string
	if err := json.Unmarshal([]byte(r.Values.Get("command")), &command); err != nil {
		return nil, structs.Errorf(structs.Internal, "failed to marshal command into json: %w", err)
	}
	return nil, c.execIn(ctx, r, run, r.Values.Get("task"), command)
}

// execIn runs a command in a task of an allocation over the request's
// websocket.
func (c *Client) execIn(ctx context.Context, r *api.Request, run *run, task string, command []string) error {
	tty, err := r.Bool("tty", false)
	if err != nil {
		return err
	}
	status := run.runner.Status().ClientStatus
	if status != structs.AllocClientStatusRunning {
		return structs.Errorf(structs.Internal, "exec not possible, client status of allocation %s is %s", run.alloc.ID, status)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return run.runner.Exec(ctx, task, &plugin.ExecRequest{Command: command, TTY: tty}, &execSocket{r: r, tty: tty})
}

// jobAction runs an action of a job in one of its allocations on this node.
func (c *Client) jobAction(ctx context.Context, r *api.Request) (*api.Response, error) {
	if c.cfg.DisableExec {
		return nil, structs.Errorf(structs.Denied, "exec is disabled on this node (disable_remote_exec)")
	}
	job, name, task := r.Param("id"), r.Values.Get("action"), r.Values.Get("task")
	run := c.allocOf(r.Query.Namespace, job, r.Values.Get("allocID"))
	if run == nil {
		return nil, structs.Errorf(structs.NotFound, "no running allocation of job %q on this node can run action %q", job, name)
	}
	if err := r.Authorize(run.alloc.Namespace); err != nil {
		return nil, err
	}
	group := run.alloc.Job.LookupGroup(run.alloc.TaskGroup)
	for _, t := range group.Tasks {
		if task != "" && t.Name != task {
			continue
		}
		for _, a := range t.Actions {
			if a.Name == name {
				return nil, c.execIn(ctx, r, run, t.Name, append([]string{a.Command}, a.Args...))
			}
		}
	}
	return nil, structs.Errorf(structs.NotFound, "job %q has no action %q in task %q of group %q", job, name, task, group.Name)
}

// allocOf finds a running allocation of a job: that of the id, or any.
func (c *Client) allocOf(namespace, job, id string) *run {
	for _, r := range c.all() {
		switch {
		case r.alloc.Namespace != namespace || r.alloc.JobID != job || id != "" && r.alloc.ID != id:
		case r.runner.Status().ClientStatus == structs.AllocClientStatusRunning:
			return r
		}
	}
	return nil
}

// execSocket is the driver's view of the caller's websocket.
type execSocket struct {
	r   *api.Request
	tty bool
}

// Recv implements plugin.ExecStream.
func (s *execSocket) Recv(ctx context.Context) (*plugin.ExecInput, error) {
	in, err := s.r.ReadExec(ctx)
	if err != nil {
		return nil, io.EOF
	}
	out := &plugin.ExecInput{}
	if in.Stdin != nil {
		out.Stdin, out.CloseStdin = in.Stdin.Data, in.Stdin.Close
	}
	if in.TTYSize != nil {
		out.Resize = &plugin.TerminalSize{Height: int32(in.TTYSize.Height), Width: int32(in.TTYSize.Width)}
	}
	return out, nil
}

// Send implements plugin.ExecStream: one key a message, and with a terminal no
// end of the standard error that nobody sees.
func (s *execSocket) Send(out *plugin.ExecOutput) error {
	var msgs []*api.ExecOutput
	if len(out.Stdout) > 0 {
		msgs = append(msgs, &api.ExecOutput{Stdout: &api.ExecData{Data: out.Stdout}})
	}
	if len(out.Stderr) > 0 {
		msgs = append(msgs, &api.ExecOutput{Stderr: &api.ExecData{Data: out.Stderr}})
	}
	if out.CloseStdout {
		msgs = append(msgs, &api.ExecOutput{Stdout: &api.ExecData{Close: true}})
	}
	if out.CloseStderr && !s.tty {
		msgs = append(msgs, &api.ExecOutput{Stderr: &api.ExecData{Close: true}})
	}
	if out.Exited {
		result := &api.ExecResult{}
		if out.Result != nil {
			result.ExitCode = int(out.Result.ExitCode)
		}
		msgs = append(msgs, &api.ExecOutput{Exited: true, Result: result})
	}
	for _, m := range msgs {
		if err := s.r.WriteExec(context.WithoutCancel(s.r.HTTP.Context()), m); err != nil {
			return err
		}
	}
	return nil
}
