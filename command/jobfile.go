package command

import (
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/nomadlite/nomadlite/jobspec"
	"github.com/nomadlite/nomadlite/structs"
)

// maxJobFile bounds what is read of a job file.
const maxJobFile = 10 << 20

// jobFile is the options of verbs that read a job file.
type jobFile struct {
	json     bool
	strict   bool
	vars     stringsFlag
	varFiles stringsFlag
}

func (j *jobFile) define(fs *flag.FlagSet) {
	fs.BoolVar(&j.json, "json", false, "The file holds the JSON of a job, with or without an outer Job key.")
	fs.BoolVar(&j.strict, "hcl2-strict", true, "Refuse values of variables that the file does not declare.")
	fs.Var(&j.vars, "var", "A variable as `key=value`. May be repeated; wins over files and NOMAD_VAR_key.")
	fs.Var(&j.varFiles, "var-file", "The `path` of a file of variables. May be repeated.")
}

// read parses the job file at path, - for standard input, and returns its
// source beside it, to be kept by the servers.
func (j *jobFile) read(c *cli, path string) (*structs.Job, *structs.JobSubmission, error) {
	src, name, err := c.readFile(path)
	if err != nil {
		return nil, nil, exitf(1, "Error getting job struct: Error reading job file from %s: %v", path, err)
	}
	if j.json {
		job, err := jobspec.ParseJSON(src)
		if err != nil {
			return nil, nil, exitf(1, "Error getting job struct: Error parsing job file from %s:\n%v", path, err)
		}
		return job, &structs.JobSubmission{Source: string(src), Format: "json"}, nil
	}
	cfg := jobspec.ParseConfig{
		Path: name, Source: src, Vars: j.vars, Env: os.Environ(), AllowFS: true, Strict: j.strict,
		Warn: func(text string) { fmt.Fprintln(c.stderr, "Warning: "+text) },
	}
	for _, file := range j.varFiles {
		content, _, err := c.readFile(file)
		if err != nil {
			return nil, nil, exitf(1, "Error getting job struct: Error reading variables from %s: %v", file, err)
		}
		cfg.VarFiles = append(cfg.VarFiles, jobspec.VarFile{Path: file, Content: content})
	}
	job, err := jobspec.Parse(cfg)
	if err != nil {
		return nil, nil, exitf(1, "Error getting job struct: Error parsing job file from %s:\n%v", path, err)
	}
	return job, jobspec.Submission(cfg), nil
}

// readFile reads a bounded file or standard input, and names it for messages.
func (c *cli) readFile(path string) ([]byte, string, error) {
	in, name := c.stdin, "<stdin>"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, path, err
		}
		defer f.Close()
		in, name = f, path
	}
	src, err := io.ReadAll(io.LimitReader(in, maxJobFile+1))
	if err == nil && len(src) > maxJobFile {
		err = fmt.Errorf("it is larger than %d MiB", maxJobFile>>20)
	}
	return src, name, err
}
