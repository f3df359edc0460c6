package command

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"time"
)

// Kinds of PEM blocks.
const (
	pemCert = "CERTIFICATE"
	pemKey  = "EC PRIVATE KEY"
)

// tlsCACreateVerb makes an authority for the certificates of agents.
func tlsCACreateVerb() *verb {
	var domain, name string
	var days int
	var constrain bool
	return &verb{
		path: "tls ca create", max: 0, local: true,
		short: "Make a certificate authority for agents",
		long: `Make a certificate authority: two files in the working directory. Keep the key
away from the agents; they need the certificate alone.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&domain, "domain", "nomad", "The `domain` of the agents' names.")
			fs.StringVar(&name, "common-name", "", "The `name` of the authority.")
			fs.IntVar(&days, "days", 1825, "For how many `days` it is valid.")
			fs.BoolVar(&constrain, "name-constraint", false, "Let it sign names of the domain and localhost alone.")
		},
		run: func(c *cli, _ []string) error {
			if days < 1 {
				return exitf(1, "-days must be at least 1: got %d", days)
			}
			serial, err := newSerial()
			if err != nil {
				return exitf(1, "Error making the serial number: %v", err)
			}
			if name == "" {
				name = fmt.Sprintf("Nomad Agent CA %d", serial)
			}
			cert := &x509.Certificate{
				SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().AddDate(0, 0, days),
				IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
			}
			if constrain {
				cert.PermittedDNSDomainsCritical, cert.PermittedDNSDomains = true, []string{domain, "localhost"}
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return exitf(1, "Error making the key: %v", err)
			}
			return writeCert(c, domain+"-agent-ca", cert, cert, key, key)
		},
	}
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// writeCert signs a certificate and writes it and its key beside each other;
// it never replaces a file.
func writeCert(c *cli, base string, cert, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, signer)
	if err != nil {
		return exitf(1, "Error signing the certificate: %v", err)
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return exitf(1, "Error encoding the key: %v", err)
	}
	for _, f := range []struct {
		name, kind, what string
		mode             fs.FileMode
		der              []byte
	}{
		{base + ".pem", pemCert, "certificate", 0o644, der},
		{base + "-key.pem", pemKey, "key", 0o600, raw},
	} {
		out, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
		if err != nil {
			return exitf(1, "Error writing the %s: %v", f.what, err)
		}
		if err := errors.Join(pem.Encode(out, &pem.Block{Type: f.kind, Bytes: f.der}), out.Close()); err != nil {
			return exitf(1, "Error writing the %s: %v", f.what, err)
		}
		fmt.Fprintf(c.stdout, "==> Saved %s\n", f.name)
	}
	return nil
}
