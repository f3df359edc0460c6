package command

import (
	"flag"
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/api"
)

// nodeIntroCreateVerb makes a token that introduces a new node.
func nodeIntroCreateVerb() *verb {
	var o format
	var req api.IntroductionRequest
	return &verb{
		path: "node intro create", max: 0,
		short: "Make a token that introduces a new client",
		long: `The client shows it once, when it registers for the first time: agent -client-intro-token, NOMAD_CLIENT_INTRO_TOKEN, or the file
intro_token.jwt in its state directory. Servers with client_introduction { enforcement = "strict" } take no new client without.`,
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.StringVar(&req.NodeName, "node-name", "", "the only node `name` that it introduces")
			fs.StringVar(&req.NodePool, "node-pool", "", "the node `pool` of the client, default when not given")
			fs.DurationVar(&req.TTL, "ttl", 0, "how long it can be used; the servers say when not given")
		},
		run: func(c *cli, _ []string) error {
			if req.TTL < 0 {
				return exitf(1, "Error generating introduction token: -ttl %v: it must be positive", time.Duration(req.TTL))
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			out, err := client.Nodes().Introduce(c.ctx, &req)
			if err != nil {
				return exitf(1, "Error generating introduction token: %v", err)
			}
			if o.asked() {
				return o.print(c.stdout, out)
			}
			fmt.Fprintf(c.stdout, "Successfully generated client introduction token:\n\n%s\n", out.JWT)
			return nil
		},
	}
}
