package command

import (
	"errors"
	"flag"
	"fmt"
	"strconv"

	"github.com/nomadlite/nomadlite/api"
)

// checkIndex is the -check-index option: nil when it is not given.
type checkIndex struct{ value *uint64 }

func (i *checkIndex) String() string {
	if i.value == nil {
		return ""
	}
	return strconv.FormatUint(*i.value, 10)
}

func (i *checkIndex) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is no index", s)
	}
	i.value = &n
	return nil
}

// conflictText words a conditional write that lost.
func conflictText(conflict *api.VariableConflict, check *uint64, verb string) error {
	if conflict.Current.ModifyIndex == 0 {
		return exitf(1, "Check-and-Set conflict\n\nYour provided check-index (%d) does not match: the variable does not exist on the server. Nothing was %s.", *check, verb)
	}
	return exitf(1, "Check-and-Set conflict\n\nYour provided check-index (%d) does not match the server-side index (%d).\nThe variable may have been changed by someone else; read it again. Nothing was %s.",
		*check, conflict.Current.ModifyIndex, verb)
}

// varPurgeVerb removes a variable.
func varPurgeVerb() *verb {
	var check checkIndex
	return &verb{
		path: "var purge", args: "<path>", min: 1, max: 1,
		short: "Remove a variable",
		flags: func(fs *flag.FlagSet) {
			fs.Var(&check, "check-index", "Remove it only when its modify index is this `index`.")
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			_, err = client.Variables().Delete(c.ctx, args[0], check.value, nil)
			var conflict *api.VariableConflict
			if errors.As(err, &conflict) {
				return conflictText(conflict, check.value, "removed")
			}
			if err != nil {
				return exitf(1, "Error purging variable: %v", err)
			}
			fmt.Fprintf(c.stdout, "Successfully purged variable %q!\n", args[0])
			return nil
		},
	}
}
