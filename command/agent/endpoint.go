package agent

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	"github.com/prometheus/common/expfmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/command/version"
	"github.com/nomadlite/nomadlite/nomadlite/member"
	"github.com/nomadlite/nomadlite/structs"
)

// bind sets the handlers of the rows that are about the agent itself.
func (a *Agent) bind() {
	for name, h := range map[string]api.Handler{
		"agent.self":       a.self,
		"agent.health":     a.health,
		"agent.members":    a.members,
		"agent.servers":    a.servers,
		"agent.setServers": a.setServers,
		"agent.reload":     a.reloadRequest,
		"agent.monitor":    a.monitor,
		"agent.metrics":    a.metrics,
		"agent.profile":    a.profile,
		"agent.join":       a.join,
		"agent.forceLeave": a.forceLeave,
		"agent.keyring":    a.keyring,

		"agent.keys":         api.Internal(a.changeKeys),
		"agent.forgetMember": api.Internal(a.forgetMember),
	} {
		a.mux.Bind(name, h)
	}
}

// self describes the agent. Nothing of the configuration that could be secret
// is in it: plugin configurations are left out.
func (a *Agent) self(context.Context, *api.Request) (*api.Response, error) {
	cfg := a.config()
	config := map[string]any{
		"Region": cfg.Region, "Datacenter": cfg.Datacenter, "NodeName": cfg.NodeName, "DataDir": cfg.DataDir,
		"BindAddr": cfg.BindAddr, "LogLevel": cfg.LogLevel, "LogJson": cfg.LogJSON, "EnableDebug": cfg.EnableDebug,
		"DevMode": cfg.DevMode, "Ports": cfg.Ports, "Files": cfg.Files,
		"Server": map[string]any{"Enabled": cfg.Server.Enabled, "BootstrapExpect": cfg.Server.BootstrapExpect},
		"Client": map[string]any{"Enabled": cfg.Client.Enabled, "NodeClass": cfg.Client.NodeClass, "NodePool": cfg.Client.NodePool, "Meta": cfg.Client.Meta},
		"ACL":    map[string]any{"Enabled": false},
		"UI":     map[string]any{"Enabled": cfg.UI.Enabled, "ShowCLIHints": cfg.UI.ShowCLIHints},
		"Version": map[string]any{
			"Version": version.Contract, "Revision": version.Revision, "VersionPrerelease": "", "VersionMetadata": "",
			"Nomadlite": version.Nomadlite,
		},
		"Telemetry": map[string]any{"PrometheusMetrics": cfg.Telemetry.PrometheusMetrics},
	}
	stats := map[string]map[string]string{
		"runtime": {
			"arch": runtime.GOARCH, "version": runtime.Version(), "max_procs": strconv.Itoa(runtime.GOMAXPROCS(0)),
			"goroutines": strconv.Itoa(runtime.NumGoroutine()), "cpu_count": strconv.Itoa(runtime.NumCPU()), "kernel.name": runtime.GOOS,
		},
		"vault": {}, "consul": {},
	}
	if a.server != nil {
		stats["nomad"], stats["raft"] = a.server.Stats(), a.server.RaftStats()
		stats["nomad"]["server"] = "true"
	}
	if a.client != nil {
		stats["client"] = map[string]string{"node_id": a.client.Node().ID, "known_servers": strings.Join(a.knownServers(), ",")}
	}
	return &api.Response{Body: &api.AgentSelf{Config: config, Member: *a.member(), Stats: stats}}, nil
}

// member is this agent as gossip shows it, or would.
func (a *Agent) member() *api.AgentMember {
	if a.net.gossip != nil {
		for _, m := range a.net.gossip.Members() {
			if m.ID == a.net.gossip.ID() {
				return shown(m)
			}
		}
	}
	cfg := a.config()
	host, _, _ := net.SplitHostPort(a.rpcAddr)
	m := member.Member{Addr: host, Port: uint16(cfg.Ports.Serf), Status: member.StatusAlive, Info: member.Info{
		Role: member.RoleClient, Name: cfg.NodeName, Region: cfg.Region, Datacenter: cfg.Datacenter, Build: version.Contract, Version: version.Nomadlite,
	}}
	if a.server != nil {
		m.ID, m.Role, m.RPC, m.Expect = a.server.ID(), member.RoleServer, a.rpcAddr, cfg.Server.BootstrapExpect
	}
	return shown(m)
}

