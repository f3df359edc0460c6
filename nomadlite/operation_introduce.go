package nomadlite

import (
	"context"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/structs"
)

// This file introduces nodes: who is new to the region shows a token that an
// operator had made for it. From then on a node proves itself by its own secret.

// Introduction says what a node that is new to the region must show.
type Introduction struct {
	Enforcement string
	DefaultTTL  time.Duration // of tokens whose maker does not say
	MaxTTL      time.Duration
}

// Values of Introduction.Enforcement (the contract's words).
const (
	IntroduceNone   = "none"   // nothing
	IntroduceWarn   = "warn"   // nothing; the log tells of nodes without a token
	IntroduceStrict = "strict" // a token
)

// introductionAudience keeps tokens for nodes and tokens for tasks apart.
const introductionAudience = "nomadlite.node-introduction"

// introducer makes tokens for new nodes.
type introducer interface {
	CreateIntroduction(ctx context.Context, req *api.IntroductionRequest) (*api.IntroductionResponse, error)
}

// CreateIntroduction implements introducer.
func (s *Server) CreateIntroduction(ctx context.Context, req *api.IntroductionRequest) (*api.IntroductionResponse, error) {
	ttl := orDefault(req.TTL, s.cfg.Introduction.DefaultTTL)
	if ttl < 0 || ttl > s.cfg.Introduction.MaxTTL {
		return nil, structs.Errorf(structs.Invalid, "invalid TTL %v: it must be positive and at most max_identity_ttl, %v", ttl, s.cfg.Introduction.MaxTTL)
	}
	key, err := s.rootKey(ctx)
	if err != nil {
		return nil, err
	}
	pool := orDefault(req.NodePool, structs.NodePoolDefault)
	now := time.Now()
	token, err := key.Sign(map[string]any{
		"aud": introductionAudience, "sub": strings.Join([]string{"node-introduction", s.cfg.Region, pool, req.NodeName, "default"}, ":"),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(ttl).Unix(), "jti": newID(),
		"nomad_region": s.cfg.Region, "nomad_node_pool": pool, "nomad_node_name": req.NodeName,
	})
	if err != nil {
		return nil, structs.Errorf(structs.Internal, "cannot sign the token: %w", err)
	}
	return &api.IntroductionResponse{JWT: token}, nil
}

// admitNode decides about a node that is new to the region.
func (s *Server) admitNode(n *structs.Node, token string, now time.Time) error {
	mode := s.cfg.Introduction.Enforcement
	if mode == IntroduceNone || token == "" && mode == IntroduceWarn && s.cfg.Port == nil {
		return nil // a server without a port has no node but its own
	}
	err := s.checkIntroduction(n, token, now)
	switch {
	case err == nil:
		s.log.Info("a node was introduced", "node_id", n.ID, "name", n.Name, "pool", n.NodePool)
		return nil
	case mode == IntroduceWarn:
		s.log.Warn("a new node was not introduced", "node_id", n.ID, "name", n.Name, "pool", n.NodePool, "reason", err)
		return nil
	}
	return structs.Errorf(structs.Denied, "cannot register node %s (%s, pool %s): %w; make a token with: nomadlite node intro create -node-name %s -node-pool %s",
		n.ID, n.Name, n.NodePool, err, n.Name, n.NodePool)
}

// checkIntroduction says why a token does not introduce a node.
func (s *Server) checkIntroduction(n *structs.Node, token string, now time.Time) error {
	if token == "" {
		return structs.Errorf(structs.Denied, "it showed no introduction token")
	}
	keys, err := s.publicKeys()
	if err != nil {
		return err
	}
	claims, err := keyring.Verify(token, keys, now)
	if err != nil {
		return structs.Errorf(structs.Denied, "its introduction token is not accepted: %w", err)
	}
	text := func(name string) string { v, _ := claims[name].(string); return v }
	switch {
	case text("aud") != introductionAudience:
		return structs.Errorf(structs.Denied, "its token is no introduction token")
	case text("nomad_region") != s.cfg.Region:
		return structs.Errorf(structs.Denied, "its introduction token is for region %q", text("nomad_region"))
	case text("nomad_node_pool") != n.NodePool:
		return structs.Errorf(structs.Denied, "its introduction token is for node pool %q", text("nomad_node_pool"))
	case text("nomad_node_name") != "" && text("nomad_node_name") != n.Name:
		return structs.Errorf(structs.Denied, "its introduction token is for the node named %q", text("nomad_node_name"))
	}
	return nil
}

func (e *endpoints) createIntroduction(ctx context.Context, r *api.Request) (*api.Response, error) {
	req := &api.IntroductionRequest{}
	if err := r.Decode(req); err != nil {
		return nil, err
	}
	out, err := e.ops.CreateIntroduction(ctx, req)
	if err != nil {
		return nil, err
	}
	return body(out)
}
