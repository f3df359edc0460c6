package wire

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// Files name what TLS needs, as PEM.
type Files struct {
	CA, Cert, Key string
}

// TLS holds the certificates in use. Load may replace them at any time;
// connections keep what they began with.
type TLS struct {
	region string
	now    atomic.Pointer[material]
}

// material is one set of certificates.
type material struct {
	cert *tls.Certificate
	pool *x509.CertPool
}

// LoadTLS reads the certificates of an agent of a region.
func LoadTLS(region string, f Files) (*TLS, error) {
	t := &TLS{region: region}
	return t, t.Load(f)
}

// Load replaces the certificates; the old ones stay when it fails.
func (t *TLS) Load(f Files) error {
	for _, one := range []struct{ name, path string }{{"ca_file", f.CA}, {"cert_file", f.Cert}, {"key_file", f.Key}} {
		if one.path == "" {
			return fmt.Errorf("cannot use TLS: tls.%s is not set", one.name)
		}
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return fmt.Errorf("cannot read tls.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("cannot use tls.ca_file %q: no PEM certificate in it", f.CA)
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return fmt.Errorf("cannot use tls.cert_file %q with tls.key_file %q: %w", f.Cert, f.Key, err)
	}
	t.now.Store(&material{cert: &cert, pool: pool})
	return nil
}

// Role is the role that our own certificate gives in our region, "" for none.
func (t *TLS) Role() string {
	cert := t.now.Load().cert
	leaf := cert.Leaf
	if leaf == nil {
		return ""
	}
	role, _ := roleOf(leaf, t.region)
	return role
}

// roleOf reads role and region from a certificate's names: the first name of
// the region wins, and "server" wins over "client".
func roleOf(cert *x509.Certificate, region string) (role string, err error) {
	var foreign []string
	for _, name := range cert.DNSNames {
		r, rest, _ := strings.Cut(name, ".")
		where, domain, _ := cutLast(rest)
		if domain == "" || (r != RoleServer && r != RoleClient) {
			continue
		}
		switch {
		case where != region:
			foreign = append(foreign, name)
		case role != RoleServer:
			role = r
		}
	}
	switch {
	case role != "":
		return role, nil
	case len(foreign) > 0:
		return "", fmt.Errorf("invalid certificate: %s not in expected server.%s.nomad, client.%s.nomad", strings.Join(foreign, ", "), region, region)
	}
	return "", fmt.Errorf("invalid certificate: names %q not in expected server.%s.nomad, client.%s.nomad", cert.DNSNames, region, region)
}

// cutLast cuts at the last dot: a region's name may contain dots.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// server is the configuration of a listener; every connection must show a
// certificate of our authorities. The role is checked by the port.
func (t *TLS) server() *tls.Config {
	protos := []string{kinds[Raft], kinds[HTTP], kinds[Node]}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := t.now.Load()
		return &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: protos, Certificates: []tls.Certificate{*m.cert},
			ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: m.pool,
			// A resumed session would keep what a withdrawn certificate gave.
			SessionTicketsDisabled: true,
		}, nil
	}}
}

// client is the configuration of a connection to a server of a region, "" for
// our own.
func (t *TLS) client(kind Kind, region string) *tls.Config {
	m := t.now.Load()
	if region == "" {
		region = t.region
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{kinds[kind]}, Certificates: []tls.Certificate{*m.cert}, RootCAs: m.pool,
		ServerName: RoleServer + "." + region + ".nomad",
		// The name is checked by role and region, whatever the domain is.
		InsecureSkipVerify:     true,
		SessionTicketsDisabled: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			leaf, err := chain(cs, m.pool, x509.ExtKeyUsageServerAuth)
			if err != nil {
				return err
			}
			if region == AnyRegion && serverRegion(leaf) != "" {
				return nil
			}
			role, err := roleOf(leaf, region)
			if err == nil && role != RoleServer {
				err = fmt.Errorf("invalid certificate: %q not in expected server.%s.nomad", leaf.DNSNames, region)
			}
			return err
		},
	}
}

// chain checks a peer's chain and usage and returns its certificate.
func chain(cs tls.ConnectionState, pool *x509.CertPool, usage x509.ExtKeyUsage) (*x509.Certificate, error) {
	if len(cs.PeerCertificates) == 0 {
		return nil, errors.New("the other end shows no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		between.AddCert(c)
	}
	leaf := cs.PeerCertificates[0]
	_, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{usage}})
	return leaf, err
}

// serverRegion is the region whose server a certificate names first, "" for
// none.
func serverRegion(cert *x509.Certificate) string {
	for _, name := range cert.DNSNames {
		if r, rest, _ := strings.Cut(name, "."); r == RoleServer {
			if where, domain, _ := cutLast(rest); domain != "" {
				return where
			}
		}
	}
	return ""
}

// HTTPS is the configuration of the public port: verifyClient asks for a
// certificate of our authorities.
func (t *TLS) HTTPS(verifyClient bool) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		m := t.now.Load()
		c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*m.cert}}
		if verifyClient {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.pool
		}
		return c, nil
	}}
}
