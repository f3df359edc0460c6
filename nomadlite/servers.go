package nomadlite

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/autopilot"
	"github.com/nomadlite/nomadlite/nomadlite/fsm"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// lookPause is between two looks at the servers.
const lookPause = 2 * time.Second

// AutopilotConfig is how the leader cares for the servers: what was set, else
// what the agent's configuration says.
func (s *Server) AutopilotConfig() *structs.AutopilotConfiguration {
	if c := s.store.Snapshot().AutopilotConfig(); c != nil {
		return c
	}
	return s.cfg.Autopilot
}

// SetAutopilotConfig changes that, with cas only when its ModifyIndex is *cas.
func (s *Server) SetAutopilotConfig(ctx context.Context, cfg *structs.AutopilotConfiguration, cas *uint64) (updated bool, err error) {
	if err := cfg.Validate(); err != nil {
		return false, err
	}
	_, _, err = s.apply(ctx, fsm.AutopilotConfig, &state.AutopilotConfig{Config: cfg, CheckIndex: cas != nil, ModifyIndex: structs.Val(cas)})
	if structs.KindOf(err) == structs.Conflict {
		return false, nil
	}
	return err == nil, err
}

// watchServers looks after the Raft peers until ctx ends.
func (s *Server) watchServers(ctx context.Context) error {
	if s.cfg.Port == nil {
		<-ctx.Done()
		return nil
	}
	core := autopilot.New()
	tick := time.NewTicker(lookPause)
	defer tick.Stop()
	for {
		health, actions := core.Look(time.Now(), s.AutopilotConfig(), s.look(ctx))
		if ctx.Err() != nil {
			return nil
		}
		s.health.Store(&health)
		s.act(health, actions)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// look asks all peers how they are.
func (s *Server) look(ctx context.Context) []autopilot.Peer {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	conf := s.configuration().Servers
	peers := make([]autopilot.Peer, len(conf))
	var all sync.WaitGroup
	for i, p := range conf {
		peers[i] = autopilot.Peer{ID: string(p.ID), Address: string(p.Address), Voter: p.Suffrage == raft.Voter, Name: s.peers.name(string(p.ID))}
		one := &peers[i]
		all.Go(func() {
			st := s.status()
			if one.ID != s.id {
				var err error
				if st, err = api.CallInternal[api.ServerStatus](ctx, s.peers.via, one.Address, api.PathServerStatus, api.Empty{}); err != nil || st.ID != one.ID {
					return
				}
				s.peers.learn([]*api.ServerStatus{st})
			}
			one.Reached, one.Leader = true, one.ID == s.id
			one.Name, one.Version, one.Contact, one.Term, one.Last = st.Name, st.Version, st.LastContact, st.Term, st.LastIndex
		})
	}
	all.Wait()
	return peers
}

// act does what autopilot decided; what fails is decided again.
func (s *Server) act(health []autopilot.Health, actions autopilot.Actions) {
	addr := map[string]string{}
	for _, h := range health {
		addr[h.ID] = h.Address
	}
	for _, id := range actions.Promote {
		err := s.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(addr[id]), 0, enqueueTimeout).Error()
		s.log.Info("promoting a stable server to voter", "id", id, "address", addr[id], "error", err)
	}
	for _, id := range actions.Remove {
		err := s.raft.RemoveServer(raft.ServerID(id), 0, enqueueTimeout).Error()
		s.log.Warn("removing a dead server from the peers", "id", id, "address", addr[id], "error", err)
	}
}

// ServerHealth is the health of the servers as this leader has last seen it.
func (s *Server) ServerHealth(ctx context.Context) (*api.OperatorHealthReply, error) {
	if err := s.awaitLeader(ctx); err != nil {
		return nil, err
	}
	var all []autopilot.Health
	if seen := s.health.Load(); seen != nil {
		all = *seen
	}
	if s.cfg.Port == nil {
		all = []autopilot.Health{{Healthy: true, StableSince: time.Now(), Peer: autopilot.Peer{
			ID: s.id, Name: s.cfg.Name, Address: s.cfg.RPCAddr, Version: s.cfg.Version, Voter: true, Leader: true, Reached: true,
			Term: s.raft.CurrentTerm(), Last: s.raft.LastIndex(),
		}}}
	}
	out := &api.OperatorHealthReply{Servers: []api.ServerHealth{}, Voters: []string{}, Leader: s.id}
	out.FailureTolerance, out.Healthy = autopilot.Tolerance(all)
	for _, h := range all {
		status := "alive"
		if !h.Reached {
			status = "failed"
		}
		if h.Voter {
			out.Voters = append(out.Voters, h.ID)
		}
		out.Servers = append(out.Servers, api.ServerHealth{
			ID: h.ID, Name: h.Name + "." + s.cfg.Region, Address: h.Address, SerfStatus: status, Version: h.Version, Leader: h.Leader,
			LastContact: structs.TextDuration(h.Contact), LastTerm: h.Term, LastIndex: h.Last, Healthy: h.Healthy, Voter: h.Voter, StableSince: h.StableSince.UTC(),
		})
	}
	return out, nil
}

// EachAgent calls an internal row of all other servers, or of the nodes that
// are connected to this one, and collects the answers by address or node id.
func EachAgent[Out any](ctx context.Context, s *Server, nodes bool, path string, in any) (answers map[string]*Out, failed map[string]string) {
	answers, failed = map[string]*Out{}, map[string]string{}
	var mu sync.Mutex // guards answers and failed
	var all sync.WaitGroup
	ask := func(name string, call func() (*Out, error)) {
		all.Go(func() {
			out, err := call()
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed[name] = err.Error()
				return
			}
			answers[name] = out
		})
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	if nodes {
		for id, one := range s.sessions.all() {
			ask(id, func() (*Out, error) { return api.CallInternal[Out](ctx, one.caller, nodeHost, path, in) })
		}
	} else {
		for _, p := range s.configuration().Servers {
			if string(p.ID) != s.id {
				ask(string(p.Address), func() (*Out, error) {
					return api.CallInternal[Out](ctx, s.peers.via, string(p.Address), path, in)
				})
			}
		}
	}
	all.Wait()
	return answers, failed
}
