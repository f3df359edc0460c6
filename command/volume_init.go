package command

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
)

const volumeSpecHCL = `# A dynamic host volume, for: nomadlite volume create volume.host.hcl
type = "host"

# The name that a job's volume block gives as its source.
name = "example"

# The plugin that makes the volume on its node; mkdir makes a folder.
plugin_id = "mkdir"

# The node is chosen by pool and constraints, or named.
# node_pool = "default"
# node_id   = "f1c2…"

capacity_min = "1GiB"
capacity_max = "10GiB"

capability {
  access_mode     = "single-node-writer"
  attachment_mode = "file-system"
}

constraint {
  attribute = "${attr.kernel.name}"
  value     = "linux"
}

# What the plugin takes; mkdir: mode, uid, gid.
parameters = {
  mode = "0755"
}
`

const volumeSpecJSON = `{
  "Type": "host",
  "Name": "example",
  "PluginID": "mkdir",
  "RequestedCapacityMinBytes": 1073741824,
  "RequestedCapacityMaxBytes": 10737418240,
  "RequestedCapabilities": [
    {"AccessMode": "single-node-writer", "AttachmentMode": "file-system"}
  ],
  "Parameters": {"mode": "0755"}
}
`

// volumeInitVerb writes an example of a specification.
func volumeInitVerb() *verb {
	var asJSON bool
	var kind string
	return &verb{
		path: "volume init", args: "[<filename>]", max: 1, local: true,
		short: "Write an example of a volume specification",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&asJSON, "json", false, "As JSON.")
			fs.StringVar(&kind, "type", "host", "The `type`: host.")
		},
		run: func(c *cli, args []string) error {
			if err := checkVolumeType(kind); err != nil {
				return err
			}
			name, text := "volume.host.hcl", volumeSpecHCL
			if asJSON {
				name, text = "volume.host.json", volumeSpecJSON
			}
			if len(args) == 1 {
				name = args[0]
			}
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o660)
			if errors.Is(err, fs.ErrExist) {
				return exitf(1, "File %q already exists", name)
			}
			if err == nil {
				_, err = f.WriteString(text)
				err = errors.Join(err, f.Close())
			}
			if err != nil {
				return exitf(1, "Failed to write %q: %v", name, err)
			}
			fmt.Fprintf(c.stdout, "Example volume specification written to %s\n", name)
			return nil
		},
	}
}
