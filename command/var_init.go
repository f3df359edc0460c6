package command

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
)

const varSpecHCL = `# A variable specification, for: nomadlite var put @spec.nv.hcl
# The namespace to write into; without it, that of the command line.
# namespace = "default"

# Letters, digits, and - _ ~ / are allowed. Tasks read what is below
# nomad/jobs/<job>, in their own job's name.
path = "path/to/variable"

# Write only when the stored variable has this index.
# modify_index = 0

items = {
  key1 = "value 1"
  key2 = "value 2"
}
`

const varSpecJSON = `{
  "Namespace": "default",
  "Path": "path/to/variable",
  "Items": {
    "key1": "value 1",
    "key2": "value 2"
  }
}
`

// varInitVerb writes an example of a specification.
func varInitVerb() *verb {
	var form string
	var quiet bool
	return &verb{
		path: "var init", args: "[<filename>]", max: 1, local: true,
		short: "Write an example of a variable specification",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&form, "out", "hcl", "The `form` of the example: hcl or json.")
			fs.BoolVar(&quiet, "quiet", false, "Print nothing.")
		},
		run: func(c *cli, args []string) error {
			text := map[string]string{"hcl": varSpecHCL, "json": varSpecJSON}[form]
			if text == "" {
				return exitf(1, "cannot write an example in the form %q: use hcl or json", form)
			}
			name := "spec.nv." + form
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
			if !quiet {
				fmt.Fprintf(c.stdout, "Example variable specification written to %s\n", name)
			}
			return nil
		},
	}
}
