package command

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// varGetVerb reads a variable.
func varGetVerb() *verb {
	var item string
	var out varFormat
	return &verb{
		path: "var get", args: "<path>", min: 1, max: 1,
		short: "Read a variable",
		long:  "Read a variable with its items, or with -item the value of one of them alone.",
		flags: func(fs *flag.FlagSet) {
			fs.StringVar(&item, "item", "", "Print the value of the item of this `key`, nothing else.")
			out.define(fs)
		},
		run: func(c *cli, args []string) error {
			client, err := c.client()
			if err != nil {
				return err
			}
			v, _, err := client.Variables().Get(c.ctx, args[0], nil)
			var resp *api.ResponseError
			if errors.As(err, &resp) && resp.Code == http.StatusNotFound {
				return exitf(1, "Variable not found")
			}
			if err != nil {
				return exitf(1, "Error retrieving variable: %v", err)
			}
			if item == "" {
				return out.print(c, v, "table")
			}
			value, ok := v.Items[item]
			if !ok {
				return exitf(1, "Variable does not contain %q item", item)
			}
			_, err = fmt.Fprint(c.stdout, value)
			return err
		},
	}
}

// varFormat is how verbs print a variable.
type varFormat struct{ out, tmpl string }

func (f *varFormat) define(fs *flag.FlagSet) {
	fs.StringVar(&f.out, "out", "", "The `form` of the output: table, json, hcl, go-template or none; json when it is no terminal.")
	fs.StringVar(&f.tmpl, "template", "", "The Go `template` of -out go-template.")
}

// print writes a variable; terminal is the form on a terminal.
func (f *varFormat) print(c *cli, v *structs.Variable, terminal string) error {
	form := f.out
	switch {
	case form == "" && isTerminal(c.stdout):
		form = terminal
	case form == "":
		form = "json"
	}
	if (form == "go-template") != (f.tmpl != "") {
		return exitf(1, "A template must be supplied with, and only with, -out go-template")
	}
	switch form {
	case "none":
		return nil
	case "json":
		enc := json.NewEncoder(c.stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	case "hcl":
		printVariableHCL(c.stdout, v)
		return nil
	case "go-template":
		return (&format{tmpl: f.tmpl}).print(c.stdout, v)
	case "table":
		c.printVariable(v)
		return nil
	}
	return exitf(1, "cannot print in the form %q: use table, json, hcl, go-template or none", form)
}

func (c *cli) printVariable(v *structs.Variable) {
	printPairs(c.stdout, []pair{
		{"Namespace", v.Namespace}, {"Path", v.Path}, {"Create Time", c.timestamp(nanos(v.CreateTime), true)},
		{"Modify Time", c.timestamp(nanos(v.ModifyTime), true)}, {"Check Index", fmt.Sprint(v.ModifyIndex)},
	})
	c.title("Items")
	var pairs []pair
	for _, key := range slices.Sorted(maps.Keys(v.Items)) {
		pairs = append(pairs, pair{key, v.Items[key]})
	}
	printPairs(c.stdout, pairs)
}

func printVariableHCL(w io.Writer, v *structs.Variable) {
	fmt.Fprintf(w, "namespace    = %s\npath         = %s\ncreate_index = %d  # Set by server\nmodify_index = %d  # Set by server; consulted for check-and-set\ncreate_time  = %d  # Set by server\nmodify_time  = %d  # Set by server\n\nitems = {\n",
		hclString(v.Namespace), hclString(v.Path), v.CreateIndex, v.ModifyIndex, v.CreateTime, v.ModifyTime)
	for _, key := range slices.Sorted(maps.Keys(v.Items)) {
		fmt.Fprintf(w, "  %s = %s\n", hclString(key), hclString(v.Items[key]))
	}
	fmt.Fprintln(w, "}")
}
