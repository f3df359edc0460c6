package nomadlite

import (
	"context"
	"crypto/subtle"
	"maps"
	"slices"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

var _ api.Servers = (*Server)(nil)

// Register adds a node or replaces what is known of it. A node that registers
// is ready: what it cannot do yet, its drivers say.
func (s *Server) Register(ctx context.Context, node *structs.Node) (*api.NodeRegisterResponse, error) {
	return s.register(ctx, node, "")
}

// register is Register with the token that introduces a new node, "" for none.
func (s *Server) register(ctx context.Context, node *structs.Node, token string) (*api.NodeRegisterResponse, error) {
	if err := checkNode(node); err != nil {
		return nil, err
	}
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	n := *node
	n.NodePool = orDefault(n.NodePool, structs.NodePoolDefault)
	if n.Status == "" || n.Status == structs.NodeStatusInit {
		n.Status = structs.NodeStatusReady
	}
	n.ComputeClass()
	cmd := &state.NodeRegister{Node: &n, Now: now.UnixNano()}
	snap := s.store.Snapshot()
	old := snap.Node(n.ID)
	switch {
	case old == nil:
		if err := s.admitNode(&n, token, now); err != nil {
			return nil, err
		}
		cmd.Evals = systemEvals(snap, &n, now)
	case !sameSecret(old, n.SecretID):
		return nil, errWrongSecret(n.ID)
	case old.Status == n.Status && old.ComputedClass != n.ComputedClass: // jobs of every node may fit now, or no longer
		cmd.Evals = systemEvals(snap, &n, now)
	case old.Status != n.Status:
		cmd.Event = nodeEvent(structs.NodeEventSubsystemCluster, "Node re-registered", now)
		cmd.Evals = nodeEvals(snap, &n, now)
	}
	if old != nil {
		cmd.Health = healthEvents(old.Drivers, n.Drivers, now)
	}
	_, index, err := s.apply(ctx, fsm.NodeRegister, cmd)
	if err != nil {
		return nil, err
	}
	return s.heard(n.ID, index), nil
}

// healthEvents say which drivers of a node became better or worse, and why.
func healthEvents(old, now map[string]*structs.DriverInfo, at time.Time) []*structs.NodeEvent {
	var out []*structs.NodeEvent
	for _, name := range slices.Sorted(maps.Keys(now)) {
		before, d := old[name], now[name]
		if before == nil || d == nil || before.Detected == d.Detected && before.Healthy == d.Healthy {
			continue
		}
		e := nodeEvent(structs.NodeEventSubsystemDriver, d.HealthDescription, at)
		e.Details["driver"] = name
		out = append(out, e)
	}
	return out
}

func checkNode(n *structs.Node) error {
	switch {
	case n == nil:
		return structs.Errorf(structs.Invalid, "cannot register a node: it is missing")
	case len(n.ID) != 36:
		return structs.Errorf(structs.Invalid, "cannot register node %q: its id must be a UUID", n.ID)
	case n.SecretID == "":
		return structs.Errorf(structs.Invalid, "cannot register node %s: it has no secret", n.ID)
	case n.Name == "" || n.Datacenter == "":
		return structs.Errorf(structs.Invalid, "cannot register node %s: it needs a name and a datacenter", n.ID)
	}
	return nil
}

func sameSecret(n *structs.Node, secret string) bool {
	return subtle.ConstantTimeCompare([]byte(n.SecretID), []byte(secret)) == 1
}

func errWrongSecret(id string) error {
	return structs.Errorf(structs.Denied, "node %s is registered with another secret: its data directory was copied or replaced; remove the client's state there to join as a new node", id)
}

// node finds a registered node and checks its secret.
func (s *Server) node(snap *state.Snapshot, id, secret string) (*structs.Node, error) {
	n := snap.Node(id)
	switch {
	case n == nil:
		return nil, structs.Errorf(structs.NotFound, "node %q is not registered: register it first", id)
	case !sameSecret(n, secret):
		return nil, errWrongSecret(id)
	}
	return n, nil
}

// heard resets the time to live of a node.
func (s *Server) heard(id string, index uint64) *api.NodeRegisterResponse {
	snap := s.store.Snapshot()
	resp := &api.NodeRegisterResponse{HeartbeatTTL: s.loops.heartbeat.Beat(id), Index: index, Servers: s.serverAddrs(), Services: snap.ServicesByNode(id)}
	if n := snap.Node(id); n != nil {
		resp.ReadySince = n.StatusUpdatedAt
	}
	return resp
}

// Heartbeat keeps a node alive. One that was taken for lost is ready again.
func (s *Server) Heartbeat(ctx context.Context, beat api.NodeHeartbeat) (*api.NodeRegisterResponse, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	snap := s.store.Snapshot()
	n, err := s.node(snap, beat.NodeID, beat.SecretID)
	if err != nil {
		return nil, err
	}
	index := n.ModifyIndex
	if n.Status != structs.NodeStatusReady {
		now := time.Now()
		_, index, err = s.apply(ctx, fsm.NodeStatus, &state.NodeStatus{
			NodeID: n.ID, Status: structs.NodeStatusReady, Now: now.UnixNano(), Evals: nodeEvals(snap, n, now),
			Event: nodeEvent(structs.NodeEventSubsystemHeartbeat, "Node reregistered by heartbeat", now),
		})
		if err != nil {
			return nil, err
		}
	}
	return s.heard(n.ID, index), nil
}

// Allocs returns what the servers changed about a node's allocations since an
// index, waiting for a change. What the node reported itself is no change.
func (s *Server) Allocs(ctx context.Context, req api.NodeAllocsRequest) (*api.NodeAllocsResponse, error) {
	if req.Since == 0 { // a state that is behind lacks what it will have (B-08)
		if err := s.catchUp(ctx); err != nil {
			return nil, err
		}
	}
	snap := s.store.Snapshot()
	if _, err := s.node(snap, req.NodeID, req.SecretID); err != nil {
		return nil, err
	}
	num, _ := snap.NodeNum(req.NodeID)
	if _, collected := snap.NodeSync(num); req.Since == 0 || collected > req.Since {
		return allAllocs(snap, req.NodeID), nil
	}
	ctx, cancel := context.WithTimeout(ctx, min(orDefault(req.Wait, api.DefaultWait), api.MaxWait))
	defer cancel()
	keys := []state.Key{state.KeyNodeAllocs(req.NodeID), state.KeyNodeVolumes(req.NodeID)}
	err := s.store.Block(ctx, req.Since, keys, func(now *state.Snapshot) uint64 {
		snap = now
		return max(max(now.NodeSync(num)), now.TableIndex(state.TableHostVolumes))
	})
	if err != nil {
		return nil, err
	}
	if _, collected := snap.NodeSync(num); collected > req.Since {
		return allAllocs(snap, req.NodeID), nil
	}
	out := &api.NodeAllocsResponse{Index: max(req.Since, snap.Index()), Allocs: slices.Collect(snap.NodeChanges(num, req.Since))}
	if snap.TableIndex(state.TableHostVolumes) > req.Since {
		out.HasVolumes, out.Volumes = true, slices.Collect(snap.NodeVolumes(req.NodeID))
	}
	return out, nil
}

// allAllocs is the whole list of a node's allocations.
func allAllocs(snap *state.Snapshot, nodeID string) *api.NodeAllocsResponse {
	return &api.NodeAllocsResponse{Index: snap.Index(), Full: true, Allocs: slices.Collect(snap.AllocsByNode(nodeID)),
		HasVolumes: true, Volumes: slices.Collect(snap.NodeVolumes(nodeID))}
}

// UpdateAllocs commits what a node reports of its allocations, with the
// evaluations that follow from it. Raft groups what comes at the same time.
func (s *Server) UpdateAllocs(ctx context.Context, req api.NodeAllocUpdateRequest) error {
	if err := s.awaitLeader(ctx); err != nil {
		return err
	}
	snap := s.store.Snapshot()
	if _, err := s.node(snap, req.NodeID, req.SecretID); err != nil {
		return err
	}
	now := time.Now().UnixNano()
	return s.acks.commit(ctx, &state.AllocUpdate{NodeID: req.NodeID, Updates: req.Updates, Evals: updateEvals(snap, req.NodeID, req.Updates, now), Now: now}, s.apply)
}

// updateEvals are the evaluations that follow from updates by a node: of jobs with an
// allocation that failed or came back, one each.
func updateEvals(snap *state.Snapshot, nodeID string, updates []*structs.AllocUpdate, now int64) []*structs.Evaluation {
	var evals []*structs.Evaluation
	seen := map[state.JobKey]bool{}
	for _, u := range updates {
		if u == nil {
			continue
		}
		if client, ok := snap.AllocClient(u.AllocID); !ok || u.ClientStatus != structs.AllocClientStatusFailed && client != state.ClientUnknown {
			continue // most reports
		}
		a := snap.Alloc(u.AllocID)
		if a == nil || a.NodeID != nodeID || a.ServerTerminal() || a.ClientTerminal() {
			continue
		}
		trigger := ""
		switch {
		case u.ClientStatus == structs.AllocClientStatusFailed && a.FollowupEvalID == "":
			trigger = structs.EvalTriggerRetryFailedAlloc
		case a.ClientStatus == structs.AllocClientStatusUnknown && u.ClientStatus != structs.AllocClientStatusUnknown:
			trigger = structs.EvalTriggerReconnect
		}
		key := state.JobKey{Namespace: a.Namespace, ID: a.JobID}
		job := snap.Job(a.Namespace, a.JobID)
		if trigger == "" || seen[key] || job == nil || job.Stop {
			continue
		}
		seen[key] = true
		evals = append(evals, newEval(job, trigger, now))
	}
	return evals
}

// missed takes a node for lost whose heartbeats stopped: it is disconnected
// while one of its allocations waits for it, which missed reports, then down.
func (s *Server) missed(ctx context.Context, id string) (waits bool, err error) {
	snap := s.store.Snapshot()
	n := snap.Node(id)
	if n == nil || n.Status == structs.NodeStatusDown {
		return false, nil
	}
	status, message := structs.NodeStatusDown, "Node heartbeat missed"
	for a := range snap.AllocsByNode(id) {
		if g := a.Job.LookupGroup(a.TaskGroup); !a.Terminal() && g != nil && g.Disconnect != nil && structs.Val(g.Disconnect.LostAfter) > 0 {
			status = structs.NodeStatusDisconnected
			break
		}
	}
	waits = status == structs.NodeStatusDisconnected
	if n.Status == status {
		return waits, nil
	}
	if n.Status == structs.NodeStatusDisconnected {
		message = "Node is not waited for any more"
	}
	now := time.Now()
	_, _, err = s.apply(ctx, fsm.NodeStatus, &state.NodeStatus{
		NodeID: id, Status: status, Now: now.UnixNano(), Evals: nodeEvals(snap, n, now),
		Event: nodeEvent(structs.NodeEventSubsystemHeartbeat, message, now),
	})
	return waits, err
}
