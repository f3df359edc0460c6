package client

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/api"
	"github.com/nomadlite/nomadlite/structs"
)

// drainer is a Servers that drains a node at its own wish.
type drainer interface {
	DrainSelf(ctx context.Context, req api.NodeSelfDrain) (*api.NodeSelfDrained, error)
}

// Pace of a drain that the node asked for.
const (
	drainWait  = 30 * time.Second // of one question
	drainPause = time.Second      // after a question that failed
)

// Drain asks the servers to move this node's work elsewhere and waits until
// nothing of it is left here, or ctx ends. Run must go on meanwhile. The node
// takes no work afterwards until it is made eligible.
func (c *Client) Drain(ctx context.Context, spec structs.DrainSpec) error {
	servers, ok := c.cfg.Servers.(drainer)
	if !ok {
		return nil
	}
	id, secret := c.identity()
	req := api.NodeSelfDrain{NodeID: id, SecretID: secret, Spec: &spec, Wait: drainWait}
	for {
		out, err := servers.DrainSelf(ctx, req)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			c.log.Warn("cannot drain this node yet; trying again", "error", err)
			select {
			case <-time.After(drainPause):
			case <-ctx.Done():
				return ctx.Err()
			}
		case !out.Draining:
			return nil
		default:
			req.Spec = nil // it goes on: ask again
		}
	}
}
