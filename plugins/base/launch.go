package base

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
)

// defaultStartTimeout is how long a process may take until it answers.
const defaultStartTimeout = 30 * time.Second

// RunnerFunc starts a plugin process in the host's place: cmd has the
// environment that go-plugin needs, socketDir is where the plugin makes its
// socket.
type RunnerFunc func(logger hclog.Logger, cmd *exec.Cmd, socketDir string) (runner.Runner, error)

// LaunchConfig says how to start a plugin's process.
type LaunchConfig struct {
	Path string   // the binary
	Args []string // without the binary's name
	// Env is the whole environment; nil is the host's own.
	Env []string
	// SocketDir receives a directory of mode 0700 for each process, which
	// holds its socket. It is made, 0700, where it does not exist. Empty: the
	// system's directory for temporary files.
	SocketDir string
	// Runner starts the process instead of the host; nil: the host's child.
	Runner RunnerFunc
	// StartTimeout bounds the handshake; 0 is 30 s.
	StartTimeout time.Duration
	// Logger receives the plugin's own lines too.
	Logger hclog.Logger
}

// ReattachConfig finds a plugin process again. Keep it, as JSON, with the
// start time of the process, and check that time before use: a pid may be
// another's.
type ReattachConfig struct {
	Protocol string // "grpc"
	Network  string // "unix" or "tcp"
	Addr     string
	Pid      int
}

// Process is a plugin's process and the connection to it.
type Process struct {
	plugin *plugin.Client
	conn   *plugin.GRPCClient
	done   <-chan struct{}
	dir    string // removed with the process; empty: not ours
}

// Launch starts a process and connects to it. ctx bounds the start alone.
// Errors name the binary; nothing is left behind.
func Launch(ctx context.Context, config LaunchConfig) (*Process, error) {
	if config.Path == "" && config.Runner == nil {
		return nil, errors.New("cannot launch a plugin without a path")
	}
	if config.SocketDir != "" {
		if err := os.MkdirAll(config.SocketDir, 0o700); err != nil {
			return nil, fmt.Errorf("cannot make the directory of plugin sockets: %w", err)
		}
	}
	clientConfig := clientConfig(config.Logger)
	clientConfig.StartTimeout = startTimeout(ctx, config.StartTimeout)
	cmd := exec.Command(config.Path, config.Args...)
	cmd.Env = slices.Clone(config.Env)
	if config.Env == nil {
		cmd.Env = os.Environ()
	}
	clientConfig.SkipHostEnv = true
	dir := ""
	if config.Runner != nil {
		clientConfig.UnixSocketConfig = &plugin.UnixSocketConfig{TempDir: config.SocketDir}
		clientConfig.RunnerFunc = func(l hclog.Logger, spec *exec.Cmd, socketDir string) (runner.Runner, error) {
			cmd.Env = append(cmd.Env, spec.Env...)
			return config.Runner(l, cmd, socketDir)
		}
	} else {
		var err error
		if dir, err = os.MkdirTemp(config.SocketDir, "plugin-"); err != nil {
			return nil, fmt.Errorf("cannot make a directory for the plugin's socket: %w", err)
		}
		cmd.Env = append(cmd.Env, plugin.EnvUnixSocketDir+"="+dir)
		clientConfig.Cmd = cmd
	}
	p, err := connect(clientConfig)
	if err != nil {
		if dir != "" {
			_ = os.RemoveAll(dir) // empty but for a dead socket
		}
		return nil, fmt.Errorf("cannot start plugin %s: %w", config.Path, err)
	}
	p.dir = dir
	return p, nil
}

// Reattach connects to a process that runs already. exited, if given, replaces
// go-plugin's polling of the pid, which is up to seconds late.
func Reattach(config *ReattachConfig, exited runner.ReattachFunc, logger hclog.Logger) (*Process, error) {
	addr, err := config.addr()
	if err != nil {
		return nil, err
	}
	clientConfig := clientConfig(logger)
	clientConfig.Reattach = &plugin.ReattachConfig{
		Protocol:        plugin.Protocol(config.Protocol),
		ProtocolVersion: int(Handshake.ProtocolVersion),
		Addr:            addr,
		Pid:             config.Pid,
		ReattachFunc:    exited,
	}
	p, err := connect(clientConfig)
	if err != nil {
		return nil, fmt.Errorf("cannot reattach to the plugin of pid %d at %s: %w", config.Pid, config.Addr, err)
	}
	return p, nil
}

