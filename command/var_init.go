package command

import "flag"

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
			return writeExample(c, "variable", name, text, quiet)
		},
	}
}
