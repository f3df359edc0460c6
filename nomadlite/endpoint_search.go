package nomadlite

import (
	"cmp"
	"context"
	"encoding/hex"
	"iter"
	"slices"
	"strings"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// Limits of searches (agent-config.md, the search block).
const (
	maxMatches    = 20  // of a context, by prefix
	maxFuzzy      = 20  // of a context, by text
	maxFuzzyFound = 100 // of a context, before ranking
	minFuzzyTerm  = 2
)

// searchContext is a kind of thing that a search can find by prefix.
type searchContext struct {
	name string
	// uuid contexts are left out of the answer when the prefix is not hex.
	uuid bool
	// find yields the ids that begin with prefix; nil finds nothing.
	find func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string]
}

var searchContexts = []searchContext{
	{api.ContextJobs, false, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		return ids(readable(r, s.Jobs(storedNamespace(r), prefix), jobNamespace), func(j *structs.Job) string { return j.ID })
	}},
	{api.ContextEvals, true, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		return ids(readable(r, s.EvalsByIDPrefix(prefix), evalNamespace), func(e *structs.Evaluation) string { return e.ID })
	}},
	{api.ContextAllocs, true, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		return ids(readable(r, s.AllocsByIDPrefix(prefix), allocNamespace), func(a *structs.Allocation) string { return a.ID })
	}},
	{api.ContextNodes, true, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		allowed := func(*structs.Node) bool { return r.ACL.Allows("node:read", "") }
		return ids(filtered(s.NodesByIDPrefix(prefix), allowed), func(n *structs.Node) string { return n.ID })
	}},
	{api.ContextDeployments, true, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		return ids(readable(r, s.DeploymentsByIDPrefix(prefix), deploymentNamespace), func(d *structs.Deployment) string { return d.ID })
	}},
	{api.ContextNodePools, false, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		allowed := func(p *structs.NodePool) bool {
			return strings.HasPrefix(p.Name, prefix) && r.ACL.Allows("node_pool:read", p.Name)
		}
		return ids(filtered(s.NodePools(), allowed), func(p *structs.NodePool) string { return p.Name })
	}},
	{api.ContextNamespaces, false, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		allowed := func(n *structs.Namespace) bool {
			return strings.HasPrefix(n.Name, prefix) && r.ACL.Allows("ns:*", n.Name)
		}
		return ids(filtered(s.Namespaces(), allowed), func(n *structs.Namespace) string { return n.Name })
	}},
	{api.ContextPlugins, false, nil},
	{api.ContextVolumes, false, nil},
	{api.ContextHostVolumes, false, nil},
	{api.ContextScalingPolicy, true, nil},
	{api.ContextVariables, false, func(r *api.Request, s *state.Snapshot, prefix string) iter.Seq[string] {
		mine := filtered(s.Variables(storedNamespace(r), prefix), func(v *state.SealedVariable) bool { return r.ACL.Allows("ns:variables", v.Namespace) })
		return ids(mine, func(v *state.SealedVariable) string { return v.Path })
	}},
}

func ids[T any](items iter.Seq[T], id func(T) string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for item := range items {
			if !yield(id(item)) {
				return
			}
		}
	}
}

// readable is visible for routes that have no capability of their own: what is
// found must be readable.
func readable[T any](r *api.Request, items iter.Seq[T], namespace func(T) string) iter.Seq[T] {
	want := r.Query.Namespace
	return filtered(items, func(item T) bool {
		ns := namespace(item)
		return (want == structs.AllNamespaces || ns == want) && r.ACL.Allows("ns:read-job", ns)
	})
}

// searchNamespace takes the namespace from the body when the query has none.
func searchNamespace(r *api.Request, namespace string) {
	if r.Values.Get("namespace") == "" && namespace != "" {
		r.Query.Namespace = namespace
	}
}

func (e *endpoints) searchPrefix(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.SearchRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	searchNamespace(r, req.Namespace)
	wanted, err := contexts(req.Context)
	if err != nil {
		return nil, err
	}
	return e.search(ctx, r, func(s *state.Snapshot) any {
		out := &api.SearchResponse{Matches: map[string][]string{}, Truncations: map[string]bool{}}
		out.Index = max(1, s.Index())
		for _, c := range wanted {
			if c.uuid && !hexPrefix(req.Prefix) {
				continue
			}
			out.Matches[c.name], out.Truncations[c.name] = c.matches(r, s, req.Prefix)
		}
		return out
	})
}

// search reads once, at the index of the whole state.
func (e *endpoints) search(ctx context.Context, r *api.Request, find func(*state.Snapshot) any) (*api.Response, error) {
	return e.read(ctx, r, view{
		index:  (*state.Snapshot).Index,
		render: func(s *state.Snapshot) (*api.Response, error) { return body(find(s)) },
	})
}

// contexts are the searched contexts; "" is all.
func contexts(name string) ([]searchContext, error) {
	if name == "" || name == api.ContextAll {
		return searchContexts, nil
	}
	for _, c := range searchContexts {
		if c.name == name {
			return []searchContext{c}, nil
		}
	}
	return nil, structs.Errorf(structs.Invalid, "cannot search in context %q: give one of all, jobs, evals, allocs, nodes, node_pools, deployment, plugins, volumes, host_volumes, scaling_policy, vars, namespaces", name)
}

// hexPrefix reports whether ids can begin with s; half a byte may be left over.
func hexPrefix(s string) bool {
	digits := strings.ReplaceAll(s, "-", "")
	_, err := hex.DecodeString(digits[:len(digits)/2*2])
	return err == nil && strings.Trim(digits, "0123456789abcdefABCDEF") == ""
}

