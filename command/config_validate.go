package command

import (
	"fmt"

	"github.com/nomadlite/nomadlite/command/agent/config"
)

// configValidateVerb checks configuration files as the agent would read them.
func configValidateVerb() *verb {
	return &verb{
		path: "config validate", args: "<config_path>...", min: 1, max: -1, local: true,
		short: "Check agent configuration files",
		long:  "Check configuration files and directories exactly as `nomadlite agent` would read\nthem together. Exits 1 and names every problem when they cannot be used.",
		run: func(c *cli, args []string) error {
			cfg := config.Default()
			warnings, err := cfg.Load(args)
			for _, w := range warnings {
				fmt.Fprintln(c.stderr, "Warning: "+w)
			}
			if err == nil {
				err = cfg.Finish()
			}
			if err == nil {
				err = cfg.Validate()
			}
			if err != nil {
				return exitf(1, "Configuration is invalid\n%v", err)
			}
			fmt.Fprintln(c.stdout, "Configuration is valid!")
			return nil
		},
	}
}
