package command

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// autopilotGetVerb shows how the leader cares for the servers.
func autopilotGetVerb() *verb {
	var o format
	return &verb{
		path: "operator autopilot get-config", max: 0,
		short: "Show how the leader cares for the set of servers",
		flags: func(fs *flag.FlagSet) { o.define(fs) },
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			cfg, err := client.Operator().AutopilotConfiguration(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying Autopilot configuration: %v", err)
			}
			if o.asked() {
				return o.print(c.stdout, cfg)
			}
			printPairs(c.stdout, []pair{
				{"CleanupDeadServers", strconv.FormatBool(cfg.CleanupDeadServers)},
				{"LastContactThreshold", time.Duration(cfg.LastContactThreshold).String()},
				{"MaxTrailingLogs", strconv.FormatUint(cfg.MaxTrailingLogs, 10)},
				{"MinQuorum", strconv.FormatUint(uint64(cfg.MinQuorum), 10)},
				{"ServerStabilizationTime", time.Duration(cfg.ServerStabilizationTime).String()},
				{"EnableRedundancyZones", strconv.FormatBool(cfg.EnableRedundancyZones)},
				{"DisableUpgradeMigration", strconv.FormatBool(cfg.DisableUpgradeMigration)},
				{"EnableCustomUpgrades", strconv.FormatBool(cfg.EnableCustomUpgrades)},
			})
			return nil
		},
	}
}

// autopilotSetVerb changes that; what no flag names stays.
func autopilotSetVerb() *verb {
	var changes []func(*structs.AutopilotConfiguration)
	set := func(fs *flag.FlagSet, name, usage string, parse func(string) (func(*structs.AutopilotConfiguration), error)) {
		fs.Func(name, usage, func(text string) error {
			change, err := parse(text)
			if err == nil {
				changes = append(changes, change)
			}
			return err
		})
	}
	duration := func(field func(*structs.AutopilotConfiguration) *structs.TextDuration) func(string) (func(*structs.AutopilotConfiguration), error) {
		return func(text string) (func(*structs.AutopilotConfiguration), error) {
			d, err := time.ParseDuration(text)
			return func(c *structs.AutopilotConfiguration) { *field(c) = structs.TextDuration(d) }, err
		}
	}
	return &verb{
		path: "operator autopilot set-config", max: 0,
		short: "Change how the leader cares for the set of servers",
		flags: func(fs *flag.FlagSet) {
			set(fs, "cleanup-dead-servers", "Remove dead servers: `true or false`.", func(text string) (func(*structs.AutopilotConfiguration), error) {
				b, err := strconv.ParseBool(text)
				return func(c *structs.AutopilotConfiguration) { c.CleanupDeadServers = b }, err
			})
			set(fs, "max-trailing-logs", "How many `entries` a healthy server may be behind.", func(text string) (func(*structs.AutopilotConfiguration), error) {
				n, err := strconv.ParseUint(text, 10, 64)
				return func(c *structs.AutopilotConfiguration) { c.MaxTrailingLogs = n }, err
			})
			set(fs, "min-quorum", "How many `voters` stay whatever happens.", func(text string) (func(*structs.AutopilotConfiguration), error) {
				n, err := strconv.ParseUint(text, 10, 32)
				return func(c *structs.AutopilotConfiguration) { c.MinQuorum = uint(n) }, err
			})
			set(fs, "last-contact-threshold", "For how `long` a healthy server may not hear the leader.",
				duration(func(c *structs.AutopilotConfiguration) *structs.TextDuration { return &c.LastContactThreshold }))
			set(fs, "server-stabilization-time", "For how `long` a new server must be healthy before it votes.",
				duration(func(c *structs.AutopilotConfiguration) *structs.TextDuration { return &c.ServerStabilizationTime }))
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			cfg, err := client.Operator().AutopilotConfiguration(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying Autopilot configuration: %v", err)
			}
			for _, change := range changes {
				change(cfg)
			}
			done, err := client.Operator().SetAutopilotConfiguration(c.ctx, cfg, cfg.ModifyIndex)
			if err != nil {
				return exitf(1, "Error setting Autopilot configuration: %v", err)
			}
			if !done {
				return exitf(1, "Configuration could not be atomically updated, please try again")
			}
			fmt.Fprintln(c.stdout, "Configuration updated!")
			return nil
		},
	}
}

// autopilotHealthVerb shows the health of the servers.
func autopilotHealthVerb() *verb {
	var o format
	return &verb{
		path: "operator autopilot health", max: 0,
		short: "Show the health of the servers",
		flags: func(fs *flag.FlagSet) { o.define(fs) },
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			h, err := client.Operator().AutopilotHealth(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying Autopilot health: %v", err)
			}
			if o.asked() {
				if err := o.print(c.stdout, h); err != nil {
					return err
				}
			} else {
				printPairs(c.stdout, []pair{{"Healthy", strconv.FormatBool(h.Healthy)}, {"FailureTolerance", strconv.Itoa(h.FailureTolerance)}, {"Leader", h.Leader}})
				rows := [][]string{{"ID", "Name", "Address", "SerfStatus", "Version", "Leader", "Voter", "Healthy", "LastContact", "LastTerm", "LastIndex", "StableSince"}}
				for _, s := range h.Servers {
					rows = append(rows, []string{s.ID, s.Name, s.Address, s.SerfStatus, s.Version, strconv.FormatBool(s.Leader), strconv.FormatBool(s.Voter),
						strconv.FormatBool(s.Healthy), time.Duration(s.LastContact).String(), strconv.FormatUint(s.LastTerm, 10), strconv.FormatUint(s.LastIndex, 10), s.StableSince.Format(time.RFC3339)})
				}
				fmt.Fprintln(c.stdout)
				printTable(c.stdout, rows)
			}
			if !h.Healthy {
				return exitCode(1)
			}
			return nil
		},
	}
}
