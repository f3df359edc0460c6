package agent

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"runtime"
	"strconv"

	"github.com/prometheus/common/expfmt"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/command/version"
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
		stats["client"] = map[string]string{"node_id": a.client.Node().ID, "known_servers": a.rpcAddr}
	}
	return &api.Response{Body: &api.AgentSelf{Config: config, Member: *a.member(), Stats: stats}}, nil
}

// member is this agent as gossip would show it.
func (a *Agent) member() *api.AgentMember {
	cfg := a.config()
	host, port, _ := net.SplitHostPort(a.rpcAddr)
	m := &api.AgentMember{
		Name: cfg.NodeName + "." + cfg.Region, Addr: host, Port: uint16(cfg.Ports.Serf), Status: "alive",
		ProtocolMin: 1, ProtocolMax: 5, ProtocolCur: 2, DelegateMin: 2, DelegateMax: 5, DelegateCur: 4,
		Tags: map[string]string{
			"region": cfg.Region, "dc": cfg.Datacenter, "build": version.Contract, "revision": version.Revision,
			"rpc_addr": host, "port": port, "raft_vsn": "3", "vsn": "1", "nomadlite": version.Nomadlite,
		},
	}
	if a.server != nil {
		m.Tags["role"], m.Tags["id"] = "nomad", a.server.ID()
		m.Tags["expect"], m.Tags["bootstrap"] = strconv.Itoa(cfg.Server.BootstrapExpect), "1"
	}
	return m
}

func (a *Agent) members(context.Context, *api.Request) (*api.Response, error) {
	cfg := a.config()
	out := &api.ServerMembers{ServerName: cfg.NodeName, ServerRegion: cfg.Region, ServerDC: cfg.Datacenter}
	if a.server != nil {
		out.Members = append(out.Members, a.member())
	}
	return &api.Response{Body: out}, nil
}

func (a *Agent) servers(context.Context, *api.Request) (*api.Response, error) {
	if a.client == nil {
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	}
	return &api.Response{Body: []string{a.rpcAddr}}, nil
}

// setServers accepts the one list that this agent can have: itself.
func (a *Agent) setServers(_ context.Context, r *api.Request) (*api.Response, error) {
	if a.client == nil {
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	}
	addresses := r.Values["address"]
	if len(addresses) == 0 {
		return nil, structs.Errorf(structs.Invalid, "missing server address")
	}
	for _, addr := range addresses {
		if addr != a.rpcAddr {
			return nil, structs.Errorf(structs.Invalid, "cannot use server %q: this agent is its own server, %s", addr, a.rpcAddr)
		}
	}
	return &api.Response{}, nil
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
