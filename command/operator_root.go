package command

import (
	"flag"
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// shortKey is how much of a root key's id is shown without -verbose.
const shortKey = 8

func rootKeyRows(keys []*structs.RootKeyMeta, verbose bool) [][]string {
	when := func(nanos int64) string {
		if nanos == 0 {
			return "<none>"
		}
		return time.Unix(0, nanos).UTC().Format(time.RFC3339)
	}
	rows := [][]string{{"Key", "State", "Create Time", "Publish Time"}}
	for _, k := range keys {
		id := k.KeyID
		if !verbose {
			id = id[:min(len(id), shortKey)]
		}
		rows = append(rows, []string{id, k.State, when(k.CreateTime), when(k.PublishTime)})
	}
	return rows
}

// rootKeyringListVerb lists the root keys.
func rootKeyringListVerb() *verb {
	var verbose bool
	return &verb{
		path: "operator root keyring list", max: 0,
		short: "List the keys that encrypt variables and sign identities",
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&verbose, "verbose", false, "show whole ids") },
		run: func(c *cli, _ []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			keys, err := client.Keyring().List(c.ctx, nil)
			if err != nil {
				return exitf(1, "error: %v", err)
			}
			printTable(c.stdout, rootKeyRows(keys, verbose))
			return nil
		},
	}
}

// rootKeyringRotateVerb makes a new root key.
func rootKeyringRotateVerb() *verb {
	var full, now, verbose bool
	var publish time.Duration
	return &verb{
		path: "operator root keyring rotate", max: 0,
		short: "Make a new key that encrypts variables and signs identities",
		long: `What the key before it encrypted stays readable: without -full, variables are encrypted by the new key when they are next written.
With -prepublish, whoever verifies identities learns the new key that long before it is used.`,
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&full, "full", false, "encrypt all variables again")
			fs.BoolVar(&now, "now", false, "use the new key at once (the default)")
			fs.DurationVar(&publish, "prepublish", 0, "show the new key to verifiers for this `time` before it is used")
			fs.BoolVar(&verbose, "verbose", false, "show whole ids")
		},
		run: func(c *cli, _ []string) error {
			at := time.Time{}
			switch {
			case publish < 0:
				return exitf(1, "error: -prepublish %v: it must not be negative", publish)
			case publish > 0 && (full || now):
				return exitf(1, "error: -prepublish cannot be combined with -full or -now")
			case publish > 0:
				at = time.Now().Add(publish)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			key, err := client.Keyring().Rotate(c.ctx, full, at)
			if err != nil {
				return exitf(1, "error: %v", err)
			}
			printTable(c.stdout, rootKeyRows([]*structs.RootKeyMeta{key}, verbose))
			return nil
		},
	}
}

// rootKeyringRemoveVerb removes a root key.
func rootKeyringRemoveVerb() *verb {
	var force bool
	return &verb{
		path: "operator root keyring remove", args: "<key ID>", min: 1, max: 1,
		short: "Remove a root key that is not in use",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&force, "force", false, "also one that encrypts variables, which are lost by that")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			if err := client.Keyring().Delete(c.ctx, args[0], force); err != nil {
				return exitf(1, "error: %v", err)
			}
			fmt.Fprintf(c.stdout, "Removed encryption key %s\n", args[0])
			return nil
		},
	}
}
