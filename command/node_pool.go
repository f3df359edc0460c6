package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

const nodePoolHCL = `# A node pool, for: nomadlite node pool apply pool.nomad.hcl
node_pool "example" {
  description = "Machines for one kind of work"

  meta {
    owner = "sysadmins"
  }

  # Overrides the cluster's scheduler configuration for jobs of this pool.
  # scheduler_config {
  #   scheduler_algorithm             = "spread"
  #   memory_oversubscription_enabled = true
  # }
}
`

const nodePoolJSON = `{
  "Name": "example",
  "Description": "Machines for one kind of work",
  "Meta": {
    "owner": "sysadmins"
  }
}
`

// nodePoolFile is a file with one node pool in HCL.
type nodePoolFile struct {
	Pool nodePoolSpec `hcl:"node_pool,block"`
}

type nodePoolSpec struct {
	Name        string             `hcl:"name,label"`
	Description string             `hcl:"description,optional"`
	Meta        *textBlock         `hcl:"meta,block"`
	Scheduler   *nodePoolScheduler `hcl:"scheduler_config,block"`
}

type nodePoolScheduler struct {
	Algorithm        string `hcl:"scheduler_algorithm,optional"`
	Oversubscription *bool  `hcl:"memory_oversubscription_enabled,optional"`
}

func (s *nodePoolSpec) pool() (*structs.NodePool, error) {
	meta, err := s.Meta.texts()
	if err != nil {
		return nil, err
	}
	p := &structs.NodePool{Name: s.Name, Description: s.Description, Meta: meta}
	if c := s.Scheduler; c != nil {
		p.SchedulerConfiguration = &structs.NodePoolSchedulerConfiguration{SchedulerAlgorithm: c.Algorithm, MemoryOversubscriptionEnabled: c.Oversubscription}
	}
	return p, nil
}

// parseNodePool reads the specification of a node pool.
func parseNodePool(text []byte, name string, asJSON bool) (*structs.NodePool, error) {
	p, file := &structs.NodePool{}, &nodePoolFile{}
	if err := decodeSpec(text, name, asJSON, p, file); err != nil || asJSON {
		return p, err
	}
	return file.Pool.pool()
}

// nodePoolApplyVerb creates or changes a node pool.
func nodePoolApplyVerb() *verb {
	var asJSON bool
	return &verb{
		path: "node pool apply", args: "<input>", min: 1, max: 1,
		short: "Create or change a node pool",
		long:  "Create or change a node pool from a specification in a file, or on standard input (-).",
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&asJSON, "json", false, "The specification is JSON.") },
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			text, isFile, err := readSpec(c, args[0])
			if err != nil || !isFile {
				return exitf(1, "Failed to read the node pool specification %q: %v", args[0], orNoFile(err))
			}
			pool, err := parseNodePool(text, args[0], asJSON)
			if err != nil {
				return exitf(1, "Failed to parse the node pool specification: %v", err)
			}
			if _, err := client.NodePools().Set(c.ctx, pool, nil); err != nil {
				return exitf(1, "Error applying node pool: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully applied node pool %q!\n", pool.Name)
			return nil
		},
	}
}

// orNoFile is the error, or that there is no file.
func orNoFile(err error) error {
	if err != nil {
		return err
	}
	return exitf(1, "there is no such file")
}

// nodePoolDeleteVerb removes a node pool.
func nodePoolDeleteVerb() *verb {
	return &verb{
		path: "node pool delete", args: "<node-pool>", min: 1, max: 1,
		short: "Remove a node pool that nothing uses",
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.NodePools().Delete(c.ctx, args[0], nil); err != nil {
				return exitf(1, "Error deleting node pool: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully deleted node pool %q!\n", args[0])
			return nil
		},
	}
}

// nodePoolInitVerb writes an example of a specification.
func nodePoolInitVerb() *verb {
	var form string
	var quiet bool
	return &verb{
		path: "node pool init", args: "[<filename>]", max: 1, local: true,
		short: "Write an example of a node pool specification",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&form, "out", "hcl", "The `form` of the example: hcl or json.")
			fs.BoolVar(&quiet, "quiet", false, "Print nothing.")
		},
		run: func(c *cli, args []string) error {
			text := map[string]string{"hcl": nodePoolHCL, "json": nodePoolJSON}[form]
			if text == "" {
				return exitf(1, "cannot write an example in the form %q: use hcl or json", form)
			}
			name := "pool.nomad." + form
			if len(args) == 1 {
				name = args[0]
			}
			return writeExample(c, "node pool", name, text, quiet)
		},
	}
}

// poolList is the options of verbs that list something of node pools.
type poolList struct {
	out  format
	page pageFlags
}

