package command

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nomadlite/nomadlite/jobspec"
)

// maxFormatSize bounds a file that fmt reads, in bytes.
const maxFormatSize = 4 << 20

// formatter is the options of `fmt` and what it has seen.
type formatter struct {
	check, list, recursive, write bool

	changes int
	failed  int
}

// fmtVerb lays out job and configuration files in the canonical style.
func fmtVerb() *verb {
	var o formatter
	return &verb{
		path: "fmt", args: "[flags] paths ...", max: -1, local: true,
		short: "Lay out job files in the canonical style",
		long: "Lay out files in the canonical style: blanks and alignment change, the meaning\ndoes not. A folder means its files *.nomad, *.nomad.hcl and *.hcl; \"-\" reads from\n" +
			"the input and writes to the output. Without a path it is the current folder.",
		flags: func(fs *flag.FlagSet) {
			fs.BoolVar(&o.check, "check", false, "Write nothing; exit with 1 if a file would change.")
			fs.BoolVar(&o.list, "list", true, "List the files that change.")
			fs.BoolVar(&o.recursive, "recursive", false, "Folders with all that is in them.")
			fs.BoolVar(&o.write, "write", true, "Write the files; without, print the result.")
		},
		run: o.run,
	}
}

func (o *formatter) run(c *cli, paths []string) error {
	if len(paths) == 0 {
		paths = []string{"."}
	}
	for _, path := range paths {
		if err := o.path(c, path); err != nil {
			return err
		}
	}
	switch {
	case o.failed > 0:
		return exitCode(1)
	case o.check && o.changes > 0:
		return exitCode(1)
	}
	return nil
}

// path formats a file, what "-" stands for, or a folder.
func (o *formatter) path(c *cli, path string) error {
	if path == "-" {
		source, err := io.ReadAll(io.LimitReader(c.stdin, maxFormatSize+1))
		if err != nil {
			return exitf(1, "Error reading the input: %v", err)
		}
		return o.format(c, "<stdin>", source, func(out []byte) error {
			_, err := c.stdout.Write(out)
			return err
		})
	}
	info, err := os.Stat(path)
	if err != nil {
		return exitf(1, "Error reading %s: %v", path, err)
	}
	if !info.IsDir() {
		return o.file(c, path, info.Mode())
	}
	return filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return exitf(1, "Error reading %s: %v", name, err)
		case d.IsDir() && name != path && (!o.recursive || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case d.IsDir() || !d.Type().IsRegular() || !formatted(d.Name()):
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return exitf(1, "Error reading %s: %v", name, err)
		}
		return o.file(c, name, info.Mode())
	})
}

// formatted reports whether a folder's file is one to format.
func formatted(name string) bool {
	return strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".nomad")
}

func (o *formatter) file(c *cli, path string, mode fs.FileMode) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return exitf(1, "Error reading %s: %v", path, err)
	}
	return o.format(c, path, source, func(out []byte) error {
		if !o.write {
			_, err := c.stdout.Write(out)
			return err
		}
		if bytes.Equal(source, out) {
			return nil
		}
		return replaceFile(path, out, mode.Perm())
	})
}

// format formats one source and hands the result on, unless it is only
// checked. A source that cannot be read does not stop the others.
func (o *formatter) format(c *cli, name string, source []byte, put func([]byte) error) error {
	if len(source) > maxFormatSize {
		return exitf(1, "Error formatting %s: it has more than %d MiB", name, maxFormatSize>>20)
	}
	out, err := jobspec.Format(name, source)
	if err != nil {
		o.failed++
		fmt.Fprintf(c.stderr, "Error formatting %s:\n%s\n", name, cleanLines(err.Error()))
		return nil
	}
	if !bytes.Equal(source, out) {
		o.changes++
		if o.list && name != "<stdin>" {
			fmt.Fprintln(c.stdout, name)
		}
	}
	if o.check {
		return nil
	}
	if err := put(out); err != nil {
		return exitf(1, "Error writing %s: %v", name, err)
	}
	return nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(path string, data []byte, mode fs.FileMode) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".nomadlite-fmt-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
