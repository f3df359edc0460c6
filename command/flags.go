package command

import (
	"flag"
	"fmt"
	"strings"
)

// stringsFlag collects a repeated flag.
type stringsFlag []string

func (s *stringsFlag) String() string { return strings.Join(*s, ",") }

func (s *stringsFlag) Set(v string) error {
	*s = append(*s, v)
	return nil
}

// optionalBool is a boolean flag that knows whether it was given.
type optionalBool struct {
	set, val bool
}

func (b *optionalBool) String() string { return fmt.Sprint(b.val) }

func (b *optionalBool) IsBoolFlag() bool { return true }

func (b *optionalBool) Set(v string) error {
	switch v {
	case "true", "1", "t":
		b.set, b.val = true, true
	case "false", "0", "f":
		b.set, b.val = true, false
	default:
		return fmt.Errorf("want true or false, got %q", v)
	}
	return nil
}

// jobFlag is -job of the verbs on allocations: bare it says that the first
// argument is a job, as -job=NAME it holds the job itself.
type jobFlag struct {
	set  bool
	name string
}

func (j *jobFlag) String() string { return j.name }

func (j *jobFlag) IsBoolFlag() bool { return true }

func (j *jobFlag) Set(v string) error {
	j.set = true
	if v != "true" {
		j.name = v
	}
	return nil
}

// args puts a job given in the flag before the other arguments.
func (j *jobFlag) args(v *verb, args []string) ([]string, error) {
	if j.name != "" {
		args = append([]string{j.name}, args...)
	}
	if len(args) == 0 {
		return nil, exitf(1, "%s\nFor additional help try 'nomadlite %s -help'", argsText(v), v.path)
	}
	return args, nil
}

// verboseFlag defines -verbose alone.
func verboseFlag(v *bool) func(*flag.FlagSet) {
	return func(fs *flag.FlagSet) { fs.BoolVar(v, "verbose", false, "Whole ids and absolute times.") }
}

// optionalText is a text that knows whether it was given.
type optionalText struct {
	set  bool
	text string
}

func (o *optionalText) String() string { return o.text }

// Set implements flag.Value.
func (o *optionalText) Set(v string) error {
	o.set, o.text = true, v
	return nil
}

// into overwrites a text when the flag was given.
func (o *optionalText) into(to *string) {
	if o.set {
		*to = o.text
	}
}
