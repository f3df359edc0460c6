package api

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
)

// TLSConfig says how to speak TLS to an agent. Files are PEM.
type TLSConfig struct {
	CACert     string // file with certificate authorities
	CAPath     string // directory of such files
	ClientCert string
	ClientKey  string
	// ServerName is expected in the certificate, "" for the address's host.
	ServerName string
	// Insecure accepts any certificate.
	Insecure bool
}

func (t TLSConfig) build() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.Insecure}
	files := []string{}
	if t.CACert != "" {
		files = append(files, t.CACert)
	} else if t.CAPath != "" {
		found, err := filepath.Glob(filepath.Join(t.CAPath, "*"))
		if err != nil {
			return nil, fmt.Errorf("cannot list certificates in %q: %w", t.CAPath, err)
		}
		files = found
	}
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot read certificate authority: %w", err)
		}
		if cfg.RootCAs == nil {
			cfg.RootCAs = x509.NewCertPool()
		}
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("cannot use certificate authority %q: no PEM certificate in it", file)
		}
	}
	if (t.ClientCert == "") != (t.ClientKey == "") {
		return nil, fmt.Errorf("cannot use TLS: a client certificate and its key must be given together")
	}
	if t.ClientCert != "" {
		cert, err := tls.LoadX509KeyPair(t.ClientCert, t.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("cannot load client certificate %q: %w", t.ClientCert, err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
