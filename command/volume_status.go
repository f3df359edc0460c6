package command

import (
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// volumeStatus is the options of `volume status`.
type volumeStatus struct {
	kind, node, pool string
	short, verbose   bool
	out              format
}

// volumeStatusVerb shows volumes.
func volumeStatusVerb() *verb {
	var o volumeStatus
	return &verb{
		path: "volume status", args: "[<id>]", max: 1,
		short: "Show volumes, or one of them",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&o.kind, "type", "", "Only this `type`: host or csi.")
			fs.StringVar(&o.node, "node", "", "Only volumes of this `node`.")
			fs.StringVar(&o.pool, "node-pool", "", "Only volumes of this node `pool`.")
			fs.BoolVar(&o.short, "short", false, "Without the allocations.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
			o.out.define(fs)
		},
		run: func(c *cli, args []string) error {
			if o.kind != "" && o.kind != "host" && o.kind != "csi" {
				return exitf(1, "Unknown volume type %q: use host or csi", o.kind)
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return o.one(c, client, args[0])
			}
			return o.list(c, client)
		},
	}
}

func (o *volumeStatus) list(c *cli, client *api.Client) error {
	found, _, err := client.HostVolumes().List(c.ctx, o.node, o.pool, nil)
	if err != nil {
		return exitf(1, "Error querying volumes: %v", err)
	}
	if o.out.asked() {
		return o.out.print(c.stdout, found)
	}
	if o.kind != "csi" {
		fmt.Fprintln(c.stdout, "Dynamic Host Volumes")
		if len(found) == 0 {
			fmt.Fprintln(c.stdout, "No dynamic host volumes")
		} else {
			printTable(c.stdout, volumeRows(found, o.verbose))
		}
	}
	if o.kind != "host" {
		if o.kind == "" {
			fmt.Fprintln(c.stdout)
		}
		fmt.Fprintln(c.stdout, "Container Storage Interface\nNo CSI volumes")
	}
	return nil
}

func volumeRows(found []*structs.HostVolumeStub, verbose bool) [][]string {
	rows := [][]string{{"ID", "Name", "Namespace", "Plugin ID", "Node ID", "Node Pool", "State"}}
	for _, v := range found {
		rows = append(rows, []string{shortID(v.ID, verbose), v.Name, v.Namespace, v.PluginID, shortID(v.NodeID, verbose), v.NodePool, v.State})
	}
	return rows
}

func (o *volumeStatus) one(c *cli, client *api.Client, arg string) error {
	stub, err := resolveVolume(c, client, arg)
	if err != nil {
		return err
	}
	v, _, err := client.HostVolumes().Get(c.ctx, stub.ID, &api.QueryOptions{Namespace: stub.Namespace})
	if err != nil {
		return exitf(1, "Error querying volume: %v", err)
	}
	if o.out.asked() {
		return o.out.print(c.stdout, v)
	}
	printPairs(c.stdout, []pair{
		{"ID", v.ID}, {"Name", v.Name}, {"Namespace", v.Namespace}, {"Plugin ID", v.PluginID}, {"Node ID", shortID(v.NodeID, o.verbose)},
		{"Node Pool", v.NodePool}, {"Capacity", strconv.FormatInt(v.CapacityBytes, 10) + " B"}, {"State", v.State}, {"Host Path", v.HostPath},
	})
	if o.short {
		return nil
	}
	fmt.Fprintln(c.stdout, "\nAllocations")
	if len(v.Allocations) == 0 {
		fmt.Fprintln(c.stdout, "No allocations placed")
		return nil
	}
	rows := [][]string{{"ID", "Node ID", "Task Group", "Version", "Desired", "Status", "Created", "Modified"}}
	for _, a := range v.Allocations {
		rows = append(rows, c.allocRow(a, o.verbose))
	}
	printTable(c.stdout, rows)
	return nil
}

// resolveVolume finds the one volume whose id begins with arg.
func resolveVolume(c *cli, client *api.Client, arg string) (*structs.HostVolumeStub, error) {
	prefix, err := uuidPrefix(arg)
	if err != nil {
		return nil, err
	}
	found, _, err := client.HostVolumes().List(c.ctx, "", "", &api.QueryOptions{Prefix: prefix, Namespace: c.anyNamespace()})
	if err != nil {
		return nil, exitf(1, "Error querying volume: %v", err)
	}
	found = having(found, arg, func(v *structs.HostVolumeStub) string { return v.ID })
	switch len(found) {
	case 0:
		return nil, exitf(1, "No volumes with prefix or ID %q found", arg)
	case 1:
		return found[0], nil
	}
	return nil, ambiguous("volumes", volumeRows(found, true))
}
