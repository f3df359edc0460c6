package nomadlite

import (
	"context"
	"path"
	"regexp"
	"slices"
	"sync"

	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/scheduler"
	"github.com/nomadlite/nomadlite/structs"
)

// Names of namespaces and node pools (http-api.md 1.10, 4, 10).
var (
	namespaceName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9-]{1,128}$`) })
	nodePoolName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`) })
)

// maxDescription bounds the description of a namespace or node pool, in bytes.
const maxDescription = 256

// UpsertNamespace creates or replaces a namespace.
func (s *Server) UpsertNamespace(ctx context.Context, n *structs.Namespace) (index uint64, err error) {
	if err := checkNamespaceSpec(n); err != nil {
		return 0, err
	}
	_, index, err = s.apply(ctx, fsm.NamespaceUpsert, &state.NamespaceUpsert{Namespaces: []*structs.Namespace{n}})
	return index, err
}

func checkNamespaceSpec(n *structs.Namespace) error {
	pools := n.NodePoolConfiguration
	switch {
	case !namespaceName().MatchString(n.Name):
		return structs.Errorf(structs.Rejected, "invalid name %q. Must match regex %s", n.Name, namespaceName())
	case len(n.Description) > maxDescription:
		return structs.Errorf(structs.Rejected, "description of namespace %q is longer than %d characters", n.Name, maxDescription)
	case n.Quota != "":
		return structs.Errorf(structs.Unsupported, "cannot give namespace %q the quota %q: quotas are not in this build", n.Name, n.Quota)
	case pools != nil && len(pools.Allowed) > 0 && len(pools.Denied) > 0:
		return structs.Errorf(structs.Rejected, "namespace %q names both allowed and denied node pools; use one of them", n.Name)
	}
	if pools == nil {
		return nil
	}
	for _, pattern := range slices.Concat(pools.Allowed, pools.Denied) {
		if _, err := path.Match(pattern, ""); err != nil {
			return structs.Errorf(structs.Rejected, "namespace %q has the node pool pattern %q: %w", n.Name, pattern, err)
		}
	}
	if !poolAllowed(pools, pools.Default) {
		return structs.Errorf(structs.Rejected, "namespace %q does not allow its own default node pool %q", n.Name, pools.Default)
	}
	return nil
}

// DeleteNamespace removes a namespace in which nothing runs.
func (s *Server) DeleteNamespace(ctx context.Context, name string) (index uint64, err error) {
	if name == structs.DefaultNamespace {
		return 0, structs.Errorf(structs.Rejected, "can not delete default namespace")
	}
	if err := s.awaitLeader(ctx); err != nil {
		return 0, err
	}
	if s.store.Snapshot().Namespace(name) == nil {
		return 0, structs.Errorf(structs.Internal, "namespace not found")
	}
	_, index, err = s.apply(ctx, fsm.NamespaceDelete, &state.NamespaceDelete{Names: []string{name}})
	return index, inUse(err)
}

// inUse answers a refusal of the state as the contract does, with status 500.
func inUse(err error) error {
	if structs.KindOf(err) == structs.Conflict {
		return structs.Errorf(structs.Rejected, "%w", err)
	}
	return err
}

// UpsertNodePool creates or replaces a node pool.
func (s *Server) UpsertNodePool(ctx context.Context, p *structs.NodePool) (index uint64, err error) {
	switch {
	case p.Name == structs.NodePoolAll || p.Name == structs.NodePoolDefault:
		return 0, structs.Errorf(structs.Invalid, "modifying node pool %q is not allowed", p.Name)
	case !nodePoolName().MatchString(p.Name):
		return 0, structs.Errorf(structs.Invalid, "invalid node pool name %q: it must match %s", p.Name, nodePoolName())
	case len(p.Description) > maxDescription:
		return 0, structs.Errorf(structs.Invalid, "invalid node pool %q: the description is longer than %d characters", p.Name, maxDescription)
	}
	if c := p.SchedulerConfiguration; c != nil && c.SchedulerAlgorithm != "" {
		if err := scheduler.CheckAlgorithm(c.SchedulerAlgorithm); err != nil {
			return 0, structs.Errorf(structs.Invalid, "invalid node pool %q: %v", p.Name, err)
		}
	}
	_, index, err = s.apply(ctx, fsm.NodePoolUpsert, &state.NodePoolUpsert{NodePools: []*structs.NodePool{p}})
	return index, err
}

