package agent

import (
	"context"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/client"
	"github.com/nomadlite/nomadlite/client/servers"
	"github.com/nomadlite/nomadlite/command/agent/config"
	"github.com/nomadlite/nomadlite/command/version"
	"github.com/nomadlite/nomadlite/nomadlite"
	"github.com/nomadlite/nomadlite/nomadlite/member"
	"github.com/nomadlite/nomadlite/structs"
)

// network is how an agent finds and reaches others. A dev agent has none.
type network struct {
	cfg    agentNetwork
	tls    *wire.TLS // nil without
	dialer *wire.Dialer
	port   *wire.Port    // nil without the server role
	pool   *servers.Pool // nil without the client role
	gossip *member.Pool  // nil when it is off
	keys   *member.Keys  // nil when gossip is in clear
	found  *members
}

// agentNetwork is what a network needs of its agent.
type agentNetwork struct {
	log hclog.Logger
	own string // the server port of this agent, "" for none
	// static are the servers that the configuration of the client names.
	static []string
	// join are the addresses of the server's server_join.
	join []string
}

// clustered reports whether the agent can have others beside it.
func (a *Agent) clustered() bool { return !a.cfg.DevMode }

// newNetwork prepares the server port and the way to other servers.
func (a *Agent) newNetwork() (*network, error) {
	n := &network{cfg: agentNetwork{log: a.log, static: append(rpcAddrs(a.cfg.Client.Join.RetryJoin), a.cfg.Client.Servers...), join: append(slices.Clone(a.cfg.Server.Join.StartJoin), a.cfg.Server.Join.RetryJoin...)}, dialer: &wire.Dialer{}, found: &members{}}
	if !a.clustered() {
		return n, nil
	}
	t := a.cfg.TLS
	if t.RPC || t.HTTP {
		var err error
		if n.tls, err = wire.LoadTLS(a.cfg.Region, tlsFiles(a.cfg)); err != nil {
			return nil, err
		}
	}
	if t.RPC {
		n.dialer.TLS = n.tls
	}
	if a.rpc == nil {
		return n, nil
	}
	n.cfg.own = a.rpcAddr
	n.port = wire.NewPort(wire.PortConfig{
		Listener: api.LimitListener(a.rpc, a.cfg.Limits.RPCMaxConnsPerClient), TLS: n.dialer.TLS,
		HandshakeTimeout: a.cfg.Limits.RPCHandshakeTimeout, Logger: a.log.Named("rpc"),
	})
	return n, nil
}

// forServer gives a server its peers.
func (n *network) forServer(conf *nomadlite.Config) {
	conf.Port, conf.Dialer, conf.Version, conf.Join = n.port, n.dialer, version.Nomadlite, n.cfg.join
	if n.port != nil {
		conf.Members = n.found
	}
}

// forClient gives a node its servers: the one in its own process first.
func (n *network) forClient(conf *client.Config) error {
	if conf.Servers != nil && n.port == nil {
		return nil
	}
	static := n.cfg.static
	if n.cfg.own != "" {
		static = []string{n.cfg.own}
	}
	pool, err := servers.New(servers.Config{Dialer: n.dialer, Static: static, Found: n.found.Servers, Logger: n.cfg.log.Named("servers")})
	if err != nil {
		return err
	}
	n.pool = pool
	conf.Servers, conf.Workloads, conf.Connect = pool, pool, pool.Serve
	return nil
}

// members is gossip's view of the servers once there is gossip.
type members struct{ pool *member.Pool }

// Servers implements nomadlite.Members.
func (m *members) Servers() ([]string, <-chan struct{}) {
	if m.pool == nil {
		return nil, nil
	}
	return m.pool.Servers()
}

// Gossips implements nomadlite.Members.
func (m *members) Gossips(addr string) bool {
	return m.pool != nil && slices.ContainsFunc(m.pool.Members(), func(one member.Member) bool {
		return net.JoinHostPort(one.Addr, strconv.Itoa(int(one.Port))) == addr
	})
}

// startGossip joins the agent to the pool of its region.
func (a *Agent) startGossip() error {
	cfg := a.cfg
	if !a.clustered() || (a.server == nil && !cfg.Client.Gossip) {
		return nil
	}
	info := member.Info{Role: member.RoleClient, Name: cfg.NodeName, Region: cfg.Region, Datacenter: cfg.Datacenter, Build: version.Contract, Version: version.Nomadlite}
	dir, encrypt, join := cfg.Client.StateDir, cfg.Client.Encrypt, cfg.Client.Join
	id := ""
	if a.client != nil {
		id = a.client.Node().ID
	}
	if a.server != nil {
		id, dir, encrypt, join = a.server.ID(), cfg.Server.DataDir, cfg.Server.Encrypt, cfg.Server.Join
		info.Role, info.RPC, info.Expect, info.Cluster = member.RoleServer, a.rpcAddr, cfg.Server.BootstrapExpect, a.server.ClusterID()
	}
	keys, err := member.OpenKeys(dir, encrypt)
	if err != nil {
		return err
	}
	host, port := cfg.AdvertiseSerf()
	pool, err := member.New(member.Config{
		ID: id, Info: info, BindAddr: cfg.Addresses.Serf, Port: cfg.Ports.Serf, AdvertiseAddr: host, AdvertisePort: port, Keys: keys,
		Logger: a.log.Named("gossip"), Join: join.StartJoin, Retry: gossipAddrs(join.RetryJoin, a.server == nil), RetryInterval: join.RetryInterval, RetryMax: join.RetryMax,
	})
	if err != nil {
		return err
	}
	a.net.gossip, a.net.keys, a.net.found.pool = pool, keys, pool
	return nil
}

