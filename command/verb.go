package command

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"sort"
	"strings"
)

// verb is one command: its place in the tree, its flags and what it does. Each
// lives in a file of its own, listed in verbs.go.
type verb struct {
	path    string   // "job run"
	aliases []string // other paths, as "run"
	args    string   // positional arguments as help shows them: "<path>"
	min     int      // fewest positional arguments
	max     int      // most; -1 is any number
	short   string   // one line
	long    string   // more, for the verb's own help
	hidden  bool     // not listed
	local   bool     // takes none of the general API options
	flags   func(*flag.FlagSet)
	run     func(c *cli, args []string) error
	// usageExit is the exit code of wrong arguments, 1 when zero.
	usageExit int
}

// exitError ends the process with a code; an empty text prints nothing.
type exitError struct {
	code  int
	text  string
	cause error // what the text tells of, or nil
}

func (e *exitError) Error() string { return e.text }
func (e *exitError) Unwrap() error { return e.cause }

// exitf makes an error that ends the process with the given code. An error among
// the arguments is its cause.
func exitf(code int, format string, args ...any) error {
	e := &exitError{code: code, text: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if cause, ok := arg.(error); ok {
			e.cause = cause
		}
	}
	return e
}

// exitCode ends the process without a text.
func exitCode(code int) error { return &exitError{code: code} }

// find picks the verb whose path is the longest prefix of args and returns
// what follows it.
func find(table []*verb, args []string) (*verb, []string) {
	for n := min(len(args), 4); n > 0; n-- {
		path := strings.Join(args[:n], " ")
		for _, v := range table {
			if v.path == path {
				return v, args[n:]
			}
			for _, alias := range v.aliases {
				if alias == path {
					return v, args[n:]
				}
			}
		}
	}
	return nil, args
}

// dispatch runs one command line and returns the process's exit code.
func dispatch(c *cli, table []*verb, args []string) int {
	if len(args) == 0 {
		topHelp(c.stderr, table)
		return 127
	}
	switch args[0] {
	case "-h", "-help", "--help", "help":
		topHelp(c.stdout, table)
		return 0
	case "-v", "-version", "--version":
		args = []string{"version"}
	}
	v, rest := find(table, args)
	if v == nil {
		return unknown(c, table, args)
	}
	return runVerb(c, v, rest)
}

func runVerb(c *cli, v *verb, args []string) int {
	fs := flag.NewFlagSet(v.path, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	if v.flags != nil {
		v.flags(fs)
	}
	if !v.local {
		c.apiFlags(fs)
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			verbHelp(c.stdout, v, fs)
			return 0
		}
		fmt.Fprintln(c.stderr, err)
		verbHelp(c.stderr, v, fs)
		return 1
	}
	if n := fs.NArg(); n < v.min || (v.max >= 0 && n > v.max) {
		fmt.Fprintln(c.stderr, argsText(v))
		fmt.Fprintf(c.stderr, "For additional help try 'nomadlite %s -help'\n", v.path)
		return max(v.usageExit, 1)
	}
	return c.finish(v.run(c, fs.Args()))
}

// finish prints an error and returns the exit code for it.
func (c *cli) finish(err error) int {
	if err == nil {
		return 0
	}
	var exit *exitError
	if errors.As(err, &exit) {
		if exit.text != "" {
			fmt.Fprintln(c.stderr, exit.text)
		}
		c.advise(exit.cause)
		return exit.code
	}
	fmt.Fprintln(c.stderr, err)
	c.advise(err)
	return 1
}

// argsText is the sentence for a wrong number of arguments.
func argsText(v *verb) string {
	counts := []string{"no arguments", "one argument", "two arguments", "three arguments"}
	switch {
	case v.max == 0:
		return "This command takes no arguments"
	case v.max < 0 || v.min != v.max:
		return "This command takes these arguments: " + v.args
	case v.max < len(counts):
		return "This command takes " + counts[v.max] + ": " + v.args
	}
	return "This command takes these arguments: " + v.args
}

