// Package fetch gets artifacts of tasks: it is the inside of the process that
// the agent starts for each of them, and the words that the two exchange. The
// process has no rights and sees no files but what it needs; whatever a server
// or an archive does to it costs one task.
//
// It knows nothing of jobs, tasks or the agent.
package fetch

import (
	"errors"
	"net/netip"
	"time"
)

// Command is the first argument that makes our binary be such a process.
const Command = "artifact-fetch"

// Request is what the agent writes to the process, one JSON value. After it
// the agent holds its end open: when that closes, the process ends.
type Request struct {
	Source *Source
	Mode   string // any, file, dir
	// Headers are sent to the first host.
	Headers  map[string]string
	Insecure bool // believe any certificate
	// Dir is the work directory: the path of the host, which the sandbox shows
	// as /work. Isolate makes that sandbox.
	Dir     string
	Isolate bool
	// User and Group are the numbers to run under where the process may choose.
	User, Group int
	// LocalPaths are the folders whose files may be fetched.
	LocalPaths []string
	// ExtraPaths are shown in the sandbox besides.
	ExtraPaths []ExtraPath
	// Cached says that descriptor 3 is the file itself, fetched earlier.
	Cached bool
	Limits Limits
	Deny   []netip.Prefix
	// Inspect refuses links that lead out of what was fetched.
	Inspect bool
}

// ExtraPath is a path of the host for the sandbox.
type ExtraPath struct {
	Path  string
	Write bool
}

// Limits bound one artifact.
type Limits struct {
	Download int64         // bytes from the network
	Size     int64         // bytes on disk, unpacked
	Files    int           // unpacked, directories included; 0 is no limit
	Idle     time.Duration // without a byte
}

// Report is a line that the process writes: how far it is, or, once, the
// outcome.
type Report struct {
	Bytes int64 `json:",omitempty"`
	Total int64 `json:",omitempty"` // 0 while unknown

	Done bool `json:",omitempty"`
	// Tree says that the outcome is a directory, Dir/tree; else it is one file,
	// Dir/file.
	Tree  bool   `json:",omitempty"`
	Name  string `json:",omitempty"` // of the file, in a directory
	Error string `json:",omitempty"`
	// Recoverable says that another try may help.
	Recoverable bool `json:",omitempty"`
	// Stale says that the cached file is not what it was.
	Stale bool `json:",omitempty"`
}

// Names in the work directory.
const (
	RawName  = "raw"  // the file as it came
	TreeName = "tree" // the outcome, a directory
	FileName = "file" // the outcome, a file
)

// passing marks errors that another try may not meet.
type passing struct{ error }

// Unwrap gives errors.Is the cause.
func (p passing) Unwrap() error { return p.error }

// errStale is a cached file that does not hash to its name.
var errStale = errors.New("the cached file is damaged")