// gossipAddrs are the addresses to gossip with. The contract's clients name
// server ports: those are asked as servers.
func gossipAddrs(addrs []string, client bool) []string {
	var out []string
	for _, addr := range addrs {
		if _, port, err := net.SplitHostPort(addr); err == nil && client && port == servers.DefaultPort {
			continue
		}
		out = append(out, addr)
	}
	return out
}

// rpcAddrs are the addresses of a client's server_join that are server ports,
// or may be: those without a port.
func rpcAddrs(addrs []string) []string {
	var out []string
	for _, addr := range addrs {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == servers.DefaultPort {
			out = append(out, addr)
		}
	}
	return out
}

// clusterLook is how often an agent looks whether its cluster has a name yet.
const clusterLook = time.Second

// run runs gossip until ctx ends.
func (n *network) run(ctx context.Context, server *nomadlite.Server) error {
	if n.gossip == nil {
		<-ctx.Done()
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- n.gossip.Run(ctx) }()
	look := time.NewTicker(clusterLook)
	defer look.Stop()
	for server != nil {
		if id := server.ClusterID(); id != "" {
			// Again later: a restored state brings its own.
			if err := n.gossip.SetCluster(id); err != nil {
				n.cfg.log.Debug("cannot tell the members of the cluster's id", "error", err)
			}
		}
		select {
		case <-look.C:
		case err := <-done:
			return err
		}
	}
	return <-done
}

// leaveTimeout bounds a graceful leave.
const leaveTimeout = 10 * time.Second

// leave takes the agent out of its cluster for good: its node is drained if it
// shall be, a server ceases to be a Raft peer, and the others are told that the
// silence is meant.
func (a *Agent) leave() {
	a.drain()
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if a.server != nil {
		if err := a.server.Leave(ctx); err != nil {
			a.log.Warn("cannot leave the Raft peers", "error", err)
		}
	}
	if a.net.gossip != nil {
		if err := a.net.gossip.Leave(leaveTimeout / 2); err != nil {
			a.log.Warn("cannot tell all members of the leave", "error", err)
		}
	}
}

// drainSlack is how long after its deadline a drain may end.
const drainSlack = time.Minute

// drain moves the work of the agent's node elsewhere (drain_on_shutdown).
func (a *Agent) drain() {
	how := a.config().Client.DrainOnShutdown
	if a.client == nil || how == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	spec := drainSpec(how)
	if spec.Deadline != 0 { // no deadline: as long as it takes, or a second signal
		cancel()
		ctx, cancel = context.WithTimeout(context.Background(), max(spec.Deadline, 0)+drainSlack)
	}
	defer cancel()
	a.log.Info("draining this node before the agent leaves", "deadline", spec.Deadline)
	if err := a.client.Drain(ctx, spec); err != nil {
		a.log.Warn("cannot drain this node; leaving without", "error", err)
	}
}

// drainSpec is the drain that the configuration asks for.
func drainSpec(how *config.DrainOnShutdown) structs.DrainSpec {
	spec := structs.DrainSpec{Deadline: time.Hour, IgnoreSystemJobs: how.IgnoreSystemJobs}
	switch {
	case how.Force:
		spec.Deadline = -1
	case how.Deadline != nil:
		spec.Deadline = *how.Deadline
	}
	return spec
}

// elsewhere finds the agent that answers a request.
func (a *Agent) elsewhere(ctx context.Context, r *api.Request) (*api.Upstream, error) {
	if r.Route.Forward == api.ForwardNode {
		switch {
		case a.client != nil && a.client.Answers(r):
			return nil, nil
		case a.server == nil && r.Hop() != "": // the servers chose this node
			return nil, nil
		}
	}
	if a.server != nil {
		return a.server.Elsewhere(ctx, r)
	}
	return a.net.pool.Upstream()
}

func tlsFiles(cfg *config.Config) wire.Files {
	return wire.Files{CA: cfg.TLS.CAFile, Cert: cfg.TLS.CertFile, Key: cfg.TLS.KeyFile}
}
