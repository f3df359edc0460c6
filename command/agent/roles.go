package agent

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client"
	"github.com/nomadlite/nomadlite/client/artifact"
	"github.com/nomadlite/nomadlite/client/artifact/fetch"
	"github.com/nomadlite/nomadlite/client/dns"
	"github.com/nomadlite/nomadlite/client/fingerprint"
	groupnet "github.com/nomadlite/nomadlite/client/network"
	"github.com/nomadlite/nomadlite/client/simnode"
	"github.com/nomadlite/nomadlite/client/template"
	"github.com/nomadlite/nomadlite/command/agent/config"
	"github.com/nomadlite/nomadlite/jobspec"
	"github.com/nomadlite/nomadlite/nomadlite"
	"github.com/nomadlite/nomadlite/structs"
)

// serverConfig tells the server what the agent was told.
func serverConfig(cfg *config.Config, rpcAddr string, log hclog.Logger) nomadlite.Config {
	s := cfg.Server
	out := nomadlite.Config{
		Region: cfg.Region, Name: cfg.NodeName, Dev: cfg.DevMode, RPCAddr: rpcAddr, Datacenter: cfg.Datacenter,
		BootstrapExpect: s.BootstrapExpect, RestartGrace: s.AgentRestartGrace,
		Autopilot: &structs.AutopilotConfiguration{
			CleanupDeadServers: cfg.Autopilot.CleanupDeadServers, LastContactThreshold: structs.TextDuration(cfg.Autopilot.LastContactThreshold),
			MaxTrailingLogs: uint64(max(cfg.Autopilot.MaxTrailingLogs, 0)), MinQuorum: uint(max(cfg.Autopilot.MinQuorum, 0)),
			ServerStabilizationTime: structs.TextDuration(cfg.Autopilot.ServerStabilizationTime),
		},
		HeartbeatGrace: s.HeartbeatGrace, MinHeartbeatTTL: s.MinHeartbeatTTL, MaxHeartbeatsPerSecond: s.MaxHeartbeatsPerSecond,
		NodeGCThreshold: s.NodeGCThreshold, JobGCInterval: s.JobGCInterval, JobGCThreshold: s.JobGCThreshold,
		EvalGCThreshold: s.EvalGCThreshold, BatchEvalGCThreshold: s.BatchEvalGCThreshold, DeploymentGCThreshold: s.DeploymentGCThreshold,
		Introduction: nomadlite.Introduction(s.Introduction), FailoverHeartbeatTTL: s.FailoverHeartbeatTTL,
		RootKeyGCInterval: s.RootKeyGCInterval, RootKeyGCThreshold: s.RootKeyGCThreshold, RootKeyRotation: s.RootKeyRotation,
		JobDefaultPriority: s.JobDefaultPriority, JobMaxPriority: s.JobMaxPriority, JobMaxCount: s.JobMaxCount,
		RaftSnapshotThreshold: uint64(s.RaftSnapshotThreshold), RaftTrailingLogs: uint64(s.RaftTrailingLogs),
		RaftSnapshotInterval: s.RaftSnapshotInterval,
		EventBufferSize:      s.EventBufferSize, DisableEvents: !s.EnableEventBroker,
		ServiceProvider: s.DefaultServiceProvider, OIDCIssuer: s.OIDCIssuer,
		ParseJob: parseJob, Logger: log,
	}
	if out.JobMaxCount == 0 {
		out.JobMaxCount = -1 // the file says 0 for no limit
	}
	if n, err := config.ByteSize(s.JobMaxSourceSize); err == nil && n > 0 {
		out.JobMaxSource = n
	} else {
		out.JobMaxSource = -1
	}
	if s.NumSchedulers != nil {
		out.NumSchedulers = *s.NumSchedulers
	}
	if !cfg.DevMode {
		out.DataDir = s.DataDir
	}
	return out
}

// parseJob reads a job file for the parse route: no access to files.
func parseJob(hcl, vars string, canonicalize bool) (*structs.Job, error) {
	job, err := jobspec.Parse(jobspec.ParseConfig{Path: "input.hcl", Source: []byte(hcl), VarContent: vars})
	if err != nil {
		return nil, err
	}
	if canonicalize {
		job.Canonicalize()
	}
	return job, nil
}

