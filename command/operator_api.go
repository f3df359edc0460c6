package command

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"golang.org/x/term"
)

// operatorAPIVerb sends one request to the HTTP API.
func operatorAPIVerb() *verb {
	var method, filter string
	var headers stringsFlag
	var dryRun, verbose bool
	return &verb{
		path: "operator api", args: "<path> [<body>]", min: 1, max: 2,
		short: "Send a request to the HTTP API",
		long: `Send one request and print the body of the answer as it is. The path may leave
out /v1/. A body comes as the second argument, "-" for the standard input, or
from a standard input that is not a terminal.`,
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&method, "X", "", "The `verb`; GET, or POST with a body.")
			fs.StringVar(&filter, "filter", "", "A filter `expression`.")
			fs.Var(&headers, "H", "A `header`, \"Name: value\". May be repeated.")
			fs.BoolVar(&dryRun, "dryrun", false, "Print the curl command that does the same.")
			fs.BoolVar(&verbose, "verbose", false, "Print status and headers to the standard error.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			body, err := apiBody(c, args)
			if err != nil {
				return exitf(1, "Error reading the body: %v", err)
			}
			path := args[0]
			if !strings.HasPrefix(path, "/") {
				path = "/" + path
			}
			if !strings.HasPrefix(path, "/v1/") {
				path = "/v1" + path
			}
			if method == "" {
				method = http.MethodGet
				if body != nil {
					method = http.MethodPost
				}
			}
			req, err := client.Request(c.ctx, method, path, body, filter)
			if err != nil {
				return exitf(1, "%v", err)
			}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return exitf(1, "A header must be \"Name: value\": got %q", h)
				}
				req.Header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			}
			if dryRun {
				fmt.Fprintln(c.stdout, curl(req))
				return nil
			}
			resp, err := client.Do(req)
			if err != nil {
				return exitf(1, "Error sending the request: %v", err)
			}
			defer resp.Body.Close()
			if verbose {
				fmt.Fprintln(c.stderr, resp.Proto, resp.Status)
				_ = resp.Header.Write(c.stderr)
			}
			if _, err := io.Copy(c.stdout, resp.Body); err != nil {
				return exitf(1, "Error reading the answer: %v", err)
			}
			if resp.StatusCode >= 400 {
				return exitCode(1)
			}
			return nil
		},
	}
}

func apiBody(c *cli, args []string) (io.Reader, error) {
	switch {
	case len(args) == 2 && args[1] != "-":
		return strings.NewReader(args[1]), nil
	case len(args) == 2:
		return c.stdin, nil
	}
	f, ok := c.stdin.(*os.File)
	if !ok || term.IsTerminal(int(f.Fd())) {
		return nil, nil
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe) == 0 && !info.Mode().IsRegular() {
		return nil, nil
	}
	if info.Mode().IsRegular() && info.Size() == 0 {
		return nil, nil
	}
	return f, nil
}

// curl prints the command that sends a request; secrets are left to the
// environment.
func curl(req *http.Request) string {
	var b strings.Builder
	fmt.Fprintf(&b, "curl -X %s", req.Method)
	for _, name := range sortedKeys(map[string][]string(req.Header)) {
		value := req.Header.Get(name)
		if name == "X-Nomad-Token" {
			value = "${NOMAD_TOKEN}"
		}
		fmt.Fprintf(&b, " -H '%s: %s'", name, value)
	}
	if req.Body != nil {
		b.WriteString(" --data-binary @-")
	}
	fmt.Fprintf(&b, " '%s'", req.URL)
	return b.String()
}
