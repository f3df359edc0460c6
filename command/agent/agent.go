// Package agent turns a configuration into a running process: a server, a
// client or both, with the HTTP API over them, logging and metrics.
package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client"
	"github.com/nomadlite/nomadlite/client/simnode"
	"github.com/nomadlite/nomadlite/command/agent/config"
	"github.com/nomadlite/nomadlite/nomadlite"
)

// httpGrace is how long running requests may finish when the agent stops.
const httpGrace = 2 * time.Second

// Agent is one running agent.
type Agent struct {
	log       hclog.InterceptLogger
	telemetry *telemetry
	server    *nomadlite.Server // nil without the server role
	client    *client.Client    // nil without a client, and when nodes are simulated
	simulated *simnode.Nodes    // nil without the client role
	mux       *api.Mux
	listeners []net.Listener
	rpc       net.Listener // of the server port, nil without one
	rpcAddr   string       // advertised server address, host:port
	net       *network
	readNew   func() (*config.Config, error)

	mu  sync.Mutex // guards cfg
	cfg *config.Config
}

func (a *Agent) config() *config.Config {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cfg
}

// newAgent listens first, so that a taken port is found before anything else
// starts, and then builds the roles.
func newAgent(cfg *config.Config, log hclog.InterceptLogger, reload func() (*config.Config, error)) (*Agent, error) {
	a := &Agent{log: log, cfg: cfg, readNew: reload}
	var err error
	if a.telemetry, err = newTelemetry(cfg); err != nil {
		return nil, err
	}
	if err := a.listen(); err != nil {
		return nil, err
	}
	if err := a.build(); err != nil {
		a.closeListeners()
		return nil, err
	}
	return a, nil
}

func (a *Agent) closeListeners() {
	for _, l := range a.listeners {
		l.Close()
	}
	if a.rpc != nil {
		a.rpc.Close()
	}
}

// listen opens the HTTP listener.
func (a *Agent) listen() error {
	l, err := listenTCP("http", a.cfg.Addresses.HTTP, a.cfg.Ports.HTTP)
	if err != nil {
		return err
	}
	a.listeners = append(a.listeners, l)
	if !a.clustered() || !a.cfg.Server.Enabled {
		a.rpcAddr = a.cfg.AdvertiseRPC(&net.TCPAddr{IP: net.ParseIP(a.cfg.Addresses.RPC), Port: a.cfg.Ports.RPC})
		return nil
	}
	if a.rpc, err = listenTCP("rpc", a.cfg.Addresses.RPC, a.cfg.Ports.RPC); err != nil {
		return err
	}
	a.rpcAddr = a.cfg.AdvertiseRPC(a.rpc.Addr())
	return nil
}

// listenTCP opens one port and says clearly which one is taken.
func listenTCP(name, host string, port int) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s: the %s port %d is taken by another process; stop it, or set ports { %s = … }", addr, name, port, name)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s for %s: %w", addr, name, err)
	}
	return l, nil
}

// build makes the roles and binds the route table.
func (a *Agent) build() error {
	cfg := a.cfg
	var err error
	if a.net, err = a.newNetwork(); err != nil {
		return err
	}
	if cfg.Server.Enabled {
		conf := serverConfig(cfg, a.rpcAddr, a.log)
		a.net.forServer(&conf)
		if a.server, err = nomadlite.New(conf); err != nil {
			return err
		}
	}
	if cfg.Client.Enabled {
		conf, err := clientConfig(cfg, cfg.AdvertiseHTTP(a.listeners[0].Addr()), a.server, a.log)
		if err != nil {
			return err
		}
		// Simulated nodes call a lone server in their own process without a socket.
		if cfg.Client.SimulateNodes == 0 || a.server == nil || cfg.Server.BootstrapExpect > 1 {
			if err := a.net.forClient(&conf); err != nil {
				return err
			}
		}
		if cfg.Client.SimulateNodes > 0 {
			a.simulated, err = simulatedNodes(cfg, conf, a.log)
		} else {
			a.client, err = client.New(conf)
		}
		if err != nil {
			return err
		}
	}
	if err := a.startGossip(); err != nil {
		return err
	}
	a.mux = api.NewMux(api.MuxConfig{
		Logger: a.log.Named("http"), Resolve: api.NoACLs, Headers: cfg.HTTPHeaders, Leader: a.leader,
		AllowedHosts: []string{cfg.NodeName}, Elsewhere: a.elsewhere,
	})
	a.bind()
	if a.server != nil {
		a.server.Bind(a.mux)
	}
	if a.client != nil {
		a.client.Bind(a.mux)
	}
	return nil
}

