package nomadlite

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-version"
	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/api/wire"
	"github.com/nomadlite/nomadlite/structs"
)

// Config configures a server. Fields that are zero take the contract's
// defaults (agent-config.md, the server block).
type Config struct {
	Region string // default "global"
	Name   string // of the agent, without the region
	// Dev keeps everything in memory.
	Dev bool
	// DataDir is the server's own directory; "" is allowed with Dev alone.
	DataDir string
	// RPCAddr is the advertised "host:port" of the internal port. It names the
	// server among its peers.
	RPCAddr string

	// Port is the server port. Without one the server can have no peers and no
	// nodes but the one in its own process.
	Port *wire.Port
	// Dialer reaches other server ports; nil speaks without TLS.
	Dialer *wire.Dialer
	// Members are where other servers may be found; nil finds none.
	Members Members
	// Join are addresses of servers that may be of other regions, which are
	// looked for until one of each has answered.
	Join []string
	// Datacenter and Version are told to peers.
	Datacenter, Version string
	// BootstrapExpect is how many servers make a new cluster together; 1 makes
	// one alone, 0 only joins.
	BootstrapExpect int
	// Autopilot is the configuration of a new cluster; nil is the contract's.
	Autopilot *structs.AutopilotConfiguration
	// RestartGrace is how long an agent may be gone whose machine says that it
	// has ended.
	RestartGrace time.Duration

	NumSchedulers int // workers; 0 is one for each CPU

	// Introduction says how new nodes prove that they belong here.
	Introduction Introduction

	HeartbeatGrace         time.Duration
	FailoverHeartbeatTTL   time.Duration
	MinHeartbeatTTL        time.Duration
	MaxHeartbeatsPerSecond float64

	NodeGCThreshold       time.Duration
	JobGCInterval         time.Duration
	JobGCThreshold        time.Duration
	EvalGCThreshold       time.Duration
	BatchEvalGCThreshold  time.Duration
	DeploymentGCThreshold time.Duration

	// RootKeyGCInterval is how often root keys are looked at; they are replaced
	// at the age of RootKeyRotation, and removed RootKeyGCThreshold after that
	// when nothing needs them.
	RootKeyGCInterval  time.Duration
	RootKeyGCThreshold time.Duration
	RootKeyRotation    time.Duration

	JobDefaultPriority int
	JobMaxPriority     int
	JobMaxCount        int // the most allocations a job may ask for; below 0 is no limit
	JobMaxSource       int // bytes kept of a job's source; below 0 is none

	RaftSnapshotThreshold uint64
	RaftTrailingLogs      uint64
	RaftSnapshotInterval  time.Duration

	// EventBufferSize is how many changes the event stream can resume from;
	// DisableEvents switches the stream off.
	EventBufferSize int
	DisableEvents   bool
	// ServiceProvider is that of services that name none: "" is the contract's,
	// consul.
	ServiceProvider string
	// OIDCIssuer is the URL under which others find the keys of identities; ""
	// turns discovery off.
	OIDCIssuer string

	// ParseJob reads a job file for the parse route, without access to files.
	// Nil makes the route answer 501.
	ParseJob func(hcl, vars string, canonicalize bool) (*structs.Job, error)
	Logger   hclog.Logger // nil logs nothing

	// wrapStores stands between Raft and its files in tests that break them.
	wrapStores func(raft.LogStore, raft.StableStore) (raft.LogStore, raft.StableStore)
}

// Members finds agents. What it says is only where to ask: who a server is,
// its own answer over the server port says.
type Members interface {
	// Servers are the "host:port" of server ports; changed is closed when that
	// may have changed.
	Servers() (addrs []string, changed <-chan struct{})
	// Gossips reports whether a known member of the region gossips at "host:port":
	// no server port is to be looked for there.
	Gossips(addr string) bool
}

// selfElects reports whether a server without state may make a cluster of
// itself alone.
func (c *Config) selfElects() bool { return c.BootstrapExpect == 1 || c.Port == nil }