// addr parses the address.
func (c *ReattachConfig) addr() (net.Addr, error) {
	if c.Protocol != string(plugin.ProtocolGRPC) {
		return nil, fmt.Errorf("cannot reattach by protocol %q: only %q is spoken", c.Protocol, plugin.ProtocolGRPC)
	}
	switch c.Network {
	case "unix":
		return &net.UnixAddr{Name: c.Addr, Net: "unix"}, nil
	case "tcp":
		return net.ResolveTCPAddr("tcp", c.Addr)
	}
	return nil, fmt.Errorf("cannot reattach by network %q: use unix or tcp", c.Network)
}

// clientConfig is what launching and reattaching share.
func clientConfig(logger hclog.Logger) *plugin.ClientConfig {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	return &plugin.ClientConfig{
		HandshakeConfig:  Handshake,
		Plugins:          plugin.PluginSet{KeyBase: endPlugin{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Logger:           logger,
	}
}

// startTimeout is the given timeout or what ctx leaves of it.
func startTimeout(ctx context.Context, timeout time.Duration) time.Duration {
	if timeout <= 0 {
		timeout = defaultStartTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	return timeout
}

// connect starts or reattaches.
func connect(config *plugin.ClientConfig) (*Process, error) {
	c := plugin.NewClient(config)
	p, err := dispense(c)
	if err != nil {
		c.Kill()
		return nil, err
	}
	return p, nil
}

func dispense(c *plugin.Client) (*Process, error) {
	protocol, err := c.Client()
	if err != nil {
		return nil, err
	}
	conn, ok := protocol.(*plugin.GRPCClient)
	if !ok {
		return nil, fmt.Errorf("the plugin speaks %T, not gRPC", protocol)
	}
	raw, err := conn.Dispense(KeyBase)
	if err != nil {
		return nil, err
	}
	return &Process{plugin: c, conn: conn, done: raw.(<-chan struct{})}, nil
}

// endPlugin is go-plugin's way to the context that ends with the process. All
// services of a plugin are on one connection: there is nothing else to
// dispense.
type endPlugin struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer implements plugin.GRPCPlugin.
func (endPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("the host's side serves nothing")
}

// GRPCClient implements plugin.GRPCPlugin.
func (endPlugin) GRPCClient(ctx context.Context, _ *plugin.GRPCBroker, _ *grpc.ClientConn) (any, error) {
	return ctx.Done(), nil
}

// Conn is the connection that all services of the plugin share.
func (p *Process) Conn() grpc.ClientConnInterface { return p.conn.Conn }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Reattach is how to find the process again after a restart of the host.
func (p *Process) Reattach() *ReattachConfig {
	r := p.plugin.ReattachConfig()
	if r == nil {
		return nil
	}
	pid := r.Pid
	if pid == 0 { // started by a Runner: its id is the pid
		pid, _ = strconv.Atoi(p.plugin.ID()) // 0 when it is something else
	}
	return &ReattachConfig{
		Protocol: string(r.Protocol),
		Network:  r.Addr.Network(),
		Addr:     r.Addr.String(),
		Pid:      pid,
	}
}

// Exited reports whether the process has ended.
func (p *Process) Exited() bool { return p.plugin.Exited() }

// Disconnect lets go of the process without ending it.
func (p *Process) Disconnect() error { return p.conn.Conn.Close() }

// Kill ends the process gracefully or by force, waits for its end and removes
// its socket. Tasks stay.
func (p *Process) Kill() {
	p.plugin.Kill()
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // swept at the next start otherwise
	}
}

// Environment of a plugin process under our agent, for plugins that keep
// something beyond their lives. Other hosts set neither.
const (
	DirEnv  = "NOMADLITE_PLUGIN_DIR" // a directory of the plugin's own, mode 0700
	NodeEnv = "NOMADLITE_NODE_ID"    // the node that the agent is
)
