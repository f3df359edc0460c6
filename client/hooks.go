package client

import (
	"github.com/nomadlite/nomadlite/client/alloc"
	plugin "github.com/nomadlite/nomadlite/plugins/driver"
)

// allocHooks are what takes part in the life of this node's allocations, in
// the order of the contract (reference runtime.md 7). Call it once, when the
// node has its parts.
func (c *Client) allocHooks() []alloc.Hook {
	return []alloc.Hook{
		previous{c},
		&groupNetwork{manager: c.network, drivers: c.drivers, made: map[string]*plugin.NetworkIsolationSpec{}},
		&hostVolumes{namespace: c.volumes.Namespace},
	}
}
