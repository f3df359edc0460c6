// Package keeper is the protocol of a node's keeper: the one process that is
// parent and subreaper of the driver plugins and collects the logs of tasks.
// The node agent and our own drivers speak it; third-party drivers need not.
//
// A call is one connection to a unix socket in a directory that only its owner
// may enter: one JSON line asks, one answers. A connection that closes cancels
// its call. Package client/keeper is the process itself.
package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Version is the version of the protocol. An agent replaces a keeper of
// another version; its tasks are not touched.
const Version = 1

// SocketEnv tells a driver plugin where its keeper listens.
const SocketEnv = "NOMADLITE_KEEPER"

// maxLine bounds one request or answer.
const maxLine = 1 << 20

// dialTimeout bounds the connection to a live keeper.
const dialTimeout = 2 * time.Second

// Process names a process for good: process ids are used again, but not with
// the same start time since the same boot.
type Process struct {
	Pid       int
	StartTime uint64 // clock ticks after boot, field 22 of /proc/PID/stat
}

// Exit is how a process ended.
type Exit struct {
	// Known is false when nobody could see the end.
	Known  bool
	Code   int // 128 + signal when a signal ended it
	Signal int
}

// Info describes a keeper.
type Info struct {
	Version int
	Build   string
	Process Process
}

// PluginSpec starts a plugin.
type PluginSpec struct {
	Name    string // one process a name
	Argv    []string
	Env     []string // "K=V"; the whole environment
	LogFile string   // receives its standard error
}

// Plugin is a running plugin.
type Plugin struct {
	Name    string
	Process Process
	// Handshake is the line that the plugin printed first: go-plugin's.
	Handshake string
}

// LogSpec is the log of one task: two FIFOs that are copied into rotated files
// until StopLogs. Starting the same again changes nothing.
type LogSpec struct {
	ID       string // unique on the node
	Dir      string // of the files
	Task     string
	Stdout   string // path of a FIFO
	Stderr   string
	MaxFiles int
	MaxBytes int64 // of one file
}

// Request is one call; exactly one field beside Op is set, by Op.
type Request struct {
	Op     string
	Plugin *PluginSpec `json:",omitempty"`
	Logs   *LogSpec    `json:",omitempty"`
	Wait   *Process    `json:",omitempty"`
	Name   string      `json:",omitempty"`
}

// Operations of a Request.
const (
	OpInfo        = "info"
	OpStartPlugin = "start-plugin"
	OpStopPlugin  = "stop-plugin"
	OpPlugins     = "plugins"
	OpStartLogs   = "start-logs"
	OpStopLogs    = "stop-logs"
	OpWait        = "wait"
	OpShutdown    = "shutdown"
)

// Response answers a Request.
type Response struct {
	Error   string   `json:",omitempty"`
	Info    *Info    `json:",omitempty"`
	Plugin  *Plugin  `json:",omitempty"`
	Plugins []Plugin `json:",omitempty"`
	Exit    *Exit    `json:",omitempty"`
}

// ErrGone is a call that no keeper answers: none runs, or it died during the
// call.
var ErrGone = errors.New("the keeper is gone")

// Client calls the keeper behind a socket. It keeps no connection and may be
// used from many goroutines; a keeper may be replaced between two calls.
type Client struct {
	socket string
}

// NewClient returns a client for the socket; it does not connect.
func NewClient(socket string) *Client { return &Client{socket} }

// Socket is the path of the keeper's socket.
func (c *Client) Socket() string { return c.socket }

// Info asks the keeper what it is.
func (c *Client) Info(ctx context.Context) (*Info, error) {
	resp, err := c.call(ctx, &Request{Op: OpInfo})
	if err != nil {
		return nil, err
	}
	return resp.Info, nil
}

// StartPlugin starts a plugin, or returns the live one of that name.
func (c *Client) StartPlugin(ctx context.Context, spec PluginSpec) (*Plugin, error) {
	resp, err := c.call(ctx, &Request{Op: OpStartPlugin, Plugin: &spec})
	if err != nil {
		return nil, err
	}
	return resp.Plugin, nil
}

// StopPlugin ends a plugin's process; its tasks live on. An unknown name is no
// error.
func (c *Client) StopPlugin(ctx context.Context, name string) error {
	_, err := c.call(ctx, &Request{Op: OpStopPlugin, Name: name})
	return err
}

// Plugins lists the live plugins.
func (c *Client) Plugins(ctx context.Context) ([]Plugin, error) {
	resp, err := c.call(ctx, &Request{Op: OpPlugins})
	if err != nil {
		return nil, err
	}
	return resp.Plugins, nil
}

// StartLogs begins to collect a task's log.
func (c *Client) StartLogs(ctx context.Context, spec LogSpec) error {
	_, err := c.call(ctx, &Request{Op: OpStartLogs, Logs: &spec})
	return err
}

// StopLogs writes what the FIFOs still hold and ends the collection. An
// unknown id is no error.
func (c *Client) StopLogs(ctx context.Context, id string) error {
	_, err := c.call(ctx, &Request{Op: OpStopLogs, Name: id})
	return err
}

// Wait returns how a process that was orphaned ended, waiting for its end.
func (c *Client) Wait(ctx context.Context, p Process) (Exit, error) {
	resp, err := c.call(ctx, &Request{Op: OpWait, Wait: &p})
	if err != nil {
		return Exit{}, err
	}
	return *resp.Exit, nil
}

// Shutdown ends the keeper and the plugins; tasks live on.
func (c *Client) Shutdown(ctx context.Context) error {
	_, err := c.call(ctx, &Request{Op: OpShutdown})
	return err
}

func (c *Client) call(ctx context.Context, req *Request) (*Response, error) {
	dialer := net.Dialer{Timeout: dialTimeout}
	conn, err := dialer.DialContext(ctx, "unix", c.socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrGone, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	line, err := json.Marshal(req)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return nil, c.failed(ctx, err)
	}
	resp := &Response{}
	if err := ReadLine(conn, resp); err != nil {
		return nil, c.failed(ctx, err)
	}
	if resp.Error != "" {
		return nil, errors.New(resp.Error)
	}
	return resp, nil
}

func (c *Client) failed(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrGone, err)
}

// ReadLine decodes one bounded JSON line.
func ReadLine(r io.Reader, v any) error {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxLine), 512).ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}
