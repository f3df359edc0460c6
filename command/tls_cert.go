package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"flag"
	"fmt"
	"net"
	"os"
	"time"
)

// tlsCertCreateVerb makes the certificate of an agent or of a user.
func tlsCertCreateVerb() *verb {
	var server, client, user bool
	var region, domain, caFile, keyFile string
	var days int
	var names, addrs stringsFlag
	return &verb{
		path: "tls cert create", max: 0, local: true,
		short: "Make a certificate for an agent or a user",
		long: `Make a certificate and its key in the working directory, signed by an authority
that tls ca create made. Its name says role and region, as server.global.nomad:
agents check both.`,
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&server, "server", false, "For servers.")
			fs.BoolVar(&client, "client", false, "For clients.")
			fs.BoolVar(&user, "cli", false, "For the command line.")
			fs.StringVar(&region, "region", "global", "The `region` of the agents.")
			fs.StringVar(&region, "cluster-region", "global", "The same, by its older name.")
			fs.StringVar(&domain, "domain", "nomad", "The `domain` of the agents' names.")
			fs.StringVar(&caFile, "ca", "", "The authority's `file`; DOMAIN-agent-ca.pem by default.")
			fs.StringVar(&keyFile, "key", "", "The authority's key `file`; DOMAIN-agent-ca-key.pem by default.")
			fs.IntVar(&days, "days", 365, "For how many `days` it is valid.")
			fs.Var(&names, "additional-dnsname", "One more DNS `name`. May be repeated.")
			fs.Var(&addrs, "additional-ipaddress", "One more IP `address`. May be repeated.")
		},
		run: func(c *cli, _ []string) error {
			role := map[[3]bool]string{{true, false, false}: "server", {false, true, false}: "client", {false, false, true}: "cli"}[[3]bool{server, client, user}]
			if role == "" {
				return exitf(1, "Set one of -server, -client and -cli")
			}
			if days < 1 {
				return exitf(1, "-days must be at least 1: got %d", days)
			}
			if caFile == "" {
				caFile = domain + "-agent-ca.pem"
			}
			if keyFile == "" {
				keyFile = domain + "-agent-ca-key.pem"
			}
			ca, signer, err := loadCA(caFile, keyFile)
			if err != nil {
				return exitf(1, "%v", err)
			}
			serial, err := newSerial()
			if err != nil {
				return exitf(1, "Error making the serial number: %v", err)
			}
			name := role + "." + region + "." + domain
			cert := &x509.Certificate{
				SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(0, 0, days),
				KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
				DNSNames: append([]string{name, "localhost"}, names...), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			}
			for _, a := range addrs {
				ip := net.ParseIP(a)
				if ip == nil {
					return exitf(1, "-additional-ipaddress must be an IP address: got %q", a)
				}
				cert.IPAddresses = append(cert.IPAddresses, ip)
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return exitf(1, "Error making the key: %v", err)
			}
			return writeCert(c, region+"-"+role+"-"+domain, cert, ca, key, signer)
		},
	}
}

// loadCA reads an authority and its key.
func loadCA(certFile, keyFile string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	der, err := readPEM(certFile, pemCert)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the authority %q: %w", certFile, err)
	}
	if !ca.IsCA {
		return nil, nil, fmt.Errorf("cannot use %q: it is the certificate of %q, not of an authority", certFile, ca.Subject.CommonName)
	}
	if der, err = readPEM(keyFile, pemKey); err != nil {
		return nil, nil, err
	}
	key, err := x509.ParseECPrivateKey(der)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use the authority's key %q: %w", keyFile, err)
	}
	if !key.PublicKey.Equal(ca.PublicKey) {
		return nil, nil, fmt.Errorf("cannot use %q with %q: they do not belong together", keyFile, certFile)
	}
	return ca, key, nil
}

// readPEM reads the first block of a kind.
func readPEM(file, kind string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read %q: %w; tls ca create makes an authority", file, err)
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == kind {
			return block.Bytes, nil
		}
	}
	return nil, fmt.Errorf("cannot use %q: it holds no %s in PEM", file, kind)
}
