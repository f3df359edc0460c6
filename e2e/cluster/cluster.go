// Package cluster runs clusters of real agents: servers and clients, one
// process each, on ports of their own.
package cluster

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/e2e/agenttest"
)

// Member is one agent of a cluster.
type Member struct {
	*agenttest.Agent
	Name            string
	HTTP, RPC, Serf int
	Host            string // where the others find it
	seat            seat
}

// Peer is the address of the member's server port.
func (m *Member) Peer() string { return fmt.Sprintf("%s:%d", m.Host, m.RPC) }

// Options shape a cluster.
type Options struct {
	Servers, Clients int
	// Extra is added to every agent's configuration, Server and Client to one
	// role's.
	Extra, Server, Client string
	// ByGossip lets clients find the servers through gossip with the first
	// server alone, instead of a list of servers.
	ByGossip bool
	// Network places each member in a namespace of its own, nil all on loopback.
	Network *Network
}

// Cluster is a running cluster.
type Cluster struct {
	Dir     string
	Servers []*Member
	Clients []*Member
	opts    Options
	ports   []int
}

// SetTLS makes all members of this process's tests speak TLS to the API with
// the files of a folder that docs/clusters.md makes.
func SetTLS(dir string) error {
	ca, err := os.ReadFile(filepath.Join(dir, "nomad-agent-ca.pem"))
	if err != nil {
		return err
	}
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "global-cli-nomad.pem"), filepath.Join(dir, "global-cli-nomad-key.pem"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	web.Transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{cert}, ServerName: "localhost"}}
	return nil
}

// Start starts a cluster in dir; Stop ends it, also after an error.
func Start(dir string, opts Options) (*Cluster, error) {
	c := &Cluster{Dir: dir, opts: opts}
	ports, err := agenttest.FreePorts(3 * (opts.Servers + opts.Clients + 4))
	if err != nil {
		return nil, err
	}
	c.ports = ports
	for range opts.Servers {
		if _, err := c.AddServer(opts.Servers); err != nil {
			return c, err
		}
	}
	for range opts.Clients {
		if _, err := c.AddClient(); err != nil {
			return c, err
		}
	}
	return c, nil
}

func (c *Cluster) member(name string) (*Member, string, error) {
	if len(c.ports) < 3 {
		return nil, "", fmt.Errorf("no ports are left for %s", name)
	}
	m := &Member{Name: name, HTTP: c.ports[0], RPC: c.ports[1], Serf: c.ports[2], Host: "127.0.0.1"}
	c.ports = c.ports[3:]
	dir := filepath.Join(c.Dir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, "", err
	}
	where := "bind_addr = \"127.0.0.1\"\n"
	if c.opts.Network != nil {
		var err error
		if m.seat, err = c.opts.Network.add(); err != nil {
			return nil, "", err
		}
		m.Host = m.seat.Inner
		where = fmt.Sprintf("bind_addr = \"0.0.0.0\"\nadvertise {\n  http = %q\n  rpc  = %q\n  serf = %q\n}\n", m.Host, m.Host, m.Host)
	}
	conf := fmt.Sprintf("name = %q\n%sdata_dir = %q\nlimits {\n  http_max_conns_per_client = 0\n  rpc_max_conns_per_client = 0\n}\nports {\n  http = %d\n  rpc  = %d\n  serf = %d\n}\n%s\n",
		name, where, filepath.Join(dir, "data"), m.HTTP, m.RPC, m.Serf, c.opts.Extra)
	return m, conf, nil
}

// AddServer starts one more server that expects a number of servers, or joins
// without when expect is 0.
func (c *Cluster) AddServer(expect int) (*Member, error) {
	m, conf, err := c.member(fmt.Sprintf("server%d", len(c.Servers)+1))
	if err != nil {
		return nil, err
	}
	join := ""
	if len(c.Servers) > 0 {
		join = fmt.Sprintf("  server_join {\n    retry_join = [\"%s:%d\"]\n    retry_interval = \"1s\"\n  }\n", c.Servers[0].Host, c.Servers[0].Serf)
	}
	conf += fmt.Sprintf("server {\n  enabled = true\n  bootstrap_expect = %d\n%s%s\n}\n", expect, join, c.opts.Server)
	m.Agent, err = m.launch(filepath.Join(c.Dir, m.Name), conf)
	if m.Agent != nil {
		c.Servers = append(c.Servers, m)
	}
	return m, err
}

