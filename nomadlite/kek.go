package nomadlite

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/state"
	"github.com/nomadlite/nomadlite/structs"
)

// This file brings the keys that wrap root keys (KEKs) to every server: any of
// them may have to read variables one day. A KEK goes to Raft peers alone, at
// the address that Raft has of them, and sealed to the receiver's process:
// whoever asks for it, and whoever listens, gets nothing.

// maxKEKPause is the longest pause between two searches for a KEK.
const maxKEKPause = time.Minute

// keepKEKs asks the peers for the KEKs that this server lacks, until ctx ends.
func (s *Server) keepKEKs(ctx context.Context) error {
	w := s.store.Watch(state.KeyTable(state.TableRootKeys))
	defer w.Close()
	pause := leaderRetry
	for ctx.Err() == nil {
		replaced := s.store.Replaced()
		again := (<-chan time.Time)(nil)
		if s.wantKEKs(ctx) {
			again = time.After(pause)
			pause = min(2*pause, maxKEKPause)
		} else {
			pause = leaderRetry
		}
		select {
		case <-w.C():
		case <-replaced:
		case <-again:
		case <-ctx.Done():
		}
	}
	return nil
}

// locked are the root keys that this server cannot unwrap.
func (s *Server) locked() []string {
	var out []string
	for k := range s.store.Snapshot().RootKeys() {
		if !s.keys.Has(k.KEK) {
			out = append(out, k.KeyID)
		}
	}
	return out
}

// wantKEKs asks peers, one after the other, for what is missing; true when
// something still is.
func (s *Server) wantKEKs(ctx context.Context) bool {
	for _, p := range s.configuration().Servers {
		missing := s.locked()
		if len(missing) == 0 {
			return false
		}
		if string(p.ID) == s.id {
			continue
		}
		ask, cancel := context.WithTimeout(ctx, 2*statusTimeout)
		_, err := api.CallInternal[api.Empty](ask, s.peers.via, string(p.Address), api.PathServerKEKWanted, &api.KEKWanted{ServerID: s.id, RootKeys: missing})
		cancel()
		if err != nil {
			s.log.Debug("cannot ask a server for the keyring's key", "peer", p.Address, "error", err)
		}
	}
	missing := s.locked()
	if len(missing) > 0 {
		s.log.Warn("the keyring is locked: no server gave this one the key that wraps root keys; it cannot read variables if it becomes the leader", "root_keys", missing)
	}
	return len(missing) > 0
}

// maxGifts bounds the KEKs of one request.
const maxGifts = 64

// giveKEKs gives a Raft peer KEKs that it lacks.
func (s *Server) giveKEKs(ctx context.Context, in *api.KEKWanted) (*api.Empty, error) {
	if len(in.RootKeys) > maxGifts {
		return nil, structs.Errorf(structs.TooLarge, "cannot give the keys of %d root keys at once: at most %d", len(in.RootKeys), maxGifts)
	}
	for _, p := range s.configuration().Servers {
		if string(p.ID) != in.ServerID {
			continue
		}
		snap := s.store.Snapshot()
		for _, id := range in.RootKeys {
			if k := snap.RootKey(id); k != nil && s.keys.Has(k.KEK) {
				if err := s.giveKEK(ctx, string(p.Address), k); err != nil {
					return nil, err
				}
			}
		}
		return &api.Empty{}, nil
	}
	return nil, structs.Errorf(structs.Denied, "server %q is no Raft peer: the keyring's key goes to peers alone", in.ServerID)
}

// giveKEK gives the server at an address of Raft the KEK of a root key.
func (s *Server) giveKEK(ctx context.Context, addr string, k *state.RootKey) error {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	hand, err := api.CallInternal[api.Hand](ctx, s.peers.via, addr, api.PathServerHand, api.Empty{})
	if err != nil {
		return err
	}
	sealed, err := s.keys.Give(wrapped(k), hand.Key)
	if err != nil {
		return err
	}
	_, err = api.CallInternal[api.Empty](ctx, s.peers.via, addr, api.PathServerKEKGift, &api.KEKGift{RootKey: k.KeyID, Index: s.store.Snapshot().Index(), Sealed: sealed})
	return err
}

func (s *Server) hand(context.Context, *api.Empty) (*api.Hand, error) {
	key, err := s.keys.Hand()
	return &api.Hand{Key: key}, err
}

// takeKEK keeps a KEK that unwraps a root key of the state.
func (s *Server) takeKEK(ctx context.Context, in *api.KEKGift) (*api.Empty, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if err := s.awaitIndex(ctx, in.Index); err != nil {
		return nil, err
	}
	k := s.store.Snapshot().RootKey(in.RootKey)
	if k == nil {
		return nil, structs.Errorf(structs.NotFound, "root key %q is not known here", in.RootKey)
	}
	if err := s.keys.Take(wrapped(k), in.Sealed); err != nil {
		return nil, structs.Errorf(structs.Denied, "%w", err)
	}
	s.log.Debug("has the key that wraps a root key", "root_key", k.KeyID, "kek", k.KEK)
	return &api.Empty{}, nil
}

// spreadKEK gives all voters the KEK of a root key; most of them must have it.
func (s *Server) spreadKEK(ctx context.Context, k *state.RootKey) error {
	var have atomic.Int32
	var all sync.WaitGroup
	voters := 0
	for _, p := range s.configuration().Servers {
		if p.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(p.ID) == s.id {
			have.Add(1)
			continue
		}
		all.Go(func() {
			if err := s.giveKEK(ctx, string(p.Address), k); err != nil {
				s.log.Warn("cannot give a server the keyring's key; it asks for it later", "peer", p.Address, "error", err)
				return
			}
			have.Add(1)
		})
	}
	all.Wait()
	if n := int(have.Load()); n <= voters/2 {
		return structs.Errorf(structs.Unavailable, "cannot use root key %s yet: %d of %d servers have the key that wraps it", k.KeyID, n, voters)
	}
	return nil
}
