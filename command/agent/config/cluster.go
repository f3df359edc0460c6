package config

import (
	"fmt"
	"net"
	"strconv"
)

// mergeJoin takes the older keys of the server block into server_join.
func (c *Config) mergeJoin() {
	s := &c.Server
	if s.Join.given() {
		return
	}
	s.Join = Join{StartJoin: s.StartJoin, RetryJoin: s.RetryJoin, RetryMax: s.RetryMax, RetryInterval: s.RetryInterval}
}

// clusterProblems are what is wrong with the settings about other agents.
func (c *Config) clusterProblems() []string {
	var out []string
	bad := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	s := c.Server
	old := Join{StartJoin: s.StartJoin, RetryJoin: s.RetryJoin, RetryMax: s.RetryMax, RetryInterval: s.RetryInterval}
	if old.given() && s.Join.given() && !sameJoin(old, s.Join) {
		bad("server_join and retry_join cannot both be set in the server block; use server_join")
	}
	if s.Enabled && s.BootstrapExpect < 1 && len(s.Join.StartJoin)+len(s.Join.RetryJoin) == 0 {
		bad("server.bootstrap_expect must be at least 1: got %d; leave it out only in a server that joins others (server_join)", s.BootstrapExpect)
	}
	switch i := s.Introduction; {
	case i.Enforcement != "none" && i.Enforcement != "warn" && i.Enforcement != "strict":
		bad("server.client_introduction.enforcement must be none, warn or strict: got %q", i.Enforcement)
	case i.DefaultTTL <= 0 || i.MaxTTL < i.DefaultTTL:
		bad("server.client_introduction: default_identity_ttl (%v) must be more than 0 and at most max_identity_ttl (%v)", i.DefaultTTL, i.MaxTTL)
	}
	if s.BootstrapExpect < 0 {
		bad("server.bootstrap_expect must not be negative: got %d", s.BootstrapExpect)
	}
	if s.BootstrapExpect > 0 && !s.Enabled {
		bad("server.bootstrap_expect is set, but server.enabled is not")
	}
	if c.DevMode && (s.BootstrapExpect > 1 || s.Join.given()) {
		bad("a dev agent is a cluster of its own: leave out -dev to join others")
	}
	if c.Client.Enabled && !s.Enabled && len(c.Client.Servers)+len(c.Client.Join.StartJoin)+len(c.Client.Join.RetryJoin) == 0 {
		bad("a client without a server in its agent needs to know one: set client.servers, or client.server_join { retry_join = […] }")
	}
	if len(c.Client.Join.StartJoin) > 0 && !s.Enabled {
		bad("client.server_join.start_join is for servers; use retry_join")
	}
	if t := c.TLS; t.HTTP || t.RPC {
		for _, f := range []struct{ name, path string }{{"ca_file", t.CAFile}, {"cert_file", t.CertFile}, {"key_file", t.KeyFile}} {
			if f.path == "" {
				bad("tls.%s must be set when tls.http or tls.rpc is; nomadlite tls ca create and tls cert create make all three", f.name)
			}
		}
	}
	switch c.TLS.MinVersion {
	case "", "tls12", "tls13":
	default:
		bad("tls.tls_min_version must be tls12 or tls13: got %q", c.TLS.MinVersion)
	}
	if !c.DevMode && s.Enabled {
		for name, adv := range map[string]string{"advertise.rpc": c.Advertise.RPC, "advertise.serf": c.Advertise.Serf} {
			if ip := net.ParseIP(hostOf(adv)); ip != nil && ip.IsUnspecified() {
				bad("%s must be an address that others can reach: got %q", name, adv)
			}
		}
	}
	return out
}

func sameJoin(a, b Join) bool {
	return fmt.Sprint(a) == fmt.Sprint(b)
}

func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// AdvertiseHTTP is the host:port at which others reach the HTTP API.
func (c *Config) AdvertiseHTTP(bound net.Addr) string { return advertise(c.Advertise.HTTP, bound) }

// AdvertiseRPC is the host:port at which others reach the server port.
func (c *Config) AdvertiseRPC(bound net.Addr) string { return advertise(c.Advertise.RPC, bound) }

// AdvertiseSerf is the address and port of gossip: "" and 0 are those that are
// bound.
func (c *Config) AdvertiseSerf() (host string, port int) {
	bound := &net.TCPAddr{IP: net.ParseIP(c.Addresses.Serf), Port: c.Ports.Serf}
	full := advertise(c.Advertise.Serf, bound)
	host, text, err := net.SplitHostPort(full)
	if err != nil {
		return "", 0
	}
	port, err = strconv.Atoi(text)
	if err != nil {
		return "", 0
	}
	return host, port
}

func advertise(adv string, bound net.Addr) string {
	host, port, err := net.SplitHostPort(bound.String())
	if err != nil {
		return bound.String()
	}
	if adv != "" {
		if _, _, err := net.SplitHostPort(adv); err == nil {
			return adv
		}
		return net.JoinHostPort(adv, port)
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = firstAddress()
	}
	return net.JoinHostPort(host, port)
}
