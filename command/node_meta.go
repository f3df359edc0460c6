package command

import (
	"flag"
	"fmt"
	"strings"

	"github.com/nomadlite/nomadlite/api"
)

// nodeMetaApplyVerb changes the metadata of a node.
func nodeMetaApplyVerb() *verb {
	var node, unset string
	return &verb{
		path: "node meta apply", args: "[-node-id ...] [-unset ...] key1=value1 ... kN=vN", max: -1,
		short: "Change the metadata of a node",
		long:  "Set and unset metadata of a node while it runs, that of the asked agent unless\nnamed. Jobs find it as ${meta.key}; it outlives a restart of the agent.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&node, "node-id", "", "The `node`, by id, prefix or name.")
			fs.StringVar(&unset, "unset", "", "The `keys` to take away, separated by commas.")
		},
		run: func(c *cli, args []string) error {
			change, err := metaChange(args, unset)
			if err != nil {
				return err
			}
			client, id, err := metaNode(c, node)
			if err != nil {
				return err
			}
			if _, err := client.Nodes().ApplyMeta(c.ctx, &api.NodeMetaApplyRequest{NodeID: id, Meta: change}, nil); err != nil {
				return exitf(1, "Error applying dynamic node metadata: %v", err)
			}
			return nil
		},
	}
}

// metaChange reads what is to be set and what is to be unset.
func metaChange(args []string, unset string) (map[string]*string, error) {
	change := map[string]*string{}
	for _, key := range strings.Split(unset, ",") {
		if key = strings.TrimSpace(key); key != "" {
			change[key] = nil
		}
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok || key == "" {
			return nil, exitf(1, "Error parsing %q: write key=value", arg)
		}
		if _, twice := change[key]; twice {
			return nil, exitf(1, "Error: the key %q is given twice", key)
		}
		change[key] = &value
	}
	if len(change) == 0 {
		return nil, exitf(1, "Give at least one key=value, or keys to -unset")
	}
	return change, nil
}

// metaNode finds the node of -node-id; "" is that of the asked agent.
func metaNode(c *cli, arg string) (*api.Client, string, error) {
	client, err := c.client()
	if err != nil || arg == "" {
		return client, "", err
	}
	id, err := resolveNode(c.ctx, c, client, arg)
	return client, id, err
}

// nodeMetaReadVerb prints the metadata of a node.
func nodeMetaReadVerb() *verb {
	var out format
	var node string
	return &verb{
		path: "node meta read", args: "[-json] [-node-id ...]",
		short: "Print the metadata of a node",
		flags: func(fs *flag.FlagSet) {
			out.define(fs)
			fs.StringVar(&node, "node-id", "", "The `node`, by id, prefix or name.")
		},
		run: func(c *cli, _ []string) error {
			client, id, err := metaNode(c, node)
			if err != nil {
				return err
			}
			meta, err := client.Nodes().Meta(c.ctx, id, nil)
			if err != nil {
				return exitf(1, "Error reading dynamic node metadata: %v", err)
			}
			if out.asked() {
				return out.print(c.stdout, meta)
			}
			fmt.Fprintln(c.stdout, "All Meta")
			printPairs(c.stdout, pairsOf(meta.Meta))
			dynamic := map[string]string{}
			for k, v := range meta.Dynamic {
				if v == nil {
					dynamic[k] = "<unset>"
				} else {
					dynamic[k] = *v
				}
			}
			c.title("Dynamic Meta")
			printPairs(c.stdout, pairsOf(dynamic))
			return nil
		},
	}
}

// pairsOf is a map by its keys.
func pairsOf(m map[string]string) []pair {
	var out []pair
	for _, k := range sortedKeys(m) {
		out = append(out, pair{k, m[k]})
	}
	return out
}
