package command

import (
	"flag"
	"fmt"

	"github.com/nomadlite/nomadlite/api"
)

// volumeDeleteVerb deletes a dynamic host volume.
func volumeDeleteVerb() *verb {
	var force bool
	var kind string
	return &verb{
		path: "volume delete", args: "<vol id>", min: 1, max: 1,
		short: "Delete a dynamic host volume",
		long:  "Delete a volume that no allocation uses, with what is in it. A folder that was\nregistered stays.",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&force, "force", false, "Accepted and ignored: a node that is away removes the volume when it is back.")
			fs.StringVar(&kind, "type", "host", "The `type`: host.")
		},
		run: func(c *cli, args []string) error {
			if err := checkVolumeType(kind); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			v, err := resolveVolume(c, client, args[0])
			if err != nil {
				return err
			}
			if _, err := client.HostVolumes().Delete(c.ctx, v.ID, &api.WriteOptions{Namespace: v.Namespace}); err != nil {
				return exitf(1, "Error deleting volume: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully deleted volume %q!\n", v.ID)
			return nil
		},
	}
}