func (a *Agent) leader() (bool, time.Duration) {
	if a.server == nil {
		return false, 0
	}
	_, _, contact := a.server.Leader()
	return a.server.LeaderKnown(), contact
}

// run serves until ctx ends or a part fails; the first failure ends all.
func (a *Agent) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	if a.server != nil {
		group.Go(func() error { return part("server", a.server.Run(ctx)) })
	}
	if a.client != nil {
		group.Go(func() error { return part("client", a.client.Run(ctx)) })
	}
	if a.simulated != nil {
		group.Go(func() error { return part("simulated nodes", a.simulated.Run(ctx)) })
	}
	group.Go(func() error { return part("gossip", a.net.run(ctx, a.server)) })
	for _, l := range a.listeners {
		group.Go(func() error { return a.serve(ctx, l) })
	}
	return group.Wait()
}

// part names the role that failed.
func part(name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

func (a *Agent) serve(ctx context.Context, l net.Listener) error {
	srv := api.NewServer(a.mux)
	l = api.LimitListener(l, a.cfg.Limits.HTTPMaxConnsPerClient)
	if a.cfg.TLS.HTTP {
		l = tls.NewListener(l, a.net.tls.HTTPS(a.cfg.TLS.VerifyHTTPSClient))
	}
	// Requests end with the agent: streams and blocking queries would hold it.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	srv.BaseContext = func(net.Listener) context.Context { return base }
	srv.ErrorLog = a.log.Named("http").StandardLogger(&hclog.StandardLoggerOptions{ForceLevel: hclog.Debug})
	done := make(chan struct{})
	go func() {
		defer close(done)
		<-ctx.Done()
		cancel()
		grace, stop := context.WithTimeout(context.Background(), httpGrace)
		defer stop()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	}()
	err := srv.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		<-done
		return nil
	}
	return fmt.Errorf("http: %w", err)
}

// reload reads the configuration again and applies what can change while
// running: the log level, and certificates for new connections. Everything else is kept until
// the next start.
func (a *Agent) reload() error {
	fresh, err := a.readNew()
	if err != nil {
		return err
	}
	if fresh.TLS.HTTP != a.cfg.TLS.HTTP || fresh.TLS.RPC != a.cfg.TLS.RPC {
		return errors.New("cannot switch TLS on or off while running: restart the agent")
	}
	if a.net.tls != nil {
		if err := a.net.tls.Load(tlsFiles(fresh)); err != nil {
			return err
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	cfg := *a.cfg
	cfg.LogLevel = fresh.LogLevel
	a.cfg = &cfg
	a.log.SetLevel(hclog.LevelFromString(strings.ToUpper(fresh.LogLevel)))
	a.log.Info("configuration reloaded", "log_level", fresh.LogLevel)
	return nil
}

// devDirs makes the temporary folder of a dev agent without a data directory.
func devDirs(cfg *config.Config) (cleanup func(), err error) {
	if !cfg.DevMode || cfg.DataDir != "" {
		return func() {}, nil
	}
	dir, err := os.MkdirTemp("", "nomadlite-dev-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a temporary folder for -dev: %w", err)
	}
	cfg.DataDir = dir
	if err := cfg.Finish(); err != nil {
		return nil, err
	}
	return func() { os.RemoveAll(dir) }, nil
}
