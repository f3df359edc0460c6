// Package member is the gossip pool of a region: servers and clients tell each
// other where they are. Through any one member all servers are found.
//
// Gossip only discovers. Who is a Raft peer, who a node is and whether it is
// alive is decided over the server port; nothing here is believed for that.
package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
)

// Roles of members.
const (
	RoleServer = "server"
	RoleClient = "client"
)

// Statuses of members (the contract's words).
const (
	StatusAlive  = "alive"
	StatusFailed = "failed"
	StatusLeft   = "left"
)

// Info is what a member tells of itself; it must stay under 512 bytes, so its
// JSON names are short.
type Info struct {
	Role       string `json:"r"`
	Name       string `json:"n"`
	Region     string `json:"g"`
	Datacenter string `json:"d"`
	RPC        string `json:"a,omitempty"` // "host:port" of a server's port
	Build      string `json:"b,omitempty"` // the contract's version
	Version    string `json:"v,omitempty"` // our own
	Cluster    string `json:"c,omitempty"` // id of the cluster, once it is known
	Expect     int    `json:"e,omitempty"`
}

// Member is one member as this one knows it.
type Member struct {
	Info
	ID     string
	Addr   string
	Port   uint16
	Status string
}

// Config configures a pool.
type Config struct {
	ID   string // unique; the server's or the node's
	Info Info
	// BindAddr and Port are listened on by TCP and UDP; port 0 takes a free one.
	BindAddr string
	Port     int
	// AdvertiseAddr is told to others, "" for the bound address.
	AdvertiseAddr string
	AdvertisePort int
	// Keys encrypt what is said when there are any.
	Keys   *Keys
	Logger hclog.Logger
	// Join are members to find at the start. With Retry they are tried for ever,
	// every RetryInterval, at most RetryMax times when that is not 0; without,
	// one of them must answer at once.
	Join          []string
	Retry         []string
	RetryInterval time.Duration
	RetryMax      int
}

// maxGone bounds the members that are remembered after they went.
const maxGone = 1024

// Pool is this agent's view of the members.
type Pool struct {
	cfg  Config
	log  hclog.Logger
	list *memberlist.Memberlist

	mu      sync.Mutex // guards what follows
	info    Info
	known   map[string]Member
	foreign map[string]bool // members of other clusters that the log has named
	changed chan struct{}
}

// New listens and is a pool of one. Close or Run ends it.
func New(cfg Config) (*Pool, error) {
	p := &Pool{cfg: cfg, log: cfg.Logger, info: cfg.Info, known: map[string]Member{}, foreign: map[string]bool{}, changed: make(chan struct{})}
	if p.log == nil {
		p.log = hclog.NewNullLogger()
	}
	if n := len(p.NodeMeta(0)); n > memberlist.MetaMaxSize {
		return nil, fmt.Errorf("cannot gossip: the member's name %q, region and datacenter take %d bytes, at most %d are allowed; shorten name", cfg.Info.Name, n, memberlist.MetaMaxSize)
	}
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Label = cfg.ID, "nomadlite/"+cfg.Info.Region
	conf.BindAddr, conf.BindPort = cfg.BindAddr, cfg.Port
	conf.AdvertiseAddr, conf.AdvertisePort = cfg.AdvertiseAddr, cfg.AdvertisePort
	conf.Delegate, conf.Events, conf.Alive, conf.Conflict = p, p, p, p
	conf.Logger = log.New(quiet{p.log.StandardWriter(&hclog.StandardLoggerOptions{InferLevels: true})}, "", 0)
	if cfg.Keys != nil {
		conf.Keyring = cfg.Keys.ring
	}
	list, err := memberlist.Create(conf)
	if err != nil {
		return nil, fmt.Errorf("cannot gossip on %s: %w", net.JoinHostPort(cfg.BindAddr, strconv.Itoa(cfg.Port)), err)
	}
	p.list = list
	return p, nil
}

