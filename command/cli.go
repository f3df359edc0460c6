// Package command is the command line: one file a verb, listed in verbs.go.
//
// Verbs talk to agents through package api alone, never to servers or clients
// directly; the agent verb hands over to command/agent. Names, flags, output
// and exit codes are the public contract's (reference cli.md).
package command

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/nomadlite/nomadlite/api"
)

// cli is what a verb works with: its streams, the environment and the options
// that all verbs share.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	now            func() time.Time
	signals        <-chan os.Signal // nil outside the agent
	color          bool             // stdout is a terminal that wants colour
	ctx            context.Context  // ends at the first interrupt

	conf       api.ClientConfig
	noColor    bool
	forceColor bool
	hints      bool
}

// newCLI makes the cli of the process.
func newCLI() *cli {
	c := &cli{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, now: time.Now,
		conf: api.ClientConfigFromEnv(), hints: true,
	}
	c.noColor, _ = strconv.ParseBool(os.Getenv("NOMAD_CLI_NO_COLOR"))
	c.forceColor, _ = strconv.ParseBool(os.Getenv("NOMAD_CLI_FORCE_COLOR"))
	if show, err := strconv.ParseBool(os.Getenv("NOMAD_CLI_SHOW_HINTS")); err == nil {
		c.hints = show
	}
	return c
}

// apiFlags defines the general options of verbs that call an agent.
func (c *cli) apiFlags(fs *flag.FlagSet) {
	fs.StringVar(&c.conf.Address, "address", c.conf.Address, "The `address` of the agent. Overrides NOMAD_ADDR.")
	fs.StringVar(&c.conf.Region, "region", c.conf.Region, "The `region` of the servers to forward to. Overrides NOMAD_REGION.")
	fs.StringVar(&c.conf.Namespace, "namespace", c.conf.Namespace, "The `namespace` to work in, * for all in lists. Overrides NOMAD_NAMESPACE.")
	fs.StringVar(&c.conf.Token, "token", c.conf.Token, "The secret of an ACL `token`. Overrides NOMAD_TOKEN.")
	fs.StringVar(&c.conf.TLS.CACert, "ca-cert", c.conf.TLS.CACert, "The `path` of a CA certificate. Overrides NOMAD_CACERT.")
	fs.StringVar(&c.conf.TLS.CAPath, "ca-path", c.conf.TLS.CAPath, "The `path` of a folder of CA certificates. Overrides NOMAD_CAPATH.")
	fs.StringVar(&c.conf.TLS.ClientCert, "client-cert", c.conf.TLS.ClientCert, "The `path` of a client certificate. Overrides NOMAD_CLIENT_CERT.")
	fs.StringVar(&c.conf.TLS.ClientKey, "client-key", c.conf.TLS.ClientKey, "The `path` of the client certificate's key. Overrides NOMAD_CLIENT_KEY.")
	fs.StringVar(&c.conf.TLS.ServerName, "tls-server-name", c.conf.TLS.ServerName, "The `name` to expect in the server's certificate. Overrides NOMAD_TLS_SERVER_NAME.")
	fs.BoolVar(&c.conf.TLS.Insecure, "tls-skip-verify", c.conf.TLS.Insecure, "Do not verify the server's certificate. Overrides NOMAD_SKIP_VERIFY.")
	fs.BoolVar(&c.noColor, "no-color", c.noColor, "No colours. Overrides NOMAD_CLI_NO_COLOR.")
	fs.BoolVar(&c.forceColor, "force-color", c.forceColor, "Colours even when the output is no terminal. Overrides NOMAD_CLI_FORCE_COLOR.")
}

// client makes the API client of the general options.
func (c *cli) client() (*api.Client, error) {
	c.color = !c.noColor && (c.forceColor || isTerminal(c.stdout))
	client, err := api.NewClient(c.conf)
	if err != nil {
		return nil, exitf(1, "Error initializing client: %v", err)
	}
	return client, nil
}

// isTerminal reports whether a stream is a terminal.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// hint prints a pointer for people, never for pipes.
func (c *cli) hint(format string, args ...any) {
	if c.hints && isTerminal(c.stdout) {
		fmt.Fprintf(c.stderr, "\n==> "+format+"\n", args...)
	}
}

// Main runs the process: a keeper, a driver plugin, or a verb of the command
// line. It returns the exit code.
func Main(args []string) int {
	if code, ok := hostProcess(args); ok {
		return code
	}
	c := newCLI()
	signals := make(chan os.Signal, 4)
	if len(args) > 0 && args[0] == "agent" {
		signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		// Caught, not ignored: the keeper would inherit that, down to the tasks.
		signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
		c.signals = signals
		c.ctx = context.Background()
		return dispatch(c, verbs(), args)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	c.ctx = ctx
	return dispatch(c, verbs(), args)
}
