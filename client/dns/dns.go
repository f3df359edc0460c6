// Package dns answers for the healthy instances of services:
//
//	NAME.service.nomad.              in namespace default
//	TAG.NAME.service.nomad.          those with a tag
//	NAME.service.NAMESPACE.nomad.    in another namespace
//	_NAME._tcp.service.nomad.        as RFC 2782 has it; _TAG instead of _tcp
//
// with A, AAAA and SRV records, for any domain in the place of "nomad". It
// resolves nothing else and asks nobody else.
package dns

import (
	"context"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/nomadlite/nomadlite/structs"
)

// Lookup reads the instances of a service.
type Lookup func(ctx context.Context, namespace, name string) ([]*structs.ServiceRegistration, error)

// Config is what an operator says about DNS.
type Config struct {
	Address string // host:port; "" is off
	Domain  string // "nomad" when empty
	TTL     time.Duration
}

// Limits of the server.
const (
	maxQueries    = 256 // at once; more are dropped
	queryTimeout  = 2 * time.Second
	serverTimeout = 5 * time.Second
)

// Server answers questions.
type Server struct {
	cfg    Config
	domain string // fully qualified, lower case
	cache  *cache
	log    hclog.Logger
	slots  chan struct{}
}

// New makes a server; Run listens.
func New(cfg Config, lookup Lookup, log hclog.Logger) *Server {
	if cfg.Domain == "" {
		cfg.Domain = "nomad"
	}
	return &Server{cfg: cfg, domain: strings.ToLower(dns.Fqdn(cfg.Domain)), cache: newCache(lookup), log: log, slots: make(chan struct{}, maxQueries)}
}

// Run serves UDP and TCP until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	udp, err := net.ListenPacket("udp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("cannot listen for DNS on %s: %w; choose another client dns address", s.cfg.Address, err)
	}
	tcp, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		udp.Close()
		return fmt.Errorf("cannot listen for DNS on %s: %w; choose another client dns address", s.cfg.Address, err)
	}
	s.log.Info("answering DNS", "address", udp.LocalAddr(), "domain", s.domain)
	return s.serve(ctx, udp, tcp)
}

func (s *Server) serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	group, ctx := errgroup.WithContext(ctx)
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.handle(ctx, w, q) })
	servers := []*dns.Server{
		{PacketConn: udp, Handler: handler, ReadTimeout: serverTimeout, WriteTimeout: serverTimeout},
		{Listener: tcp, Handler: handler, ReadTimeout: serverTimeout, WriteTimeout: serverTimeout, MaxTCPQueries: maxQueries},
	}
	for _, srv := range servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		group.Go(func() error {
			err := srv.ActivateAndServe()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("dns: %w", err)
		})
		group.Go(func() error {
			select {
			case <-started:
				<-ctx.Done()
				return srv.Shutdown()
			case <-ctx.Done():
				udp.Close()
				tcp.Close()
				return nil
			}
		})
	}
	return group.Wait()
}

func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, q *dns.Msg) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return // whoever asks asks again
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	m := s.answer(ctx, q)
	size := dns.MinMsgSize
	if _, ok := w.RemoteAddr().(*net.TCPAddr); ok {
		size = dns.MaxMsgSize
	} else if opt := q.IsEdns0(); opt != nil {
		size = max(size, min(int(opt.UDPSize()), dns.DefaultMsgSize))
		m.SetEdns0(dns.DefaultMsgSize, false)
	}
	m.Truncate(size)
	if err := w.WriteMsg(m); err != nil {
		s.log.Debug("cannot answer a DNS question", "error", err)
	}
}

// answer makes the answer to a question.
func (s *Server) answer(ctx context.Context, q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	if q.Opcode != dns.OpcodeQuery {
		m.Rcode = dns.RcodeNotImplemented
		return m
	}
	if len(q.Question) != 1 || q.Question[0].Qclass != dns.ClassINET {
		m.Rcode = dns.RcodeRefused
		return m
	}
	question := q.Question[0]
	name, ours := strings.CutSuffix(strings.ToLower(question.Name), "."+s.domain)
	if !ours {
		m.Rcode = dns.RcodeRefused // we know nothing of it, and ask nobody
		return m
	}
	m.Authoritative = true
	if addr, ok := hexAddr(name); ok {
		s.addAddress(m, question.Qtype, question.Name, addr)
		return s.finish(m, dns.RcodeSuccess)
	}
	want, ok := parse(name)
	if !ok {
		return s.finish(m, dns.RcodeNameError)
	}
	instances, err := s.cache.get(ctx, want.namespace, want.name)
	if err != nil {
		s.log.Debug("cannot look a service up for DNS", "service", want.name, "error", err)
		m.Rcode = dns.RcodeServerFailure
		return m
	}
	instances = choose(instances, want.tag)
	if len(instances) == 0 {
		return s.finish(m, dns.RcodeNameError)
	}
	s.fill(m, question, instances)
	return s.finish(m, dns.RcodeSuccess)
}

// finish ends an answer; one without records says how long that holds.
func (s *Server) finish(m *dns.Msg, code int) *dns.Msg {
	m.Rcode = code
	if len(m.Answer) == 0 {
		m.Ns = append(m.Ns, &dns.SOA{
			Hdr: s.header(s.domain, dns.TypeSOA), Ns: "ns." + s.domain, Mbox: "hostmaster." + s.domain, Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: 0,
		})
	}
	return m
}