// quiet is memberlist's log, one level lower: what it calls an error is the
// normal life of a network.
type quiet struct{ log io.Writer }

// Write implements io.Writer.
func (q quiet) Write(b []byte) (int, error) {
	_, err := q.log.Write(lower(b))
	return len(b), err
}

// Port is the port that is listened on.
func (p *Pool) Port() int { return int(p.list.LocalNode().Port) }

// ID is this member's own.
func (p *Pool) ID() string { return p.cfg.ID }

// Run joins the members of the configuration and ends the pool with ctx. It
// does not say good-bye: Leave does.
func (p *Pool) Run(ctx context.Context) error {
	defer func() { _ = p.list.Shutdown() }()
	if len(p.cfg.Join) > 0 {
		if _, err := p.Join(p.cfg.Join); err != nil {
			return fmt.Errorf("cannot join any of start_join: %w", err)
		}
	}
	if len(p.cfg.Retry) > 0 {
		if err := p.keepJoined(ctx); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return nil
}

// firstRetry is the pause after the first failure to join; it doubles up to
// the configured interval.
const firstRetry = time.Second

// keepJoined joins, and joins again whenever nobody else is left.
func (p *Pool) keepJoined(ctx context.Context) error {
	wait, failures := firstRetry, 0
	for ctx.Err() == nil {
		if p.list.NumMembers() > 1 {
			wait, failures = firstRetry, 0
		} else if n, err := p.Join(p.cfg.Retry); err != nil {
			failures++
			p.log.Warn("cannot join any member; trying again", "error", err, "in", wait)
			if p.cfg.RetryMax > 0 && failures >= p.cfg.RetryMax {
				return fmt.Errorf("cannot join any member after %d attempts (retry_max): %w", failures, err)
			}
		} else {
			p.log.Info("joined members", "count", n)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, max(p.cfg.RetryInterval, firstRetry))
	}
	return nil
}

// Join contacts members by "host", "host:port" or DNS name and returns how
// many answered; it fails when none did.
func (p *Pool) Join(addrs []string) (int, error) {
	n, err := p.list.Join(addrs)
	if n > 0 {
		return n, nil
	}
	if err == nil {
		err = errors.New("no addresses")
	}
	return 0, err
}

// Leave tells the others that this member goes on purpose.
func (p *Pool) Leave(timeout time.Duration) error { return p.list.Leave(timeout) }

// Members lists all members, this one too, by name.
func (p *Pool) Members() []Member {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Member, 0, len(p.known))
	for _, m := range p.known {
		out = append(out, m)
	}
	sort.Slice(out, func(i, j int) bool {
		return out[i].Name < out[j].Name || out[i].Name == out[j].Name && out[i].ID < out[j].ID
	})
	return out
}

// Servers are the server ports of the members that say that they are servers;
// changed is closed when that may have changed.
func (p *Pool) Servers() (addrs []string, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.known {
		if m.Role == RoleServer && m.Status == StatusAlive && m.Region == p.info.Region && m.RPC != "" {
			addrs = append(addrs, m.RPC)
		}
	}
	sort.Strings(addrs)
	return addrs, p.changed
}

// SetCluster tells the others which cluster this member belongs to: pools of
// two clusters never merge.
func (p *Pool) SetCluster(id string) error {
	p.mu.Lock()
	same := p.info.Cluster == id
	p.info.Cluster = id
	for _, m := range p.known {
		if p.other(m) {
			p.refuse(m)
		}
	}
	p.mu.Unlock()
	if same {
		return nil
	}
	return p.list.UpdateNode(time.Second)
}

// other reports whether a member is of another cluster. The caller holds mu.
func (p *Pool) other(m Member) bool {
	return m.Cluster != "" && p.info.Cluster != "" && m.Cluster != p.info.Cluster
}