// DeleteNodePool removes a node pool that neither nodes nor jobs use.
func (s *Server) DeleteNodePool(ctx context.Context, name string) (index uint64, err error) {
	if name == structs.NodePoolAll || name == structs.NodePoolDefault {
		return 0, structs.Errorf(structs.Invalid, "deleting node pool %q is not allowed", name)
	}
	if err := s.awaitLeader(ctx); err != nil {
		return 0, err
	}
	snap := s.store.Snapshot()
	if snap.NodePool(name) == nil {
		return 0, structs.Errorf(structs.Internal, "node pool %s not found", name)
	}
	for range snap.NodesByPool(name) {
		return 0, structs.Errorf(structs.Rejected, "node pool %q has nodes in regions: [%s]", name, s.cfg.Region)
	}
	for j := range snap.Jobs("", "") {
		if j.NodePool == name && j.Status != structs.JobStatusDead {
			return 0, structs.Errorf(structs.Rejected, "node pool %q has non-terminal jobs in regions: [%s]", name, s.cfg.Region)
		}
	}
	_, index, err = s.apply(ctx, fsm.NodePoolDelete, &state.NodePoolDelete{Names: []string{name}})
	return index, inUse(err)
}

// admitToNamespace holds a job to the limits of its namespace. A job without a
// node pool gets the namespace's.
func admitToNamespace(snap *state.Snapshot, job *structs.Job) error {
	ns := snap.Namespace(job.Namespace)
	if ns == nil {
		return structs.Errorf(structs.Rejected, "namespace %q does not exist", job.Namespace)
	}
	if pools := ns.NodePoolConfiguration; pools != nil && !poolAllowed(pools, job.NodePool) {
		return structs.Errorf(structs.Rejected, "namespace %q does not allow jobs to use node pool %q", ns.Name, job.NodePool)
	}
	if snap.NodePool(job.NodePool) == nil {
		return structs.Errorf(structs.Rejected, "job %q uses node pool %q, which does not exist", job.ID, job.NodePool)
	}
	caps := ns.Capabilities
	if caps == nil {
		return nil
	}
	var list structs.ErrorList
	for _, g := range job.TaskGroups {
		for _, mode := range networkModes(g) {
			if !permitted(mode, caps.EnabledNetworkModes, caps.DisabledNetworkModes) {
				list.Errors = append(list.Errors, structs.Errorf(structs.Rejected, "group %q uses network mode %q, which namespace %q does not allow", g.Name, mode, ns.Name))
			}
		}
		for _, t := range g.Tasks {
			if !permitted(t.Driver, caps.EnabledTaskDrivers, caps.DisabledTaskDrivers) {
				list.Errors = append(list.Errors, structs.Errorf(structs.Rejected, "task %q of group %q uses driver %q, which namespace %q does not allow", t.Name, g.Name, t.Driver, ns.Name))
			}
		}
	}
	if len(list.Errors) > 0 {
		return &list
	}
	return nil
}

// defaultPool gives a job without a node pool the one of its namespace.
func defaultPool(snap *state.Snapshot, job *structs.Job) {
	ns := snap.Namespace(job.Namespace)
	if job.NodePool == "" && ns != nil && ns.NodePoolConfiguration != nil {
		job.NodePool = ns.NodePoolConfiguration.Default
	}
}

// networkModes are the modes of a group; without a network block its tasks see
// the host's.
func networkModes(g *structs.TaskGroup) []string {
	modes := make([]string, 0, 1)
	for _, n := range g.Networks {
		modes = append(modes, orDefault(n.Mode, "host"))
	}
	if len(modes) == 0 {
		modes = append(modes, "host")
	}
	return modes
}

// permitted reports whether a name is enabled (all are when none is named) and
// not disabled.
func permitted(name string, enabled, disabled []string) bool {
	return (len(enabled) == 0 || slices.Contains(enabled, name)) && !slices.Contains(disabled, name)
}

// poolAllowed reports whether a namespace lets jobs use a pool; "" is its own
// default.
func poolAllowed(c *structs.NamespaceNodePoolConfiguration, pool string) bool {
	matches := func(pattern string) bool {
		ok, err := path.Match(pattern, pool)
		return err == nil && ok
	}
	switch {
	case pool == "" || pool == c.Default:
		return pool == "" || !slices.ContainsFunc(c.Denied, matches)
	case len(c.Allowed) > 0:
		return slices.ContainsFunc(c.Allowed, matches)
	}
	return !slices.ContainsFunc(c.Denied, matches)
}