// matches returns at most maxMatches ids, nil for none, and whether there are
// more.
func (c searchContext) matches(r *api.Request, s *state.Snapshot, prefix string) (found []string, more bool) {
	if c.find == nil {
		return nil, false
	}
	for id := range c.find(r, s, prefix) {
		if !strings.HasPrefix(id, prefix) {
			continue
		}
		if len(found) == maxMatches {
			return found, true
		}
		found = append(found, id)
	}
	return found, false
}

func (e *endpoints) searchFuzzy(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.FuzzySearchRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	searchNamespace(r, req.Namespace)
	if n := len(req.Text); n < minFuzzyTerm {
		return nil, structs.Errorf(structs.Internal, "fuzzy search query must be at least %d characters, got %d", minFuzzyTerm, n)
	}
	wanted, err := contexts(req.Context)
	if err != nil {
		return nil, err
	}
	return e.search(ctx, r, func(s *state.Snapshot) any {
		found := &fuzzy{text: strings.ToLower(req.Text), found: map[string][]fuzzyMatch{}}
		out := &api.FuzzySearchResponse{Matches: map[string][]api.FuzzyMatch{}, Truncations: map[string]bool{}}
		out.Index = max(1, s.Index())
		for _, c := range wanted {
			if scan := fuzzyScans[c.name]; scan != nil {
				scan(r, s, found)
			} else if c.find != nil && req.Prefix != "" && (!c.uuid || hexPrefix(req.Prefix)) {
				list, more := c.matches(r, s, req.Prefix)
				for _, id := range list {
					out.Matches[c.name] = append(out.Matches[c.name], api.FuzzyMatch{ID: id})
				}
				out.Truncations[c.name] = more
			}
		}
		found.into(out)
		return out
	})
}

// fuzzy collects names that contain a text, whatever their case.
type fuzzy struct {
	text  string
	found map[string][]fuzzyMatch
}

type fuzzyMatch struct {
	api.FuzzyMatch
	at int
}

// offer adds a name when it matches, and reports whether the context wants
// more.
func (f *fuzzy) offer(context, name string, scope ...string) bool {
	if at := strings.Index(strings.ToLower(name), f.text); at >= 0 && len(f.found[context]) <= maxFuzzyFound {
		f.found[context] = append(f.found[context], fuzzyMatch{api.FuzzyMatch{ID: name, Scope: scope}, at})
	}
	return len(f.found[context]) <= maxFuzzyFound
}

// into ranks what was found: by where the text stands in the name, then the
// shorter, then by alphabet.
func (f *fuzzy) into(out *api.FuzzySearchResponse) {
	for context, list := range f.found {
		slices.SortFunc(list, func(a, b fuzzyMatch) int {
			return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(len(a.ID), len(b.ID)), cmp.Compare(a.ID, b.ID), slices.Compare(a.Scope, b.Scope))
		})
		out.Truncations[context] = len(list) > maxFuzzy
		for _, m := range list[:min(len(list), maxFuzzy)] {
			out.Matches[context] = append(out.Matches[context], m.FuzzyMatch)
		}
	}
}

// fuzzyScans looks through the nouns that have names. Jobs also offer their
// groups, tasks, services, images and commands, nodes their classes.
var fuzzyScans = map[string]func(r *api.Request, s *state.Snapshot, f *fuzzy){
	api.ContextJobs: func(r *api.Request, s *state.Snapshot, f *fuzzy) {
		for j := range readable(r, s.Jobs(storedNamespace(r), ""), jobNamespace) {
			f.offer(api.ContextJobs, j.Name, j.Namespace, j.ID)
			f.job(j)
		}
	},
	api.ContextNodes: func(r *api.Request, s *state.Snapshot, f *fuzzy) {
		if !r.ACL.Allows("node:read", "") {
			return
		}
		for n := range s.Nodes() {
			f.offer(api.ContextNodes, n.Name, n.ID)
			if n.NodeClass != "" {
				f.offer(api.ContextClasses, n.NodeClass, n.ID)
			}
		}
	},
	api.ContextAllocs: func(r *api.Request, s *state.Snapshot, f *fuzzy) {
		for a := range readable(r, s.Allocs(), allocNamespace) {
			if !f.offer(api.ContextAllocs, a.Name, a.Namespace, a.ID) {
				return
			}
		}
	},
	api.ContextNodePools: func(r *api.Request, s *state.Snapshot, f *fuzzy) {
		for p := range s.NodePools() {
			if r.ACL.Allows("node_pool:read", p.Name) {
				f.offer(api.ContextNodePools, p.Name)
			}
		}
	},
	api.ContextNamespaces: func(r *api.Request, s *state.Snapshot, f *fuzzy) {
		for n := range s.Namespaces() {
			if r.ACL.Allows("ns:*", n.Name) {
				f.offer(api.ContextNamespaces, n.Name)
			}
		}
	},
}

// job offers the parts of a job.
func (f *fuzzy) job(j *structs.Job) {
	for _, g := range j.TaskGroups {
		f.offer(api.ContextGroups, g.Name, j.Namespace, j.ID)
		for _, sv := range g.Services {
			f.offer(api.ContextServices, sv.Name, j.Namespace, j.ID, g.Name)
		}
		for _, t := range g.Tasks {
			f.offer(api.ContextTasks, t.Name, j.Namespace, j.ID, g.Name)
			for _, sv := range t.Services {
				f.offer(api.ContextServices, sv.Name, j.Namespace, j.ID, g.Name, t.Name)
			}
			for key, context := range map[string]string{"image": api.ContextImages, "command": api.ContextCommands} {
				if text, ok := t.Config[key].(string); ok {
					f.offer(context, text, j.Namespace, j.ID, g.Name, t.Name)
				}
			}
		}
	}
}