// clientConfig tells the client what the agent was told.
func clientConfig(cfg *config.Config, httpAddr string, server *nomadlite.Server, log hclog.Logger) (client.Config, error) {
	var servers api.Servers
	var workloads api.Workloads
	if server != nil {
		servers, workloads = server, server
	}
	binary, err := os.Executable()
	if err != nil {
		return client.Config{}, fmt.Errorf("cannot find our own binary: %w", err)
	}
	drivers, err := driverSpecs(cfg, binary, log)
	if err != nil {
		return client.Config{}, err
	}
	c := cfg.Client
	node := fingerprint.Config{
		Name: cfg.NodeName, Datacenter: cfg.Datacenter, Class: c.NodeClass, Pool: c.NodePool, Meta: c.Meta, Options: c.Options,
		HTTPAddr: httpAddr, TLSEnabled: cfg.TLS.HTTP, NetworkInterface: c.NetworkInterface, NetworkSpeed: c.NetworkSpeed, CPUTotalCompute: c.CPUTotalCompute,
		MemoryTotalMB: c.MemoryTotalMB, DiskTotalMB: c.DiskTotalMB, DiskFreeMB: c.DiskFreeMB, MinDynamicPort: c.MinDynamicPort,
		MaxDynamicPort: c.MaxDynamicPort, NodeMaxAllocs: c.NodeMaxAllocs, CgroupParent: c.CgroupParent,
	}
	node.HostVolumes = map[string]*structs.HostVolumeInfo{}
	for name, v := range c.HostVolumes {
		if info, err := os.Stat(v.Path); !filepath.IsAbs(v.Path) || err != nil || !info.IsDir() {
			return client.Config{}, fmt.Errorf("host_volume %q: path %q must be an absolute path of a folder that exists (%v)", name, v.Path, err)
		}
		node.HostVolumes[name] = &structs.HostVolumeInfo{Path: v.Path, ReadOnly: v.ReadOnly}
	}
	node.HostNetworks = map[string]fingerprint.HostNetwork{}
	for name, n := range c.HostNetworks {
		node.HostNetworks[name] = fingerprint.HostNetwork(n)
	}
	node.Reserved.CPU, node.Reserved.MemoryMB, node.Reserved.DiskMB = c.Reserved.CPU, c.Reserved.MemoryMB, c.Reserved.DiskMB
	node.Reserved.Cores, node.Reserved.Ports = c.Reserved.Cores, c.Reserved.ReservedPorts
	artifacts, cache, err := artifactConfig(c.Artifact)
	if err != nil {
		return client.Config{}, err
	}
	return client.Config{
		Artifacts: artifacts, ArtifactCache: cache, Templates: templateConfig(c.Template), DNS: dns.Config{Address: c.DNS.Address, Domain: c.DNS.Domain, TTL: c.DNS.TTL},
		Servers: servers, Workloads: workloads, Logger: log, Node: node, StateDir: c.StateDir, AllocDir: c.AllocDir, Binary: binary, Drivers: drivers,
		PluginPorts:    [2]int{c.MinPluginPort, c.MaxPluginPort},
		DriverAllowed:  func(name string) bool { return driverAllowed(c.Options, name) },
		MaxKillTimeout: c.MaxKillTimeout, GCInterval: c.GCInterval, GCMaxAllocs: c.GCMaxAllocs, GCMaxAge: c.GCMaxAge, LogRetention: c.LogRetention, GCParallel: c.GCParallel, GCDiskThreshold: c.GCDiskThreshold, GCInodeThreshold: c.GCInodeThreshold,
		VolumesDir: c.HostVolumesDir, VolumePluginDir: c.HostVolumePluginDir,
		Network: groupnet.Config{
			Path: c.CNIPath, ConfDir: c.CNIConfigDir, Bridge: c.BridgeName, Subnet: c.BridgeSubnet, Subnet6: c.BridgeSubnet6, Hairpin: c.BridgeHairpin,
		},
		Measures: client.Measures{
			Node: cfg.Telemetry.PublishNodeMetrics, Allocations: cfg.Telemetry.PublishAllocationMetrics, Interval: max(cfg.Telemetry.CollectionInterval, leastMeasured),
		},
		Ephemeral: cfg.DevMode, DisableExec: c.DisableRemoteExec, Ineligible: c.DefaultIneligible, IntroToken: c.IntroToken,
	}, nil
}

// templateConfig tells the client what templates may do.
func templateConfig(t config.Template) template.Config {
	return template.Config{
		Denied: t.FunctionDenylist, Quiet: t.Wait.Min, Patience: t.Wait.Max, Bounds: template.Bounds(t.WaitBounds), LookupWait: t.BlockQueryWait,
		Retry: t.NomadRetry.Backoff, MaxRetry: t.NomadRetry.MaxBackoff,
	}
}

// leastMeasured is how often nodes tell their measures at most: each time costs
// a look at every task, and Prometheus asks about as often.
const leastMeasured = 10 * time.Second

// artifactConfig tells the client how to fetch artifacts, and how many bytes of
// them to keep.
func artifactConfig(a config.Artifact) (out artifact.Config, cache int64, err error) {
	out = artifact.Config{
		HTTPTimeout: a.HTTPReadTimeout, GitTimeout: a.GitTimeout, S3Timeout: a.S3Timeout, MaxFiles: a.DecompressionFileCountLimit,
		NoInspection: a.DisableInspection, NoIsolation: a.DisableIsolation, LocalPaths: a.LocalPaths,
		Environment: strings.FieldsFunc(a.SetEnvironmentVariables, func(r rune) bool { return r == ',' || r == ' ' }),
	}
	for to, text := range map[*int64]string{&out.MaxDownload: a.HTTPMaxSize, &out.MaxSize: a.DecompressionSizeLimit, &cache: a.CacheSize} {
		if *to, err = config.ParseSize(text); err != nil {
			return out, 0, err
		}
	}
	for _, d := range a.DenyAddresses {
		p, err := netip.ParsePrefix(d)
		if err != nil {
			return out, 0, err
		}
		out.Deny = append(out.Deny, p)
	}
	for _, p := range a.IsolationExtraPaths {
		name, write, err := config.ParseExtraPath(p)
		if err != nil {
			return out, 0, err
		}
		out.ExtraPaths = append(out.ExtraPaths, fetch.ExtraPath{Path: name, Write: write})
	}
	return out, cache, nil
}

// simulatedNodes are the light nodes that stand in the place of a client.
func simulatedNodes(cfg *config.Config, c client.Config, log hclog.Logger) (*simnode.Nodes, error) {
	profile, err := simnode.ParseProfile(cfg.Client.SimulateProfile)
	if err != nil {
		return nil, err
	}
	return simnode.New(simnode.Config{
		Servers: c.Servers, Count: cfg.Client.SimulateNodes, Profile: profile, Name: cfg.NodeName, Datacenter: cfg.Datacenter,
		Pool: cfg.Client.NodePool, Logger: log.Named("simulated"),
	})
}
