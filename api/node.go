package api

import (
	"context"
	"time"

	"github.com/nomadlite/nomadlite/structs"
)

// Servers is what a node's client needs of the servers. In a dev agent the
// server implements it directly; over the wire the internal routes do.
//
// Every method may be called again with the same arguments: a repeated call
// has the effect of one. Errors are structs errors; Unavailable means "try
// again later" (no leader), NotFound from Heartbeat, Allocs or UpdateAllocs
// means that the node must register again.
type Servers interface {
	// Register adds the node or replaces what is known of it. It is also the
	// way to tell a changed fingerprint.
	Register(ctx context.Context, node *structs.Node) (*NodeRegisterResponse, error)
	// Heartbeat keeps the node alive for another HeartbeatTTL.
	Heartbeat(ctx context.Context, beat NodeHeartbeat) (*NodeRegisterResponse, error)
	// Allocs blocks until the node's allocations differ from those at index
	// Since, at most for Wait, and returns the difference.
	Allocs(ctx context.Context, req NodeAllocsRequest) (*NodeAllocsResponse, error)
	// UpdateAllocs reports the states of allocations; it returns when they are
	// committed.
	UpdateAllocs(ctx context.Context, req NodeAllocUpdateRequest) error
}

// NodeHeartbeat identifies the node that is alive.
type NodeHeartbeat struct {
	NodeID   string
	SecretID string
}

// NodeRegisterResponse answers a registration or a heartbeat.
type NodeRegisterResponse struct {
	// HeartbeatTTL is how long the servers wait for the next heartbeat.
	HeartbeatTTL time.Duration
	Index        uint64
	// Servers are the "host:port" addresses of the internal port.
	Servers []string
	// ReadySince is when the node became ready last, in unix seconds. Another
	// value than before says that the servers had given it up in between, even
	// if nothing else of the node's tells so.
	ReadySince int64
	// Services is how many services the servers know of the node. A node that
	// registered another number tells them all again.
	Services int
}

// NodeAllocsRequest asks for the allocations of a node that changed after an
// index. Since counts AllocModifyIndex: changes by the servers, so that a node
// never fetches what it reported itself.
type NodeAllocsRequest struct {
	NodeID   string
	SecretID string
	Since    uint64        // 0 asks for everything
	Wait     time.Duration // longest time to block; 0 is DefaultWait
}

// NodeAllocsResponse is the difference to NodeAllocsRequest.Since. With no
// difference at the end of the wait, Index is Since and the lists are empty.
type NodeAllocsResponse struct {
	// Index is what to pass as Since next time.
	Index uint64
	// Full says that Allocs is the whole list: what is not in it is gone.
	Full bool
	// Allocs are the added and changed allocations, each with its Job. They
	// are shared and must not be changed.
	Allocs []*structs.Allocation
	// Removed are the ids that no longer exist.
	Removed []string
	// HasVolumes says that Volumes is the whole list of the node's dynamic host
	// volumes: what is not in it shall not be there.
	HasVolumes bool
	Volumes    []*structs.HostVolume
}

// NodeAllocUpdateRequest reports states of allocations of one node.
type NodeAllocUpdateRequest struct {
	NodeID   string
	SecretID string
	Updates  []*structs.AllocUpdate
}

// NodeSelfDrain asks that a node be drained, with Spec, and waits until that is
// over, at most for Wait.
type NodeSelfDrain struct {
	NodeID   string
	SecretID string
	Spec     *structs.DrainSpec
	Wait     time.Duration
}

// NodeSelfDrained says whether the drain still goes on.
type NodeSelfDrained struct{ Draining bool }

// NodeIntroduction registers a node that is new to the region with the token
// that it was given.
type NodeIntroduction struct {
	Node  *structs.Node
	Token string
}

// IntroductionRequest asks for a token that introduces a node: of a pool, the
// default one when it is empty, and of a name, any when it is empty.
type IntroductionRequest struct {
	TTL      time.Duration
	NodeName string
	NodePool string
}

// IntroductionResponse is the token.
type IntroductionResponse struct{ JWT string }