// AddClient starts one more client.
func (c *Cluster) AddClient() (*Member, error) {
	m, conf, err := c.member(fmt.Sprintf("client%d", len(c.Clients)+1))
	if err != nil {
		return nil, err
	}
	var find string
	if c.opts.ByGossip {
		find = fmt.Sprintf("server_join {\n    retry_join = [\"%s:%d\"]\n  }", c.Servers[0].Host, c.Servers[0].Serf)
	} else {
		var list []string
		for _, s := range c.Servers {
			list = append(list, strconv.Quote(s.Peer()))
		}
		find = "servers = [" + strings.Join(list, ", ") + "]"
	}
	conf += fmt.Sprintf("client {\n  enabled = true\n  %s\n%s\n}\nplugin \"raw_exec\" {\n  config {\n    enabled = true\n  }\n}\n", find, c.opts.Client)
	m.Agent, err = m.launch(filepath.Join(c.Dir, m.Name), conf)
	if m.Agent != nil {
		c.Clients = append(c.Clients, m)
	}
	return m, err
}

// launch starts the member's agent in its place.
func (m *Member) launch(dir, conf string) (*agenttest.Agent, error) {
	if m.seat.Netns == "" {
		return agenttest.Launch(dir, conf, m.HTTP)
	}
	return agenttest.LaunchIn(m.seat.Netns, fmt.Sprintf("http://%s:%d", m.seat.Outer, m.HTTP), dir, conf)
}

// All is every agent.
func (c *Cluster) All() []*Member {
	return append(append([]*Member{}, c.Servers...), c.Clients...)
}

// Stop ends all agents and what they started.
func (c *Cluster) Stop() {
	for _, m := range c.All() {
		m.Cleanup()
	}
}

var web = &http.Client{Timeout: 40 * time.Second}

// Do sends a request to the member's HTTP API; out may be nil. A status other
// than 200 is an error.
func (m *Member) Do(method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, m.Addr+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return resp.Header, err
	}
	if resp.StatusCode != http.StatusOK {
		return resp.Header, fmt.Errorf("%s %s of %s: %s: %s", method, path, m.Name, resp.Status, text)
	}
	if out == nil {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(text, out)
}

// Leader is the server that leads, nil for none; the one asked says so.
func (c *Cluster) Leader(ask *Member) *Member {
	var addr string
	if _, err := ask.Do("GET", "/v1/status/leader", nil, &addr); err != nil {
		return nil
	}
	for _, s := range c.Servers {
		if addr == s.Peer() {
			return s
		}
	}
	return nil
}

// Node is a node as the servers show it.
type Node struct {
	ID, Name, Status string
}

// Alloc is an allocation as the servers show it.
type Alloc struct {
	ID, NodeID, NodeName, ClientStatus, DesiredStatus string
	CreateTime                                        int64
}

// Nodes lists the nodes as one member shows them.
func (c *Cluster) Nodes(ask *Member) ([]Node, error) {
	var nodes []Node
	_, err := ask.Do("GET", "/v1/nodes", nil, &nodes)
	return nodes, err
}

// AwaitNodes is a condition: that many nodes are ready.
func (c *Cluster) AwaitNodes(ask *Member, n int) func() error {
	return func() error {
		nodes, err := c.Nodes(ask)
		if err != nil {
			return err
		}
		ready := 0
		for _, node := range nodes {
			if node.Status == "ready" {
				ready++
			}
		}
		if ready != n {
			return fmt.Errorf("%d of %d nodes are ready: %v", ready, n, nodes)
		}
		return nil
	}
}

// Service is a job of count tasks that run until they are stopped.
func Service(id string, count int) map[string]any {
	return map[string]any{"Job": map[string]any{"ID": id, "Type": "service", "Datacenters": []string{"*"}, "TaskGroups": []any{map[string]any{
		"Name": "g", "Count": count, "EphemeralDisk": map[string]any{"SizeMB": 10},
		"Tasks": []any{map[string]any{
			"Name": "t", "Driver": "raw_exec", "LogConfig": map[string]any{"MaxFiles": 1, "MaxFileSizeMB": 1}, "Resources": map[string]any{"CPU": 10, "MemoryMB": 10},
			"Config": map[string]any{"command": "/bin/sh", "args": []string{"-c", "echo hello from $NOMAD_ALLOC_ID; exec sleep 100000"}},
		}},
	}}}}
}

// Allocs lists the allocations of a job as one member shows them.
func (c *Cluster) Allocs(ask *Member, job string) (all []Alloc, err error) {
	_, err = ask.Do("GET", "/v1/job/"+job+"/allocations", nil, &all)
	return all, err
}

// Running lists the running allocations of a job as one member shows them.
func (c *Cluster) Running(ask *Member, job string) ([]Alloc, error) {
	all, err := c.Allocs(ask, job)
	if err != nil {
		return nil, err
	}
	var out []Alloc
	for _, a := range all {
		if a.ClientStatus == "running" && a.DesiredStatus == "run" {
			out = append(out, a)
		}
	}
	return out, nil
}

// AwaitRunning is a condition: that many allocations of a job run.
func (c *Cluster) AwaitRunning(ask *Member, job string, n int) func() error {
	return func() error {
		got, err := c.Running(ask, job)
		if err != nil {
			return err
		}
		if len(got) != n {
			return fmt.Errorf("%d of %d allocations of %s run", len(got), n, job)
		}
		return nil
	}
}
