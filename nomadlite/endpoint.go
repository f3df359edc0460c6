package nomadlite

import (
	"context"
	"iter"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/events"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// The endpoint_*.go files answer the rows of the route table that belong to
// servers. Reads come from a snapshot of the store, writes go through the
// operations below; no endpoint sees Raft.

// jobWriter registers and stops jobs.
type jobWriter interface {
	RegisterJob(ctx context.Context, req *api.JobRegisterRequest) (*api.JobRegisterResponse, error)
	// CheckJob fills the job's defaults and says what is wrong with it.
	CheckJob(job *structs.Job) (warnings []string, err error)
	PlanJob(ctx context.Context, req *api.JobPlanRequest) (*api.JobPlanResponse, error)
	StopJob(ctx context.Context, ns, id string, opts api.StopOptions) (*api.JobDeregisterResponse, error)
	RevertJob(ctx context.Context, ns string, req *api.JobRevertRequest) (*api.JobRegisterResponse, error)
	SetJobStability(ctx context.Context, ns string, req *api.JobStabilityRequest) (index uint64, err error)
	TagJob(ctx context.Context, ns, id, name string, req *api.TagVersionRequest) (*api.TagVersionResponse, error)
	UntagJob(ctx context.Context, ns, id, name string) (*api.TagVersionResponse, error)
	ScaleJob(ctx context.Context, ns, id string, req *api.ScalingRequest) (*api.JobRegisterResponse, error)
}

// jobStarter makes evaluations and children of jobs, and stops allocations.
type jobStarter interface {
	DeleteEvals(ctx context.Context, ids []string) (*api.EvalDeleteResponse, error)
	EvaluateJob(ctx context.Context, ns, id string, forceReschedule bool) (*api.JobRegisterResponse, error)
	ForcePeriodic(ctx context.Context, ns, id string) (*api.PeriodicForceResponse, error)
	DispatchJob(ctx context.Context, ns, idempotencyToken string, req *api.JobDispatchRequest) (*api.JobDispatchResponse, error)
	StopAlloc(ctx context.Context, id string, noShutdownDelay, reschedule bool) (*api.AllocStopResponse, error)
}

// deploymentWriter changes active deployments.
type deploymentWriter interface {
	FailDeployment(ctx context.Context, id string) (*api.DeploymentUpdateResponse, error)
	PauseDeployment(ctx context.Context, id string, pause bool) (*api.DeploymentUpdateResponse, error)
	PromoteDeployment(ctx context.Context, req *api.DeploymentPromoteRequest) (*api.DeploymentUpdateResponse, error)
	UnblockDeployment(ctx context.Context, id string) (*api.DeploymentUpdateResponse, error)
	SetAllocHealth(ctx context.Context, req *api.DeploymentAllocHealthRequest) (*api.DeploymentUpdateResponse, error)
}

// nodeWriter changes nodes.
type nodeWriter interface {
	DrainNode(ctx context.Context, req *api.NodeDrainRequest) (*api.NodeUpdateResponse, error)
	SetNodeEligibility(ctx context.Context, id, eligibility string) (*api.NodeUpdateResponse, error)
	EvaluateNode(ctx context.Context, id string) (*api.NodeUpdateResponse, error)
	PurgeNode(ctx context.Context, id string) (*api.NodeUpdateResponse, error)
}

// namespaceWriter changes namespaces and node pools.
type namespaceWriter interface {
	UpsertNamespace(ctx context.Context, n *structs.Namespace) (index uint64, err error)
	DeleteNamespace(ctx context.Context, name string) (index uint64, err error)
	UpsertNodePool(ctx context.Context, p *structs.NodePool) (index uint64, err error)
	DeleteNodePool(ctx context.Context, name string) (index uint64, err error)
}

// clusterWriter changes what belongs to the cluster as a whole.
type clusterWriter interface {
	// SetSchedulerConfig replaces the configuration, with cas only when its
	// ModifyIndex is *cas.
	SetSchedulerConfig(ctx context.Context, cfg *structs.SchedulerConfiguration, cas *uint64) (updated bool, index uint64, err error)
	CollectGarbage(ctx context.Context) error
	ReconcileSummaries(ctx context.Context) error
}

// clusterReader knows the peers.
type clusterReader interface {
	// ReadBarrier returns when the state holds everything that was committed
	// before the call.
	ReadBarrier(ctx context.Context) error
	// Leader is the address of the leader and how long it has been silent.
	Leader() (addr string, known bool, lastContact time.Duration)
	Peers() ([]string, error)
	Regions() []string
	RaftConfiguration() (*api.RaftConfiguration, error)
	RemovePeer(ctx context.Context, id string) error
	AutopilotConfig() *structs.AutopilotConfiguration
	SetAutopilotConfig(ctx context.Context, cfg *structs.AutopilotConfiguration, cas *uint64) (updated bool, err error)
	ServerHealth(ctx context.Context) (*api.OperatorHealthReply, error)
	// EvalQueues shows the first evaluations of the broker, at most limit.
	EvalQueues(ctx context.Context, limit int) (*api.EvalQueues, error)
	TransferLeadership(ctx context.Context, id, addr string) (*api.TransferLeadershipResponse, error)
}

// operations is what the endpoints need of a server.
type operations interface {
	jobWriter
	jobStarter
	deploymentWriter
	nodeWriter
	namespaceWriter
	clusterWriter
	clusterReader
	variableWriter
	snapshotter
	volumeWriter
	serviceWriter
	identityReader
	keyringWriter
	introducer
}

// endpointDeps wires the endpoints.
type endpointDeps struct {
	Store *state.Store
	Ops   operations
	// ParseJob reads a job file without access to the file system; nil answers
	// 501.
	ParseJob func(hcl, vars string, canonicalize bool) (*structs.Job, error)
	// Issuer is the URL of OIDC discovery, "" for none.
	Issuer string
	// Events are the newest changes; nil answers 501.
	Events *events.Ring
}

type endpoints struct {
	store  *state.Store
	events *events.Ring
	ops    operations
	parse  func(hcl, vars string, canonicalize bool) (*structs.Job, error)
	// issuer is endpointDeps.Issuer.
	issuer string
}

// bindEndpoints binds every row that servers answer.
func bindEndpoints(mux *api.Mux, d endpointDeps) {
	e := &endpoints{store: d.Store, events: d.Events, ops: d.Ops, parse: d.ParseJob, issuer: d.Issuer}
	for name, h := range map[string]api.Handler{
		"job.list": e.listJobs, "job.statuses": e.jobStatuses, "job.read": e.readJob,
		"job.allocations": e.jobAllocs, "job.evaluations": e.jobEvals,
		"job.deployments": e.jobDeployments, "job.deployment": e.jobDeployment,
		"job.summary": e.jobSummary, "job.versions": e.jobVersions, "job.submission": e.jobSubmission,
		"job.scaleStatus": e.jobScaleStatus, "job.services": e.jobServices, "job.actions": e.jobActions,

		"job.register": e.registerJob, "job.update": e.registerJob, "job.parse": e.parseJob,
		"job.validate": e.validateJob, "job.plan": e.planJob, "job.stop": e.stopJob,
		"job.evaluate": e.evaluateJob, "job.periodicForce": e.forcePeriodic,
		"job.dispatch": e.dispatchJob, "job.dispatchPayload": e.dispatchPayload,
		"job.revert": e.revertJob, "job.stable": e.stableJob, "job.tag": e.tagJob, "job.untag": e.untagJob, "job.scale": e.scaleJob,

		"alloc.list": e.listAllocs, "alloc.read": e.readAlloc, "alloc.stop": e.stopAlloc,
		"eval.list": e.listEvals, "eval.count": e.countEvals, "eval.queues": e.evalQueues, "eval.delete": e.deleteEvals, "eval.read": e.readEval, "eval.allocations": e.evalAllocs,
		"deployment.list": e.listDeployments, "deployment.read": e.readDeployment, "deployment.allocations": e.deploymentAllocs,
		"deployment.fail": e.failDeployment, "deployment.pause": e.pauseDeployment, "deployment.promote": e.promoteDeployment,
		"deployment.unblock": e.unblockDeployment, "deployment.allocHealth": e.setAllocHealth,

		"node.list": e.listNodes, "node.read": e.readNode, "node.allocations": e.nodeAllocs,
		"node.drain": e.drainNode, "node.eligibility": e.nodeEligibility,
		"node.evaluate": e.evaluateNode, "node.purge": e.purgeNode,
		"nodePool.list": e.listNodePools, "nodePool.read": e.readNodePool,
		"nodePool.nodes": e.nodePoolNodes, "nodePool.jobs": e.nodePoolJobs,

		"nodePool.create": e.setNodePool, "nodePool.set": e.setNodePool, "nodePool.delete": e.deleteNodePool,

		"node.introduction": e.createIntroduction,
		"namespace.create":  e.setNamespace, "namespace.set": e.setNamespace, "namespace.delete": e.deleteNamespace,
		"namespace.list": e.listNamespaces, "namespace.read": e.readNamespace,
		"variable.list": e.listVariables, "variable.read": e.readVariable,
		"variable.set": e.setVariable, "variable.delete": e.deleteVariable, "keyring.list": e.listRootKeys, "keyring.rotate": e.rotateRootKey, "keyring.delete": e.deleteRootKey,
		"volume.list": e.listVolumes, "volume.read": e.readVolume, "volume.create": e.createVolume,
		"volume.register": e.registerVolume, "volume.delete": e.deleteVolume,
		"event.stream": e.streamEvents, "scaling.policies": e.listScalingPolicies, "scaling.policy": e.readScalingPolicy,
		"service.list": e.listServices, "service.read": e.readService, "service.delete": e.deleteService, "alloc.services": e.allocServices,
		"identity.keys": e.keySet, "identity.discovery": e.discovery,
		"search.prefix": e.searchPrefix, "search.fuzzy": e.searchFuzzy,
		"status.leader": e.leader, "status.peers": e.peers, "region.list": e.regions,
		"operator.raftConfiguration": e.raftConfiguration, "operator.snapshot": e.saveSnapshot, "operator.restoreSnapshot": e.restoreSnapshot, "operator.raftRemovePeer": e.raftRemovePeer, "operator.raftTransfer": e.raftTransfer,
		"operator.autopilotConfiguration": e.autopilotConfig, "operator.setAutopilotConfiguration": e.setAutopilotConfig, "operator.autopilotHealth": e.autopilotHealth,
		"operator.schedulerConfiguration": e.schedulerConfig, "operator.setSchedulerConfiguration": e.setSchedulerConfig,
		"system.gc": e.collectGarbage, "system.reconcileSummaries": e.reconcileSummaries,
	} {
		mux.Bind(name, h)
	}
}

// view is a read: what to watch, the index of what it shows, and what it
// shows. Render runs once, on the snapshot whose index satisfied the query.
type view struct {
	keys   []state.Key
	index  func(s *state.Snapshot) uint64
	render func(s *state.Snapshot) (*api.Response, error)
}

// read answers a request from a snapshot, waiting for a newer one when the
// request asks for that. The response carries the index also beside an error,
// so that callers can wait for what does not exist yet.
func (e *endpoints) read(ctx context.Context, r *api.Request, v view) (*api.Response, error) {
	if !r.Query.Stale {
		if err := e.ops.ReadBarrier(ctx); err != nil {
			return nil, err
		}
	}
	var seen *state.Snapshot
	index, err := api.Block(ctx, r, e.store, v.keys, func(s *state.Snapshot) uint64 {
		seen = s
		return v.index(s)
	})
	if err != nil {
		return nil, err
	}
	resp, err := v.render(seen)
	if resp == nil {
		resp = &api.Response{}
	}
	resp.Index = index
	return resp, err
}

// body makes a response of a value.
func body(v any) (*api.Response, error) { return &api.Response{Body: v}, nil }

// page makes a response of a page; it takes what api.List returns.
func page[S any](items []S, next string, err error) (*api.Response, error) {
	if err != nil {
		return nil, err
	}
	return &api.Response{Body: items, NextToken: next}, nil
}

// tables watches tables and shows their last change as the index.
func tables(t ...state.Table) (keys []state.Key, index func(*state.Snapshot) uint64) {
	for _, table := range t {
		keys = append(keys, state.KeyTable(table))
	}
	return keys, func(s *state.Snapshot) uint64 {
		newest := uint64(0)
		for _, table := range t {
			newest = max(newest, s.TableIndex(table))
		}
		return newest
	}
}

// newest is the index of a part of a table: the last change of an item, or the
// last deletion.
func newest[T any](s *state.Snapshot, t state.Table, items iter.Seq[T], modified func(T) uint64) uint64 {
	index := s.DeletedIndex(t)
	for item := range items {
		index = max(index, modified(item))
	}
	return index
}

// scope is the index of a list of tables: of one namespace its own, so that what
// happens in others wakes nobody; of all, the tables'.
func scope(r *api.Request, s *state.Snapshot, tables ...state.Table) (index uint64) {
	for _, t := range tables {
		if r.Query.Namespace == structs.AllNamespaces {
			index = max(index, s.TableIndex(t))
		} else {
			index = max(index, s.NamespaceIndex(t, r.Query.Namespace))
		}
	}
	return index
}

// visible keeps the items of the namespace that a request names, and of "*"
// those that the caller may see.
func visible[T any](r *api.Request, items iter.Seq[T], namespace func(T) string) iter.Seq[T] {
	want := r.Query.Namespace
	return func(yield func(T) bool) {
		for item := range items {
			ns := namespace(item)
			if ns != want && (want != structs.AllNamespaces || !r.ACL.Allows(r.Route.Capability, ns)) {
				continue
			}
			if !yield(item) {
				return
			}
		}
	}
}

// show renders every item, never as nil.
func show[T, S any](items iter.Seq[T], f func(T) S) []S {
	out := []S{}
	for item := range items {
		out = append(out, f(item))
	}
	return out
}

func notFound(what string) error { return structs.Errorf(structs.NotFound, "%s not found", what) }

// casOf reads the index that a write is conditional on, nil for none.
func casOf(r *api.Request) (*uint64, error) {
	n, given, err := r.Uint("cas")
	if err != nil || !given {
		return nil, err
	}
	return &n, nil
}