// unknown handles a path that names no verb: a group shows its members and
// exits 1, anything else shows everything and exits 127.
func unknown(c *cli, table []*verb, args []string) int {
	if members := group(table, args[0]); len(members) > 0 {
		out, code := c.stderr, 1
		if len(args) > 1 {
			if isHelp(args[1]) {
				out, code = c.stdout, 0
			} else {
				noSuchCommand(c, members, strings.Join(args[:2], " "))
			}
		}
		fmt.Fprintf(out, "Usage: nomadlite %s <subcommand> [options] [args]\n\nSubcommands:\n", args[0])
		list(out, members, args[0]+" ")
		return code
	}
	noSuchCommand(c, table, args[0])
	topHelp(c.stderr, table)
	return 127
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// group lists the verbs whose path begins with the word.
func group(table []*verb, word string) []*verb {
	var out []*verb
	for _, v := range table {
		if strings.HasPrefix(v.path, word+" ") && !v.hidden {
			out = append(out, v)
		}
	}
	return out
}

func topHelp(w io.Writer, table []*verb) {
	fmt.Fprint(w, "Usage: nomadlite [-version] [-help] <command> [args]\n\n")
	common := map[string]bool{"agent": true, "status": true, "job run": true, "job status": true, "job stop": true, "alloc logs": true, "alloc exec": true, "node status": true}
	var often, rest []*verb
	seen := map[string]bool{}
	for _, v := range table {
		word, _, nested := strings.Cut(v.path, " ")
		switch {
		case v.hidden:
		case common[v.path]:
			often = append(often, v)
		case nested && !seen[word]:
			seen[word] = true
			rest = append(rest, &verb{path: word, short: groups[word]})
		case !nested:
			rest = append(rest, v)
		}
	}
	fmt.Fprintln(w, "Common commands:")
	list(w, often, "")
	fmt.Fprintln(w, "\nOther commands:")
	list(w, rest, "")
}

func list(w io.Writer, verbs []*verb, strip string) {
	sort.Slice(verbs, func(i, j int) bool { return verbs[i].path < verbs[j].path })
	width := 0
	for _, v := range verbs {
		width = max(width, len(v.path)-len(strip))
	}
	for _, v := range verbs {
		fmt.Fprintf(w, "    %-*s  %s\n", width, strings.TrimPrefix(v.path, strip), v.short)
	}
}

func verbHelp(w io.Writer, v *verb, fs *flag.FlagSet) {
	usage := strings.TrimSpace("nomadlite " + v.path + " [options] " + v.args)
	fmt.Fprintf(w, "Usage: %s\n", usage)
	if len(v.aliases) > 0 {
		fmt.Fprintf(w, "Alias: nomadlite %s\n", strings.Join(v.aliases, ", nomadlite "))
	}
	fmt.Fprintf(w, "\n  %s\n", strings.ReplaceAll(strings.TrimSpace(firstOf(v.long, v.short+".")), "\n", "\n  "))
	general := map[string]bool{}
	if !v.local {
		gfs := flag.NewFlagSet("", flag.ContinueOnError)
		new(cli).apiFlags(gfs)
		gfs.VisitAll(func(f *flag.Flag) { general[f.Name] = true })
	}
	printFlags(w, "Options:", fs, func(name string) bool { return !general[name] })
	if !v.local {
		printFlags(w, "General options:", fs, func(name string) bool { return general[name] })
	}
}

func firstOf(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func printFlags(w io.Writer, title string, fs *flag.FlagSet, show func(string) bool) {
	first := true
	fs.VisitAll(func(f *flag.Flag) {
		if !show(f.Name) {
			return
		}
		if first {
			fmt.Fprintf(w, "\n%s\n", title)
			first = false
		}
		name, usage := flag.UnquoteUsage(f)
		left := "-" + f.Name
		if name != "" {
			left += "=<" + name + ">"
		}
		fmt.Fprintf(w, "\n  %s\n    %s\n", left, strings.ReplaceAll(usage, "\n", "\n    "))
	})
}
