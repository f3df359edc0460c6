package command

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"sort"
	"strconv"
)

// gossipGenerateVerb makes a key for gossip.
func gossipGenerateVerb() *verb {
	return &verb{
		path: "operator gossip keyring generate", max: 0, local: true,
		short: "Make a key for gossip",
		run: func(c *cli, _ []string) error {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails since Go 1.24
			fmt.Fprintln(c.stdout, base64.StdEncoding.EncodeToString(key))
			return nil
		},
	}
}

// gossipListVerb lists the keys of gossip.
func gossipListVerb() *verb {
	return &verb{
		path: "operator gossip keyring list", max: 0,
		short: "List the gossip keys and how many members have each",
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			out, err := client.Agent().Keyring(c.ctx, "list", "")
			if err != nil {
				return exitf(1, "Error listing the keys: %v", err)
			}
			keys := make([]string, 0, len(out.Keys))
			for k := range out.Keys {
				keys = append(keys, k)
			}
			sort.Strings(keys)
			rows := [][]string{{"Key", "Primary", "Members"}}
			for _, k := range keys {
				rows = append(rows, []string{k, strconv.FormatBool(out.PrimaryKeys[k] == out.NumNodes), fmt.Sprintf("%d/%d", out.Keys[k], out.NumNodes)})
			}
			printTable(c.stdout, rows)
			return nil
		},
	}
}

// gossipChangeVerbs install, use and remove keys.
func gossipChangeVerbs() []*verb {
	var out []*verb
	for _, v := range []struct{ action, short, done string }{
		{"install", "Install a gossip key on all members", "Successfully installed the key"},
		{"use", "Make an installed gossip key the one that encrypts", "Successfully changed the key in use"},
		{"remove", "Remove a gossip key that is not in use", "Successfully removed the key"},
	} {
		out = append(out, &verb{
			path: "operator gossip keyring " + v.action, args: "<key>", min: 1, max: 1, short: v.short,
			run: func(c *cli, args []string) error {
				client, err := c.client()
				if err != nil {
					return err
				}
				if _, err := client.Agent().Keyring(c.ctx, v.action, args[0]); err != nil {
					return exitf(1, "error: %v", err)
				}
				fmt.Fprintln(c.stdout, v.done)
				return nil
			},
		})
	}
	return out
}
