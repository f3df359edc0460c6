package client

import (
	"context"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/client/alloc"
	"github.com/nomadlite/nomadlite/client/identity"
	"github.com/nomadlite/nomadlite/client/service"
	"github.com/nomadlite/nomadlite/client/template"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
	"github.com/nomadlite/nomadlite/structs"
)

// allocHooks are what takes part in the life of this node's allocations, in
// the order of the contract (reference runtime.md 7). Call it once, when the
// node has its parts; what hooks run beside allocations ends with ctx.
func (c *Client) allocHooks(ctx context.Context) []alloc.Hook {
	c.templates = template.New(ctx, c.lookup, c.cfg.Templates)
	c.identities = identity.New(ctx, c.signIdentities, c.log.Named("identity"))
	c.services = service.New(ctx, c.offers, c.log.Named("services"))
	return []alloc.Hook{
		previous{c},
		&groupNetwork{manager: c.network, drivers: c.drivers, made: map[string]*plugin.NetworkIsolationSpec{}},
		&hostVolumes{namespace: c.volumes.Namespace},
		c.identities,
		c.artifacts,
		c.taskAPI,
		&deviceHook{c.devices},
		c.templates,
		c.services,
	}
}

// lookup reads data of the cluster for a task of this node.
func (c *Client) lookup(ctx context.Context, req api.WorkloadLookup) (*api.WorkloadData, error) {
	req.NodeID, req.SecretID = c.identity()
	return c.cfg.Workloads.Lookup(ctx, req)
}

// lookupService reads the instances of a service for the node's DNS.
func (c *Client) lookupService(ctx context.Context, namespace, name string) ([]*structs.ServiceRegistration, error) {
	data, err := c.lookup(ctx, api.WorkloadLookup{Kind: api.LookupService, Namespace: namespace, Name: name})
	if err != nil {
		return nil, err
	}
	return data.Services, nil
}

// signIdentities has the servers sign tokens for a task of this node.
func (c *Client) signIdentities(ctx context.Context, req api.IdentityRequest) (*api.IdentityResponse, error) {
	req.NodeID, req.SecretID = c.identity()
	return c.cfg.Workloads.SignIdentities(ctx, req)
}

// checkIdentity asks the servers whose a token is.
func (c *Client) checkIdentity(ctx context.Context, token string) (*api.IdentityClaims, error) {
	req := api.IdentityCheck{Token: token}
	req.NodeID, req.SecretID = c.identity()
	return c.cfg.Workloads.CheckIdentity(ctx, req)
}
