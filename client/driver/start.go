package driver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-plugin/runner"

	"github.com/nomadlite/nomadlite/plugins/base"
	protocol "github.com/nomadlite/nomadlite/plugins/keeper"
)

// socketsName is the folder of plugin sockets below the keeper's directory.
const socketsName = "s"

// ownName is the folder of what plugins keep for themselves.
const ownName = "own"

// start has the keeper start a plugin and connects to it. A plugin that lives
// already, from before a restart of the agent, is connected to the same way:
// there is one path for both.
func start(ctx context.Context, cfg Config, spec Spec) (*base.Process, error) {
	host := cfg.Keeper
	sockets, own := filepath.Join(host.Dir(), socketsName), filepath.Join(host.Dir(), ownName, spec.Name)
	for _, dir := range []string{sockets, own} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	p, err := host.Client().StartPlugin(ctx, protocol.PluginSpec{
		Name: spec.Name, Argv: spec.Argv, LogFile: filepath.Join(host.Dir(), spec.Name+".log"),
		Env: append(withoutSecrets(os.Environ()),
			base.Handshake.MagicCookieKey+"="+base.Handshake.MagicCookieValue,
			protocol.SocketEnv+"="+host.Client().Socket(), base.DirEnv+"="+own, base.NodeEnv+"="+cfg.NodeID,
			"PLUGIN_UNIX_SOCKET_DIR="+sockets, "PLUGIN_PROTOCOL_VERSIONS="+strconv.Itoa(int(base.Handshake.ProtocolVersion)),
			"PLUGIN_MIN_PORT="+strconv.FormatUint(uint64(cfg.Agent.MinPort), 10), "PLUGIN_MAX_PORT="+strconv.FormatUint(uint64(cfg.Agent.MaxPort), 10),
			"GOGC=50", "GOMAXPROCS=2",
		),
	})
	if err != nil {
		return nil, err
	}
	reattach, err := parseHandshake(p.Handshake)
	if err != nil {
		return nil, fmt.Errorf("plugin %q: %w", spec.Name, err)
	}
	reattach.Pid = p.Process.Pid
	return base.Reattach(reattach, func() (runner.AttachedRunner, error) { return attach(p.Process) }, cfg.Logger.Named(spec.Name))
}

// withoutSecrets is an environment less what the agent itself authenticates
// with: plugins have no use for it. What their own programs may need, as
// credential helpers do, stays.
func withoutSecrets(env []string) []string {
	out := make([]string, 0, len(env)+8)
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !agentSecret().MatchString(name) {
			out = append(out, kv)
		}
	}
	return out
}

var agentSecret = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(NOMAD|NOMADLITE|VAULT|CONSUL)_.*(TOKEN|SECRET|PASSWORD|AUTH|KEY|GOSSIP|ENCRYPT)`)
})

// parseHandshake reads "1|2|unix|<path>|grpc", which go-plugin prints.
func parseHandshake(line string) (*base.ReattachConfig, error) {
	parts := strings.Split(line, "|")
	if len(parts) < 5 {
		return nil, fmt.Errorf("cannot understand the handshake %q: five parts are expected", line)
	}
	if want := strconv.Itoa(int(base.Handshake.ProtocolVersion)); parts[0] != "1" || parts[1] != want {
		return nil, fmt.Errorf("cannot understand the handshake %q: protocol versions 1 and %s are expected", line, want)
	}
	return &base.ReattachConfig{Network: parts[2], Addr: parts[3], Protocol: parts[4]}, nil
}

// attached watches a plugin's process by its pidfd: its end is known at once.
type attached struct {
	proc  protocol.Process
	pidfd *os.File
}

func attach(p protocol.Process) (runner.AttachedRunner, error) {
	pidfd, err := protocol.OpenPidfd(p)
	if err != nil {
		return nil, err
	}
	return &attached{p, pidfd}, nil
}

// Wait implements runner.AttachedRunner.
func (a *attached) Wait(ctx context.Context) error {
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		protocol.AwaitPidfd(a.pidfd)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Kill implements runner.AttachedRunner.
func (a *attached) Kill(context.Context) error {
	if !a.proc.Alive() {
		return nil
	}
	if err := syscall.Kill(a.proc.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// ID implements runner.AttachedRunner.
func (a *attached) ID() string { return strconv.Itoa(a.proc.Pid) }

// PluginToHost implements runner.AddrTranslator: both see the same files.
func (a *attached) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

// HostToPlugin implements runner.AddrTranslator.
func (a *attached) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