func (o *poolList) define(fs *flag.FlagSet) {
	o.out.define(fs)
	o.page.define(fs)
}

func (o *poolList) query() *api.QueryOptions {
	return &api.QueryOptions{Filter: o.page.filter, PerPage: o.page.perPage, NextToken: o.page.token}
}

// show prints a page as JSON, through a template, or as a table.
func (o *poolList) show(c *cli, page any, rows [][]string, meta *api.QueryMeta) error {
	if o.out.asked() {
		return o.out.print(c.stdout, page)
	}
	printTable(c.stdout, rows)
	o.page.more(c, meta)
	return nil
}

// nodePoolListVerb lists the node pools.
func nodePoolListVerb() *verb {
	o := &poolList{}
	return &verb{
		path: "node pool list", max: 0,
		short: "List node pools",
		flags: o.define,
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			pools, meta, err := client.NodePools().List(c.ctx, o.query())
			if err != nil {
				return exitf(1, "Error querying node pools: %v", err)
			}
			return o.show(c, pools, poolRows(pools), meta)
		},
	}
}

func poolRows(pools []*structs.NodePool) [][]string {
	rows := [][]string{{"Name", "Description"}}
	for _, p := range pools {
		rows = append(rows, []string{p.Name, orText(p.Description)})
	}
	return rows
}

// resolvePool finds the node pool of a name, or of its only prefix.
func resolvePool(c *cli, client *api.Client, arg string) (*structs.NodePool, error) {
	pools, _, err := client.NodePools().List(c.ctx, &api.QueryOptions{Prefix: arg})
	if err != nil {
		return nil, exitf(1, "Error retrieving node pools: %v", err)
	}
	for _, p := range pools {
		if p.Name == arg || len(pools) == 1 {
			return p, nil
		}
	}
	if len(pools) == 0 {
		return nil, exitf(1, "No node pool with prefix %q found", arg)
	}
	return nil, ambiguous("node pools", poolRows(pools))
}

// nodePoolInfoVerb shows a node pool.
func nodePoolInfoVerb() *verb {
	var out format
	return &verb{
		path: "node pool info", args: "<node-pool>", min: 1, max: 1,
		short: "Show a node pool and its scheduler settings",
		flags: out.define,
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := resolvePool(c, client, args[0])
			if err != nil {
				return err
			}
			if out.asked() {
				return out.print(c.stdout, p)
			}
			printPairs(c.stdout, []pair{{"Name", p.Name}, {"Description", orText(p.Description)}})
			c.title("Metadata")
			if len(p.Meta) == 0 {
				fmt.Fprintln(c.stdout, "No metadata")
			}
			for _, k := range sortedKeys(p.Meta) {
				printPairs(c.stdout, []pair{{k, p.Meta[k]}})
			}
			c.title("Scheduler Configuration")
			s := p.SchedulerConfiguration
			if s == nil {
				fmt.Fprintln(c.stdout, "No scheduler configuration")
				return nil
			}
			pairs := []pair{{"Scheduler Algorithm", firstOf(s.SchedulerAlgorithm, "<the cluster's>")}}
			if s.MemoryOversubscriptionEnabled != nil {
				pairs = append(pairs, pair{"Memory Oversubscription Enabled", strconv.FormatBool(*s.MemoryOversubscriptionEnabled)})
			}
			printPairs(c.stdout, pairs)
			return nil
		},
	}
}

// nodePoolNodesVerb lists the nodes of a pool.
func nodePoolNodesVerb() *verb {
	o, verbose := &poolList{}, false
	return &verb{
		path: "node pool nodes", args: "<node-pool>", min: 1, max: 1,
		short: "List the nodes of a pool",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			verboseFlag(&verbose)(fs)
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := resolvePool(c, client, args[0])
			if err != nil {
				return err
			}
			nodes, meta, err := client.NodePools().Nodes(c.ctx, p.Name, o.query())
			if err != nil {
				return exitf(1, "Error querying nodes: %v", err)
			}
			return o.show(c, nodes, nodeRows(nodes, verbose), meta)
		},
	}
}

// nodePoolJobsVerb lists the jobs of a pool.
func nodePoolJobsVerb() *verb {
	o := &poolList{}
	return &verb{
		path: "node pool jobs", args: "<node-pool>", min: 1, max: 1,
		short: "List the jobs of a pool",
		flags: o.define,
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			p, err := resolvePool(c, client, args[0])
			if err != nil {
				return err
			}
			jobs, meta, err := client.NodePools().Jobs(c.ctx, p.Name, o.query())
			if err != nil {
				return exitf(1, "Error querying jobs: %v", err)
			}
			return o.show(c, jobs, c.jobRows(jobs, c.conf.Namespace == structs.AllNamespaces), meta)
		},
	}
}
