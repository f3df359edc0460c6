package command

import (
	"flag"
	"fmt"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// volumeCreate is the options of `volume create` and `volume register`.
type volumeCreate struct {
	register, detach, verbose, override bool
	id                                  string
}

// volumeCreateVerb makes a dynamic host volume.
func volumeCreateVerb() *verb {
	return (&volumeCreate{}).verb("volume create", "Make a dynamic host volume",
		"Make a volume on a node that fits, from a specification in HCL or JSON (- is the\nstandard input), and wait until the node has it. See: nomadlite volume init.")
}

// volumeRegisterVerb takes a volume that stands on its node.
func volumeRegisterVerb() *verb {
	return (&volumeCreate{register: true}).verb("volume register", "Register a host volume that stands on its node",
		"Register a folder of a node as a volume: its specification names node_id and\nhost_path. Deleting the volume leaves the folder alone.")
}

func (o *volumeCreate) verb(path, short, long string) *verb {
	return &verb{
		path: path, args: "<input>", min: 1, max: 1, short: short, long: long,
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&o.detach, "detach", false, "Do not wait for the node.")
			fs.StringVar(&o.id, "id", "", "Update the volume of this `id`.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
			fs.BoolVar(&o.override, "policy-override", false, "Accepted and ignored.")
		},
		run: func(c *cli, args []string) error { return o.run(c, args[0]) },
	}
}

func (o *volumeCreate) run(c *cli, input string) error {
	v, err := readVolume(c.stdin, input)
	if err != nil {
		return err
	}
	if o.id != "" {
		v.ID = o.id
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	var w *api.WriteOptions
	if v.Namespace != "" {
		w = &api.WriteOptions{Namespace: v.Namespace}
	}
	stored, _, err := client.HostVolumes().Create(c.ctx, v, o.register, w)
	if err != nil {
		return exitf(1, "Error creating volume: %v", err)
	}
	what := "Created"
	if o.register {
		what = "Registered"
	}
	fmt.Fprintf(c.stdout, "%s host volume %s with ID %s\n", what, stored.Name, stored.ID)
	if o.detach || stored.State == structs.HostVolumeReady {
		return nil
	}
	return o.await(c, client, stored)
}

// await follows the volume until its node has it.
func (o *volumeCreate) await(c *cli, client *api.Client, v *structs.HostVolume) error {
	q := &api.QueryOptions{Namespace: v.Namespace, WaitIndex: v.ModifyIndex, WaitTime: time.Minute}
	for {
		now, meta, err := client.HostVolumes().Get(c.ctx, v.ID, q)
		if err != nil {
			return exitf(1, "Error monitoring volume: %v", err)
		}
		if now.State == structs.HostVolumeReady {
			fmt.Fprintf(c.stdout, "Host volume %q ready on node %q at %s\n", now.ID, shortID(now.NodeID, o.verbose), now.HostPath)
			return nil
		}
		q.WaitIndex = max(meta.LastIndex, q.WaitIndex)
	}
}
