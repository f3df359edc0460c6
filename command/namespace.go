package command

import (
	"flag"
	"fmt"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// namespaceSpec is a namespace in HCL.
type namespaceSpec struct {
	Name         string             `hcl:"name"`
	Description  string             `hcl:"description,optional"`
	Quota        string             `hcl:"quota,optional"`
	Meta         *textBlock         `hcl:"meta,block"`
	Capabilities *namespaceCaps     `hcl:"capabilities,block"`
	NodePools    *namespacePoolSpec `hcl:"node_pool_config,block"`
}

type namespaceCaps struct {
	EnabledTaskDrivers   []string `hcl:"enabled_task_drivers,optional"`
	DisabledTaskDrivers  []string `hcl:"disabled_task_drivers,optional"`
	EnabledNetworkModes  []string `hcl:"enabled_network_modes,optional"`
	DisabledNetworkModes []string `hcl:"disabled_network_modes,optional"`
}

type namespacePoolSpec struct {
	Default string   `hcl:"default,optional"`
	Allowed []string `hcl:"allowed,optional"`
	Denied  []string `hcl:"denied,optional"`
}

func (s *namespaceSpec) namespace() (*structs.Namespace, error) {
	meta, err := s.Meta.texts()
	if err != nil {
		return nil, err
	}
	n := &structs.Namespace{Name: s.Name, Description: s.Description, Quota: s.Quota, Meta: meta}
	if c := s.Capabilities; c != nil {
		n.Capabilities = &structs.NamespaceCapabilities{EnabledTaskDrivers: c.EnabledTaskDrivers, DisabledTaskDrivers: c.DisabledTaskDrivers,
			EnabledNetworkModes: c.EnabledNetworkModes, DisabledNetworkModes: c.DisabledNetworkModes}
	}
	if p := s.NodePools; p != nil {
		n.NodePoolConfiguration = &structs.NamespaceNodePoolConfiguration{Default: p.Default, Allowed: p.Allowed, Denied: p.Denied}
	}
	return n, nil
}

// parseNamespace reads the specification of a namespace.
func parseNamespace(text []byte, name string, asJSON bool) (*structs.Namespace, error) {
	n, spec := &structs.Namespace{}, &namespaceSpec{}
	if err := decodeSpec(text, name, asJSON, n, spec); err != nil || asJSON {
		return n, err
	}
	return spec.namespace()
}

// namespaceApplyVerb creates or changes a namespace.
func namespaceApplyVerb() *verb {
	var description, quota optionalText
	var asJSON bool
	return &verb{
		path: "namespace apply", args: "<input>", min: 1, max: 1,
		short: "Create or change a namespace",
		long: "Create or change a namespace: a specification in a file or on standard input (-), or a\n" +
			"name with the fields to change as options.",
		flags: func(fs *flag.FlagSet) {
			fs.Var(&description, "description", "A `text` about the namespace.")
			fs.Var(&quota, "quota", "The `quota` of the namespace.")
			fs.BoolVar(&asJSON, "json", false, "The specification is JSON.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			text, isFile, err := readSpec(c, args[0])
			if err != nil {
				return exitf(1, "Error reading the namespace specification: %v", err)
			}
			var n *structs.Namespace
			if isFile {
				if n, err = parseNamespace(text, args[0], asJSON); err != nil {
					return exitf(1, "Error parsing the namespace specification: %v", err)
				}
			} else if n, err = namespaceToChange(c, client, args[0]); err != nil {
				return err
			}
			description.into(&n.Description)
			quota.into(&n.Quota)
			if _, err := client.Namespaces().Set(c.ctx, n, nil); err != nil {
				return exitf(1, "Error applying namespace specification: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully applied namespace %q!\n", n.Name)
			return nil
		},
	}
}

// namespaceToChange is the namespace of a name, a new one when there is none.
func namespaceToChange(c *cli, client *api.Client, name string) (*structs.Namespace, error) {
	all, _, err := client.Namespaces().List(c.ctx, &api.QueryOptions{Prefix: name})
	if err != nil {
		return nil, exitf(1, "Error looking up namespace: %v", err)
	}
	for _, n := range all {
		if n.Name == name {
			return n, nil
		}
	}
	return &structs.Namespace{Name: name}, nil
}

// namespaceDeleteVerb removes a namespace.
func namespaceDeleteVerb() *verb {
	return &verb{
		path: "namespace delete", args: "<namespace>", min: 1, max: 1,
		short: "Remove a namespace in which nothing runs",
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if _, err := client.Namespaces().Delete(c.ctx, args[0], nil); err != nil {
				return exitf(1, "Error deleting namespace: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully deleted namespace %q!\n", args[0])
			return nil
		},
	}
}

// namespaceListVerb lists the namespaces.
func namespaceListVerb() *verb {
	var out format
	return &verb{
		path: "namespace list", max: 0,
		short: "List namespaces",
		flags: out.define,
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			all, _, err := client.Namespaces().List(c.ctx, nil)
			if err != nil {
				return exitf(1, "Error retrieving namespaces: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, all)
			}
			rows := [][]string{{"Name", "Description"}}
			for _, n := range all {
				rows = append(rows, []string{n.Name, orText(n.Description)})
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

// resolveNamespace finds the namespace of a name, or of its only prefix.
func resolveNamespace(c *cli, client *api.Client, arg string) (*structs.Namespace, error) {
	all, _, err := client.Namespaces().List(c.ctx, &api.QueryOptions{Prefix: arg})
	if err != nil {
		return nil, exitf(1, "Error retrieving namespaces: %v", err)
	}
	rows := [][]string{{"Name", "Description"}}
	for _, n := range all {
		if n.Name == arg || len(all) == 1 {
			return n, nil
		}
		rows = append(rows, []string{n.Name, orText(n.Description)})
	}
	if len(all) == 0 {
		return nil, exitf(1, "Namespace %q matched no namespaces", arg)
	}
	return nil, ambiguous("namespaces", rows)
}

// namespaceShow makes a verb that shows one namespace.
func namespaceShow(path, short string, out *format, define func(*flag.FlagSet), show func(c *cli, n *structs.Namespace)) *verb {
	return &verb{
		path: path, args: "<namespace>", min: 1, max: 1, short: short, flags: define,
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			n, err := resolveNamespace(c, client, args[0])
			if err != nil {
				return err
			}
			if out.asked() {
				return out.print(c.stdout, n)
			}
			show(c, n)
			return nil
		},
	}
}

// namespaceInspectVerb prints a namespace as JSON.
func namespaceInspectVerb() *verb {
	var out format
	return namespaceShow("namespace inspect", "Print a namespace as JSON", &out, func(fs *flag.FlagSet) {
		fs.StringVar(&out.tmpl, "t", "", "Print through this Go `template`.")
	}, func(c *cli, n *structs.Namespace) { _ = printJSON(c.stdout, n) })
}

// namespaceStatusVerb shows a namespace.
func namespaceStatusVerb() *verb {
	var out format
	return namespaceShow("namespace status", "Show a namespace and what it allows", &out, out.define, func(c *cli, n *structs.Namespace) {
		caps := n.Capabilities
		if caps == nil {
			caps = &structs.NamespaceCapabilities{}
		}
		pools := n.NodePoolConfiguration
		if pools == nil {
			pools = &structs.NamespaceNodePoolConfiguration{}
		}
		names := func(list []string, none string) string {
			if len(list) == 0 {
				return none
			}
			return strings.Join(list, ",")
		}
		printPairs(c.stdout, []pair{
			{"Name", n.Name}, {"Description", orText(n.Description)}, {"Quota", orText(n.Quota)},
			{"EnabledDrivers", names(caps.EnabledTaskDrivers, "*")}, {"DisabledDrivers", names(caps.DisabledTaskDrivers, "<none>")},
			{"EnabledNetworkModes", names(caps.EnabledNetworkModes, "*")}, {"DisabledNetworkModes", names(caps.DisabledNetworkModes, "<none>")},
			{"Default Node Pool", firstOf(pools.Default, structs.NodePoolDefault)},
			{"Allowed Node Pools", names(pools.Allowed, "*")}, {"Denied Node Pools", names(pools.Denied, "<none>")},
		})
		printMeta(c, n.Meta)
	})
}

// printMeta prints the section of an object's metadata.
func printMeta(c *cli, meta map[string]string) {
	if len(meta) == 0 {
		return
	}
	c.title("Metadata")
	var pairs []pair
	for _, k := range sortedKeys(meta) {
		pairs = append(pairs, pair{k, meta[k]})
	}
	printPairs(c.stdout, pairs)
}
