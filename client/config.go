// Package client is the node agent: it registers the node, fetches its
// allocations, runs them and tells the servers what became of them. This
// package wires; what an allocation does is in client/alloc, what a task does
// in client/task, drivers are kept by client/driver.
package client

import (
	"context"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/artifact"
	"github.com/nomadlite/nomadlite/client/dns"
	"github.com/nomadlite/nomadlite/client/driver"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	"github.com/nomadlite/nomadlite/client/network"
	"github.com/nomadlite/nomadlite/client/template"
)

// Config is what a node agent is told.
type Config struct {
	Servers api.Servers
	// Connect lets the servers call the node through h, until ctx ends; lost is
	// called whenever a connection to them has ended. Nil for a node whose only
	// server is in its own process.
	Connect func(ctx context.Context, h http.Handler, lost func()) error
	// Workloads serves what tasks ask for.
	Workloads api.Workloads
	Logger    hclog.Logger
	// Node describes the node; ID and SecretID are filled from StateDir.
	Node     fingerprint.Config
	StateDir string // of the agent's own files
	AllocDir string // of the allocations
	// Network configures networks of allocations; its StateDir is filled from
	// ours.
	Network network.Config
	// VolumesDir holds dynamic host volumes, VolumePluginDir their plugins.
	VolumesDir, VolumePluginDir string
	// Artifacts says how artifacts are fetched; Binary, Logger and Cache are
	// filled in. ArtifactCache bounds what is kept of them, in bytes.
	Artifacts     artifact.Config
	ArtifactCache int64
	// Templates says what templates may do; the zero value is the default.
	Templates template.Config
	// DNS answers for services.
	DNS dns.Config
	// Binary is our own: keeper and built-in drivers run from it.
	Binary  string
	Drivers []driver.Spec
	// PluginPorts are the first and the last port for plugins that listen on TCP.
	PluginPorts [2]int
	// DriverAllowed reports whether a driver may run on this node; nil: any may.
	DriverAllowed  func(name string) bool
	MaxKillTimeout time.Duration
	// GC bounds what is kept of finished allocations: the number of all
	// allocations, and the use of their disk in percent. 0 is no limit.
	GCInterval                        time.Duration
	GCMaxAllocs                       int
	GCParallel                        int
	GCDiskThreshold, GCInodeThreshold float64
	// GCMaxAge is how long a finished allocation is kept, LogRetention how long a
	// log file that is not written to any more; 0 is no limit.
	GCMaxAge, LogRetention time.Duration
	// Measures says what the node tells of itself.
	Measures Measures
	// Ephemeral ends tasks, drivers and keeper with the agent and does not
	// wait for disks: a dev agent's node is gone when it ends.
	Ephemeral bool
	// Ineligible registers a new node as ineligible for work.
	Ineligible bool
	// IntroToken introduces the node when it is new to the region; "" looks for
	// IntroTokenFile in StateDir.
	IntroToken string
	// DisableExec refuses commands in tasks (disable_remote_exec).
	DisableExec bool
}