// finish checks the configuration and fills in defaults.
func (c *Config) finish() error {
	if c.DataDir == "" && !c.Dev {
		return errors.New("cannot start the server: it has no data directory; set data_dir")
	}
	if c.RPCAddr == "" {
		return errors.New("cannot start the server: it has no advertised address")
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Dialer == nil {
		c.Dialer = &wire.Dialer{}
	}
	if c.Autopilot == nil {
		c.Autopilot = structs.DefaultAutopilot()
	}
	c.RestartGrace = orDefault(c.RestartGrace, 3*time.Second)
	c.Region = orDefault(c.Region, structs.DefaultRegion)
	c.NumSchedulers = orDefault(c.NumSchedulers, runtime.GOMAXPROCS(0))
	c.HeartbeatGrace = orDefault(c.HeartbeatGrace, 10*time.Second)
	c.FailoverHeartbeatTTL = orDefault(c.FailoverHeartbeatTTL, failoverTTL)
	c.Introduction.Enforcement = orDefault(c.Introduction.Enforcement, IntroduceWarn)
	c.Introduction.DefaultTTL = orDefault(c.Introduction.DefaultTTL, 5*time.Minute)
	c.Introduction.MaxTTL = orDefault(c.Introduction.MaxTTL, 30*time.Minute)
	c.MinHeartbeatTTL = orDefault(c.MinHeartbeatTTL, 10*time.Second)
	c.MaxHeartbeatsPerSecond = orDefault(c.MaxHeartbeatsPerSecond, 50)
	c.NodeGCThreshold = orDefault(c.NodeGCThreshold, 24*time.Hour)
	c.JobGCInterval = orDefault(c.JobGCInterval, 5*time.Minute)
	c.JobGCThreshold = orDefault(c.JobGCThreshold, 4*time.Hour)
	c.EvalGCThreshold = orDefault(c.EvalGCThreshold, time.Hour)
	c.BatchEvalGCThreshold = orDefault(c.BatchEvalGCThreshold, 24*time.Hour)
	c.DeploymentGCThreshold = orDefault(c.DeploymentGCThreshold, time.Hour)
	c.RootKeyGCInterval = orDefault(c.RootKeyGCInterval, 10*time.Minute)
	c.RootKeyGCThreshold = orDefault(c.RootKeyGCThreshold, time.Hour)
	c.RootKeyRotation = orDefault(c.RootKeyRotation, 720*time.Hour)
	c.JobDefaultPriority = orDefault(c.JobDefaultPriority, structs.DefaultPriority)
	c.JobMaxPriority = orDefault(c.JobMaxPriority, structs.MaxPriority)
	c.JobMaxCount = orDefault(c.JobMaxCount, 50_000)
	c.JobMaxSource = orDefault(c.JobMaxSource, api.MaxJobSource)
	c.RaftSnapshotThreshold = orDefault(c.RaftSnapshotThreshold, 100_000)
	c.RaftTrailingLogs = orDefault(c.RaftTrailingLogs, 10_240)
	c.RaftSnapshotInterval = orDefault(c.RaftSnapshotInterval, 2*time.Minute)
	return nil
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// unbuiltBlocks are blocks that the clients of this build cannot run: a job
// must not run as if it had not asked for them. "csi" is a type of volume.
var unbuiltBlocks = []string{"vault", "csi", "csi_plugin", "secret"}

// Checks are the parts of job validation that need libraries: cron
// expressions, versions and their constraints. Limits of 0 are not checked.
func Checks(maxPriority, maxCount int) structs.Checks {
	return structs.Checks{
		Cron: func(spec string) error {
			cron, err := cronexpr.Parse(spec)
			if err == nil && cron.Next(time.Now()).IsZero() {
				return errors.New("it never comes true: no such date exists, or all of them are past")
			}
			return err
		},
		Version: func(constraint string) error {
			_, err := version.NewConstraint(constraint)
			return err
		},
		Semver: func(constraint string) error {
			_, err := version.NewConstraint(constraint)
			return err
		},
		Refused:     slices.Clone(unbuiltBlocks),
		MaxPriority: maxPriority,
		MaxCount:    maxCount,
	}
}

// serverID reads the server's id from its data directory, or makes one and
// writes it there.
func serverID(dir string) (string, error) {
	if dir == "" {
		return newID(), nil
	}
	file := filepath.Join(dir, "node-id")
	b, err := os.ReadFile(file)
	if err == nil {
		id := strings.TrimSpace(string(b))
		if len(id) != 36 {
			return "", fmt.Errorf("cannot use the server id in %q: %q is not a UUID; remove the file only if the server shall join as a new one", file, id)
		}
		return id, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("cannot read the server id: %w", err)
	}
	id := newID()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot make the server's data directory: %w", err)
	}
	if err := os.WriteFile(file, []byte(id+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot write the server id: %w", err)
	}
	return id, nil
}

// newID is a random UUID (version 4).
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}