// refuse forgets a member of another cluster, which may have been taken in while
// one of the two had no name yet. The caller holds mu.
func (p *Pool) refuse(m Member) {
	if !p.foreign[m.ID] && len(p.foreign) < maxGone {
		p.foreign[m.ID] = true
		p.log.Warn("refused a member of another cluster: clusters never merge", "member", m.Name, "peer", net.JoinHostPort(m.Addr, strconv.Itoa(int(m.Port))), "cluster", m.Cluster, "own", p.info.Cluster)
	}
	if _, was := p.known[m.ID]; was {
		delete(p.known, m.ID)
		p.wake()
	}
}

// ForceLeave takes a failed member for one that left, by name or id; with
// prune it is forgotten. It reports whether there was one.
func (p *Pool) ForceLeave(name string, prune bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := false
	for id, m := range p.known {
		if m.Status == StatusAlive || (id != name && m.Name != name && m.Name+"."+m.Region != name) {
			continue
		}
		found = true
		m.Status = StatusLeft
		p.known[id] = m
		if prune {
			delete(p.known, id)
		}
	}
	if found {
		p.wake()
	}
	return found
}

// wake tells of a change. The caller holds mu.
func (p *Pool) wake() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// read makes a member of what memberlist knows.
func read(n *memberlist.Node) (Member, error) {
	m := Member{ID: n.Name, Addr: n.Addr.String(), Port: n.Port, Status: StatusAlive}
	if err := json.Unmarshal(n.Meta, &m.Info); err != nil {
		return m, fmt.Errorf("cannot read what member %q says of itself: %w", n.Name, err)
	}
	return m, nil
}

// NotifyJoin implements memberlist.EventDelegate.
func (p *Pool) NotifyJoin(n *memberlist.Node) { p.set(n, StatusAlive) }

// NotifyUpdate implements memberlist.EventDelegate.
func (p *Pool) NotifyUpdate(n *memberlist.Node) { p.set(n, StatusAlive) }

// NotifyLeave implements memberlist.EventDelegate.
func (p *Pool) NotifyLeave(n *memberlist.Node) {
	status := StatusFailed
	if n.State == memberlist.StateLeft {
		status = StatusLeft
	}
	p.set(n, status)
}

func (p *Pool) set(n *memberlist.Node, status string) {
	m, err := read(n)
	if err != nil {
		p.log.Warn("ignoring a member", "error", err)
		return
	}
	m.Status = status
	p.mu.Lock()
	defer p.mu.Unlock()
	if status != StatusAlive && len(p.known) > maxGone {
		delete(p.known, m.ID)
	} else {
		p.known[m.ID] = m
	}
	p.log.Debug("member changed", "name", m.Name, "role", m.Role, "addr", m.Addr, "status", status)
	p.wake()
}

// NotifyAlive implements memberlist.AliveDelegate: members of other clusters
// and regions stay out.
func (p *Pool) NotifyAlive(n *memberlist.Node) error {
	m, err := read(n)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Region != p.info.Region {
		return fmt.Errorf("member %s (%s) is of region %q, this is %q", m.Name, m.Addr, m.Region, p.info.Region)
	}
	if p.other(m) {
		p.refuse(m)
		return fmt.Errorf("member %s (%s) is of cluster %s, this is %s: clusters never merge", m.Name, m.Addr, m.Cluster, p.info.Cluster)
	}
	return nil
}

// NotifyConflict implements memberlist.ConflictDelegate.
func (p *Pool) NotifyConflict(existing, other *memberlist.Node) {
	p.log.Error("two members have the same id: a data directory was copied", "id", existing.Name, "addr", existing.Address(), "other", other.Address())
}

// NodeMeta implements memberlist.Delegate.
func (p *Pool) NodeMeta(int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, err := json.Marshal(p.info)
	if err != nil {
		return nil // strings and numbers always encode
	}
	return b
}

// NotifyMsg implements memberlist.Delegate; there are no messages.
func (p *Pool) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (p *Pool) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (p *Pool) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (p *Pool) MergeRemoteState([]byte, bool) {}