// shown is a member in the contract's form.
func shown(m member.Member) *api.AgentMember {
	out := &api.AgentMember{
		Name: m.Name + "." + m.Region, Addr: m.Addr, Port: m.Port, Status: m.Status,
		ProtocolMin: 1, ProtocolMax: 5, ProtocolCur: 2, DelegateMin: 2, DelegateMax: 5, DelegateCur: 4,
		Tags: map[string]string{"region": m.Region, "dc": m.Datacenter, "build": m.Build, "revision": version.Revision, "vsn": "1", "nomadlite": m.Version, "id": m.ID},
	}
	if m.Role != member.RoleServer {
		out.Tags["role"] = "node"
		return out
	}
	host, port, _ := net.SplitHostPort(m.RPC)
	out.Tags["role"], out.Tags["rpc_addr"], out.Tags["port"], out.Tags["raft_vsn"] = "nomad", host, port, "3"
	out.Tags["expect"] = strconv.Itoa(m.Expect)
	if m.Expect == 1 {
		out.Tags["bootstrap"] = "1"
	}
	return out
}

// members lists the servers that the agent knows; clients=true adds the
// clients, which the contract keeps out.
func (a *Agent) members(_ context.Context, r *api.Request) (*api.Response, error) {
	clients, err := r.Bool("clients", false)
	if err != nil {
		return nil, err
	}
	cfg := a.config()
	out := &api.ServerMembers{ServerName: cfg.NodeName, ServerRegion: cfg.Region, ServerDC: cfg.Datacenter, Members: []*api.AgentMember{}}
	if a.net.gossip == nil && a.server != nil {
		out.Members = append(out.Members, a.member())
	}
	if a.net.gossip != nil {
		for _, m := range a.net.gossip.Members() {
			if m.Role == member.RoleServer || clients {
				out.Members = append(out.Members, shown(m))
			}
		}
	}
	return &api.Response{Body: out}, nil
}

// knownServers are the servers that the client of this agent can talk to.
func (a *Agent) knownServers() []string {
	if a.net.pool == nil {
		return []string{a.rpcAddr}
	}
	return a.net.pool.List()
}

func (a *Agent) servers(context.Context, *api.Request) (*api.Response, error) {
	if a.client == nil {
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	}
	return &api.Response{Body: a.knownServers()}, nil
}

// setServers replaces the list of servers of the client.
func (a *Agent) setServers(_ context.Context, r *api.Request) (*api.Response, error) {
	if a.client == nil {
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	}
	addresses := r.Values["address"]
	if len(addresses) == 0 {
		return nil, structs.Errorf(structs.Invalid, "missing server address")
	}
	if a.server != nil {
		for _, addr := range addresses {
			if addr != a.rpcAddr {
				return nil, structs.Errorf(structs.Invalid, "cannot use server %q: this agent is its own server, %s", addr, a.rpcAddr)
			}
		}
		return &api.Response{}, nil
	}
	return &api.Response{}, a.net.pool.Set(addresses)
}

func (a *Agent) health(_ context.Context, r *api.Request) (*api.Response, error) {
	types := r.Values["type"]
	asked := func(kind string) bool {
		for _, t := range types {
			if t == kind {
				return true
			}
		}
		return len(types) == 0
	}
	out, status := &api.AgentHealthResponse{}, http.StatusOK
	if asked("server") && (a.server != nil || len(types) > 0) {
		out.Server = &api.AgentHealth{Ok: true, Message: "ok"}
		switch {
		case a.server == nil:
			out.Server = &api.AgentHealth{Message: "server not enabled"}
		case !a.server.LeaderKnown():
			out.Server = &api.AgentHealth{Message: "no leader"}
		}
	}
	if asked("client") && (a.client != nil || len(types) > 0) {
		out.Client = &api.AgentHealth{Ok: true, Message: "ok"}
		if a.client == nil {
			out.Client = &api.AgentHealth{Message: "client not enabled"}
		}
	}
	for _, h := range []*api.AgentHealth{out.Server, out.Client} {
		if h != nil && !h.Ok {
			status = http.StatusInternalServerError
		}
	}
	return &api.Response{Body: out, Status: status}, nil
}

func (a *Agent) reloadRequest(context.Context, *api.Request) (*api.Response, error) {
	if err := a.reload(); err != nil {
		return nil, err
	}
	return &api.Response{}, nil
}

// metrics answers JSON, or the text format of Prometheus.
func (a *Agent) metrics(_ context.Context, r *api.Request) (*api.Response, error) {
	if r.Values.Get("format") != "prometheus" {
		summary, err := a.telemetry.summary(r.HTTP)
		if err != nil {
			return nil, err
		}
		return &api.Response{Body: summary}, nil
	}
	if a.telemetry.registry == nil {
		return nil, &api.StatusError{Code: http.StatusUnsupportedMediaType, Text: "Prometheus is not enabled"}
	}
	var text bytes.Buffer
	if err := a.telemetry.writePrometheus(&text); err != nil {
		return nil, err
	}
	return &api.Response{
		Header: http.Header{"Content-Type": {string(expfmt.NewFormat(expfmt.TypeTextPlain))}},
		Stream: func(_ context.Context, w *api.StreamWriter) error {
			_, err := w.Write(text.Bytes())
			return err
		},
	}, nil
}
