package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strings"
	"syscall"

	"github.com/nomadlite/nomadlite/command/agent/config"
	"github.com/nomadlite/nomadlite/command/version"
)

// RunConfig is what Run needs of the command line.
type RunConfig struct {
	Config         *config.Config
	Stdout, Stderr io.Writer
	// Signals are those that the process received.
	Signals <-chan os.Signal
	// Reload reads the configuration again.
	Reload func() (*config.Config, error)
}

// Run runs an agent until a signal ends it and returns the exit code: 1 for an
// interrupt, by the contract, 0 for a graceful leave. An error means that the
// agent could not start or that a part of it failed.
func Run(ctx context.Context, rc RunConfig) (int, error) {
	cleanup, err := devDirs(rc.Config)
	if err != nil {
		return 1, err
	}
	defer cleanup()
	log := newLogger(rc.Config, rc.Stdout)
	systemd := takeNotifier()
	tell := func(state func() error) {
		if err := state(); err != nil {
			log.Warn(err.Error())
		}
	}
	fmt.Fprintln(rc.Stdout, "==> Starting Nomadlite agent...")
	warnOpen(rc)
	a, err := newAgent(rc.Config, log, rc.Reload)
	if err != nil {
		return 1, err
	}
	a.banner(rc.Stdout)
	paceGarbage()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.run(ctx) }()
	tell(systemd.ready)
	for {
		select {
		case err := <-ended:
			return 1, err
		case sig := <-rc.Signals:
			if sig == syscall.SIGHUP {
				fmt.Fprintln(rc.Stdout, "==> Reloading configuration...")
				tell(systemd.reloading)
				if err := a.reload(); err != nil {
					log.Error("cannot reload the configuration; the old one stays", "error", err)
				}
				tell(systemd.ready)
				continue
			}
			tell(systemd.stopping)
			return a.shutDown(rc, sig, cancel, ended)
		}
	}
}

// shutDown ends the agent; a second signal ends it at once.
func (a *Agent) shutDown(rc RunConfig, sig os.Signal, cancel context.CancelFunc, ended <-chan error) (int, error) {
	graceful := (sig == os.Interrupt && rc.Config.LeaveOnInterrupt) || (sig == syscall.SIGTERM && rc.Config.LeaveOnTerminate)
	fmt.Fprintf(rc.Stdout, "==> Caught signal: %v\n", sig)
	if graceful {
		fmt.Fprintln(rc.Stdout, "==> Gracefully shutting down agent...")
		left := make(chan struct{})
		go func() { defer close(left); a.leave() }()
		select {
		case <-left:
		case <-rc.Signals:
			return 1, nil
		}
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			return 1, err
		}
	case <-rc.Signals:
		return 1, nil
	}
	if graceful {
		return 0, nil
	}
	return 1, nil
}

// warnOpen warns when others can reach an agent that proves nobody's identity.
func warnOpen(rc RunConfig) {
	cfg := rc.Config
	open := func(addr string) bool { ip := net.ParseIP(addr); return ip != nil && !ip.IsLoopback() }
	if open(cfg.Addresses.HTTP) && !(cfg.TLS.HTTP && cfg.TLS.VerifyHTTPSClient) {
		how := "without TLS and without ACLs"
		if cfg.TLS.HTTP {
			how = "without ACLs and takes callers without a certificate (tls.verify_https_client)"
		}
		fmt.Fprintf(rc.Stderr, "==> WARNING: the HTTP API listens on %s %s: whoever reaches it can run programs as the agent's user. Bind to 127.0.0.1, or keep the port behind a firewall.\n", cfg.Addresses.HTTP, how)
	}
	if cfg.Server.Enabled && !cfg.DevMode && open(cfg.Addresses.RPC) && !cfg.TLS.RPC {
		fmt.Fprintf(rc.Stderr, "==> WARNING: the server port listens on %s without TLS: whoever reaches it can become a server or a client of the cluster. Set tls { rpc = true }, or keep the port behind a firewall.\n", cfg.Addresses.RPC)
	}
	if !cfg.DevMode && open(cfg.Addresses.Serf) && cfg.Server.Enabled && cfg.Server.Encrypt == "" {
		fmt.Fprintf(rc.Stderr, "==> WARNING: gossip listens on %s without a key: whoever reaches it learns the members and can claim to be one. Set encrypt.\n", cfg.Addresses.Serf)
	}
}

// banner prints what was started.
func (a *Agent) banner(w io.Writer) {
	cfg := a.config()
	info := map[string]string{
		"Version": version.Nomadlite + " (speaks " + version.Contract + ")", "Region (DC)": cfg.Region + " (DC: " + cfg.Datacenter + ")",
		"Log Level": cfg.LogLevel, "Bind Addrs": "HTTP: " + a.listeners[0].Addr().String(),
		"Advertise Addrs": "HTTP: " + cfg.AdvertiseHTTP(a.listeners[0].Addr()) + "; RPC: " + a.rpcAddr,
		"Server":          fmt.Sprint(cfg.Server.Enabled), "Client": fmt.Sprint(cfg.Client.Enabled),
	}
	if a.client != nil {
		info["Node Id"] = a.client.Node().ID
	}
	if cfg.DataDir != "" {
		info["Data Dir"] = cfg.DataDir
	}
	keys := make([]string, 0, len(info))
	width := 0
	for k := range info {
		keys = append(keys, k)
		width = max(width, len(k))
	}
	sort.Strings(keys)
	fmt.Fprintln(w, "==> Nomadlite agent configuration:")
	fmt.Fprintln(w)
	for _, k := range keys {
		fmt.Fprintf(w, "%s%s: %s\n", strings.Repeat(" ", width-len(k)+8), k, info[k])
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "==> Nomadlite agent started! Log data will stream in below:")
	fmt.Fprintln(w)
}
