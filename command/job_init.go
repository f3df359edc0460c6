package command

import (
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"os"
)

//go:embed job_init_full.nomad.hcl
var initFull []byte

//go:embed job_init_short.nomad.hcl
var initShort []byte

// jobInitVerb writes an example job file.
func jobInitVerb() *verb {
	var short bool
	return &verb{
		path: "job init", aliases: []string{"init"}, args: "[<filename>]", max: 1, local: true,
		short: "Write an example job file",
		long:  "Write an example job file, example.nomad.hcl unless named otherwise. An existing\nfile is never overwritten.",
		flags: func(fs *flag.FlagSet) { fs.BoolVar(&short, "short", false, "Without explanations.") },
		run: func(c *cli, args []string) error {
			name := "example.nomad.hcl"
			if len(args) == 1 {
				name = args[0]
			}
			text := initFull
			if short {
				text = initShort
			}
			f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
			if errors.Is(err, os.ErrExist) {
				return exitf(1, "Job %q already exists; name another file", name)
			}
			if err != nil {
				return exitf(1, "Failed to write %q: %v", name, err)
			}
			_, err = f.Write(text)
			if cerr := f.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				return exitf(1, "Failed to write %q: %v", name, err)
			}
			fmt.Fprintf(c.stdout, "Example job file written to %s\n", name)
			return nil
		},
	}
}
