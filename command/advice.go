package command

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"

	"github.com/agext/levenshtein"
)

// advise prints what to do about a cause that is not the request's: nobody
// listens, or the two sides do not agree on TLS.
func (c *cli) advise(cause error) {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var text string
	switch {
	case cause == nil:
	case errors.Is(cause, syscall.ECONNREFUSED):
		text = fmt.Sprintf("No agent listens at %s. Start one (nomadlite agent -dev), or say where it is: -address or NOMAD_ADDR.", c.conf.Address)
	case errors.Is(cause, http.ErrSchemeMismatch):
		text = "The agent speaks plain HTTP: give an address that begins with http://."
	case strings.Contains(cause.Error(), "Client sent an HTTP request to an HTTPS server"):
		text = "The agent speaks TLS: give an address that begins with https://, and the CA's certificate with -ca-cert or NOMAD_CACERT."
	case errors.As(cause, &unknown):
		text = "The certificate of the agent is of a CA that is not known here: name the CA's with -ca-cert or NOMAD_CACERT."
	case errors.As(cause, &name):
		text = "The agent's certificate has other names than its address: expect one of them with -tls-server-name or NOMAD_TLS_SERVER_NAME."
	}
	if text != "" {
		fmt.Fprintln(c.stderr, text)
	}
}

// farthest is how many letters a word may differ from what it is taken for.
const farthest = 2

// noSuchCommand says that no verb has a path, and which are like it.
func noSuchCommand(c *cli, table []*verb, path string) {
	fmt.Fprintf(c.stderr, "cannot run %q: no such command\n", path)
	least, like := farthest+1, ""
	for _, v := range table {
		if v.hidden {
			continue
		}
		words := strings.Fields(v.path)
		for n := 1; n <= len(words); n++ {
			known := strings.Join(words[:n], " ")
			if d := levenshtein.Distance(known, path, nil); d < least && d < len(path) {
				least, like = d, known
			}
		}
	}
	if like != "" {
		fmt.Fprintf(c.stderr, "Did you mean %q?\n", like)
	}
	fmt.Fprintln(c.stderr)
}
