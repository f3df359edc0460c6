package agent

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite"
	"github.com/nomadlite/nomadlite/structs"
)

// This file holds the handlers of gossip: join, force-leave and keys.

var errNoGossip = structs.Errorf(structs.Unsupported, "this agent does not gossip: it is a dev agent, or client.gossip is off")

// join contacts other agents: members of this region, or servers of another.
func (a *Agent) join(ctx context.Context, r *api.Request) (*api.Response, error) {
	addrs := r.Values["address"]
	switch {
	case a.server == nil:
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	case len(addrs) == 0:
		return nil, structs.Errorf(structs.Invalid, "missing address to join")
	case a.net.gossip == nil:
		return nil, errNoGossip
	}
	out := &api.JoinResponse{}
	n, err := a.net.gossip.Join(addrs)
	for _, addr := range addrs {
		if region, jerr := a.server.JoinRegion(ctx, addr); jerr == nil && region != a.config().Region {
			n++
		}
	}
	out.NumJoined = n
	if err != nil && n == 0 {
		out.Error = err.Error()
	}
	return &api.Response{Body: out}, nil
}

// forceLeave takes a failed member for gone, on all servers.
func (a *Agent) forceLeave(ctx context.Context, r *api.Request) (*api.Response, error) {
	prune, err := r.Bool("prune", false)
	switch {
	case err != nil:
		return nil, err
	case a.server == nil:
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	case r.Values.Get("node") == "":
		return nil, structs.Errorf(structs.Invalid, "missing node to force leave")
	case a.net.gossip == nil:
		return nil, errNoGossip
	}
	in := &api.ForgetMember{Name: r.Values.Get("node"), Prune: prune}
	if _, err := a.forgetMember(ctx, in); err != nil {
		return nil, err
	}
	if _, failed := nomadlite.EachAgent[api.Found](ctx, a.server, false, api.PathAgentForceLeave, in); len(failed) > 0 {
		a.log.Warn("some servers were not told of a forced leave", "node", in.Name, "failed", failed)
	}
	return &api.Response{}, nil
}

func (a *Agent) forgetMember(_ context.Context, in *api.ForgetMember) (*api.Found, error) {
	if a.net.gossip == nil {
		return nil, errNoGossip
	}
	return &api.Found{OK: a.net.gossip.ForceLeave(in.Name, in.Prune)}, nil
}

// changeKeys changes this agent's gossip keys, and with Deep those of the nodes
// that are connected to it.
func (a *Agent) changeKeys(ctx context.Context, in *api.GossipKeys) (*api.GossipKeysDone, error) {
	out := &api.GossipKeysDone{Keys: map[string]int{}, Primary: map[string]int{}, Failed: map[string]string{}}
	if a.net.gossip != nil {
		if err := a.changeOwnKeys(in); err != nil {
			return nil, err
		}
		out.Members = 1
		for i, key := range a.net.keys.List() {
			out.Keys[key]++
			if i == 0 {
				out.Primary[key]++
			}
		}
	}
	if in.Deep && a.server != nil {
		below := *in
		below.Deep = false
		mergeKeys(ctx, a.server, true, &below, out)
	}
	return out, nil
}

func (a *Agent) changeOwnKeys(in *api.GossipKeys) error {
	if a.net.keys == nil {
		return structs.Errorf(structs.Invalid, "cannot %s gossip keys: gossip is not encrypted here; set encrypt on every agent and restart them", in.Action)
	}
	switch in.Action {
	case "list":
		return nil
	case "install":
		return a.net.keys.Install(in.Key)
	case "use":
		return a.net.keys.Use(in.Key)
	case "remove":
		return a.net.keys.Remove(in.Key)
	}
	return structs.Errorf(structs.NotFound, "cannot %q gossip keys: want list, install, use or remove", in.Action)
}

// mergeKeys changes the keys of other servers, or of this one's nodes, and adds
// up what came of it.
func mergeKeys(ctx context.Context, s *nomadlite.Server, nodes bool, in *api.GossipKeys, out *api.GossipKeysDone) {
	answers, failed := nomadlite.EachAgent[api.GossipKeysDone](ctx, s, nodes, api.PathAgentKeys, in)
	for who, text := range failed {
		out.Failed[who] = text
	}
	for _, one := range answers {
		out.Members += one.Members
		for k, n := range one.Keys {
			out.Keys[k] += n
		}
		for k, n := range one.Primary {
			out.Primary[k] += n
		}
		for who, text := range one.Failed {
			out.Failed[who] = text
		}
	}
}

// keyring lists or changes the gossip keys of all members. They travel over
// the server port and the nodes' connections, never by gossip.
func (a *Agent) keyring(ctx context.Context, r *api.Request) (*api.Response, error) {
	if a.server == nil {
		return nil, structs.Errorf(structs.Unsupported, "Invalid method")
	}
	if a.net.gossip == nil {
		return nil, errNoGossip
	}
	in := &api.GossipKeys{Action: r.Param("action"), Deep: true}
	if in.Action != "list" {
		var body struct{ Key string }
		if err := r.Decode(&body); err != nil {
			return nil, err
		}
		in.Key = body.Key
	}
	done, err := a.changeKeys(ctx, in)
	if err != nil {
		return nil, err
	}
	mergeKeys(ctx, a.server, false, in, done)
	out := &api.KeyringResponse{Messages: done.Failed, Keys: done.Keys, PrimaryKeys: done.Primary, NumNodes: done.Members + len(done.Failed)}
	if n := len(done.Failed); n > 0 && in.Action != "list" {
		return nil, structs.Errorf(structs.Unavailable, "%d of %d members did not %s the key: %v", n, out.NumNodes, in.Action, done.Failed)
	}
	return &api.Response{Body: out}, nil
}
