package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// schedulerGetConfigVerb shows the setting of the schedulers.
func schedulerGetConfigVerb() *verb {
	var o format
	return &verb{
		path: "operator scheduler get-config", max: 0,
		short: "Show the setting of the schedulers",
		flags: func(fs *flag.FlagSet) { o.define(fs) },
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			resp, _, err := client.Operator().SchedulerConfiguration(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying scheduler configuration: %v", err)
			}
			if o.asked() {
				return o.print(c.stdout, resp)
			}
			cfg := resp.SchedulerConfig
			printPairs(c.stdout, []pair{
				{"Scheduler Algorithm", cfg.SchedulerAlgorithm},
				{"Memory Oversubscription", strconv.FormatBool(cfg.MemoryOversubscriptionEnabled)},
				{"Reject Job Registration", strconv.FormatBool(cfg.RejectJobRegistration)},
				{"Pause Eval Broker", strconv.FormatBool(cfg.PauseEvalBroker)},
				{"Preemption System Scheduler", strconv.FormatBool(cfg.PreemptionConfig.SystemSchedulerEnabled)},
				{"Preemption Service Scheduler", strconv.FormatBool(cfg.PreemptionConfig.ServiceSchedulerEnabled)},
				{"Preemption Batch Scheduler", strconv.FormatBool(cfg.PreemptionConfig.BatchSchedulerEnabled)},
				{"Preemption SysBatch Scheduler", strconv.FormatBool(cfg.PreemptionConfig.SysBatchSchedulerEnabled)},
				{"Modify Index", strconv.FormatUint(cfg.ModifyIndex, 10)},
			})
			return nil
		},
	}
}

// schedulerSetting is one flag of set-config: it changes the setting where it
// was given.
type schedulerSetting struct {
	name, usage string
	set         func(cfg *structs.SchedulerConfiguration, text string) error
	text        string
}

// truth makes a setting of a flag that takes true or false.
func truth(name, usage string, field func(*structs.SchedulerConfiguration) *bool) *schedulerSetting {
	return &schedulerSetting{name: name, usage: usage, set: func(cfg *structs.SchedulerConfiguration, text string) error {
		v, err := strconv.ParseBool(text)
		if err != nil {
			return exitf(1, "Error parsing -%s value %q: it must be true or false", name, text)
		}
		*field(cfg) = v
		return nil
	}}
}

func schedulerSettings() []*schedulerSetting {
	type config = structs.SchedulerConfiguration
	return []*schedulerSetting{
		{name: "scheduler-algorithm", usage: "How nodes are chosen: binpack, binpack-exp, spread or one that was added. A `name`.",
			set: func(cfg *config, text string) error { cfg.SchedulerAlgorithm = text; return nil }},
		{name: "node-limit-for-feasibility-checks", usage: "The contract's `number` of nodes to look at; kept for tools, as every node is seen here.",
			set: func(cfg *config, text string) error {
				n, err := strconv.ParseUint(text, 10, 32)
				if err != nil {
					return exitf(1, "Error parsing -node-limit-for-feasibility-checks value %q: it must be a whole number", text)
				}
				cfg.NodeLimitForFeasibilityChecks = uint(n)
				return nil
			}},
		truth("memory-oversubscription", "Let tasks have a memory_max: `true` or false.", func(c *config) *bool { return &c.MemoryOversubscriptionEnabled }),
		truth("reject-job-registration", "Refuse new and changed jobs: `true` or false.", func(c *config) *bool { return &c.RejectJobRegistration }),
		truth("pause-eval-broker", "Let evaluations wait: `true` or false.", func(c *config) *bool { return &c.PauseEvalBroker }),
		truth("preempt-batch-scheduler", "Let batch jobs evict lower priorities: `true` or false.", func(c *config) *bool { return &c.PreemptionConfig.BatchSchedulerEnabled }),
		truth("preempt-service-scheduler", "Let services evict lower priorities: `true` or false.", func(c *config) *bool { return &c.PreemptionConfig.ServiceSchedulerEnabled }),
		truth("preempt-sysbatch-scheduler", "Let sysbatch jobs evict lower priorities: `true` or false.", func(c *config) *bool { return &c.PreemptionConfig.SysBatchSchedulerEnabled }),
		truth("preempt-system-scheduler", "Let system jobs evict lower priorities: `true` or false.", func(c *config) *bool { return &c.PreemptionConfig.SystemSchedulerEnabled }),
	}
}

// schedulerSetConfigVerb changes parts of the setting of the schedulers; what
// is not given stays. It never overwrites another's change.
func schedulerSetConfigVerb() *verb {
	settings := schedulerSettings()
	var check checkIndex
	return &verb{
		path: "operator scheduler set-config", max: 0,
		short: "Change the setting of the schedulers",
		flags: func(fs *flag.FlagSet) {
			for _, s := range settings {
				fs.StringVar(&s.text, s.name, "", s.usage)
			}
			fs.Var(&check, "check-index", "Change it only if its modify `index` is this one.")
		},
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			resp, _, err := client.Operator().SchedulerConfiguration(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error querying for scheduler configuration: %v", err)
			}
			cfg := resp.SchedulerConfig
			for _, s := range settings {
				if s.text == "" {
					continue
				}
				if err := s.set(cfg, s.text); err != nil {
					return err
				}
			}
			if check.value == nil {
				check.value = &cfg.ModifyIndex
			}
			out, _, err := client.Operator().SetSchedulerConfiguration(c.ctx, cfg, &api.WriteOptions{Params: map[string]string{"cas": check.String()}})
			if err != nil {
				return exitf(1, "Error setting scheduler configuration: %v", err)
			}
			if !out.Updated {
				return exitf(1, "Scheduler configuration could not be atomically updated, please try again")
			}
			fmt.Fprintln(c.stdout, "Scheduler configuration updated!")
			return nil
		},
	}
}