func (s *Server) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: uint32(s.cfg.TTL / time.Second)}
}

// fill adds the records of instances.
func (s *Server) fill(m *dns.Msg, q dns.Question, instances []*structs.ServiceRegistration) {
	seen := map[string]bool{}
	for _, i := range instances {
		addr, err := netip.ParseAddr(i.Address)
		target := dns.Fqdn(i.Address)
		if err == nil {
			target = hex.EncodeToString(addr.AsSlice()) + ".addr." + s.domain
		} else if _, ok := dns.IsDomainName(target); !ok || i.Address == "" {
			continue
		}
		if q.Qtype == dns.TypeSRV {
			key := fmt.Sprint(target, i.Port)
			if seen[key] {
				continue
			}
			seen[key] = true
			m.Answer = append(m.Answer, &dns.SRV{Hdr: s.header(q.Name, dns.TypeSRV), Priority: 1, Weight: 1, Port: uint16(i.Port), Target: target})
			if err == nil {
				m.Extra = append(m.Extra, s.address(target, addr))
			}
			continue
		}
		if seen[i.Address] {
			continue
		}
		seen[i.Address] = true
		switch {
		case err == nil:
			s.addAddress(m, q.Qtype, q.Name, addr)
		case len(m.Answer) == 0 && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeAAAA): // a name stands alone
			m.Answer = append(m.Answer, &dns.CNAME{Hdr: s.header(q.Name, dns.TypeCNAME), Target: target})
			return
		}
	}
}

func (s *Server) addAddress(m *dns.Msg, qtype uint16, name string, addr netip.Addr) {
	if qtype == dns.TypeANY || (qtype == dns.TypeA) == addr.Is4() && (qtype == dns.TypeA || qtype == dns.TypeAAAA) {
		m.Answer = append(m.Answer, s.address(name, addr))
	}
}

func (s *Server) address(name string, addr netip.Addr) dns.RR {
	if addr.Is4() {
		return &dns.A{Hdr: s.header(name, dns.TypeA), A: addr.AsSlice()}
	}
	return &dns.AAAA{Hdr: s.header(name, dns.TypeAAAA), AAAA: addr.AsSlice()}
}

// hexAddr reads the name of an address, as SRV records give it.
func hexAddr(name string) (netip.Addr, bool) {
	text, ok := strings.CutSuffix(name, ".addr")
	raw, err := hex.DecodeString(text)
	if !ok || err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}

// wanted is what a name asks for.
type wanted struct{ name, tag, namespace string }

// parse reads a name without its domain.
func parse(name string) (wanted, bool) {
	w := wanted{namespace: structs.DefaultNamespace}
	labels := strings.Split(name, ".")
	switch n := len(labels); {
	case labels[n-1] == "service":
		labels = labels[:n-1]
	case n >= 2 && labels[n-2] == "service": // NAME.service.NAMESPACE
		w.namespace, labels = labels[n-1], labels[:n-2]
	default:
		return w, false
	}
	switch len(labels) {
	case 1:
		w.name = labels[0]
	case 2:
		w.tag, w.name = labels[0], labels[1]
		if service, ok := strings.CutPrefix(labels[0], "_"); ok {
			tag, ok := strings.CutPrefix(labels[1], "_")
			if !ok {
				return w, false
			}
			w.name, w.tag = service, tag
			if tag == "tcp" || tag == "udp" {
				w.tag = ""
			}
		}
	}
	return w, w.name != "" && w.namespace != ""
}

// choose keeps the instances that may be used and have a tag, in random order.
func choose(all []*structs.ServiceRegistration, tag string) []*structs.ServiceRegistration {
	var out []*structs.ServiceRegistration
	for _, i := range all {
		if i.Passing() && (tag == "" || hasTag(i, tag)) {
			out = append(out, i)
		}
	}
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func hasTag(i *structs.ServiceRegistration, tag string) bool {
	for _, t := range i.Tags {
		if strings.EqualFold(t, tag) {
			return true
		}
	}
	return false
}

// cache keeps what the servers said for a moment, and longer while they say
// nothing.
type cache struct {
	lookup Lookup

	mu      sync.Mutex // guards entries
	entries map[wanted]*entry
}

type entry struct {
	mu        sync.Mutex // held while the servers are asked
	instances []*structs.ServiceRegistration
	at        time.Time // of the last answer; zero for none
}

const (
	fresh      = time.Second
	stale      = 5 * time.Minute
	maxEntries = 4096
)

func newCache(lookup Lookup) *cache { return &cache{lookup: lookup, entries: map[wanted]*entry{}} }

func (c *cache) get(ctx context.Context, namespace, name string) ([]*structs.ServiceRegistration, error) {
	key := wanted{name: name, namespace: namespace}
	c.mu.Lock()
	e := c.entries[key]
	if e == nil {
		if len(c.entries) >= maxEntries {
			clear(c.entries)
		}
		e = &entry{}
		c.entries[key] = e
	}
	c.mu.Unlock()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.at.IsZero() && time.Since(e.at) < fresh {
		return e.instances, nil
	}
	instances, err := c.lookup(ctx, namespace, name)
	if err != nil {
		if !e.at.IsZero() && time.Since(e.at) < stale {
			return e.instances, nil
		}
		return nil, err
	}
	e.instances, e.at = instances, time.Now()
	return instances, nil
}
