package command

import (
	"flag"
	"fmt"
	"strconv"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// allocFS is the options of `alloc fs`.
type allocFS struct {
	tailFlags
	raw, stat, follow, verbose bool
	jobs                       jobFlag
	group                      string
}

// allocFSVerb lists and prints files of an allocation.
func allocFSVerb() *verb {
	var o allocFS
	v := &verb{
		path: "alloc fs", aliases: []string{"fs"}, args: "<allocation> [<path>]", max: 2,
		short: "List and print files of an allocation",
		flags: func(fs *flag.FlagSet) {
			o.define(fs)
			fs.BoolVar(&o.raw, "H", false, "Sizes in bytes and whole times.")
			fs.BoolVar(&o.stat, "stat", false, "Describe a file instead of printing it.")
			fs.BoolVar(&o.follow, "f", false, "Go on until interrupted.")
			fs.Var(&o.jobs, "job", "The argument is a job: its newest running allocation.")
			fs.StringVar(&o.group, "group", "", "With -job, an allocation of this `group`.")
			fs.BoolVar(&o.verbose, "verbose", false, "Whole ids.")
		},
	}
	v.run = func(c *cli, args []string) error {
		args, err := o.jobs.args(v, args)
		if err != nil {
			return err
		}
		return o.run(c, args)
	}
	return v
}

func (o *allocFS) run(c *cli, args []string) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	alloc, err := allocArg(c, client, args[0], o.jobs.set, o.group)
	if err != nil {
		return err
	}
	path := "/"
	if len(args) == 2 {
		path = args[1]
	}
	q := &api.QueryOptions{Namespace: alloc.Namespace}
	info, err := client.FS().Stat(c.ctx, alloc.ID, path, q)
	if err != nil {
		return exitf(1, "Error reading %q: %v", path, err)
	}
	switch {
	case o.stat:
		printTable(c.stdout, append([][]string{{"Mode", "Size", "Modified Time", "Content Type", "Name"}}, o.row(info, true)))
		return nil
	case info.IsDir:
		return o.list(c, client, alloc, path, q)
	}
	return o.content(c, client, alloc, path, q)
}

func (o *allocFS) list(c *cli, client *api.Client, alloc *structs.Allocation, path string, q *api.QueryOptions) error {
	files, err := client.FS().List(c.ctx, alloc.ID, path, q)
	if err != nil {
		return exitf(1, "Error listing %q: %v", path, err)
	}
	rows := [][]string{{"Mode", "Size", "Modified Time", "Name"}}
	for _, f := range files {
		rows = append(rows, o.row(f, false))
	}
	printTable(c.stdout, rows)
	return nil
}

func (o *allocFS) row(f *api.AllocFileInfo, content bool) []string {
	size, name := bytesText(uint64(max(f.Size, 0))), f.Name
	if o.raw {
		size = strconv.FormatInt(f.Size, 10)
	}
	if f.IsDir {
		name += "/"
	}
	row := []string{f.FileMode, size, f.ModTime.Format(time.RFC3339)}
	if content {
		row = append(row, f.ContentType)
	}
	return append(row, name)
}

func (o *allocFS) content(c *cli, client *api.Client, alloc *structs.Allocation, path string, q *api.QueryOptions) error {
	origin, offset, lines := o.origin()
	if !o.follow && origin == api.OriginStart {
		r, err := client.FS().Cat(c.ctx, alloc.ID, path, q)
		if err != nil {
			return exitf(1, "Error reading file: %v", err)
		}
		return c.copyUntil(c.stdout, r)
	}
	r, err := client.FS().Stream(c.ctx, alloc.ID, path, origin, offset, o.follow, q)
	if err != nil {
		return exitf(1, "Error reading file: %v", err)
	}
	if err := c.copyUntil(c.stdout, lastLines(c.ctx, r, lines)); err != nil {
		return fmt.Errorf("Error reading file: %w", err)
	}
	return nil
}
