package command

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/nomadlite/nomadlite/command/agent"
	"github.com/nomadlite/nomadlite/command/agent/config"
)

// agentFlags are the flags of `agent`; each sets a key of the configuration
// after the files were read.
type agentFlags struct {
	dev     bool
	configs stringsFlag
	set     []func(*config.Config) error
}

// agentVerb runs the agent until a signal ends it.
func agentVerb() *verb {
	var f agentFlags
	return &verb{
		path: "agent", short: "Run an agent: a server, a client or both", max: 0, local: true,
		long: `Run an agent until it is interrupted. Configuration comes from -config files and
directories in order, then from flags. With -dev one process is server and
client, everything is kept in memory and temporary folders, and raw_exec is on.

Tasks go on running when the agent stops, and are adopted by the next one that
uses the same data directory.`,
		flags: f.define,
		run: func(c *cli, _ []string) error {
			cfg, err := f.config(c)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			code, err := agent.Run(ctx, agent.RunConfig{
				Config: cfg, Stdout: c.stdout, Stderr: c.stderr, Signals: c.signals,
				Reload: func() (*config.Config, error) { return f.config(c) },
			})
			if err != nil {
				return exitf(max(code, 1), "==> Error starting agent: %v", err)
			}
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

func (f *agentFlags) define(fs *flag.FlagSet) {
	fs.BoolVar(&f.dev, "dev", false, "Server and client in one process, nothing kept on disk.")
	fs.Var(&f.configs, "config", "A configuration `path`: a file, or a directory of .hcl and .json files. May be repeated.")
	f.str(fs, "bind", "The `address` to listen on.", func(c *config.Config) *string { return &c.BindAddr })
	f.str(fs, "data-dir", "The `path` that holds all state.", func(c *config.Config) *string { return &c.DataDir })
	f.str(fs, "plugin-dir", "The `path` of external driver plugins.", func(c *config.Config) *string { return &c.PluginDir })
	f.str(fs, "dc", "The `datacenter` of the agent.", func(c *config.Config) *string { return &c.Datacenter })
	f.str(fs, "region", "The `region` of the agent.", func(c *config.Config) *string { return &c.Region })
	f.str(fs, "node", "The `name` of the agent; the hostname by default.", func(c *config.Config) *string { return &c.NodeName })
	f.str(fs, "log-level", "The `level`: TRACE, DEBUG, INFO, WARN or ERROR.", func(c *config.Config) *string { return &c.LogLevel })
	f.str(fs, "state-dir", "The `path` of the client's state.", func(c *config.Config) *string { return &c.Client.StateDir })
	f.str(fs, "alloc-dir", "The `path` of allocation directories.", func(c *config.Config) *string { return &c.Client.AllocDir })
	f.str(fs, "node-class", "The `class` of the node.", func(c *config.Config) *string { return &c.Client.NodeClass })
	f.str(fs, "node-pool", "The `pool` of the node.", func(c *config.Config) *string { return &c.Client.NodePool })
	f.str(fs, "network-interface", "The network `interface` of the node.", func(c *config.Config) *string { return &c.Client.NetworkInterface })
	f.str(fs, "client-intro-token", "A `token` of `node intro create`; also NOMAD_CLIENT_INTRO_TOKEN, or intro_token.jwt in the client's state directory.", func(c *config.Config) *string { return &c.Client.IntroToken })
	f.boolean(fs, "server", "Run a server.", func(c *config.Config) *bool { return &c.Server.Enabled })
	f.boolean(fs, "client", "Run a client.", func(c *config.Config) *bool { return &c.Client.Enabled })
	f.boolean(fs, "log-json", "Log one JSON object a line.", func(c *config.Config) *bool { return &c.LogJSON })
	f.boolean(fs, "log-include-location", "Log file and line.", func(c *config.Config) *bool { return &c.LogIncludeLocation })
	fs.Func("bootstrap-expect", "The `number` of servers to wait for before the first election.", func(v string) error {
		var n int
		if _, err := fmt.Sscanf(v, "%d", &n); err != nil {
			return fmt.Errorf("want a whole number, got %q", v)
		}
		f.set = append(f.set, func(c *config.Config) error { c.Server.BootstrapExpect = n; return nil })
		return nil
	})
	fs.Func("simulate-nodes", "Join this `number` of light nodes in the place of one that runs tasks, to test capacity.", func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			return fmt.Errorf("want a whole number of at least 1, got %q", v)
		}
		f.set = append(f.set, func(c *config.Config) error { c.Client.Enabled, c.Client.SimulateNodes = true, n; return nil })
		return nil
	})
	f.str(fs, "simulate-profile", "How simulated allocations go, as `start=50ms,run=30s,fail=0.01`.", func(c *config.Config) *string { return &c.Client.SimulateProfile })
	fs.Func("servers", "Comma separated `addresses` of servers.", func(v string) error {
		f.set = append(f.set, func(c *config.Config) error {
			c.Client.Servers = append(c.Client.Servers, strings.Split(v, ",")...)
			return nil
		})
		return nil
	})
	fs.Func("meta", "Metadata of the node as `key=value`. May be repeated.", func(v string) error {
		key, val, ok := strings.Cut(v, "=")
		if !ok || key == "" {
			return fmt.Errorf("want key=value, got %q", v)
		}
		f.set = append(f.set, func(c *config.Config) error {
			if c.Client.Meta == nil {
				c.Client.Meta = map[string]string{}
			}
			c.Client.Meta[key] = val
			return nil
		})
		return nil
	})
}

func (f *agentFlags) str(fs *flag.FlagSet, name, usage string, field func(*config.Config) *string) {
	fs.Func(name, usage, func(v string) error {
		f.set = append(f.set, func(c *config.Config) error { *field(c) = v; return nil })
		return nil
	})
}

func (f *agentFlags) boolean(fs *flag.FlagSet, name, usage string, field func(*config.Config) *bool) {
	fs.BoolFunc(name, usage, func(v string) error {
		var b optionalBool
		if err := b.Set(v); err != nil {
			return err
		}
		f.set = append(f.set, func(c *config.Config) error { *field(c) = b.val; return nil })
		return nil
	})
}

// config reads files and applies the flags; it is called again on reload.
func (f *agentFlags) config(c *cli) (*config.Config, error) {
	cfg := config.Default()
	if f.dev {
		cfg = config.Dev()
	}
	warnings, err := cfg.Load(f.configs)
	for _, w := range warnings {
		fmt.Fprintln(c.stderr, "==> WARNING: "+w)
	}
	if err != nil {
		return nil, err
	}
	cfg.Client.IntroToken = os.Getenv("NOMAD_CLIENT_INTRO_TOKEN")
	for _, set := range f.set {
		if err := set(cfg); err != nil {
			return nil, err
		}
	}
	if err := cfg.Finish(); err != nil {
		return nil, err
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if len(cfg.Files) > 0 {
		fmt.Fprintf(c.stdout, "==> Loaded configuration from %s\n", strings.Join(cfg.Files, ", "))
	}
	return cfg, nil
}
