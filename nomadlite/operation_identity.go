package nomadlite

import (
	"context"
	"crypto/ed25519"
	"slices"
	"strings"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/nomadlite/keyring"
	"github.com/nomadlite/nomadlite/structs"
)

// identityReader knows the keys of identities.
type identityReader interface {
	publicKeys() ([]keyring.PublicKey, error)
}

// maxIdentities bounds the tokens of one request.
const maxIdentities = 256

// SignIdentities makes tokens for the identities that the job of an allocation
// declares, and no others.
func (s *Server) SignIdentities(ctx context.Context, req api.IdentityRequest) (*api.IdentityResponse, error) {
	if len(req.Wanted) > maxIdentities {
		return nil, structs.Errorf(structs.TooLarge, "cannot sign %d identities at once: at most %d", len(req.Wanted), maxIdentities)
	}
	key, err := s.rootKey(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.workload(s.store.Snapshot(), req.NodeID, req.SecretID, req.AllocID)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out := &api.IdentityResponse{}
	for _, want := range req.Wanted {
		id := declared(a, want)
		if id == nil {
			return nil, structs.Errorf(structs.NotFound, "cannot sign identity %q of task %q: the job does not declare it", want.Name, want.Task)
		}
		claims := s.claims(a, want, id, now)
		token, err := key.Sign(claims)
		if err != nil {
			return nil, structs.Errorf(structs.Internal, "cannot sign identity %q of task %q: %w", want.Name, want.Task, err)
		}
		signed := api.SignedIdentity{JWT: token}
		if id.TTL > 0 {
			signed.Expires = now.Add(id.TTL)
		}
		out.Tokens = append(out.Tokens, signed)
	}
	return out, nil
}

// declared finds an identity in the job of an allocation.
func declared(a *structs.Allocation, want api.IdentityName) *structs.WorkloadIdentity {
	g := a.Job.LookupGroup(a.TaskGroup)
	if g == nil {
		return nil
	}
	if want.Service != "" {
		for _, sv := range g.AllServices() {
			if sv.Name == want.Service && sv.TaskName == want.Task && sv.Identity != nil {
				return sv.Identity
			}
		}
		return nil
	}
	t := g.LookupTask(want.Task)
	if t == nil {
		return nil
	}
	for _, id := range append([]*structs.WorkloadIdentity{t.Identity}, t.Identities...) {
		if id != nil && id.Name == want.Name {
			return id
		}
	}
	return nil
}

// claims are those of the contract.
func (s *Server) claims(a *structs.Allocation, want api.IdentityName, id *structs.WorkloadIdentity, now time.Time) map[string]any {
	job := a.JobID
	if a.Job.ParentID != "" {
		job = a.Job.ParentID
	}
	who := want.Task
	c := map[string]any{
		"iat": now.Unix(), "nbf": now.Unix(), "jti": newID(),
		"nomad_namespace": a.Namespace, "nomad_job_id": job, "nomad_allocation_id": a.ID,
	}
	if want.Service != "" {
		who = want.Service
		c["nomad_service"] = want.Service
	}
	if want.Task != "" {
		c["nomad_task"] = want.Task
	}
	c["sub"] = strings.Join([]string{s.cfg.Region, a.Namespace, job, a.TaskGroup, who, id.Name}, ":")
	if len(id.Audience) > 0 {
		c["aud"] = slices.Clone(id.Audience)
	}
	if id.TTL > 0 {
		c["exp"] = now.Add(id.TTL).Unix()
	}
	if s.cfg.OIDCIssuer != "" {
		c["iss"] = s.cfg.OIDCIssuer
	}
	return c
}

// publicKeys are those that verify the identities of this region.
func (s *Server) publicKeys() ([]keyring.PublicKey, error) {
	var out []keyring.PublicKey
	for k := range s.store.Snapshot().RootKeys() {
		if len(k.Public) == ed25519.PublicKeySize {
			out = append(out, keyring.PublicKey{ID: k.KeyID, Key: k.Public})
			continue
		}
		key, err := s.unwrap(k)
		if err != nil {
			return nil, err
		}
		out = append(out, key.Public())
	}
	return out, nil
}

// CheckIdentity says to a node whose a token is.
func (s *Server) CheckIdentity(_ context.Context, req api.IdentityCheck) (*api.IdentityClaims, error) {
	if _, err := s.node(s.store.Snapshot(), req.NodeID, req.SecretID); err != nil {
		return nil, err
	}
	a, task, err := s.VerifyIdentity(req.Token)
	if err != nil {
		return nil, err
	}
	return &api.IdentityClaims{AllocID: a.ID, Task: task, Namespace: a.Namespace}, nil
}

// VerifyIdentity checks a token that this region signed: its signature and its
// times, and that its allocation still runs. It returns the allocation and the
// task that it was given to.
func (s *Server) VerifyIdentity(token string) (a *structs.Allocation, task string, err error) {
	keys, err := s.publicKeys()
	if err != nil {
		return nil, "", err
	}
	claims, err := keyring.Verify(token, keys, time.Now())
	if err != nil {
		return nil, "", structs.Errorf(structs.Denied, "cannot accept the identity: %w", err)
	}
	id, _ := claims["nomad_allocation_id"].(string)
	task, _ = claims["nomad_task"].(string)
	if a = s.store.Snapshot().Alloc(id); a == nil || a.Terminal() {
		return nil, "", structs.Errorf(structs.Denied, "cannot accept the identity: its allocation %q does not run", id)
	}
	return a, task, nil
}
