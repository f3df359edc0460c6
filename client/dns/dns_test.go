package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/miekg/dns"

	"github.com/nomadlite/nomadlite/structs"
)

// cluster plays the servers.
type cluster struct {
	mu   sync.Mutex // guards what follows
	down bool
	asks int
}

func (c *cluster) lookup(_ context.Context, namespace, name string) ([]*structs.ServiceRegistration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asks++
	if c.down {
		return nil, errors.New("no servers")
	}
	switch namespace + "/" + name {
	case "default/web":
		return []*structs.ServiceRegistration{
			{Address: "10.0.0.1", Port: 80, Tags: []string{"Main"}}, {Address: "10.0.0.1", Port: 81}, {Address: "fd00::1", Port: 82},
			{Address: "10.0.0.9", Port: 9, Health: structs.ServiceUnhealthy, Tags: []string{"main"}},
		}, nil
	case "prod/web":
		return []*structs.ServiceRegistration{{Address: "10.1.0.1", Port: 80}}, nil
	case "default/named":
		return []*structs.ServiceRegistration{{Address: "db.example.com", Port: 5432}}, nil
	case "default/sick":
		return []*structs.ServiceRegistration{{Address: "10.0.0.1", Port: 1, Health: structs.ServiceUnhealthy}}, nil
	case "default/crowd":
		var out []*structs.ServiceRegistration
		for i := range 400 {
			out = append(out, &structs.ServiceRegistration{Address: fmt.Sprintf("10.2.%d.%d", i/256, i%256), Port: 80})
		}
		return out, nil
	}
	return nil, nil
}

func question(name string, kind uint16) *dns.Msg { return new(dns.Msg).SetQuestion(name, kind) }

func texts(rrs []dns.RR) string {
	var out []string
	for _, rr := range rrs {
		out = append(out, strings.Join(strings.Fields(strings.TrimPrefix(rr.String(), rr.Header().String())), " "))
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

func TestAnswers(t *testing.T) {
	s := New(Config{TTL: 2 * time.Second}, (&cluster{}).lookup, hclog.NewNullLogger())
	for _, c := range []struct {
		name        string
		kind        uint16
		code        int
		want, extra string
	}{
		{"web.service.nomad.", dns.TypeA, 0, "10.0.0.1", ""},
		{"WEB.Service.NOMAD.", dns.TypeA, 0, "10.0.0.1", ""},
		{"web.service.nomad.", dns.TypeAAAA, 0, "fd00::1", ""},
		{"web.service.nomad.", dns.TypeANY, 0, "10.0.0.1, fd00::1", ""},
		{"web.service.nomad.", dns.TypeMX, 0, "", ""},
		{"main.web.service.nomad.", dns.TypeSRV, 0, "1 1 80 0a000001.addr.nomad.", "10.0.0.1"},
		{"_web._main.service.nomad.", dns.TypeSRV, 0, "1 1 80 0a000001.addr.nomad.", "10.0.0.1"},
		{"_web._tcp.service.prod.nomad.", dns.TypeSRV, 0, "1 1 80 0a010001.addr.nomad.", "10.1.0.1"},
		{"web.service.prod.nomad.", dns.TypeA, 0, "10.1.0.1", ""},
		{"named.service.nomad.", dns.TypeA, 0, "db.example.com.", ""},
		{"named.service.nomad.", dns.TypeSRV, 0, "1 1 5432 db.example.com.", ""},
		{"0a000001.addr.nomad.", dns.TypeA, 0, "10.0.0.1", ""},
		{"sick.service.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"none.service.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"other.web.service.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"a.b.c.service.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"service.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"zz.addr.nomad.", dns.TypeA, dns.RcodeNameError, "", ""},
		{"example.com.", dns.TypeA, dns.RcodeRefused, "", ""},
		{"webnomad.", dns.TypeA, dns.RcodeRefused, "", ""},
		{".", dns.TypeNS, dns.RcodeRefused, "", ""},
	} {
		m := s.answer(t.Context(), question(c.name, c.kind))
		if m.Rcode != c.code || texts(m.Answer) != c.want || texts(m.Extra) != c.extra {
			t.Errorf("%s %s: %s %q %q, want %s %q %q", c.name, dns.TypeToString[c.kind], dns.RcodeToString[m.Rcode], texts(m.Answer), texts(m.Extra), dns.RcodeToString[c.code], c.want, c.extra)
		}
		if _, err := m.Pack(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	update := question("web.service.nomad.", dns.TypeA)
	update.Opcode = dns.OpcodeUpdate
	if m := s.answer(t.Context(), update); m.Rcode != dns.RcodeNotImplemented {
		t.Error(m)
	}
	chaos := question("web.service.nomad.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	if m := s.answer(t.Context(), chaos); m.Rcode != dns.RcodeRefused {
		t.Error(m)
	}
}

// TestServersAway: what the servers said is asked for once a moment, and serves
// while they are away.
func TestServersAway(t *testing.T) {
	c := &cluster{}
	s := New(Config{}, c.lookup, hclog.NewNullLogger())
	ask := func() int { return s.answer(t.Context(), question("web.service.nomad.", dns.TypeA)).Rcode }
	for range 50 {
		ask()
	}
	if c.asks > 3 {
		t.Errorf("the servers were asked %d times", c.asks)
	}
	c.down = true
	s.cache.entries[wanted{name: "web", namespace: "default"}].at = time.Now().Add(-2 * fresh)
	if code := ask(); code != dns.RcodeSuccess {
		t.Errorf("with the servers away: %s", dns.RcodeToString[code])
	}
	s.cache.entries[wanted{name: "web", namespace: "default"}].at = time.Now().Add(-2 * stale)
	if code := ask(); code != dns.RcodeServerFailure {
		t.Errorf("with the servers away for long: %s", dns.RcodeToString[code])
	}
}

// TestOverTheWire: UDP says when an answer is too long, TCP gives it whole.
func TestOverTheWire(t *testing.T) {
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Config{}, (&cluster{}).lookup, hclog.NewNullLogger())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, udp, tcp) }()
	q := question("crowd.service.nomad.", dns.TypeA)
	short, _, err := (&dns.Client{Net: "udp", Timeout: 20 * time.Second}).Exchange(q, udp.LocalAddr().String())
	if err != nil || !short.Truncated || len(short.Answer) == 0 {
		t.Errorf("UDP: %v (%v)", short, err)
	}
	whole, _, err := (&dns.Client{Net: "tcp", Timeout: 20 * time.Second}).Exchange(q, tcp.Addr().String())
	if err != nil || whole.Truncated || len(whole.Answer) != 400 {
		t.Errorf("TCP: %v", err)
	}
	if _, err := udp.WriteTo([]byte("nonsense"), udp.LocalAddr()); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
